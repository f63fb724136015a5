#include "archive/error.h"
#include "tools/exits.h"
#include "tools/folders.h"
#include "tools/interrupt.h"
#include "tools/message_id.h"
#include "tools/restore.h"
#include "tools/say.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WALK_STEP 256 /* places asked of the index at a time */

/* Take the mutex, and the progress off the terminal: something will be said. */
static void begin_saying(struct restore *r, int status)
{
    (void)pthread_mutex_lock(&r->mutex);
    progress_hide(&r->progress);
    r->status = exit_worse(r->status, status);
}

static void end_saying(struct restore *r)
{
    (void)pthread_mutex_unlock(&r->mutex);
}

static void say_failure(const struct restore *r, const char *path, int err)
{
    const char *again = r->kind->whole ? "it begins anew" : "it goes on where it stopped";
    if (err == ERR_STOPPED)
        say("stopped; run the same again: %s", again);
    else if (err == -ENOSPC || err == -EDQUOT)
        say("no space left for %s; make room and run the same again: %s", path, again);
    else if (err == ERR_LOCKED)
        say("another restore is writing to %s", path);
    else
        say("cannot write to %s: %s", path, error_text(err));
}

void restore_fail(struct restore *r, const char *path, int err)
{
    begin_saying(r, err == ERR_STOPPED ? EXIT_PART : EXIT_CANNOT);
    if (!r->over)
        say_failure(r, path, err);
    r->over = true;
    end_saying(r);
}

static bool is_over(struct restore *r)
{
    (void)pthread_mutex_lock(&r->mutex);
    bool over = r->over;
    (void)pthread_mutex_unlock(&r->mutex);
    return over;
}

bool restore_goes_on(struct restore *r, const char *path)
{
    if (is_over(r))
        return false;
    if (!interrupt_wanted())
        return true;
    restore_fail(r, path, ERR_STOPPED);
    return false;
}

/* Something about one message; the rest goes on. */
static void say_message(struct restore_box *b, uint64_t n, const char *what, int status)
{
    begin_saying(b->restore, status);
    say("%s/%" PRIu64 ": %s", b->job->name, n, what);
    end_saying(b->restore);
}

static void say_unreadable(struct restore_box *b, uint64_t n, int err)
{
    if (err == ERR_DAMAGED)
        say_message(b, n, "damaged, not restored", EXIT_DAMAGE);
    else if (err == ERR_NOT_FOUND)
        say_message(b, n, "not found", EXIT_PART);
    else
        say_message(b, n, error_text(err), EXIT_CANNOT);
}

static void add_done(struct restore *r, uint64_t bytes)
{
    (void)pthread_mutex_lock(&r->mutex);
    r->done_bytes += bytes;
    progress_update(&r->progress, r->done_bytes);
    (void)pthread_mutex_unlock(&r->mutex);
}

/* A message on its way from a reader into a target. */
struct copying {
    struct restore_box *box;
    unsigned lane;
    int write_error; /* of the sink: tells it from the reader's */
};

static int take_piece(void *arg, const uint8_t *data, size_t size)
{
    struct copying *c = arg;
    struct restore *r = c->box->restore;
    bool stop = interrupt_wanted() || is_over(r);
    c->write_error =
        stop ? ERR_STOPPED : r->kind->write(c->box->target, c->lane, data, size);
    add_done(r, size);
    return c->write_error;
}

static void count_written(struct restore_box *b, uint64_t bytes)
{
    (void)pthread_mutex_lock(&b->restore->mutex);
    b->counts.written++;
    b->counts.written_bytes += bytes;
    (void)pthread_mutex_unlock(&b->restore->mutex);
}

static void count_present(struct restore_box *b)
{
    (void)pthread_mutex_lock(&b->restore->mutex);
    b->counts.present++;
    (void)pthread_mutex_unlock(&b->restore->mutex);
}

/* The bytes of a message that was begun, and its end. */
static void copy_body(struct restore_box *b, unsigned lane, const struct target_message *m)
{
    struct restore *r = b->restore;
    struct copying c = {.box = b, .lane = lane};
    int read = reader_body(r->lanes[lane].reader, b->job->account, m->n, take_piece, &c);
    int write = c.write_error;
    if (read == 0) {
        write = r->kind->commit(b->target, lane);
    } else {
        int cancelled = r->kind->cancel(b->target, lane);
        if (write == 0)
            write = cancelled;
    }
    if (write == ERR_EXISTS)
        say_message(b, m->n, "another file has its name, left as it is", EXIT_PART);
    else if (write != 0)
        restore_fail(r, b->path, write);
    else if (read != 0)
        say_unreadable(b, m->n, read);
    else
        count_written(b, m->size);
}

static void copy_message(struct restore_box *b, unsigned lane,
                         const struct message_meta *meta)
{
    struct restore *r = b->restore;
    struct target_message m = {.n = meta->n, .size = meta->size};
    memcpy(m.sha256, meta->sha256, sizeof(m.sha256));
    (void)message_time(&r->lanes[lane].times, meta, &m.time_s);
    if (!period_holds(&r->period, m.time_s))
        return;
    int rc = r->kind->begin(b->target, lane, &m);
    if (rc == 0) {
        copy_body(b, lane, &m);
        return;
    }
    add_done(r, m.size);
    if (rc == TARGET_PRESENT)
        count_present(b);
    else if (rc == ERR_EXISTS)
        say_message(b, m.n, "a file that differs has its name, left as it is", EXIT_PART);
    else
        restore_fail(r, b->path, rc);
}

void restore_message(struct restore_box *b, unsigned lane, uint64_t n)
{
    struct message_meta meta;
    struct reader *reader = b->restore->lanes[lane].reader;
    int rc = reader_message(reader, b->job->account, n, &meta);
    if (rc == 0)
        copy_message(b, lane, &meta);
    else
        say_unreadable(b, n, rc);
}

static void walk_chosen(struct restore_box *b, struct reader *reader,
                        bool (*each)(void *arg, const struct message_place *m), void *arg)
{
    struct message_place m;
    bool on = true;
    for (size_t i = 0; on && i < b->job->n_count; i++) {
        size_t count = 0;
        uint64_t n = b->job->ns[i];
        int rc = reader_places(reader, b->job->account, n - 1, 1, &m, &count);
        if (rc == 0 && (count == 0 || m.n != n))
            rc = ERR_NOT_FOUND;
        if (rc != 0)
            say_unreadable(b, n, rc);
        else
            on = restore_goes_on(b->restore, b->path) && each(arg, &m);
    }
}

static void walk_all(struct restore_box *b, struct reader *reader,
                     bool (*each)(void *arg, const struct message_place *m), void *arg)
{
    struct message_place found[WALK_STEP];
    bool on = true;
    size_t count = 0;
    uint64_t n = 0;
    do {
        int rc = reader_places(reader, b->job->account, n, WALK_STEP, found, &count);
        for (size_t i = 0; on && i < count; i++)
            on = restore_goes_on(b->restore, b->path) && each(arg, &found[i]);
        if (count > 0)
            n = found[count - 1].n;
        if (rc != 0) {
            begin_saying(b->restore, EXIT_CANNOT);
            say("%s: %s", b->job->name, error_text(rc));
            end_saying(b->restore);
            return;
        }
    } while (on && count > 0);
}

void restore_box_walk(struct restore_box *b, unsigned lane,
                      bool (*each)(void *arg, const struct message_place *m), void *arg)
{
    struct reader *reader = b->restore->lanes[lane].reader;
    if (b->job->chosen)
        walk_chosen(b, reader, each, arg);
    else
        walk_all(b, reader, each, arg);
}

static bool find_path(struct restore *r, const struct restore_job *job, char **out)
{
    *out = NULL;
    if (r->several && !account_is_folder(job->name)) {
        begin_saying(r, EXIT_PART);
        say("account number %" PRIu32
            " has a name that cannot be a folder (%s): restore it with --account",
            job->account, job->name);
        end_saying(r);
        return false;
    }
    int rc = r->several ? asprintf(out, "%s/%s%s", r->path, job->name, r->kind->branch)
                        : asprintf(out, "%s", r->path);
    if (rc < 0) {
        *out = NULL;
        restore_fail(r, r->path, -ENOMEM);
    }
    return rc >= 0;
}

bool restore_box_open(struct restore *r, const struct restore_job *job,
                      struct restore_box *out)
{
    *out = (struct restore_box){.restore = r, .job = job};
    if (!find_path(r, job, &out->path))
        return false;
    if (!restore_tell(r, job)) {
        free(out->path);
        return false;
    }
    int rc = folder_make_parent(out->path);
    if (rc == 0)
        rc = r->kind->open(out->path, &out->target);
    if (rc == 0)
        return true;
    restore_fail(r, out->path, rc);
    free(out->path);
    return false;
}

static void finish(struct restore_box *b)
{
    struct restore *r = b->restore;
    int rc = r->kind->finish(b->target);
    if (rc == TARGET_PRESENT) {
        b->counts.present += b->counts.written;
        b->counts.written = b->counts.written_bytes = 0;
    } else if (rc == ERR_EXISTS) {
        b->counts = (struct restore_counts){0};
        begin_saying(r, EXIT_PART);
        say("%s exists and differs, left as it is", b->path);
        end_saying(r);
    } else if (rc != 0) {
        b->counts = (struct restore_counts){0};
        restore_fail(r, b->path, rc);
    }
}

void restore_box_close(struct restore_box *b)
{
    struct restore *r = b->restore;
    bool over = is_over(r);
    if (!over)
        finish(b);
    (void)pthread_mutex_lock(&r->mutex);
    /* A file that is not whole does not count as restored. */
    if (!over || !r->kind->whole) {
        r->counts.written += b->counts.written;
        r->counts.written_bytes += b->counts.written_bytes;
        r->counts.present += b->counts.present;
    }
    (void)pthread_mutex_unlock(&r->mutex);
    r->kind->close(b->target);
    free(b->path);
}
