#include "tests/support/backup_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Three sealed segments, and an open one with a stream and small mail. */
static void fill(struct fixture *f)
{
    for (int i = 0; i < 3; i++) {
        fixture_session(f, "a@x", i * 10, 5, 3000);
        fixture_session(f, "b@x", i * 10, 3, 40000);
        assert_int_equal(store_seal(f->archive), 0);
    }
    fixture_session(f, "a@x", 30, 1, 1500000);
    fixture_session(f, "b@x", 30, 4, 2000);
}

int backup_world_setup(void **state)
{
    struct backup_world *w = calloc(1, sizeof(*w));
    fixture_setup(&w->f);
    fill(&w->f);
    w->b.codec = w->f.codec;
    (void)snprintf(w->b.path, sizeof(w->b.path), "%s/backup", w->f.root);
    *state = w;
    return 0;
}

int backup_world_teardown(void **state)
{
    struct backup_world *w = *state;
    fixture_teardown(&w->f);
    free(w);
    return 0;
}

static void note_damage(void *arg, uint64_t segment, const char *text)
{
    struct backup_world *w = arg;
    size_t used = strlen(w->damage);
    (void)snprintf(w->damage + used, sizeof(w->damage) - used, "%u: %s\n",
                   (unsigned)segment, text);
}

int backup_world_try(struct backup_world *w, const struct file_ops *ops,
                     int (*progress)(void *, uint64_t, uint64_t))
{
    struct archive *a = NULL;
    const struct archive_options how = {.mode = ARCHIVE_READ, .ops = ops};
    const struct backup_options options = {
        .progress = progress, .report = note_damage, .arg = w};
    w->damage[0] = '\0';
    /* A process has one reader table of an index: the writer's reader gives way. */
    lookup_destroy(w->f.lookup);
    w->f.lookup = NULL;
    assert_int_equal(archive_open(w->f.path, &how, &a), 0);
    int err = archive_backup(a, w->b.path, &options, &w->summary);
    archive_close(a);
    if (w->f.archive != NULL)
        assert_int_equal(lookup_create(w->f.archive, &w->f.lookup), 0);
    return err;
}

void backup_world_run(struct backup_world *w)
{
    assert_int_equal(backup_world_try(w, NULL, NULL), 0);
    assert_string_equal(w->damage, "");
}

void backup_world_shell(const char *format, ...)
{
    char command[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    if (system(command) != 0)
        fail_msg("%s", command);
}

struct verify_summary backup_world_verify(struct backup_world *w)
{
    struct verify_summary s;
    const struct verify_options options = {0};
    const struct archive_options how = {.mode = ARCHIVE_READ, .without_index = true};
    assert_int_equal(archive_open(w->b.path, &how, &w->b.archive), 0);
    assert_int_equal(archive_verify(w->b.archive, &options, &s), 0);
    archive_close(w->b.archive);
    w->b.archive = NULL;
    return s;
}

void backup_world_assert_equal(struct backup_world *w)
{
    struct account_info info;
    static const char *const names[] = {"a@x", "b@x"};
    assert_int_equal(fixture_try_open(&w->b, ARCHIVE_WRITE, true, NULL), 0);
    assert_int_equal(w->b.damage_notes, 0);
    char *want = fixture_dump(&w->f), *got = fixture_dump(&w->b);
    assert_string_equal(got, want);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(archive_find_account(w->b.archive, names[i], &info), 0);
        for (uint64_t n = 1; n <= info.highest; n++) {
            size_t size = 0;
            int err = 0;
            free(fixture_restore(&w->b, names[i], n, &size, &err));
            assert_int_equal(err, 0);
        }
    }
    free(want);
    free(got);
    fixture_close(&w->b);
}

void backup_world_assert_whole(struct backup_world *w)
{
    struct verify_summary s = backup_world_verify(w),
                          original = fixture_verify(&w->f, false);
    if (verify_found_damage(&s))
        fail_msg("%lu %lu", (unsigned long)s.structure, (unsigned long)s.messages_hurt);
    assert_int_equal(s.messages, original.messages);
    backup_world_assert_equal(w);
}

void backup_world_flip(const char *path, long at)
{
    FILE *stream = fopen(path, "r+b");
    assert_non_null(stream);
    fseek(stream, at, at < 0 ? SEEK_END : SEEK_SET);
    int byte = fgetc(stream);
    fseek(stream, -1, SEEK_CUR);
    fputc(byte ^ 1, stream);
    fclose(stream);
}

struct repack_summary backup_world_repack(struct backup_world *w)
{
    struct repack_summary s;
    const struct repack_options options = {.remove_now = true};
    if (w->f.lookup != NULL)
        lookup_rest(w->f.lookup);
    assert_int_equal(archive_repack(w->f.archive, &options, &s), 0);
    return s;
}
