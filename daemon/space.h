/* The room that is left on the archive's file system. Below a low-water mark fetching
 * stops, while there is still enough to bring what was fetched to disk (P6). */
#ifndef MAILCASK_DAEMON_SPACE_H
#define MAILCASK_DAEMON_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The mark: 1 % of the file system, within these. */
#define SPACE_MARK_MIN ((uint64_t)1 << 20)
#define SPACE_MARK_MAX ((uint64_t)64 << 20)
#define SPACE_MARK_SHARE 100u
/* There is room again at so many times the mark: fetching does not stop and go around it.
 */
#define SPACE_ROOM_AGAIN 2u
/* And so many times the mark is left to fetching by what it can do without. */
#define SPACE_ROOM_TO_SPARE 4u

struct space {
    bool low;
    uint64_t free_bytes; /* as looked at last; 0: nothing, or not known */
    uint64_t mark_bytes;
};

/* Look at the file system of path. low is judged by whether it was before. free_bytes, of
 * total_bytes: what others than root may use. total_bytes 0: not known, there is room. */
void space_judge(struct space *s, uint64_t free_bytes, uint64_t total_bytes);
void space_look(struct space *s, const char *path);

/* Is there room for so many bytes that fetching can do without, or is it not known? */
bool space_holds(const struct space *s, uint64_t bytes);

/* One sentence, of a space that is low. */
void space_problem(const struct space *s, const char *path, char *out, size_t out_size);

#endif
