/* Nodes, numbered from 0, and when each is due: a binary heap that knows where each node
 * is, so that every operation is O(log n). Of nodes due at the same time the one set first
 * comes first. */
#ifndef MAILCASK_DAEMON_DUE_HEAP_H
#define MAILCASK_DAEMON_DUE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct due_entry;

struct due_heap {
    struct due_entry *entries; /* [0, count): parent i has children 2i+1 and 2i+2 */
    uint32_t *place;           /* of each node in entries, or DUE_HEAP_NONE */
    uint32_t count, node_count;
    uint64_t next_order;
};

#define DUE_HEAP_NONE UINT32_MAX

/* Empty, for nodes 0 to node_count - 1. 0 or -ENOMEM. */
int due_heap_init(struct due_heap *heap, uint32_t node_count);
void due_heap_free(struct due_heap *heap);

/* So many nodes from now on, if that is more. 0 or -ENOMEM. */
int due_heap_grow(struct due_heap *heap, uint32_t node_count);

/* Enter a node, or move it. */
void due_heap_set(struct due_heap *heap, uint32_t node, uint64_t due_ms);

/* Take a node out, if it is in. */
void due_heap_remove(struct due_heap *heap, uint32_t node);

/* The first node and its time; false if the heap is empty. */
bool due_heap_first(const struct due_heap *heap, uint32_t *out_node, uint64_t *out_due_ms);

/* When a node is due, UINT64_MAX if it is not in. */
uint64_t due_heap_time(const struct due_heap *heap, uint32_t node);

#endif
