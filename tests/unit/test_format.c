/* The format stays what FORMAT.md says: a golden segment is written again byte for byte,
 * read back, and is what the annotated dump in FORMAT.md shows. To make both anew after a
 * deliberate change of the format: GOLDEN_WRITE=1 build/tests/test_format, and put its
 * output into FORMAT.md. */
#include "archive/error.h"
#include "archive/meta.h"
#include "archive/segment_writer.h"

#include <ctype.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GOLDEN "tests/golden/segment.bin"
#define DOCUMENT "archive/FORMAT.md"
#define TIME 1772442000000000

static const char message[] = "Subject: hello\r\n\r\nHello.\r\n";

static void fill(uint8_t *to, size_t size, uint8_t first)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)(first + i);
}

static struct segment_header golden_header(void)
{
    struct segment_header h = {
        .id = 1, .predecessor = 0, .created_us = TIME, .sync_word = 0x1122334455667788};
    fill(h.uuid, sizeof(h.uuid), 0x10);
    fill(h.salt, sizeof(h.salt), 0x80);
    return h;
}

static struct record *new_record(enum record_type type, uint32_t account, uint64_t lsn)
{
    struct record *r = record_create(type, account, TIME);
    r->header.lsn = lsn;
    return r;
}

static struct record *golden_block(void)
{
    struct record *r = new_record(RECORD_BLOCK, 1, 4);
    struct block_meta_writer w;
    struct message_meta m = {.n = 1,
                             .source = 1,
                             .kind = BODY_SLICE,
                             .listed_size = sizeof(message) - 1,
                             .size = sizeof(message) - 1,
                             .fetched_us = TIME,
                             .uidl = span_text("0001"),
                             .fields[FIELD_SUBJECT] = span_text("hello")};
    sha256_of(message, sizeof(message) - 1, m.sha256);
    fill(m.salt, sizeof(m.salt), 0xa0);
    block_meta_begin(&w, &r->meta);
    block_meta_add(&w, &m);
    block_meta_end(&w, 1);
    r->body = malloc(sizeof(message));
    memcpy(r->body, message, sizeof(message));
    r->header.body_size = r->header.body_raw_size = sizeof(message) - 1;
    return r;
}

static void append(struct buffer *out, struct seal *seal, const struct segment_header *h,
                   struct record *r)
{
    uint64_t offset = out->size;
    assert_int_equal(record_prepare(r, NULL), 0);
    uint8_t *head = buffer_reserve(out, RECORD_HEADER_CIPHER_SIZE);
    out->size += record_encode_header(&r->header, h->sync_word, offset, head);
    buffer_put(out, r->meta.data, r->meta.size);
    assert_int_equal(seal_add(seal, offset, &r->header,
                              span_of(out->data + offset, out->size - offset),
                              span_of(r->meta.data, r->meta.size)),
                     0);
    buffer_put(out, r->body, r->header.body_size);
    record_destroy(r);
}

/* COMMIT, ACCOUNT, SOURCE and a BLOCK of one message, sealed. */
static struct buffer golden_segment(void)
{
    struct buffer out = {0};
    struct seal seal;
    struct segment_trailer trailer;
    struct segment_header h = golden_header();
    uint8_t head[SEGMENT_HEADER_SIZE];
    char path[] = "/tmp/mailcask-golden-XXXXXX";
    static const uint8_t no_predecessor[SHA256_SIZE];
    uint64_t size = 0;
    segment_header_encode(&h, head);
    buffer_put(&out, head, sizeof(head));
    assert_int_equal(seal_begin(&seal, &h), 0);

    struct record *r = new_record(RECORD_COMMIT, 0, 1);
    commit_meta_encode(&r->meta,
                       &(struct commit_meta){.durable_upto = SEGMENT_HEADER_SIZE});
    append(&out, &seal, &h, r);
    r = new_record(RECORD_ACCOUNT, 1, 2);
    account_meta_encode(&r->meta,
                        &(struct account_meta){1, span_text("alice@acme.example")});
    append(&out, &seal, &h, r);
    r = new_record(RECORD_SOURCE, 1, 3);
    source_meta_encode(&r->meta, &(struct source_meta){1, span_text("pop.acme.example"),
                                                       span_text("alice")});
    append(&out, &seal, &h, r);
    append(&out, &seal, &h, golden_block());

    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(&system_files, fd, out.data, out.size, 0), 0);
    assert_int_equal(seal_write(&seal, &system_files, fd, &h, out.size, no_predecessor,
                                NULL, &trailer, &size),
                     0);
    seal_free(&seal);
    buffer_clear(&out);
    uint8_t *to = buffer_reserve(&out, size);
    assert_int_equal(file_read_exact(&system_files, fd, to, size, 0), 0);
    out.size = size;
    close(fd);
    unlink(path);
    return out;
}

static struct buffer load(const char *path)
{
    struct buffer b = {0};
    char *data = NULL;
    if (file_load(&system_files, path, 1 << 20, &data, &b.size) != 0)
        fail_msg("cannot read %s: run the tests from the project's folder", path);
    void *bytes = data;
    b.data = bytes;
    return b;
}

static void writing_gives_the_golden_segment(void **state)
{
    (void)state;
    struct buffer golden = load(GOLDEN), now = golden_segment();
    assert_int_equal(now.size, golden.size);
    assert_memory_equal(now.data, golden.data, golden.size);
    buffer_free(&golden);
    free(now.data);
}

/* Lines of the form "000000c0  88 77 66 ..." anywhere in the document. */
static void the_document_shows_the_golden_segment(void **state)
{
    (void)state;
    struct buffer golden = load(GOLDEN), document = load(DOCUMENT);
    void *text = document.data;
    size_t shown = 0;
    for (char *line = text; line != NULL; line = strchr(line, '\n')) {
        unsigned offset = 0, byte = 0;
        int used = 0;
        line += *line == '\n';
        if (sscanf(line, "%8x %n", &offset, &used) != 1 || used < 10)
            continue;
        assert_int_equal(offset, shown);
        for (const char *at = line + used;
             at[-1] == ' ' && isxdigit(at[0]) && isxdigit(at[1]); at += 3) {
            sscanf(at, "%2x", &byte);
            assert_true(shown < golden.size);
            if (golden.data[shown] != byte)
                fail_msg("FORMAT.md, byte %zx: %02x, in the golden segment %02x", shown,
                         byte, golden.data[shown]);
            shown++;
        }
    }
    assert_int_equal(shown, golden.size);
    buffer_free(&golden);
    buffer_free(&document);
}

static void the_golden_segment_reads_back(void **state)
{
    (void)state;
    char root[] = "/tmp/mailcask-golden-XXXXXX", path[128], command[256];
    struct segment_header h = golden_header();
    struct segment_trailer trailer;
    struct segment_file f;
    struct record_view v = {0};
    struct codec *codec = codec_create();
    struct block_meta_reader metas;
    struct message_meta m = {0};
    assert_non_null(mkdtemp(root));
    snprintf(command, sizeof(command),
             "mkdir %s/segments && cp " GOLDEN " %s/segments/00000001.seg", root, root);
    assert_int_equal(system(command), 0);
    assert_int_equal(segment_open(&system_files, root, 1, h.uuid, &f), 0);
    assert_memory_equal(f.header.salt, h.salt, sizeof(h.salt));
    assert_int_equal(segment_read_trailer(&f, &trailer), 0);
    assert_int_equal(trailer.records, 5);
    assert_int_equal(trailer.last_lsn, 4);
    uint64_t offset = SEGMENT_HEADER_SIZE;
    static const uint8_t types[] = {RECORD_COMMIT, RECORD_ACCOUNT, RECORD_SOURCE,
                                    RECORD_BLOCK, RECORD_SEAL};
    for (size_t i = 0; i < sizeof(types); i++) {
        assert_int_equal(segment_read(&f, offset, f.size, codec, &v), 0);
        assert_int_equal(v.header.type, types[i]);
        assert_int_equal(segment_read_body(&f, &v, codec), 0);
        if (types[i] == RECORD_BLOCK) {
            assert_memory_equal(v.body.data, message, sizeof(message) - 1);
            assert_int_equal(block_meta_open(&metas, span_of(v.meta.data, v.meta.size)), 0);
            assert_int_equal(block_meta_next(&metas, &m), 0);
            assert_true(span_equal(m.uidl, span_text("0001")));
        }
        offset += record_size(&v.header);
    }
    assert_int_equal(offset + SEGMENT_TRAILER_SIZE, f.size);
    record_view_free(&v);
    segment_file_close(&f);
    codec_destroy(codec);
    snprintf(path, sizeof(path), "rm -r %s", root);
    assert_int_equal(system(path), 0);
}

static void decode_start(const struct record *r, struct codec *codec, const uint8_t *raw,
                         uint64_t upto)
{
    struct buffer out = {0};
    assert_int_equal(record_decode_body(&r->header, r->body, upto, codec, &out), 0);
    assert_int_equal(out.size, upto);
    assert_memory_equal(out.data, raw, upto);
    buffer_free(&out);
}

/* Only the checksum looks at all of the stored body. */
static void the_start_of_a_body_is_read_without_its_rest(void **state)
{
    (void)state;
    enum { RAW_SIZE = 900000 };
    struct codec *codec = codec_create();
    struct record *r = record_create(RECORD_BLOCK, 1, TIME);
    struct buffer raw = {0}, out = {0};
    for (uint32_t i = 0; raw.size < RAW_SIZE; i++)
        buffer_put_u32(&raw, i * i);
    assert_int_equal(record_fill_body(r, codec, CODEC_FETCH, raw.data, raw.size), 0);
    assert_int_equal(record_prepare(r, codec), 0);
    assert_int_equal(r->header.codec, CODEC_ZSTD);
    for (uint64_t upto = 0; upto <= RAW_SIZE; upto += 60000)
        decode_start(r, codec, raw.data, upto);
    assert_int_equal(record_decode_body(&r->header, r->body, RAW_SIZE + 1, codec, &out),
                     ERR_DAMAGED);

    memset(r->body + r->header.body_size - 1000, 0xA5, 1000);
    assert_int_equal(record_decode_body(&r->header, r->body, 1000, codec, &out),
                     ERR_DAMAGED);
    r->header.body_checksum = checksum64(r->body, r->header.body_size, 0);
    decode_start(r, codec, raw.data, RAW_SIZE / 2);
    assert_int_equal(record_decode_body(&r->header, r->body, RAW_SIZE, codec, &out),
                     ERR_DAMAGED);

    /* A frame that ends too early. */
    r->header.body_raw_size = 2 * RAW_SIZE;
    assert_int_equal(record_decode_body(&r->header, r->body, RAW_SIZE + 1, codec, &out),
                     ERR_DAMAGED);
    buffer_free(&out);
    buffer_free(&raw);
    record_destroy(r);
    codec_destroy(codec);
}

/* Evolution: what this version must not read, and what it may pass over. */
static void later_versions_are_told_apart(void **state)
{
    (void)state;
    uint8_t head[SEGMENT_HEADER_SIZE], bytes[RECORD_HEADER_CIPHER_SIZE];
    struct segment_header h = golden_header();
    struct record_header r = {.type = RECORD_TYPE_MAX, .lsn = 1}, back;
    segment_header_encode(&h, head);
    assert_int_equal(segment_header_decode(head, &h), 0);
    head[16] = 1; /* an incompatible feature */
    put_u64(head + SEGMENT_HEADER_SIZE - 8, checksum64(head, SEGMENT_HEADER_SIZE - 8, 0));
    assert_int_equal(segment_header_decode(head, &h), ERR_VERSION);
    head[16] = 0;
    head[24] = 1; /* a compatible one */
    put_u64(head + SEGMENT_HEADER_SIZE - 8, checksum64(head, SEGMENT_HEADER_SIZE - 8, 0));
    assert_int_equal(segment_header_decode(head, &h), 0);

    uint32_t size = record_encode_header(&r, 7, 1000, bytes);
    assert_int_equal(record_decode_header(&back, 7, 1000, bytes, size), 0);
    assert_int_equal(record_decode_header(&back, 7, 1001, bytes, size), ERR_DAMAGED);
    assert_int_equal(record_decode_header(&back, 8, 1000, bytes, size), ERR_DAMAGED);
    r.type = RECORD_TYPE_MAX + 1;
    size = record_encode_header(&r, 7, 1000, bytes);
    assert_int_equal(record_decode_header(&back, 7, 1000, bytes, size), ERR_VERSION);
    r.type = RECORD_BLOCK;
    r.cipher = 1;
    size = record_encode_header(&r, 7, 1000, bytes);
    assert_int_equal(size, RECORD_HEADER_CIPHER_SIZE);
    assert_int_equal(record_decode_header(&back, 7, 1000, bytes, size), ERR_VERSION);
}

static void print_dump(const struct buffer *b)
{
    for (size_t at = 0; at < b->size; at += 16) {
        printf("%08zx ", at);
        for (size_t i = at; i < at + 16 && i < b->size; i++)
            printf(" %02x", b->data[i]);
        printf("\n");
    }
}

static int write_golden(void)
{
    struct buffer b = golden_segment();
    FILE *file = fopen(GOLDEN, "wb");
    if (file == NULL || fwrite(b.data, 1, b.size, file) != b.size || fclose(file) != 0)
        return 1;
    print_dump(&b);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writing_gives_the_golden_segment),
        cmocka_unit_test(the_document_shows_the_golden_segment),
        cmocka_unit_test(the_golden_segment_reads_back),
        cmocka_unit_test(the_start_of_a_body_is_read_without_its_rest),
        cmocka_unit_test(later_versions_are_told_apart),
    };
    if (getenv("GOLDEN_WRITE") != NULL)
        return write_golden();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
