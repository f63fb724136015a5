/* What the archive costs: bytes read to show one message, bytes of index for each, and
 * memory for a session that takes none in. */
#include "archive/error.h"
#include "archive/reader.h"
#include "archive/repack.h"
#include "archive/segment.h"
#include "tests/support/attachments.h"
#include "tests/support/records.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A service fetches small messages of many accounts side by side. */
#define SMALL_ACCOUNTS 20
#define SMALL_MESSAGES 1000 /* of each */
#define SMALL_COMMIT 50     /* messages of one account between two commits */
#define INDEX_BYTES_MAX 600 /* a message */

#define REBUILT_ACCOUNTS 12
#define REBUILT_MESSAGES 4000
#define REBUILD_MEMORY_MAX (10u << 20)

#define WAITING_INTAKES 100
#define INTAKE_MEMORY_MAX 8192

#define MIXED_MESSAGES 40
#define RECORDS_MAX 1000
/* A record's head is read in one go, before its size is known. */
#define HEAD_READ 2048u

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof(*f));
    fixture_setup(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_teardown(*state);
    free(*state);
    return 0;
}

/* Random access */

struct piece {
    uint8_t id[SHA256_SIZE]; /* a part's SHA-256, or a stream's id */
    size_t id_size;
    uint64_t bytes;
    uint64_t records;
};

/* What it may take to read a message. */
struct cost {
    uint32_t account;
    uint64_t n;
    uint64_t same; /* N of the message whose body it shares; 0: none */
    uint64_t bytes;
    uint64_t records;
};

struct ledger {
    struct piece pieces[RECORDS_MAX];
    size_t pieces_count;
    struct cost costs[RECORDS_MAX];
    size_t costs_count;
};

static void add_piece(struct ledger *l, const uint8_t *id, size_t size, uint64_t bytes)
{
    for (size_t i = 0; i < l->pieces_count; i++) {
        struct piece *p = &l->pieces[i];
        if (p->id_size != size || memcmp(p->id, id, size) != 0)
            continue;
        p->bytes += bytes;
        p->records++;
        return;
    }
    assert_true(l->pieces_count < RECORDS_MAX);
    struct piece *p = &l->pieces[l->pieces_count++];
    *p = (struct piece){.id_size = size, .bytes = bytes, .records = 1};
    memcpy(p->id, id, size);
}

static void note_piece(void *arg, const struct seen_record *r)
{
    const uint8_t *sha256 = NULL;
    struct chunk_meta chunk;
    if (r->header.type == RECORD_PART) {
        assert_int_equal(part_meta_decode(r->meta, &sha256), 0);
        add_piece(arg, sha256, SHA256_SIZE, record_size(&r->header));
    } else if (r->header.type == RECORD_CHUNK) {
        assert_int_equal(chunk_meta_decode(r->meta, &chunk), 0);
        add_piece(arg, chunk.stream, STREAM_ID_SIZE, record_size(&r->header));
    }
}

static void charge(const struct ledger *l, struct cost *cost, const uint8_t *id,
                   size_t size)
{
    for (size_t i = 0; i < l->pieces_count; i++)
        if (l->pieces[i].id_size == size && memcmp(l->pieces[i].id, id, size) == 0) {
            cost->bytes += l->pieces[i].bytes;
            cost->records += l->pieces[i].records;
        }
}

static void note_messages(void *arg, const struct seen_record *r)
{
    struct ledger *l = arg;
    struct block_meta_reader metas;
    struct message_meta m;
    struct run_meta run;
    if (r->header.type != RECORD_BLOCK && r->header.type != RECORD_END)
        return;
    assert_int_equal(block_meta_open(&metas, r->meta), 0);
    while (block_meta_next(&metas, &m) == 0) {
        assert_true(l->costs_count < RECORDS_MAX);
        struct cost *cost = &l->costs[l->costs_count++];
        *cost = (struct cost){.account = r->header.account,
                              .n = m.n,
                              .same = m.kind == BODY_SAME ? m.place : 0,
                              .bytes = record_size(&r->header),
                              .records = 1};
        if (m.kind == BODY_STREAM)
            charge(l, cost, m.stream, STREAM_ID_SIZE);
        while (run_meta_next(&m.runs, &run) == 0)
            for (uint64_t i = 0; i < run_part_count(&run.run); i++)
                charge(l, cost, run.parts + i * SHA256_SIZE, SHA256_SIZE);
    }
}

static struct cost find_cost(const struct ledger *l, uint32_t account, uint64_t n)
{
    for (size_t i = 0; i < l->costs_count; i++)
        if (l->costs[i].account == account && l->costs[i].n == n)
            return l->costs[i];
    fail();
    return (struct cost){0};
}

static int count_bytes(void *arg, const uint8_t *data, size_t size)
{
    uint64_t *bytes = arg;
    (void)data;
    *bytes += size;
    return 0;
}

/* Text, pictures that others have as well, large ones, streams, equal messages. */
static void fetch_mixed(struct fixture *f, const char *name, unsigned seed)
{
    struct intake *in = fixture_intake(f, name);
    for (unsigned i = 0; i < MIXED_MESSAGES; i++) {
        const struct attachment a = {.seed = i % 7,
                                     .size = i % 10 == 3 ? 2500000 : 20000 + i,
                                     .text = i % 3 == 0,
                                     .line_length = 76};
        enum intake_result result;
        struct buffer m = {0};
        char uidl[16];
        snprintf(uidl, sizeof(uidl), "u%u", i);
        mail_header(&m, name, i % 8 == 7 ? "equal" : uidl);
        mail_lines(&m, i % 8 == 7 ? 1 : seed + i,
                   i % 20 == 5 ? 2500000 : 400 * (i % 8 == 7 ? 1 : i));
        for (unsigned k = 0; i % 8 != 7 && k < i % 4; k++)
            mail_attach(&m, &a);
        fixture_take(in, uidl, m.data, m.size, &result);
        buffer_free(&m);
        if (i % 9 == 8)
            assert_int_equal(intake_flush(in), 0);
    }
    fixture_finish(f, in);
}

/* Each message by itself, in an archive whose only segment has this id. */
static void assert_costs(struct fixture *f, uint64_t segment)
{
    struct ledger *l = calloc(1, sizeof(*l));
    uint64_t stored = segment_file_size(f, segment);
    records_each(f, note_piece, l);
    records_each(f, note_messages, l);
    assert_int_equal(l->costs_count, 3 * MIXED_MESSAGES);
    for (size_t i = 0; i < l->costs_count; i++) {
        struct cost cost = l->costs[i];
        struct reader *reader = NULL;
        uint64_t given = 0;
        if (cost.same != 0) {
            const struct cost same = find_cost(l, cost.account, cost.same);
            cost.bytes += same.bytes;
            cost.records += same.records;
        }
        assert_int_equal(reader_create(f->archive, &reader), 0);
        assert_int_equal(reader_body(reader, cost.account, cost.n, count_bytes, &given), 0);
        uint64_t most = cost.bytes + cost.records * HEAD_READ + SEGMENT_HEADER_SIZE;
        uint64_t bytes = reader_bytes_read(reader);
        if (bytes > most || bytes == 0 || bytes > stored)
            fail_msg("%u/%lu: %lu bytes read, at most %lu expected", cost.account,
                     (unsigned long)cost.n, (unsigned long)bytes, (unsigned long)most);
        reader_destroy(reader);
    }
    free(l);
}

static void a_message_costs_its_block_and_its_parts(void **state)
{
    struct fixture *f = *state;
    struct repack_summary summary;
    const struct repack_options options = {.remove_now = true};
    for (unsigned account = 0; account < 3; account++)
        fetch_mixed(f, account == 0 ? "a@x" : account == 1 ? "b@x" : "c@x", account * 100);
    fixture_close(f);
    fixture_open(f, ARCHIVE_READ);
    assert_costs(f, 1);
    fixture_close(f);
    fixture_open(f, ARCHIVE_WRITE);
    assert_int_equal(archive_repack(f->archive, &options, &summary), 0);
    assert_costs(f, 2);
}

/* The index */

static void take_some(struct intake *in, unsigned account, unsigned from)
{
    char text[1024], name[16], uidl[64];
    enum intake_result result;
    snprintf(name, sizeof(name), "user%u", account);
    for (unsigned i = from; i < from + SMALL_COMMIT; i++) {
        size_t size = fixture_message(name, (int)i, 500, text);
        /* As long as Dovecot's, Courier's and Exchange's are. */
        snprintf(uidl, sizeof(uidl), "%08x%08x.%u", account * 2654435761u + i,
                 0x6543210fu + i, 1700000000u + i);
        fixture_take(in, uidl, text, size, &result);
    }
}

static void a_small_message_takes_little_of_the_index(void **state)
{
    struct fixture *f = *state;
    struct intake *in[SMALL_ACCOUNTS];
    struct archive_stats stats;
    char name[16];
    for (unsigned account = 0; account < SMALL_ACCOUNTS; account++) {
        snprintf(name, sizeof(name), "user%u", account);
        in[account] = fixture_intake(f, name);
    }
    for (unsigned from = 0; from < SMALL_MESSAGES; from += SMALL_COMMIT)
        for (unsigned account = 0; account < SMALL_ACCOUNTS; account++) {
            take_some(in[account], account, from);
            assert_int_equal(intake_flush(in[account]), 0);
            assert_int_equal(store_commit(f->archive), 0);
            lookup_rest(f->lookup);
        }
    for (unsigned account = 0; account < SMALL_ACCOUNTS; account++)
        fixture_finish(f, in[account]);
    assert_int_equal(archive_stats(f->archive, &stats), 0);
    assert_int_equal(stats.messages, SMALL_ACCOUNTS * SMALL_MESSAGES);
    uint64_t each = stats.index_bytes / stats.messages;
    if (each > INDEX_BYTES_MAX)
        fail_msg("%lu bytes of index a message", (unsigned long)each);
    print_message("# %lu bytes of index a message\n", (unsigned long)each);
}

struct memory_peak {
    size_t before, most;
};

static int sample_memory(void *arg, uint64_t bytes_done, uint64_t bytes_total)
{
    struct memory_peak *peak = arg;
    struct mallinfo2 now = mallinfo2();
    (void)bytes_done;
    (void)bytes_total;
    if (now.uordblks + now.hblkhd > peak->most)
        peak->most = now.uordblks + now.hblkhd;
    return 0;
}

/* Records with very many messages are few, and yet not one transaction. */
static void a_rebuilt_index_is_not_held_in_memory(void **state)
{
    struct fixture *f = *state;
    struct archive_stats stats;
    struct memory_peak peak = {0};
    char name[16];
    for (unsigned account = 0; account < REBUILT_ACCOUNTS; account++) {
        snprintf(name, sizeof(name), "user%u", account);
        fixture_session(f, name, 0, REBUILT_MESSAGES, 200);
    }
    fixture_close(f);
    sample_memory(&peak, 0, 0);
    peak.before = peak.most;
    assert_int_equal(archive_open(f->path,
                                  &(struct archive_options){.mode = ARCHIVE_WRITE,
                                                            .rebuild_index = true,
                                                            .progress = sample_memory,
                                                            .arg = &peak},
                                  &f->archive),
                     0);
    assert_int_equal(archive_stats(f->archive, &stats), 0);
    assert_int_equal(stats.messages, REBUILT_ACCOUNTS * REBUILT_MESSAGES);
    size_t bytes = peak.most - peak.before;
    if (bytes > REBUILD_MEMORY_MAX)
        fail_msg("%zu bytes of memory for an index of %lu", bytes,
                 (unsigned long)stats.index_bytes);
    assert_int_equal(archive_close(f->archive), 0);
    fixture_open(f, ARCHIVE_WRITE);
}

/* Thousands of mailboxes are polled at once, and few of them have mail. */
static void an_intake_without_messages_takes_little_memory(void **state)
{
    struct fixture *f = *state;
    struct intake *in[WAITING_INTAKES];
    enum intake_result result;
    char name[16];
    fixture_finish(f, fixture_intake(f, "user0")); /* what all of them share is there */
    size_t before = mallinfo2().uordblks;
    for (unsigned i = 0; i < WAITING_INTAKES; i++) {
        snprintf(name, sizeof(name), "user%u", i);
        in[i] = fixture_intake(f, name);
    }
    for (unsigned i = 0; i < WAITING_INTAKES / 2; i++) {
        fixture_take(in[i], "one", "Subject: x\r\n\r\n", 14, &result);
        assert_int_equal(intake_flush(in[i]), 0);
    }
    assert_int_equal(store_commit(f->archive), 0);
    size_t each = (mallinfo2().uordblks - before) / WAITING_INTAKES;
    if (each > INTAKE_MEMORY_MAX)
        fail_msg("%zu bytes of memory for each", each);
    print_message("# %zu bytes of memory for each\n", each);
    for (unsigned i = 0; i < WAITING_INTAKES; i++)
        fixture_finish(f, in[i]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_message_costs_its_block_and_its_parts),
        TEST(a_small_message_takes_little_of_the_index),
        TEST(a_rebuilt_index_is_not_held_in_memory),
        TEST(an_intake_without_messages_takes_little_memory),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
