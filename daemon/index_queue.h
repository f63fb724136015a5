/* Indices in a row, first in first out, linked through an array of the owner's: next[i] is
 * the one behind i. An index is in one row at a time. */
#ifndef MAILCASK_DAEMON_INDEX_QUEUE_H
#define MAILCASK_DAEMON_INDEX_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#define INDEX_NONE UINT32_MAX

struct index_queue {
    uint32_t head, tail;
};

#define INDEX_QUEUE_EMPTY ((struct index_queue){.head = INDEX_NONE, .tail = INDEX_NONE})

static inline bool index_queue_empty(const struct index_queue *queue)
{
    return queue->head == INDEX_NONE;
}

static inline void index_queue_push(struct index_queue *queue, uint32_t *next, uint32_t i)
{
    next[i] = INDEX_NONE;
    if (queue->head == INDEX_NONE)
        queue->head = i;
    else
        next[queue->tail] = i;
    queue->tail = i;
}

/* Not of an empty one. */
static inline uint32_t index_queue_pop(struct index_queue *queue, const uint32_t *next)
{
    uint32_t i = queue->head;
    queue->head = next[i];
    return i;
}

#endif
