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

/* One job with its target open. */
struct copying {
    struct restore *restore;
    const struct restore_job *job;
    const char *path;
    struct target *target;
    struct restore_counts counts;
    int write_error; /* of the sink: tells it from the reader's */
};

static void note(struct restore *r, int status)
{
    r->status = exit_worse(r->status, status);
}

void restore_fail(struct restore *r, const char *path, int err)
{
    const char *again = r->kind->whole ? "it begins anew" : "it goes on where it stopped";
    progress_hide(&r->progress);
    r->over = true;
    note(r, err == ERR_STOPPED ? EXIT_PART : EXIT_CANNOT);
    if (err == ERR_STOPPED)
        say("stopped; run the same again: %s", again);
    else if (err == -ENOSPC || err == -EDQUOT)
        say("no space left for %s; make room and run the same again: %s", path, again);
    else if (err == ERR_LOCKED)
        say("another restore is writing to %s", path);
    else
        say("cannot write to %s: %s", path, error_text(err));
}

/* Something about one message; the rest goes on. */
static void say_message(struct copying *c, uint64_t n, const char *what, int status)
{
    progress_hide(&c->restore->progress);
    note(c->restore, status);
    say("%s/%" PRIu64 ": %s", c->job->name, n, what);
}

static void say_unreadable(struct copying *c, uint64_t n, int err)
{
    if (err == ERR_DAMAGED)
        say_message(c, n, "damaged, not restored", EXIT_DAMAGE);
    else if (err == ERR_NOT_FOUND)
        say_message(c, n, "not found", EXIT_PART);
    else
        say_message(c, n, error_text(err), EXIT_CANNOT);
}

static int take_piece(void *arg, const uint8_t *data, size_t size)
{
    struct copying *c = arg;
    struct restore *r = c->restore;
    c->write_error =
        interrupt_wanted() ? ERR_STOPPED : r->kind->write(c->target, data, size);
    r->done_bytes += size;
    progress_update(&r->progress, r->done_bytes);
    return c->write_error;
}

/* The bytes of a message that was begun, and its end. */
static void copy_body(struct copying *c, const struct target_message *m)
{
    struct restore *r = c->restore;
    c->write_error = 0;
    int read = reader_body(r->reader, c->job->account, m->n, take_piece, c);
    int write = c->write_error;
    if (read == 0) {
        write = r->kind->commit(c->target);
    } else {
        int cancelled = r->kind->cancel(c->target);
        if (write == 0)
            write = cancelled;
    }
    if (write == ERR_EXISTS)
        say_message(c, m->n, "another file has its name, left as it is", EXIT_PART);
    else if (write != 0)
        restore_fail(r, c->path, write);
    else if (read != 0)
        say_unreadable(c, m->n, read);
    else {
        c->counts.written++;
        c->counts.written_bytes += m->size;
    }
}

static void copy_message(struct copying *c, const struct message_meta *meta)
{
    struct restore *r = c->restore;
    struct target_message m = {.n = meta->n, .size = meta->size};
    memcpy(m.sha256, meta->sha256, sizeof(m.sha256));
    (void)message_time(&r->times, meta, &m.time_s);
    if (!period_holds(&r->period, m.time_s))
        return;
    int rc = r->kind->begin(c->target, &m);
    if (rc == 0) {
        copy_body(c, &m);
        return;
    }
    r->done_bytes += m.size;
    progress_update(&r->progress, r->done_bytes);
    if (rc == TARGET_PRESENT)
        c->counts.present++;
    else if (rc == ERR_EXISTS)
        say_message(c, m.n, "a file that differs has its name, left as it is", EXIT_PART);
    else
        restore_fail(r, c->path, rc);
}

static bool go_on(struct restore *r, const char *path)
{
    if (!r->over && interrupt_wanted())
        restore_fail(r, path, ERR_STOPPED);
    return !r->over;
}

static void copy_all(struct copying *c)
{
    struct message_meta meta;
    uint64_t n = 0;
    while (go_on(c->restore, c->path)) {
        int rc = reader_next(c->restore->reader, c->job->account, n, &meta);
        if (rc == ERR_NOT_FOUND)
            return;
        if (rc != 0 && (rc != ERR_DAMAGED || meta.n <= n)) {
            progress_hide(&c->restore->progress);
            say("%s: %s", c->job->name, error_text(rc));
            note(c->restore, EXIT_CANNOT);
            return;
        }
        n = meta.n;
        if (rc == 0)
            copy_message(c, &meta);
        else
            say_unreadable(c, n, rc);
    }
}

static void copy_chosen(struct copying *c)
{
    struct message_meta meta;
    for (size_t i = 0; i < c->job->n_count && go_on(c->restore, c->path); i++) {
        uint64_t n = c->job->ns[i];
        int rc = reader_message(c->restore->reader, c->job->account, n, &meta);
        if (rc == 0)
            copy_message(c, &meta);
        else
            say_unreadable(c, n, rc);
    }
}

static void finish(struct copying *c)
{
    struct restore *r = c->restore;
    int rc = r->kind->finish(c->target);
    if (rc == TARGET_PRESENT) {
        c->counts.present += c->counts.written;
        c->counts.written = c->counts.written_bytes = 0;
    } else if (rc == ERR_EXISTS) {
        c->counts = (struct restore_counts){0};
        progress_hide(&r->progress);
        say("%s exists and differs, left as it is", c->path);
        note(r, EXIT_PART);
    } else if (rc != 0) {
        c->counts = (struct restore_counts){0};
        restore_fail(r, c->path, rc);
    }
}

/* A file that is not whole does not count as restored. */
static void add_counts(struct copying *c)
{
    struct restore *r = c->restore;
    if (r->over && r->kind->whole)
        return;
    r->counts.written += c->counts.written;
    r->counts.written_bytes += c->counts.written_bytes;
    r->counts.present += c->counts.present;
}

static void copy_into(struct restore *r, const struct restore_job *job, const char *path)
{
    struct copying c = {.restore = r, .job = job, .path = path};
    int rc = folder_make_parent(path);
    if (rc == 0)
        rc = r->kind->open(path, &c.target);
    if (rc != 0) {
        restore_fail(r, path, rc);
        return;
    }
    if (job->chosen)
        copy_chosen(&c);
    else
        copy_all(&c);
    if (!r->over)
        finish(&c);
    add_counts(&c);
    r->kind->close(c.target);
}

void restore_account(struct restore *r, const struct restore_job *job)
{
    if (!r->several) {
        copy_into(r, job, r->path);
        return;
    }
    if (!account_is_folder(job->name)) {
        say("account number %" PRIu32
            " has a name that cannot be a folder (%s): restore it with "
            "--account",
            job->account, job->name);
        note(r, EXIT_PART);
        return;
    }
    char *path = NULL;
    if (asprintf(&path, "%s/%s%s", r->path, job->name, r->kind->branch) < 0) {
        restore_fail(r, r->path, -ENOMEM);
        return;
    }
    copy_into(r, job, path);
    free(path);
}
