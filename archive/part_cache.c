#include "archive/part_cache.h"

#include "archive/error.h"

#include <stdlib.h>

struct slot {
    bool loaded;
    uint64_t used;
    uint8_t sha256[SHA256_SIZE];
    struct record_view view;
};

struct part_cache {
    struct part_reader reader;
    struct buffer stored; /* what a record is read into: one for all slots */
    uint64_t clock;
    struct slot slots[PART_CACHE_SLOTS];
};

struct part_cache *part_cache_create(const struct part_reader *reader)
{
    struct part_cache *c = calloc(1, sizeof(*c));
    if (c != NULL)
        c->reader = *reader;
    return c;
}

void part_cache_destroy(struct part_cache *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < PART_CACHE_SLOTS; i++)
        record_view_free(&c->slots[i].view);
    buffer_free(&c->stored);
    free(c);
}

static int read_into(struct part_cache *c, struct slot *slot, const struct place *place)
{
    slot->view.stored_body = c->stored;
    int err = c->reader.read(c->reader.arg, place, &slot->view);
    c->stored = slot->view.stored_body;
    slot->view.stored_body = (struct buffer){0};
    return err;
}

static int load(struct part_cache *c, struct slot *slot, const uint8_t sha256[SHA256_SIZE])
{
    struct place place;
    const uint8_t *named = NULL;
    slot->loaded = false;
    int err = c->reader.find(c->reader.arg, sha256, &place);
    if (err == 0)
        err = read_into(c, slot, &place);
    if (err == ERR_NOT_FOUND && c->reader.find(c->reader.arg, sha256, &place) == 0)
        err = read_into(c, slot, &place); /* its segment was replaced */
    if (err == ERR_NOT_FOUND)
        return ERR_DAMAGED; /* named, and not there */
    if (err != 0)
        return err;
    if (slot->view.header.type != RECORD_PART ||
        part_meta_decode(span_of(slot->view.meta.data, slot->view.meta.size), &named) !=
            0 ||
        memcmp(named, sha256, SHA256_SIZE) != 0)
        return ERR_DAMAGED;
    memcpy(slot->sha256, sha256, SHA256_SIZE);
    slot->loaded = true;
    return 0;
}

int part_cache_get(void *arg, const uint8_t sha256[SHA256_SIZE], size_t size,
                   const uint8_t **out_data)
{
    struct part_cache *c = arg;
    struct slot *slot = &c->slots[0];
    for (size_t i = 0; i < PART_CACHE_SLOTS; i++) {
        struct slot *s = &c->slots[i];
        if (s->loaded && memcmp(s->sha256, sha256, SHA256_SIZE) == 0) {
            slot = s;
            break;
        }
        if (s->used < slot->used)
            slot = s;
    }
    if (!slot->loaded || memcmp(slot->sha256, sha256, SHA256_SIZE) != 0) {
        int err = load(c, slot, sha256);
        if (err != 0)
            return err;
    }
    slot->used = ++c->clock;
    *out_data = slot->view.body.data;
    return slot->view.body.size == size ? 0 : ERR_DAMAGED;
}
