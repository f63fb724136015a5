#include "archive/error.h"
#include "tools/exits.h"
#include "tools/message_id.h"
#include "tools/open.h"
#include "tools/restore.h"
#include "tools/say.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Room for one more, zeroed; NULL without memory. */
static struct restore_job *add_job(struct restore_jobs *jobs,
                                   const struct account_info *info)
{
    /* Doubled whenever the count reaches a power of two. */
    if ((jobs->count & (jobs->count - 1)) == 0) {
        size_t room = jobs->count == 0 ? 1 : 2 * jobs->count;
        struct restore_job *grown = reallocarray(jobs->jobs, room, sizeof(*grown));
        if (grown == NULL)
            return NULL;
        jobs->jobs = grown;
    }
    struct restore_job *job = &jobs->jobs[jobs->count++];
    *job = (struct restore_job){.account = info->number,
                                .messages = info->messages,
                                .highest = info->highest,
                                .bytes = info->bytes};
    memcpy(job->name, info->name, sizeof(job->name));
    return job;
}

static int add_account(void *arg, const struct account_info *info)
{
    return add_job(arg, info) != NULL ? 0 : -ENOMEM;
}

static int find_all(struct archive *a, struct restore_jobs *out)
{
    out->several = true;
    int rc = archive_each_account(a, add_account, out);
    return rc == 0 ? EXIT_DONE : say_failed("reading the accounts", rc);
}

static int find_one(struct archive *a, const char *name, struct restore_jobs *out)
{
    struct account_info info;
    int status = open_account(a, name, &info);
    if (status == EXIT_DONE && add_job(out, &info) == NULL)
        status = say_failed("restore", -ENOMEM);
    return status;
}

static int compare_ids(const void *a, const void *b)
{
    const struct message_id *x = a;
    const struct message_id *y = b;
    int names = strcmp(x->account, y->account);
    if (names != 0)
        return names;
    return x->n < y->n ? -1 : x->n > y->n;
}

/* A job for the first `count` ids, all of one account and in order. */
static int add_chosen(struct archive *a, const struct message_id *ids, size_t count,
                      struct restore_jobs *out)
{
    struct account_info info;
    int status = open_account(a, ids[0].account, &info);
    if (status != EXIT_DONE)
        return status;
    struct restore_job *job = add_job(out, &info);
    if (job == NULL)
        return say_failed("restore", -ENOMEM);
    job->chosen = true;
    job->bytes = 0;
    job->ns = calloc(count, sizeof(*job->ns));
    if (job->ns == NULL)
        return say_failed("restore", -ENOMEM);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || ids[i].n != ids[i - 1].n)
            job->ns[job->n_count++] = ids[i].n;
    return EXIT_DONE;
}

static int group_ids(struct archive *a, struct message_id *ids, size_t count,
                     struct restore_jobs *out)
{
    int status = EXIT_DONE;
    qsort(ids, count, sizeof(*ids), compare_ids);
    out->several = strcmp(ids[0].account, ids[count - 1].account) != 0;
    for (size_t start = 0, end; start < count; start = end) {
        for (end = start + 1; end < count; end++)
            if (strcmp(ids[start].account, ids[end].account) != 0)
                break;
        status = exit_worse(status, add_chosen(a, ids + start, end - start, out));
    }
    return status;
}

static int find_ids(struct archive *a, const struct options *o, struct restore_jobs *out)
{
    int status = EXIT_DONE;
    struct message_id *ids = calloc(o->id_count, sizeof(*ids));
    if (ids == NULL)
        return say_failed("restore", -ENOMEM);
    for (size_t i = 0; i < o->id_count; i++) {
        if (message_id_parse(o->ids[i], &ids[i]) != 0) {
            say("--id %s: an ID is ACCOUNT/N, N counting from 1", o->ids[i]);
            status = EXIT_USAGE;
        }
    }
    if (status == EXIT_DONE)
        status = group_ids(a, ids, o->id_count, out);
    free(ids);
    return status;
}

int restore_jobs_find(struct archive *a, const struct options *o, struct restore_jobs *out)
{
    *out = (struct restore_jobs){0};
    if (option_given(o, OPTION_ALL))
        return find_all(a, out);
    if (option_given(o, OPTION_ACCOUNT))
        return find_one(a, o->values[OPTION_ACCOUNT], out);
    return find_ids(a, o, out);
}

void restore_jobs_free(struct restore_jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++)
        free(jobs->jobs[i].ns);
    free(jobs->jobs);
    jobs->jobs = NULL;
    jobs->count = 0;
}
