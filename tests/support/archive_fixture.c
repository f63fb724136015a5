#include "tests/support/archive_fixture.h"

#include "archive/archive_internal.h"
#include "archive/error.h"
#include "archive/reader.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void note(void *arg, enum archive_note kind, const char *text)
{
    struct fixture *f = arg;
    size_t used = strlen(f->notes);
    snprintf(f->notes + used, sizeof(f->notes) - used, "%s\n", text);
    f->damage_notes += kind == NOTE_DAMAGE;
}

int fixture_try_open(struct fixture *f, enum archive_mode mode, bool rebuild,
                     const struct file_ops *ops)
{
    const struct archive_options options = {
        .mode = mode, .ops = ops, .rebuild_index = rebuild, .report = note, .arg = f};
    f->notes[0] = '\0';
    f->damage_notes = 0;
    int err = archive_open(f->path, &options, &f->archive);
    if (err != 0)
        f->archive = NULL;
    else if (mode == ARCHIVE_WRITE)
        assert_int_equal(lookup_create(f->archive, &f->lookup), 0);
    return err;
}

void fixture_open(struct fixture *f, enum archive_mode mode)
{
    assert_int_equal(fixture_try_open(f, mode, false, NULL), 0);
}

void fixture_setup(struct fixture *f)
{
    *f = (struct fixture){0};
    snprintf(f->root, sizeof(f->root), "/tmp/mailcask-test-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    snprintf(f->path, sizeof(f->path), "%s/archive", f->root);
    assert_int_equal(archive_create(NULL, f->path), 0);
    f->codec = codec_create();
    fixture_open(f, ARCHIVE_WRITE);
}

static void drop_lookup(struct fixture *f)
{
    lookup_destroy(f->lookup);
    f->lookup = NULL;
}

void fixture_close(struct fixture *f)
{
    drop_lookup(f);
    assert_int_equal(archive_close(f->archive), 0);
    f->archive = NULL;
}

void fixture_crash(struct fixture *f)
{
    drop_lookup(f);
    if (f->archive != NULL && f->archive->store != NULL)
        f->archive->store->failed = ERR_STOPPED;
    archive_close(f->archive);
    f->archive = NULL;
}

void fixture_teardown(struct fixture *f)
{
    char command[128];
    fixture_crash(f);
    codec_destroy(f->codec);
    snprintf(command, sizeof(command), "rm -rf '%s'", f->root);
    assert_int_equal(system(command), 0);
}

static int store_record(void *arg, struct record *r)
{
    struct fixture *f = arg;
    return store_append(f->archive, r);
}

struct intake *fixture_open_intake(struct fixture *f, const char *name)
{
    struct intake_config config = {.archive = f->archive,
                                   .lookup = f->lookup,
                                   .codec = f->codec,
                                   .emit = store_record,
                                   .arg = f};
    struct intake *in = NULL;
    assert_int_equal(store_origin(f->archive, span_text(name), span_text("pop.example"),
                                  span_text(name), &config.account, &config.source),
                     0);
    lookup_rest(f->lookup);
    assert_int_equal(intake_open(&config, &in), 0);
    return in;
}

struct intake *fixture_intake(struct fixture *f, const char *name)
{
    struct intake *in = fixture_open_intake(f, name);
    intake_listed(in, true);
    return in;
}

enum intake_verdict fixture_take(struct intake *in, const char *uidl, const void *data,
                                 size_t size, enum intake_result *out_result)
{
    enum intake_verdict verdict = intake_judge(in, span_text(uidl), size);
    if (verdict != INTAKE_WANTED)
        return verdict;
    assert_int_equal(intake_begin(in, span_text(uidl), size), 0);
    assert_int_equal(intake_add(in, data, size), 0);
    assert_int_equal(intake_end(in, 0, out_result), 0);
    return verdict;
}

void fixture_finish(struct fixture *f, struct intake *in)
{
    struct session_meta m = {.state = SESSION_COMPLETE,
                             .trusted = 1,
                             .began_us = 1,
                             .ended_us = 2,
                             .address = span_text("127.0.0.1:995")};
    assert_int_equal(intake_flush(in), 0);
    assert_int_equal(store_commit(f->archive), 0);
    assert_int_equal(intake_session(in, &m), 0);
    assert_int_equal(store_commit(f->archive), 0);
    intake_close(in);
    lookup_rest(f->lookup);
}

size_t fixture_message(const char *name, int i, size_t size, char *out)
{
    int n = snprintf(out, 256,
                     "Date: Mon, 2 Mar 2026 10:%02d:00 +0100\r\nFrom: %s\r\n"
                     "Subject: message %d\r\n\r\n",
                     i % 60, name, i);
    size_t at = (size_t)n;
    unsigned seed = (unsigned)i * 2654435761u + 12345;
    while (at < size) {
        seed = seed * 1103515245u + 12345;
        out[at] = at % 72 == 70   ? '\r'
                  : at % 72 == 71 ? '\n'
                                  : (char)('a' + (seed >> 16) % 26);
        at++;
    }
    out[at++] = '\r';
    out[at++] = '\n';
    return at;
}

void fixture_session(struct fixture *f, const char *name, int first, int count, size_t size)
{
    char uidl[32], *text = malloc(size + 256);
    enum intake_result result;
    struct intake *in = fixture_intake(f, name);
    assert_non_null(text);
    for (int i = first; i < first + count; i++) {
        snprintf(uidl, sizeof(uidl), "u%d", i);
        fixture_take(in, uidl, text, fixture_message(name, i, size, text), &result);
    }
    fixture_finish(f, in);
    free(text);
}

static int gather(void *arg, const uint8_t *data, size_t size)
{
    struct buffer *b = arg;
    buffer_put(b, data, size);
    return 0;
}

char *fixture_restore(struct fixture *f, const char *name, uint64_t n, size_t *out_size,
                      int *out_err)
{
    struct account_info info;
    struct reader *reader = NULL;
    struct buffer b = {0};
    *out_err = archive_find_account(f->archive, name, &info);
    if (*out_err != 0)
        return NULL;
    assert_int_equal(reader_create(f->archive, &reader), 0);
    *out_err = reader_body(reader, info.number, n, gather, &b);
    reader_destroy(reader);
    if (*out_err != 0) {
        buffer_free(&b);
        return NULL;
    }
    buffer_put_u8(&b, 0);
    *out_size = b.size - 1;
    void *data = b.data;
    return data;
}

static void add_finding(void *arg, const struct finding *finding)
{
    struct fixture *f = arg;
    size_t used = strlen(f->notes);
    snprintf(f->notes + used, sizeof(f->notes) - used, "%d %s/%lu segment %lu at %lu: %s\n",
             (int)finding->kind, finding->account != NULL ? finding->account : "",
             (unsigned long)finding->n, (unsigned long)finding->segment,
             (unsigned long)finding->offset, finding->text);
}

struct verify_summary fixture_verify(struct fixture *f, bool quick)
{
    const struct verify_options options = {.quick = quick, .report = add_finding, .arg = f};
    struct verify_summary summary;
    f->notes[0] = '\0';
    assert_int_equal(archive_verify(f->archive, &options, &summary), 0);
    return summary;
}

struct dump {
    struct fixture *f;
    struct buffer text;
};

static void print(struct dump *d, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void print(struct dump *d, const char *format, ...)
{
    char line[2048];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    buffer_put(&d->text, line, (size_t)n);
}

static int dump_ledger(void *arg, const struct ledger_entry *e)
{
    print(arg, "ledger %lu type %d at %ld: %.*s %lu\n", (unsigned long)e->lsn, e->type,
          (long)e->time_us, (int)e->source.host.size, (const char *)e->source.host.data,
          e->type == RECORD_SESSION ? (unsigned long)e->session.fetched : 0);
    return 0;
}

static int dump_account(void *arg, const struct account_info *info)
{
    struct dump *d = arg;
    struct reader *reader = NULL;
    struct message_meta m;
    char hex[2 * SHA256_SIZE + 1];
    uint64_t n = 0;
    print(d,
          "account %u %s: %lu messages %lu bytes highest %lu first %ld last %ld: %d %s\n",
          info->number, info->name, (unsigned long)info->messages,
          (unsigned long)info->bytes, (unsigned long)info->highest, (long)info->first_us,
          (long)info->last_us, info->session_state, info->session_text);
    assert_int_equal(reader_create(d->f->archive, &reader), 0);
    while (reader_next(reader, info->number, n, &m) != ERR_NOT_FOUND) {
        hex_encode(m.sha256, SHA256_SIZE, hex);
        print(d, "message %lu %s %lu %.*s %.*s\n", (unsigned long)m.n, hex,
              (unsigned long)m.size, (int)m.uidl.size, (const char *)m.uidl.data,
              (int)m.fields[FIELD_SUBJECT].size,
              (const char *)m.fields[FIELD_SUBJECT].data);
        n = m.n;
    }
    reader_destroy(reader);
    return archive_each_ledger_entry(d->f->archive, info->number, dump_ledger, d);
}

char *fixture_dump(struct fixture *f)
{
    struct dump d = {.f = f};
    assert_int_equal(archive_each_account(f->archive, dump_account, &d), 0);
    buffer_put_u8(&d.text, 0);
    void *text = d.text.data;
    return text;
}

void fixture_flip_in_body(struct fixture *f, uint64_t segment, uint8_t type)
{
    struct segment_file file;
    struct record_view v = {0};
    char path[PATH_MAX];
    uint64_t offset = SEGMENT_HEADER_SIZE;
    assert_int_equal(
        segment_open(&system_files, f->path, segment, archive_uuid(f->archive), &file), 0);
    for (;; offset += record_size(&v.header)) {
        assert_int_equal(segment_read(&file, offset, file.size, f->codec, &v), 0);
        if (v.header.type == type)
            break;
    }
    long at = (long)(offset + record_size(&v.header) - 1);
    assert_int_equal(segment_path(f->path, segment, path), 0);
    FILE *stream = fopen(path, "r+b");
    assert_non_null(stream);
    fseek(stream, at, SEEK_SET);
    int byte = fgetc(stream);
    fseek(stream, at, SEEK_SET);
    fputc(byte ^ 1, stream);
    fclose(stream);
    record_view_free(&v);
    segment_file_close(&file);
}
