#include "daemon/space.h"

#include "archive/size_text.h"

#include <stdio.h>
#include <sys/statvfs.h>

void space_judge(struct space *s, uint64_t free_bytes, uint64_t total_bytes)
{
    uint64_t mark = total_bytes / SPACE_MARK_SHARE;
    if (mark < SPACE_MARK_MIN)
        mark = SPACE_MARK_MIN;
    if (mark > SPACE_MARK_MAX)
        mark = SPACE_MARK_MAX;
    s->free_bytes = free_bytes;
    s->mark_bytes = mark;
    s->low = total_bytes > 0 && free_bytes < (s->low ? mark * SPACE_ROOM_AGAIN : mark);
}

void space_look(struct space *s, const char *path)
{
    struct statvfs fs;
    /* A path that cannot be looked at is a matter of those who write to it. */
    if (statvfs(path, &fs) != 0)
        space_judge(s, 0, 0);
    else
        space_judge(s, (uint64_t)fs.f_bavail * fs.f_frsize,
                    (uint64_t)fs.f_blocks * fs.f_frsize);
}

bool space_holds(const struct space *s, uint64_t bytes)
{
    if (s->free_bytes == 0)
        return !s->low;
    uint64_t spared = s->mark_bytes * SPACE_ROOM_TO_SPARE;
    return s->free_bytes > spared && s->free_bytes - spared >= bytes;
}

void space_problem(const struct space *s, const char *path, char *out, size_t out_size)
{
    char mark[SIZE_TEXT_MAX], room[SIZE_TEXT_MAX];
    size_text(s->mark_bytes, mark);
    size_text(s->mark_bytes * SPACE_ROOM_AGAIN, room);
    (void)snprintf(out, out_size,
                   "archive %s: less than %s of space is free on its disk; free some, it "
                   "needs %s",
                   path, mark, room);
}
