#include "tools/crew.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>

struct member {
    pthread_t thread;
    bool started;
    unsigned lane;
    void (*work)(void *arg, unsigned lane);
    void *arg;
};

unsigned crew_size(unsigned max)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : (unsigned)count < max ? (unsigned)count : max;
}

static void *run_member(void *arg)
{
    struct member *m = arg;
    m->work(m->arg, m->lane);
    return NULL;
}

void crew_run(unsigned lanes, void (*work)(void *arg, unsigned lane), void *arg)
{
    struct member members[CREW_LANES_MAX];
    assert(lanes >= 1 && lanes <= CREW_LANES_MAX);
    for (unsigned i = 1; i < lanes; i++) {
        members[i] = (struct member){.lane = i, .work = work, .arg = arg};
        members[i].started =
            pthread_create(&members[i].thread, NULL, run_member, &members[i]) == 0;
    }
    work(arg, 0);
    for (unsigned i = 1; i < lanes; i++)
        if (members[i].started)
            (void)pthread_join(members[i].thread, NULL);
}
