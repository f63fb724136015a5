#include "archive/deletion_survey.h"

#include "archive/archive_internal.h"
#include "archive/damage.h"
#include "archive/error.h"
#include "archive/index_rows.h"
#include "archive/reader.h"
#include "archive/uidl_rows.h"

#include <errno.h>
#include <stdlib.h>

struct survey {
    struct archive *archive;
    const struct deletion_survey *how;
    uint32_t source;
    struct maildrop_row row;
    struct buffer named; /* the row's set */
    struct damaged_message *damaged;
    size_t damaged_count;
    struct reader *reader;
};

static int find_source(struct survey *s, struct index_txn *t)
{
    struct account_row row;
    int err = row_get_account(t, s->how->account, &row);
    if (err != 0)
        return err;
    s->source = row.last_source; /* 0: it has none */
    if (s->how->host.size == 0)
        return row.last_source > 0 ? 0 : ERR_NOT_FOUND;
    return row_find_source(t, s->how->account, row.last_source, s->how->host, s->how->login,
                           &s->source);
}

static int open_survey(struct survey *s)
{
    struct index_txn *t = NULL;
    int err =
        s->archive->index == NULL ? ERR_NO_INDEX : index_begin_read(s->archive->index, &t);
    if (err != 0)
        return err;
    err = find_source(s, t);
    if (err == 0)
        err = row_get_maildrop(t, s->how->account, s->source, &s->row);
    buffer_put(&s->named, s->row.named.data, s->row.named.size);
    s->row.named = span_of(s->named.data, s->named.size);
    index_abort(t);
    if (err == 0)
        err = s->named.failed ? -ENOMEM : 0;
    if (err == 0)
        err = damage_load(s->archive, s->how->account, &s->damaged, &s->damaged_count);
    return err != 0 ? err : reader_create(s->archive, &s->reader);
}

/* What a UIDL has meant. */
struct meanings {
    const struct survey *survey;
    uint64_t last; /* looked at */
    unsigned messages;
    unsigned listed; /* by the last listing: all under this one UIDL */
    bool damaged;    /* the message itself */
};

static int count_meaning(void *arg, const struct uidl_entry *e)
{
    struct meanings *found = arg;
    found->messages += e->n != 0 && e->n != found->last;
    found->last = e->n != 0 ? e->n : found->last;
    found->listed += number_set_has(found->survey->row.named, e->n);
    return 0;
}

/* What the index knows of a message's deletion and its UIDL. No transaction is open while
 * segments are read. */
static int look_up(struct survey *s, const struct message_meta *m,
                   struct deletion_row *out_row, struct meanings *out_meanings)
{
    struct index_txn *t = NULL;
    *out_meanings = (struct meanings){.survey = s};
    int err = index_begin_read(s->archive->index, &t);
    if (err != 0)
        return err;
    err = row_get_deletion(t, s->how->account, s->source, m->n, out_row);
    if (err == ERR_NOT_FOUND)
        err = 0;
    if (err == 0)
        err = row_each_uidl(t, s->how->account, m->source, m->uidl, count_meaning,
                            out_meanings);
    out_meanings->damaged = damage_has(s->damaged, s->damaged_count, m->n, t);
    index_abort(t);
    return err;
}

static int judge(struct survey *s, const struct message_meta *m, bool readable,
                 struct surveyed_message *out)
{
    struct meanings meanings;
    *out = (struct surveyed_message){.message = m, .verdict = DELETION_KEEP};
    int err = look_up(s, m, &out->deletion, &meanings);
    if (err != 0)
        return err;
    if (!readable || meanings.damaged) {
        out->why = "its archived copy is damaged";
        return 0;
    }
    if (meanings.listed > 1) {
        out->why = "the server lists its UIDL more than once";
        return 0;
    }
    const struct deletion_case c = {.message = m,
                                    .uidl = m->uidl,
                                    .shared_uidl = meanings.messages > 1,
                                    .by_bytes = m->source != s->source,
                                    .weak_maildrop = s->row.weak_lsn != 0,
                                    .deletion = out->deletion,
                                    .archived_before_us = s->how->archived_before_us};
    out->verdict = deletion_verdict(&c, &out->why);
    return 0;
}

int deletion_survey(struct archive *a, const struct deletion_survey *how,
                    int (*each)(void *arg, const struct surveyed_message *m), void *arg,
                    uint64_t *out_others)
{
    struct survey s = {.archive = a, .how = how};
    struct surveyed_message found;
    struct message_meta m = {0};
    *out_others = 0;
    int err = open_survey(&s);
    while (err == 0) {
        int read = reader_next(s.reader, how->account, m.n, &m);
        if (read != 0 && read != ERR_DAMAGED) {
            err = read;
            break;
        }
        err = judge(&s, &m, read == 0, &found);
        if (err == 0 && !number_set_has(s.row.named, m.n) &&
            !deletion_is_open(found.deletion.state))
            ++*out_others;
        else if (err == 0)
            err = each(arg, &found);
    }
    bool at_end = s.reader != NULL && err == ERR_NOT_FOUND;
    reader_destroy(s.reader);
    buffer_free(&s.named);
    free(s.damaged);
    return at_end ? 0 : err;
}
