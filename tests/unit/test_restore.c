/* Restoring by several lanes at once: the same bytes whatever their number, nothing but the
 * damaged kept back, no more open than a window allows. */
#include "archive/error.h"
#include "archive/reader.h"
#include "tests/support/attachments.h"
#include "tests/support/records.h"
#include "tools/exits.h"
#include "tools/restore.h"

#include <dirent.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define ACCOUNTS 3
#define SESSIONS 4
#define PER_SESSION 6
#define MESSAGES (SESSIONS * PER_SESSION)
#define GIANT 7 /* the message that is kept as CHUNKs */
#define GIANT_SIZE 1500000
#define MANY_ACCOUNTS 70 /* more than a window holds open */

static const struct attachment pictures[] = {
    {.seed = 1, .size = 9000, .line_length = 76},
    {.seed = 2, .size = PART_RAW_MAX + 500, .line_length = 76},
    {.seed = 3, .size = 5000, .line_length = 76},
};
#define PICTURES (sizeof(pictures) / sizeof(pictures[0]))

struct world {
    struct fixture f;
    struct buffer mail[ACCOUNTS][MESSAGES];
    struct restore_jobs jobs;
    struct restore r;
};

/* Every third message carries a picture; each picture is carried in every account. */
static bool carries(unsigned i, unsigned picture)
{
    return i % 3 == 0 && i / 3 % PICTURES == picture;
}

static struct buffer make_message(unsigned account, unsigned i)
{
    struct buffer m = {0};
    char subject[32];
    (void)snprintf(subject, sizeof(subject), "letter %u %u", account, i);
    mail_header(&m, "someone", subject);
    mail_lines(&m, account * MESSAGES + i, i == GIANT ? GIANT_SIZE : 100 + 10 * i);
    for (unsigned picture = 0; picture < PICTURES; picture++)
        if (carries(i, picture)) {
            mail_attach(&m, &pictures[picture]);
            buffer_put(&m, "\r\n--\r\n", 6);
        }
    return m;
}

/* The accounts' sessions take turns, so that their blocks lie among each other's. */
static void fetch(struct world *w, unsigned session, unsigned account)
{
    char name[16], uidl[16];
    enum intake_result result;
    (void)snprintf(name, sizeof(name), "%c@x", 'a' + (int)account);
    struct intake *in = fixture_intake(&w->f, name);
    for (unsigned i = session * PER_SESSION; i < (session + 1) * PER_SESSION; i++) {
        (void)snprintf(uidl, sizeof(uidl), "u%u", i);
        struct buffer *m = &w->mail[account][i];
        *m = make_message(account, i);
        assert_int_equal(fixture_take(in, uidl, m->data, m->size, &result), INTAKE_WANTED);
    }
    fixture_finish(&w->f, in);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    *state = w;
    fixture_setup(&w->f);
    for (unsigned session = 0; session < SESSIONS; session++)
        for (unsigned account = 0; account < ACCOUNTS; account++)
            fetch(w, session, account);
    fixture_close(&w->f);
    fixture_open(&w->f, ARCHIVE_READ);
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    for (unsigned account = 0; account < ACCOUNTS; account++)
        for (unsigned i = 0; i < MESSAGES; i++)
            buffer_free(&w->mail[account][i]);
    fixture_teardown(&w->f);
    free(w);
    return 0;
}

/* Restore everything to KIND:ROOT/NAME: the exit status; counts are in w->r. */
static int restore_all(struct world *w, const struct target_kind *kind, const char *name,
                       unsigned lanes)
{
    char path[PATH_MAX];
    struct options all = {.given = OPTION_BIT(OPTION_ALL)};
    (void)snprintf(path, sizeof(path), "%s/%s", w->f.root, name);
    all.values[OPTION_TO] = path;
    w->r = (struct restore){
        .options = &all, .kind = kind, .path = path, .several = true, .period = PERIOD_ALL};
    assert_int_equal(restore_jobs_find(w->f.archive, &all, &w->jobs), EXIT_DONE);
    assert_int_equal(restore_open(&w->r, w->f.archive, lanes), 0);
    (kind->whole ? restore_in_order : restore_files)(&w->r, &w->jobs);
    restore_close(&w->r);
    restore_jobs_free(&w->jobs);
    return w->r.status;
}

/* A file below the root, or NULL. */
static char *content(const struct world *w, size_t *out_size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static char *content(const struct world *w, size_t *out_size, const char *format, ...)
{
    char path[PATH_MAX];
    size_t used = (size_t)snprintf(path, sizeof(path), "%s/", w->f.root);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(path + used, sizeof(path) - used, format, args);
    va_end(args);
    char *data = NULL;
    int err = file_load(&system_files, path, SIZE_MAX / 2, &data, out_size);
    return err == 0 ? data : NULL;
}

static void assert_file(const struct world *w, const char *name, unsigned account,
                        unsigned i)
{
    size_t size = 0;
    const struct buffer *m = &w->mail[account][i];
    char *got = content(w, &size, "%s/%c@x/%u.eml", name, 'a' + (int)account, i + 1);
    if (got == NULL)
        fail_msg("%s: message %u of account %u is missing", name, i + 1, account);
    assert_int_equal(size, m->size);
    assert_memory_equal(got, m->data, size);
    free(got);
}

static unsigned count_files(const struct world *w, const char *folder)
{
    char path[PATH_MAX];
    unsigned count = 0;
    (void)snprintf(path, sizeof(path), "%s/%s", w->f.root, folder);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    (void)closedir(dir);
    return count;
}

static void the_bytes_are_the_same_whatever_the_lanes(void **state)
{
    struct world *w = *state;
    char name[16];
    for (unsigned lanes = 1; lanes <= TARGET_LANES_MAX; lanes += 3) {
        (void)snprintf(name, sizeof(name), "out%u", lanes);
        assert_int_equal(restore_all(w, &target_eml, name, lanes), EXIT_DONE);
        assert_int_equal(w->r.counts.written, ACCOUNTS * MESSAGES);
        for (unsigned account = 0; account < ACCOUNTS; account++)
            for (unsigned i = 0; i < MESSAGES; i++)
                assert_file(w, name, account, i);
        (void)snprintf(name, sizeof(name), "out%u/b@x", lanes);
        assert_int_equal(count_files(w, name), MESSAGES);
    }
}

static void restoring_again_finds_all_of_it(void **state)
{
    struct world *w = *state;
    assert_int_equal(restore_all(w, &target_maildir, "m", 4), EXIT_DONE);
    assert_int_equal(count_files(w, "m/a@x/cur"), MESSAGES);
    assert_int_equal(count_files(w, "m/a@x/tmp"), 0);
    assert_int_equal(restore_all(w, &target_maildir, "m", 3), EXIT_DONE);
    assert_int_equal(w->r.counts.written, 0);
    assert_int_equal(w->r.counts.present, ACCOUNTS * MESSAGES);
}

static void an_mbox_has_its_messages_by_number(void **state)
{
    struct world *w = *state;
    assert_int_equal(restore_all(w, &target_mbox, "box", 4), EXIT_DONE);
    assert_int_equal(w->r.counts.written, ACCOUNTS * MESSAGES);
    for (unsigned account = 0; account < ACCOUNTS; account++) {
        char subject[32];
        size_t size = 0;
        char *got = content(w, &size, "box/%c@x/mbox", 'a' + (int)account);
        assert_non_null(got);
        const char *at = got;
        for (unsigned i = 0; i < MESSAGES; i++) {
            (void)snprintf(subject, sizeof(subject), "Subject: letter %u %u\r\n", account,
                           i);
            at = strstr(at, subject);
            if (at == NULL)
                fail_msg("no %s behind the one before", subject);
        }
        free(got);
    }
}

static void a_damaged_part_keeps_back_only_what_names_it(void **state)
{
    struct world *w = *state;
    uint8_t sha256[SHA256_SIZE];
    attachment_part(&pictures[0], 0, sha256);
    struct seen_record r = records_part(&w->f, sha256);
    segment_flip(&w->f, r.place.segment,
                 r.place.offset + record_size(&r.header) - pictures[0].size / 2, 3);
    assert_int_equal(restore_all(w, &target_eml, "hurt", 4), EXIT_DAMAGE);
    unsigned left = 0;
    for (unsigned account = 0; account < ACCOUNTS; account++)
        for (unsigned i = 0; i < MESSAGES; i++) {
            size_t size = 0;
            if (!carries(i, 0)) {
                assert_file(w, "hurt", account, i);
                left++;
                continue;
            }
            assert_null(content(w, &size, "hurt/%c@x/%u.eml", 'a' + (int)account, i + 1));
        }
    assert_int_equal(w->r.counts.written, left);
    assert_int_equal(count_files(w, "hurt/a@x"), left / ACCOUNTS);
}

static void what_cannot_be_written_ends_it_and_it_goes_on_from_there(void **state)
{
    struct world *w = *state;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/stop", w->f.root);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/stop/b@x", w->f.root);
    FILE *in_the_way = fopen(path, "w");
    assert_non_null(in_the_way);
    (void)fclose(in_the_way);
    assert_int_equal(restore_all(w, &target_eml, "stop", 4), EXIT_CANNOT);
    assert_true(w->r.over);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(restore_all(w, &target_eml, "stop", 4), EXIT_DONE);
    for (unsigned i = 0; i < MESSAGES; i++)
        assert_file(w, "stop", 1, i);
}

#define STOP_AFTER 20 /* messages */

static atomic_uint committed;

/* As target_eml; Ctrl-C comes while message STOP_AFTER gets its name. */
static int commit_and_interrupt(struct target *t, unsigned lane)
{
    if (atomic_fetch_add(&committed, 1) + 1 == STOP_AFTER)
        (void)kill(getpid(), SIGINT);
    return target_eml.commit(t, lane);
}

static void an_interrupted_restore_goes_on_where_it_stopped(void **state)
{
    struct world *w = *state;
    struct target_kind interrupted = target_eml;
    sigset_t set;
    interrupted.commit = commit_and_interrupt;
    assert_int_equal(sigemptyset(&set), 0);
    assert_int_equal(sigaddset(&set, SIGINT), 0);
    assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0);
    for (unsigned lanes = 1; lanes <= 4; lanes += 3) {
        char name[16], folder[32];
        (void)snprintf(name, sizeof(name), "int%u", lanes);
        atomic_store(&committed, 0);
        int status = restore_all(w, &interrupted, name, lanes);
        assert_int_equal(sigtimedwait(&set, NULL, &(struct timespec){0}), SIGINT);
        assert_int_equal(status, EXIT_PART);
        /* What the others had under way may still have been finished. */
        uint64_t written = w->r.counts.written;
        assert_in_range(written, STOP_AFTER, STOP_AFTER + lanes - 1);
        unsigned files = 0;
        for (unsigned account = 0; account < ACCOUNTS; account++) {
            (void)snprintf(folder, sizeof(folder), "%s/%c@x", name, 'a' + (int)account);
            files += count_files(w, folder);
        }
        assert_int_equal(files, written); /* and nothing half done */
        assert_int_equal(restore_all(w, &target_eml, name, lanes), EXIT_DONE);
        assert_int_equal(w->r.counts.present, written);
        for (unsigned account = 0; account < ACCOUNTS; account++)
            for (unsigned i = 0; i < MESSAGES; i++)
                assert_file(w, name, account, i);
    }
    assert_int_equal(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
}

static void there_may_be_more_accounts_than_a_window_holds(void **state)
{
    struct world *w = *state;
    char name[16];
    fixture_close(&w->f);
    fixture_open(&w->f, ARCHIVE_WRITE);
    for (unsigned i = 0; i < MANY_ACCOUNTS; i++) {
        (void)snprintf(name, sizeof(name), "m%02u@x", i);
        fixture_session(&w->f, name, 0, 1, 100);
    }
    fixture_close(&w->f);
    fixture_open(&w->f, ARCHIVE_READ);
    assert_int_equal(restore_all(w, &target_eml, "many", 2), EXIT_DONE);
    assert_int_equal(w->r.counts.written, ACCOUNTS * MESSAGES + MANY_ACCOUNTS);
    assert_int_equal(count_files(w, "many"), ACCOUNTS + MANY_ACCOUNTS);
}

/* In pages, each message once; the messages of a block share its place. */
static void places_are_given_by_number(void **state)
{
    struct world *w = *state;
    struct account_info account;
    struct reader *reader = NULL;
    struct message_place found[5], last = {0};
    size_t count = 0, seen = 0, blocks = 0;
    assert_int_equal(archive_find_account(w->f.archive, "b@x", &account), 0);
    assert_int_equal(reader_create(w->f.archive, &reader), 0);
    do {
        assert_int_equal(reader_places(reader, account.number, last.n, 5, found, &count),
                         0);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(found[i].n, ++seen);
            blocks += found[i].segment != last.segment || found[i].offset != last.offset;
            last = found[i];
        }
    } while (count > 0);
    assert_int_equal(seen, MESSAGES);
    assert_in_range(blocks, SESSIONS, MESSAGES - SESSIONS);
    reader_destroy(reader);
}

/* A reader goes on from the meta it gave last: not only forwards. */
static void messages_can_be_read_in_any_order(void **state)
{
    struct world *w = *state;
    struct account_info account;
    struct reader *reader = NULL;
    struct message_meta m;
    assert_int_equal(archive_find_account(w->f.archive, "b@x", &account), 0);
    assert_int_equal(reader_create(w->f.archive, &reader), 0);
    for (unsigned step = 1; step < MESSAGES; step++)
        for (unsigned i = 0, at = 0; i < MESSAGES; i++, at = (at + step) % MESSAGES) {
            assert_int_equal(reader_message(reader, account.number, at + 1, &m), 0);
            assert_int_equal(m.n, at + 1);
            assert_int_equal(m.size, w->mail[1][at].size);
        }
    reader_destroy(reader);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(the_bytes_are_the_same_whatever_the_lanes),
        IN_WORLD(restoring_again_finds_all_of_it),
        IN_WORLD(an_mbox_has_its_messages_by_number),
        IN_WORLD(a_damaged_part_keeps_back_only_what_names_it),
        IN_WORLD(what_cannot_be_written_ends_it_and_it_goes_on_from_there),
        IN_WORLD(an_interrupted_restore_goes_on_where_it_stopped),
        IN_WORLD(there_may_be_more_accounts_than_a_window_holds),
        IN_WORLD(places_are_given_by_number),
        IN_WORLD(messages_can_be_read_in_any_order),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
