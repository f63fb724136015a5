/* Memory that is taken piece by piece and given back at once. Not for several threads at
 * once while it grows. It may hold passwords: everything is wiped when it is freed. */
#ifndef MAILCASK_DAEMON_ARENA_H
#define MAILCASK_DAEMON_ARENA_H

#include <stddef.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
};

/* size bytes of zeroes, aligned for any object; NULL without memory. Freed by arena_free().
 */
void *arena_take(struct arena *arena, size_t size);

void arena_free(struct arena *arena);

#endif
