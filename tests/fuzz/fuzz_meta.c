/* The metas of archive/meta.h: whatever decodes must encode to the very same bytes, since
 * reading them again must not change what the archive says. Input: a record type, then the
 * meta. */
#include "archive/error.h"
#include "archive/meta.h"
#include "tests/fuzz/fuzz.h"

/* The runs of a message, which stand in its meta as a span of their own. */
static void check_runs(struct span runs)
{
    struct run_meta m;
    struct buffer out = {0};
    struct span rest = runs;
    uint64_t encoded = 0, decoded = 0, parts = 0;
    int err;
    while ((err = run_meta_next(&rest, &m)) == 0) {
        uint64_t count = run_part_count(&m.run);
        FUZZ_CHECK(count > 0 && run_part_size(&m.run, count - 1) > 0);
        run_meta_encode(&out, &m);
        parts += m.run.size;
    }
    FUZZ_CHECK(err == ERR_NOT_FOUND || err == ERR_DAMAGED);
    FUZZ_CHECK(out.size == runs.size - rest.size);
    FUZZ_CHECK(out.size == 0 || memcmp(out.data, runs.data, out.size) == 0);
    FUZZ_CHECK(run_meta_total(runs, &encoded, &decoded) ==
               (err == ERR_NOT_FOUND ? 0 : ERR_DAMAGED));
    FUZZ_CHECK(decoded == parts && encoded >= decoded);
    buffer_free(&out);
}

static int block(struct span meta, struct buffer *out)
{
    struct block_meta_reader r;
    struct block_meta_writer w;
    struct message_meta m;
    int err = block_meta_open(&r, meta);
    if (err != 0)
        return err;
    block_meta_begin(&w, out);
    while ((err = block_meta_next(&r, &m)) == 0) {
        check_runs(m.runs);
        block_meta_add(&w, &m);
    }
    block_meta_end(&w, r.highest);
    FUZZ_CHECK(err == ERR_DAMAGED || (err == ERR_NOT_FOUND && w.count == r.count));
    return err == ERR_NOT_FOUND ? 0 : err;
}

static int toc(struct span meta, struct buffer *out)
{
    struct toc_entry e;
    size_t count = 0;
    int err = toc_decode(meta, &count);
    for (size_t i = 0; err == 0 && i < count; i++) {
        toc_entry_at(meta, i, &e);
        toc_entry_encode(out, &e);
    }
    return err;
}

static int intents(struct span meta, struct buffer *out)
{
    struct intents_reader r;
    struct intent_meta m;
    int err = intents_open(&r, meta);
    if (err != 0)
        return err;
    intents_begin(out, r.source, r.left);
    while ((err = intents_next(&r, &m)) == 0)
        intents_add(out, &m);
    FUZZ_CHECK(err == ERR_DAMAGED || err == ERR_NOT_FOUND);
    return err == ERR_NOT_FOUND ? 0 : err;
}

static int part(struct span meta, struct buffer *out)
{
    const uint8_t *sha256 = NULL;
    int err = part_meta_decode(meta, &sha256);
    if (err == 0)
        part_meta_encode(out, sha256);
    return err;
}

static int supersedes(struct span meta, struct buffer *out)
{
    struct superseded s;
    size_t count = 0;
    int err = superseded_count(meta, &count);
    for (size_t i = 0; err == 0 && i < count; i++) {
        superseded_at(meta, i, &s);
        superseded_encode(out, &s);
    }
    return err;
}

static int pack(struct span meta, struct buffer *out)
{
    struct packed_record r;
    int err;
    while ((err = packed_record_next(&meta, &r)) == 0)
        packed_record_encode(out, &r);
    return err == ERR_NOT_FOUND ? 0 : err;
}

/* Decode by type, and encode what came of it. */
#define AGAIN(kind)                                       \
    static int kind(struct span meta, struct buffer *out) \
    {                                                     \
        struct kind##_meta m;                             \
        int err = kind##_meta_decode(meta, &m);           \
        if (err == 0)                                     \
            kind##_meta_encode(out, &m);                  \
        return err;                                       \
    }

AGAIN(commit)
AGAIN(account)
AGAIN(source)
AGAIN(chunk)
AGAIN(seen)
AGAIN(session)
AGAIN(session_run)
AGAIN(outcome)
AGAIN(quarantine)
AGAIN(lost)
AGAIN(access)

static int (*const again[])(struct span meta, struct buffer *out) = {
    [RECORD_COMMIT] = commit,
    [RECORD_ACCOUNT] = account,
    [RECORD_SOURCE] = source,
    [RECORD_BLOCK] = block,
    [RECORD_CHUNK] = chunk,
    [RECORD_END] = block,
    [RECORD_PART] = part,
    [RECORD_SEEN] = seen,
    [RECORD_SESSION] = session,
    [RECORD_QUARANTINE] = quarantine,
    [RECORD_LOST] = lost,
    [RECORD_SUPERSEDES] = supersedes,
    [RECORD_SEAL] = toc,
    [RECORD_PACK] = pack,
    [RECORD_SESSION_RUN] = session_run,
    [RECORD_UNLISTED_RUN] = session_run,
    [RECORD_DELETE_INTENT] = intents,
    [RECORD_DELETE_OUTCOME] = outcome,
    [RECORD_ACCESS] = access,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = fuzz_input(data, size);
    uint8_t type = take_u8(&c);
    if (type >= sizeof(again) / sizeof(again[0]) || again[type] == NULL)
        return 0;
    struct buffer out = {0};
    size_t meta_size = cursor_left(&c);
    void *copy = fuzz_copy(c.at, meta_size);
    int err = again[type](span_of(copy, meta_size), &out);
    FUZZ_CHECK(err == 0 || err == ERR_DAMAGED);
    FUZZ_CHECK(err != 0 ||
               span_equal(span_of(copy, meta_size), span_of(out.data, out.size)));
    free(copy);
    buffer_free(&out);
    return 0;
}
