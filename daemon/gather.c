#include "daemon/gather.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEPARATOR ", "

struct kind {
    bool open;
    uint64_t key;
    uint64_t ends_ms; /* the window */
    unsigned alone;   /* may still be told by themselves in it */
    bool full;        /* there may be no room for another name */
    struct gathered so_far;
};

#define KIND_COUNT (GATHER_KINDS_MAX + GATHER_HEADINGS_MAX)

struct gather {
    bool each_name;
    size_t waiting; /* kinds of which something is gathered */
    /* Behind GATHER_KINDS_MAX one for each heading: what is too much to be told apart. */
    struct kind kinds[KIND_COUNT];
};

int gather_new(bool each_name, struct gather **out)
{
    *out = calloc(1, sizeof(**out));
    if (*out == NULL)
        return -ENOMEM;
    (*out)->each_name = each_name;
    return 0;
}

void gather_free(struct gather *g)
{
    free(g);
}

static void empty(struct kind *k)
{
    struct gathered *s = &k->so_far;
    s->count = s->named = s->messages = s->bytes = 0;
    s->names[0] = s->text[0] = s->server[0] = '\0';
    k->full = false;
}

static struct kind *open_kind(struct kind *k, uint64_t key, unsigned alone, uint64_t now_ms)
{
    k->open = true;
    k->key = key;
    k->alone = alone;
    k->ends_ms = now_ms + GATHER_WINDOW_MS;
    empty(k);
    return k;
}

/* A window that has passed with nothing gathered is over. */
static bool is_open(const struct kind *k, uint64_t now_ms)
{
    return k->open && (now_ms < k->ends_ms || k->so_far.count > 0);
}

static struct kind *find(struct gather *g, const struct gather_event *event,
                         uint64_t now_ms)
{
    struct kind *unused = NULL, *rest = &g->kinds[GATHER_KINDS_MAX + event->heading];
    for (size_t i = 0; i < GATHER_KINDS_MAX; i++) {
        struct kind *k = &g->kinds[i];
        if (!is_open(k, now_ms))
            unused = k;
        else if (k->key == event->key)
            return k;
    }
    if (unused != NULL)
        return open_kind(unused, event->key, event->alone_max, now_ms);
    return is_open(rest, now_ms) ? rest : open_kind(rest, 0, 0, now_ms);
}

static void add_name(struct kind *k, const char *name)
{
    struct gathered *s = &k->so_far;
    if (name == NULL || name[0] == '\0' || k->full)
        return;
    size_t used = strlen(s->names);
    int n = snprintf(s->names + used, sizeof(s->names) - used, "%s%.*s",
                     used > 0 ? SEPARATOR : "", GATHER_NAME_MAX, name);
    used += n > 0 ? (size_t)n : 0;
    s->named++;
    k->full = used + strlen(SEPARATOR) + GATHER_NAME_MAX >= sizeof(s->names);
}

static void copy(char *to, size_t to_size, const char *text)
{
    (void)snprintf(to, to_size, "%s", text != NULL ? text : "");
}

bool gather_event(struct gather *g, const struct gather_event *event, uint64_t now_ms)
{
    assert(event->heading < GATHER_HEADINGS_MAX);
    struct kind *k = find(g, event, now_ms);
    struct gathered *s = &k->so_far;
    if (k->alone > 0 && now_ms < k->ends_ms) {
        k->alone--;
        return true;
    }
    bool rest = k >= &g->kinds[GATHER_KINDS_MAX];
    g->waiting += s->count == 0;
    s->heading = event->heading;
    s->count++;
    s->messages += event->messages;
    s->bytes += event->bytes;
    add_name(k, event->name);
    copy(s->server, sizeof(s->server), rest ? "" : event->server);
    copy(s->text, sizeof(s->text), event->text);
    return false;
}

static bool is_due(const struct gather *g, const struct kind *k, uint64_t now_ms)
{
    return k->so_far.count > 0 && (now_ms >= k->ends_ms || (g->each_name && k->full));
}

/* It goes on as a crowd: another window in which none is told by itself. */
static void take(struct gather *g, struct kind *k, uint64_t now_ms, struct gathered *out)
{
    *out = k->so_far;
    g->waiting--;
    (void)open_kind(k, k->key, 0, now_ms);
}

bool gather_take(struct gather *g, uint64_t now_ms, bool at_once, struct gathered *out)
{
    for (size_t i = 0; i < KIND_COUNT && g->waiting > 0; i++) {
        struct kind *k = &g->kinds[i];
        if (is_due(g, k, now_ms) || (at_once && k->so_far.count > 0)) {
            take(g, k, now_ms, out);
            return true;
        }
    }
    return false;
}

uint64_t gather_wait_ms(const struct gather *g, uint64_t now_ms)
{
    uint64_t wait_ms = GATHER_FOREVER;
    for (size_t i = 0; i < KIND_COUNT && g->waiting > 0; i++) {
        const struct kind *k = &g->kinds[i];
        if (is_due(g, k, now_ms))
            return 0;
        if (k->so_far.count > 0 && k->ends_ms - now_ms < wait_ms)
            wait_ms = k->ends_ms - now_ms;
    }
    return wait_ms;
}
