#include "archive/damage.h"

#include "archive/archive_internal.h"
#include "archive/digest.h"
#include "archive/error.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line: account, n, segment, offset; or "part", SHA-256, segment, offset. */
#define LINE_SIZE_MAX 128

static int damage_path(struct archive *a, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%s/state/damaged", a->path);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int damage_save(struct archive *a, const struct damaged_message *list, size_t count,
                const struct damaged_part *parts, size_t parts_count)
{
    char path[PATH_MAX], line[LINE_SIZE_MAX], hex[2 * SHA256_SIZE + 1];
    struct buffer text = {0};
    int err = damage_path(a, path);
    for (size_t i = 0; i < count && i < DAMAGED_MAX; i++) {
        int n = snprintf(
            line, sizeof(line), "%" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
            list[i].account, list[i].n, list[i].place.segment, list[i].place.offset);
        buffer_put(&text, line, (size_t)n);
    }
    for (size_t i = 0; i < parts_count && i < DAMAGED_MAX; i++) {
        hex_encode(parts[i].sha256, SHA256_SIZE, hex);
        int n = snprintf(line, sizeof(line), "part %s %" PRIu64 " %" PRIu64 "\n", hex,
                         parts[i].place.segment, parts[i].place.offset);
        buffer_put(&text, line, (size_t)n);
    }
    if (text.failed)
        err = -ENOMEM;
    if (err == 0)
        err = file_replace(a->ops, path, text.data, text.size, 0600);
    buffer_free(&text);
    return err;
}

/* Give each line of the list to take(), which puts what it wants into *out. */
static int each_line(struct archive *a,
                     void (*take)(const char *line, void *arg, struct buffer *out),
                     void *arg, struct buffer *out)
{
    char path[PATH_MAX], *text = NULL;
    size_t size = 0;
    if (damage_path(a, path) != 0 ||
        file_load(a->ops, path, (size_t)2 * DAMAGED_MAX * LINE_SIZE_MAX, &text, &size) != 0)
        return 0;
    for (char *line = text; line != NULL && *line != '\0';) {
        take(line, arg, out);
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    free(text);
    if (!out->failed)
        return 0;
    buffer_free(out);
    return -ENOMEM;
}

/* arg: the account, or NULL for all. */
static void take_message(const char *line, void *arg, struct buffer *out)
{
    const uint32_t *account = arg;
    struct damaged_message m;
    if (sscanf(line, "%" SCNu32 " %" SCNu64 " %" SCNu64 " %" SCNu64, &m.account, &m.n,
               &m.place.segment, &m.place.offset) == 4 &&
        (account == NULL || m.account == *account))
        buffer_put(out, &m, sizeof(m));
}

static int compare(const void *a, const void *b)
{
    const struct damaged_message *x = a, *y = b;
    return (x->n > y->n) - (x->n < y->n);
}

int damage_load(struct archive *a, uint32_t account, struct damaged_message **out_list,
                size_t *out_count)
{
    struct buffer list = {0};
    int err = each_line(a, take_message, &account, &list);
    void *array = list.data; /* malloc()ed: aligned for any type */
    *out_list = array;
    *out_count = list.size / sizeof(struct damaged_message);
    if (*out_count > 0)
        qsort(*out_list, *out_count, sizeof(struct damaged_message), compare);
    return err;
}

static void take_part(const char *line, void *arg, struct buffer *out)
{
    struct damaged_part p;
    char hex[2 * SHA256_SIZE + 1];
    (void)arg;
    if (sscanf(line, "part %64[0-9a-f] %" SCNu64 " %" SCNu64, hex, &p.place.segment,
               &p.place.offset) != 3 ||
        strlen(hex) != sizeof(hex) - 1)
        return;
    for (size_t i = 0; i < SHA256_SIZE; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        p.sha256[i] = (uint8_t)byte;
    }
    buffer_put(out, &p, sizeof(p));
}

static bool same_place(const struct place *a, const struct place *b)
{
    return a->segment == b->segment && a->offset == b->offset;
}

static bool still_hurt(const struct damaged_message *m, struct index_txn *t)
{
    struct message_row row;
    return row_get_message(t, m->account, m->n, &row) != 0 ||
           same_place(&row.place, &m->place);
}

bool damage_has(const struct damaged_message *list, size_t count, uint64_t n,
                struct index_txn *t)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].n == n)
            return t == NULL || still_hurt(&list[i], t);
    return false;
}

int damage_load_parts(struct archive *a, struct damaged_part **out_list, size_t *out_count)
{
    struct buffer list = {0};
    int err = each_line(a, take_part, NULL, &list);
    void *array = list.data;
    *out_list = array;
    *out_count = list.size / sizeof(struct damaged_part);
    return err;
}

static uint64_t count_messages(const struct damaged_message *list, size_t count,
                               struct index_txn *t)
{
    uint64_t hurt = 0;
    for (size_t i = 0; i < count; i++)
        hurt += i >= DAMAGE_LOOKED_MAX || still_hurt(&list[i], t);
    return hurt;
}

static int compare_parts(const void *a, const void *b)
{
    const struct damaged_part *x = a, *y = b;
    return memcmp(x->sha256, y->sha256, SHA256_SIZE);
}

/* The list has a part once for each message that names it. */
static uint64_t count_parts(struct damaged_part *list, size_t count, struct index_txn *t)
{
    struct part_row row;
    uint64_t hurt = 0;
    if (count > 0)
        qsort(list, count, sizeof(*list), compare_parts);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && compare_parts(&list[i - 1], &list[i]) == 0)
            continue;
        hurt += i >= DAMAGE_LOOKED_MAX || row_get_part(t, list[i].sha256, &row) != 0 ||
                same_place(&row.place, &list[i].place);
    }
    return hurt;
}

int damage_count(struct archive *a, struct damage_count *out)
{
    struct buffer messages = {0};
    struct damaged_part *parts = NULL;
    struct index_txn *t = NULL;
    size_t parts_count = 0;
    *out = (struct damage_count){0};
    int err = each_line(a, take_message, NULL, &messages);
    if (err == 0)
        err = damage_load_parts(a, &parts, &parts_count);
    if (err == 0 && (messages.size > 0 || parts_count > 0))
        err = index_begin_read(a->index, &t);
    if (err == 0) {
        const void *list = messages.data; /* malloc()ed: aligned for any type */
        out->messages =
            count_messages(list, messages.size / sizeof(struct damaged_message), t);
        out->parts = count_parts(parts, parts_count, t);
    }
    index_abort(t);
    buffer_free(&messages);
    free(parts);
    return err;
}
