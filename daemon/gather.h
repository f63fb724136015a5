/* Events that come in crowds, so that the log stays readable: of one kind a few are told at
 * once, each by itself; those that follow within GATHER_WINDOW_MS are gathered, and told
 * together when it ends. So it goes on until a window passes in which none had to be.
 *
 * No log and no clock: the caller gives the time (monotonic, ms) and writes the lines.
 * Takes 256 KiB, however many events there are. One thread. */
#ifndef MAILCASK_DAEMON_GATHER_H
#define MAILCASK_DAEMON_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GATHER_WINDOW_MS 60000
#define GATHER_HEADINGS_MAX 16
#define GATHER_KINDS_MAX                                                                 \
    48                      /* at once: those that are more are gathered by heading only \
                             */
#define GATHER_NAME_MAX 255 /* bytes; a longer one is cut */
#define GATHER_NAMES_SIZE 2560
#define GATHER_TEXT_SIZE 640
#define GATHER_SERVER_SIZE 256
#define GATHER_FOREVER UINT64_MAX

struct gather;

struct gather_event {
    unsigned heading;   /* the caller's, below GATHER_HEADINGS_MAX */
    uint64_t key;       /* of its kind: heading and whatever else is to be told apart */
    unsigned alone_max; /* of this kind told by themselves; 0: none */
    const char *server; /* NULL: kinds go across servers */
    const char *name;   /* who: NULL or "" if names are not told */
    const char *text;   /* the error, or NULL */
    uint64_t messages, bytes;
};

/* Events told together. */
struct gathered {
    unsigned heading;
    char server[GATHER_SERVER_SIZE]; /* ""; also of several servers */
    uint64_t count;
    uint64_t messages, bytes;
    char names[GATHER_NAMES_SIZE]; /* "alice, bob"; of those for whom there was room */
    uint64_t named;
    char text[GATHER_TEXT_SIZE]; /* of the newest */
};

/* each_name: when there is no more room for a name what was gathered is to be told at once,
 * so that every name is; else the first are. 0 or -ENOMEM. */
int gather_new(bool each_name, struct gather **out);
void gather_free(struct gather *g);

/* True: tell it now, by itself. False: it is kept for gather_take(), which is to be called
 * now with each_name. */
bool gather_event(struct gather *g, const struct gather_event *event, uint64_t now_ms);

/* The next that are to be told now; at_once: before their window ends. False: none. */
bool gather_take(struct gather *g, uint64_t now_ms, bool at_once, struct gathered *out);

/* Until gather_take() has something: GATHER_FOREVER if nothing was gathered. */
uint64_t gather_wait_ms(const struct gather *g, uint64_t now_ms);

#endif
