#include "tools/crew.h"
#include "tools/restore.h"

#include <errno.h>
#include <stdlib.h>

/* A window: so many messages, of so many accounts (each holds four descriptors), are found
 * in the index and put into the order of the disk before the first is read. */
#define WINDOW_MESSAGES 32768
#define WINDOW_BOXES 64

struct wanted {
    struct message_place at;
    struct restore_box *box;
};

/* Invariants: 1. boxes[0 .. box_count) are open. 2. While lanes work, only `next` changes,
 * under the restore's mutex. */
struct window {
    struct restore *restore;
    struct wanted *wanted;
    size_t count;
    size_t next;
    size_t box_count;
    struct restore_box boxes[WINDOW_BOXES];
};

static int compare_numbers(uint64_t x, uint64_t y)
{
    return (x > y) - (x < y);
}

static int compare_places(const void *a, const void *b)
{
    const struct message_place *x = &((const struct wanted *)a)->at;
    const struct message_place *y = &((const struct wanted *)b)->at;
    int order = compare_numbers(x->segment, y->segment);
    if (order == 0)
        order = compare_numbers(x->offset, y->offset);
    return order != 0 ? order : compare_numbers(x->ordinal, y->ordinal);
}

static bool same_record(const struct message_place *a, const struct message_place *b)
{
    return a->segment == b->segment && a->offset == b->offset;
}

/* The next messages that one record holds, so that it is read and decompressed once: how
 * many there are, 0 at the end. */
static size_t take_record(struct window *w, size_t *out_first)
{
    (void)pthread_mutex_lock(&w->restore->mutex);
    size_t first = w->next;
    while (w->next < w->count && same_record(&w->wanted[first].at, &w->wanted[w->next].at))
        w->next++;
    size_t count = w->next - first;
    (void)pthread_mutex_unlock(&w->restore->mutex);
    *out_first = first;
    return count;
}

static void restore_records(void *arg, unsigned lane)
{
    struct window *w = arg;
    size_t first, count;
    while ((count = take_record(w, &first)) > 0)
        for (size_t i = first; i < first + count; i++) {
            const struct wanted *m = &w->wanted[i];
            if (!restore_goes_on(w->restore, m->box->path))
                return;
            restore_message(m->box, lane, m->at.n);
        }
}

static void empty_window(struct window *w)
{
    if (w->count > 0) {
        qsort(w->wanted, w->count, sizeof(*w->wanted), compare_places);
        crew_run(w->restore->lane_count, restore_records, w);
    }
    w->count = w->next = 0;
}

static void close_boxes(struct window *w)
{
    for (size_t i = 0; i < w->box_count; i++)
        restore_box_close(&w->boxes[i]);
    w->box_count = 0;
}

static bool add_wanted(void *arg, const struct message_place *m)
{
    struct window *w = arg;
    w->wanted[w->count++] = (struct wanted){.at = *m, .box = &w->boxes[w->box_count - 1]};
    if (w->count == WINDOW_MESSAGES)
        empty_window(w);
    return true;
}

static void add_job(struct window *w, const struct restore_job *job)
{
    if (w->box_count == WINDOW_BOXES) {
        empty_window(w);
        close_boxes(w);
    }
    struct restore_box *box = &w->boxes[w->box_count];
    if (!restore_box_open(w->restore, job, box))
        return;
    w->box_count++;
    restore_box_walk(box, 0, add_wanted, w);
}

void restore_files(struct restore *r, const struct restore_jobs *jobs)
{
    struct window *w = calloc(1, sizeof(*w));
    if (w != NULL)
        w->wanted = malloc(WINDOW_MESSAGES * sizeof(*w->wanted));
    if (w == NULL || w->wanted == NULL) {
        restore_fail(r, r->path, -ENOMEM);
    } else {
        w->restore = r;
        for (size_t i = 0; i < jobs->count && restore_goes_on(r, r->path); i++)
            add_job(w, &jobs->jobs[i]);
        empty_window(w);
        close_boxes(w);
    }
    if (w != NULL)
        free(w->wanted);
    free(w);
}
