#include "archive/damage.h"

#include "archive/archive_internal.h"
#include "archive/error.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* A line: account, n, segment, offset. */
#define LINE_SIZE_MAX 96

static int damage_path(struct archive *a, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%s/state/damaged", a->path);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int damage_save(struct archive *a, const struct damaged_message *list, size_t count)
{
    char path[PATH_MAX], line[LINE_SIZE_MAX];
    struct buffer text = {0};
    int err = damage_path(a, path);
    for (size_t i = 0; i < count && i < DAMAGED_MAX; i++) {
        int n = snprintf(
            line, sizeof(line), "%" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
            list[i].account, list[i].n, list[i].place.segment, list[i].place.offset);
        buffer_put(&text, line, (size_t)n);
    }
    if (text.failed)
        err = -ENOMEM;
    if (err == 0)
        err = file_replace(a->ops, path, text.data, text.size, 0600);
    buffer_free(&text);
    return err;
}

static int compare(const void *a, const void *b)
{
    const struct damaged_message *x = a, *y = b;
    return (x->n > y->n) - (x->n < y->n);
}

int damage_load(struct archive *a, uint32_t account, struct damaged_message **out_list,
                size_t *out_count)
{
    char path[PATH_MAX], *text = NULL;
    size_t size = 0;
    struct buffer list = {0};
    *out_list = NULL;
    *out_count = 0;
    if (damage_path(a, path) != 0 ||
        file_load(a->ops, path, (size_t)DAMAGED_MAX * LINE_SIZE_MAX, &text, &size) != 0)
        return 0;
    for (char *line = text; line != NULL && *line != '\0';) {
        struct damaged_message m;
        if (sscanf(line, "%" SCNu32 " %" SCNu64 " %" SCNu64 " %" SCNu64, &m.account, &m.n,
                   &m.place.segment, &m.place.offset) == 4 &&
            m.account == account)
            buffer_put(&list, &m, sizeof(m));
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    free(text);
    if (list.failed) {
        buffer_free(&list);
        return -ENOMEM;
    }
    if (list.size == 0)
        return 0;
    void *array = list.data; /* malloc()ed: aligned for any type */
    *out_list = array;
    *out_count = list.size / sizeof(struct damaged_message);
    qsort(*out_list, *out_count, sizeof(struct damaged_message), compare);
    return 0;
}
