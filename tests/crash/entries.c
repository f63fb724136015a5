#include "tests/crash/entries.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static size_t find(const struct entries *e, uint32_t folder, const char *name)
{
    size_t i = 0;
    while (i < e->count &&
           (e->list[i].folder != folder || strcmp(e->list[i].name, name) != 0))
        i++;
    return i;
}

uint32_t entries_get(const struct entries *e, uint32_t folder, const char *name)
{
    size_t i = find(e, folder, name);
    return i < e->count ? e->list[i].inode : 0;
}

void entries_set(struct entries *e, uint32_t folder, const char *name, uint32_t inode)
{
    size_t i = find(e, folder, name), length = strlen(name);
    assert(length < ENTRY_NAME_SIZE);
    if (inode == 0) {
        if (i < e->count)
            e->list[i] = e->list[--e->count];
        return;
    }
    if (i == e->count) {
        e->list = realloc(e->list, ++e->count * sizeof(*e->list));
        assert(e->list != NULL);
        e->list[i].folder = folder;
        memcpy(e->list[i].name, name, length + 1);
    }
    e->list[i].inode = inode;
}

void entries_copy(struct entries *to, const struct entries *from)
{
    to->count = from->count;
    to->list = malloc((from->count + 1) * sizeof(*to->list));
    assert(to->list != NULL);
    if (from->count > 0)
        memcpy(to->list, from->list, from->count * sizeof(*to->list));
}

void entries_free(struct entries *e)
{
    free(e->list);
    *e = (struct entries){0};
}
