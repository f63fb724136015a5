#include "archive/damage.h"

#include "archive/archive_internal.h"
#include "archive/digest.h"
#include "archive/error.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

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

static void take_message(const char *line, void *arg, struct buffer *out)
{
    const uint32_t *account = arg;
    struct damaged_message m;
    if (sscanf(line, "%" SCNu32 " %" SCNu64 " %" SCNu64 " %" SCNu64, &m.account, &m.n,
               &m.place.segment, &m.place.offset) == 4 &&
        m.account == *account)
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

bool damage_has(const struct damaged_message *list, size_t count, uint64_t n,
                struct index_txn *t)
{
    struct message_row row;
    for (size_t i = 0; i < count; i++)
        if (list[i].n == n)
            return t == NULL || row_get_message(t, list[i].account, n, &row) != 0 ||
                   (row.place.segment == list[i].place.segment &&
                    row.place.offset == list[i].place.offset);
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
