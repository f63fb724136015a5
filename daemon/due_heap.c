#include "daemon/due_heap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct due_entry {
    uint64_t due_ms, order;
    uint32_t node;
};

int due_heap_init(struct due_heap *heap, uint32_t node_count)
{
    *heap = (struct due_heap){.node_count = node_count};
    /* One more than needed: calloc(0) may be NULL. */
    heap->entries = calloc((size_t)node_count + 1, sizeof(*heap->entries));
    heap->place = calloc((size_t)node_count + 1, sizeof(*heap->place));
    if (heap->entries == NULL || heap->place == NULL) {
        due_heap_free(heap);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < node_count; i++)
        heap->place[i] = DUE_HEAP_NONE;
    return 0;
}

int due_heap_grow(struct due_heap *heap, uint32_t node_count)
{
    if (node_count <= heap->node_count)
        return 0;
    /* Twice as many: it is asked for again and again. */
    uint32_t room = node_count < UINT32_MAX / 2 ? 2 * node_count : node_count;
    struct due_entry *entries = realloc(heap->entries, room * sizeof(*entries));
    if (entries == NULL)
        return -ENOMEM;
    heap->entries = entries;
    uint32_t *place = realloc(heap->place, room * sizeof(*place));
    if (place == NULL)
        return -ENOMEM;
    heap->place = place;
    for (uint32_t i = heap->node_count; i < room; i++)
        place[i] = DUE_HEAP_NONE;
    heap->node_count = room;
    return 0;
}

void due_heap_free(struct due_heap *heap)
{
    free(heap->entries);
    free(heap->place);
    *heap = (struct due_heap){0};
}

static bool before(const struct due_entry *a, const struct due_entry *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->order < b->order;
}

static void put(struct due_heap *heap, uint32_t at, struct due_entry entry)
{
    heap->entries[at] = entry;
    heap->place[entry.node] = at;
}

/* Find the place for an entry from the hole at `at` upwards, then downwards. */
static void settle(struct due_heap *heap, uint32_t at, struct due_entry entry)
{
    while (at > 0 && before(&entry, &heap->entries[(at - 1) / 2])) {
        put(heap, at, heap->entries[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        uint64_t child = 2 * (uint64_t)at + 1;
        if (child + 1 < heap->count &&
            before(&heap->entries[child + 1], &heap->entries[child]))
            child++;
        if (child >= heap->count || !before(&heap->entries[child], &entry))
            break;
        put(heap, at, heap->entries[child]);
        at = (uint32_t)child;
    }
    put(heap, at, entry);
}

void due_heap_set(struct due_heap *heap, uint32_t node, uint64_t due_ms)
{
    assert(node < heap->node_count);
    uint32_t at = heap->place[node] != DUE_HEAP_NONE ? heap->place[node] : heap->count++;
    struct due_entry entry = {due_ms, heap->next_order++, node};
    settle(heap, at, entry);
}

void due_heap_remove(struct due_heap *heap, uint32_t node)
{
    assert(node < heap->node_count);
    uint32_t at = heap->place[node];
    if (at == DUE_HEAP_NONE)
        return;
    heap->place[node] = DUE_HEAP_NONE;
    struct due_entry last = heap->entries[--heap->count];
    if (last.node != node)
        settle(heap, at, last);
}

bool due_heap_first(const struct due_heap *heap, uint32_t *out_node, uint64_t *out_due_ms)
{
    if (heap->count == 0)
        return false;
    *out_node = heap->entries[0].node;
    *out_due_ms = heap->entries[0].due_ms;
    return true;
}

uint64_t due_heap_time(const struct due_heap *heap, uint32_t node)
{
    assert(node < heap->node_count);
    uint32_t at = heap->place[node];
    return at == DUE_HEAP_NONE ? UINT64_MAX : heap->entries[at].due_ms;
}
