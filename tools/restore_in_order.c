#include "tools/crew.h"
#include "tools/restore.h"

struct order {
    struct restore *restore;
    const struct restore_jobs *jobs;
    size_t next; /* job, guarded by the restore's mutex */
};

static const struct restore_job *take_job(struct order *o)
{
    const struct restore_job *job = NULL;
    (void)pthread_mutex_lock(&o->restore->mutex);
    if (o->next < o->jobs->count)
        job = &o->jobs->jobs[o->next++];
    (void)pthread_mutex_unlock(&o->restore->mutex);
    return job;
}

struct run {
    struct restore_box box;
    unsigned lane;
};

static bool give(void *arg, const struct message_place *m)
{
    struct run *run = arg;
    restore_message(&run->box, run->lane, m->n);
    return true;
}

static void restore_jobs(void *arg, unsigned lane)
{
    struct order *o = arg;
    struct run run = {.lane = lane};
    const struct restore_job *job;
    while (restore_goes_on(o->restore, o->restore->path) && (job = take_job(o)) != NULL) {
        if (!restore_box_open(o->restore, job, &run.box))
            continue;
        restore_box_walk(&run.box, lane, give, &run);
        restore_box_close(&run.box);
    }
}

void restore_in_order(struct restore *r, const struct restore_jobs *jobs)
{
    struct order o = {.restore = r, .jobs = jobs};
    unsigned lanes = r->lane_count;
    if (jobs->count < lanes)
        lanes = jobs->count > 0 ? (unsigned)jobs->count : 1;
    crew_run(lanes, restore_jobs, &o);
}
