#include "archive/assemble.h"

#include "archive/error.h"

/* Decoded bytes that are encoded in one step, and room for what they become. */
#define ENCODE_STEP 12288
#define ENCODED_MAX (2 * ENCODE_STEP + 16)

static int take_next_run(struct assembly *as)
{
    int err = run_meta_next(&as->runs, &as->next);
    as->has_next = err == 0;
    if (as->has_next && as->next.at < as->own)
        return ERR_DAMAGED; /* runs are in order */
    return err == ERR_NOT_FOUND ? 0 : err;
}

int assemble_start(struct assembly *as, const struct message_meta *m,
                   const struct part_source *source, struct sha256 *hash,
                   assemble_sink *sink, void *arg)
{
    *as = (struct assembly){.message = m,
                            .source = source,
                            .hash = hash,
                            .sink = sink,
                            .arg = arg,
                            .runs = m->runs};
    sha256_start(hash);
    return take_next_run(as);
}

static int give(struct assembly *as, const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (size > as->message->size - as->given)
        return ERR_DAMAGED;
    as->given += size;
    sha256_add(as->hash, data, size);
    return as->sink == NULL ? 0 : as->sink(as->arg, data, size);
}

static int give_part(struct assembly *as, struct base64_encoder *encoder,
                     const uint8_t *data, size_t size)
{
    uint8_t encoded[ENCODED_MAX];
    int err = 0;
    while (err == 0 && size > 0) {
        size_t step = size < ENCODE_STEP ? size : ENCODE_STEP;
        err = give(as, encoded, base64_encode_add(encoder, data, step, encoded));
        data += step;
        size -= step;
    }
    return err;
}

static int give_run(struct assembly *as)
{
    const struct run_meta *m = &as->next;
    struct base64_encoder encoder;
    uint8_t tail[BASE64_ENCODE_END_MAX];
    uint64_t count = run_part_count(&m->run);
    int err = 0;
    base64_encode_start(&encoder, &m->run);
    for (uint64_t i = 0; err == 0 && i < count; i++) {
        const uint8_t *data = NULL;
        size_t size = run_part_size(&m->run, i);
        err = as->source->get(as->source->arg, m->parts + i * SHA256_SIZE, size, &data);
        if (err == 0)
            err = give_part(as, &encoder, data, size);
    }
    return err != 0 ? err : give(as, tail, base64_encode_end(&encoder, tail));
}

/* Every run that belongs where we are. */
static int give_runs_here(struct assembly *as)
{
    int err = 0;
    while (err == 0 && as->has_next && as->next.at == as->own) {
        err = give_run(as);
        if (err == 0)
            err = take_next_run(as);
    }
    return err;
}

int assemble_own(struct assembly *as, const uint8_t *data, size_t size)
{
    int err = give_runs_here(as);
    while (err == 0 && size > 0) {
        size_t step = size;
        if (as->has_next && as->next.at - as->own < step)
            step = (size_t)(as->next.at - as->own);
        err = give(as, data, step);
        as->own += step;
        data += step;
        size -= step;
        if (err == 0)
            err = give_runs_here(as);
    }
    return err;
}

int assemble_end(struct assembly *as)
{
    uint8_t hash[SHA256_SIZE];
    int err = give_runs_here(as);
    if (err != 0)
        return err;
    sha256_finish(as->hash, hash);
    return as->has_next || as->given != as->message->size ||
                   memcmp(hash, as->message->sha256, SHA256_SIZE) != 0
               ? ERR_DAMAGED
               : 0;
}
