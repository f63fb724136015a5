#include "archive/error.h"
#include "tests/support/archive_fixture.h"
#include "workers/writer.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define BODY_SIZE ((size_t)64 * 1024)
#define PATIENCE_S 60
#define ITEMS_MAX 256

/* The archive's files, watched: which writes a completed sync has covered. Writes and syncs
 * happen in the writer's thread, one after the other. */
struct watched {
    struct file_ops ops;
    atomic_uint writes;
    atomic_uint covered; /* writes that had completed when the last good sync began */
    atomic_uint syncs;
    atomic_bool full;      /* writes fail */
    atomic_bool sync_sick; /* syncs fail */
    atomic_uint sync_us;   /* they take so long */
};

struct bench {
    struct fixture fixture;
    struct watched watched;
    struct budget *budget;
    struct writer *writer;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    unsigned done;
    struct order {
        const struct writer_item *item;
        bool covered; /* when it was acknowledged every write had been synced */
    } order[ITEMS_MAX];
};

struct post {
    struct writer_item item;
    struct bench *bench;
};

static int watched_pwrite(void *ctx, int fd, const void *data, size_t size, uint64_t offset,
                          size_t *out_written)
{
    struct watched *w = ctx;
    if (atomic_load(&w->full))
        return -ENOSPC;
    int err = system_files.pwrite(NULL, fd, data, size, offset, out_written);
    atomic_fetch_add(&w->writes, 1);
    return err;
}

static int watched_fdatasync(void *ctx, int fd)
{
    struct watched *w = ctx;
    unsigned before = atomic_load(&w->writes);
    atomic_fetch_add(&w->syncs, 1);
    if (atomic_load(&w->sync_us) > 0)
        (void)usleep(atomic_load(&w->sync_us));
    if (atomic_load(&w->sync_sick))
        return -EIO;
    int err = system_files.fdatasync(NULL, fd);
    if (err == 0)
        atomic_store(&w->covered, before);
    return err;
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    assert_non_null(b);
    fixture_setup(&b->fixture);
    fixture_close(&b->fixture);
    b->watched.ops = system_files;
    b->watched.ops.ctx = &b->watched;
    b->watched.ops.pwrite = watched_pwrite;
    b->watched.ops.fdatasync = watched_fdatasync;
    assert_int_equal(fixture_try_open(&b->fixture, ARCHIVE_WRITE, false, &b->watched.ops),
                     0);
    pthread_mutex_init(&b->mutex, NULL);
    pthread_cond_init(&b->changed, NULL);
    assert_int_equal(budget_create(BUDGET_LIMIT_MIN, &b->budget), 0);
    assert_int_equal(writer_create(b->fixture.archive, b->budget, &b->writer), 0);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    writer_destroy(b->writer);
    budget_destroy(b->budget);
    fixture_teardown(&b->fixture);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->mutex);
    free(b);
    return 0;
}

static void done(void *arg)
{
    struct post *p = arg;
    struct bench *b = p->bench;
    pthread_mutex_lock(&b->mutex);
    b->order[b->done++] = (struct order){
        .item = &p->item,
        .covered = atomic_load(&b->watched.writes) == atomic_load(&b->watched.covered),
    };
    pthread_cond_signal(&b->changed);
    pthread_mutex_unlock(&b->mutex);
}

static void wait_for(struct bench *b, unsigned count)
{
    struct timespec until;
    int err = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&b->mutex);
    while (b->done < count && err == 0)
        err = pthread_cond_timedwait(&b->changed, &b->mutex, &until);
    pthread_mutex_unlock(&b->mutex);
    assert_int_equal(err, 0);
}

static void submit(struct bench *b, struct post *p)
{
    p->bench = b;
    p->item.done = done;
    p->item.arg = p;
    writer_submit(b->writer, &p->item);
}

/* A record that the index takes without an account of its own: a CHUNK. */
static struct record *make_record(size_t size)
{
    struct record *r = record_create(RECORD_CHUNK, 1, 1);
    const struct chunk_meta meta = {.sequence = 0};
    assert_non_null(r);
    chunk_meta_encode(&r->meta, &meta);
    r->body = calloc(1, size);
    assert_non_null(r->body);
    r->header.codec = CODEC_STORED;
    r->header.body_size = r->header.body_raw_size = size;
    assert_int_equal(record_prepare(r, NULL), 0);
    return r;
}

static void submit_record(struct bench *b, struct post *p, bool urgent)
{
    p->item = (struct writer_item){.kind = WRITER_RECORD, .record = make_record(BODY_SIZE)};
    p->item.urgent = urgent;
    submit(b, p);
}

static void submit_origin(struct bench *b, struct post *p, const char *name)
{
    p->item = (struct writer_item){.kind = WRITER_ORIGIN,
                                   .urgent = true,
                                   .name = span_text(name),
                                   .host = span_text("pop.example"),
                                   .login = span_text(name)};
    submit(b, p);
}

static void acknowledges_only_what_a_later_sync_covers(void **state)
{
    struct bench *b = *state;
    struct post posts[100];
    for (unsigned i = 0; i < 100; i++)
        submit_record(b, &posts[i], i % 10 == 0);
    wait_for(b, 100);
    for (unsigned i = 0; i < 100; i++) {
        assert_ptr_equal(b->order[i].item, &posts[i].item); /* in order */
        assert_int_equal(posts[i].item.err, 0);
        assert_true(b->order[i].covered);
    }
    assert_true(writer_stored_bytes(b->writer) > 100 * BODY_SIZE);
    assert_in_range(writer_commits(b->writer), 1, 100);
}

static void commits_a_lonely_record_after_a_while(void **state)
{
    struct bench *b = *state;
    struct post post;
    submit_record(b, &post, false);
    wait_for(b, 1);
    assert_int_equal(post.item.err, 0);
    assert_true(b->order[0].covered);
}

static void groups_many_records_into_few_commits(void **state)
{
    struct bench *b = *state;
    struct post posts[200];
    for (unsigned i = 0; i < 200; i++)
        submit_record(b, &posts[i], false);
    wait_for(b, 200);
    /* 12.5 MiB at 4 MiB a group, or every 50 ms on a slow machine. */
    assert_in_range(writer_commits(b->writer), 1, 100);
}

static uint64_t count_of(const struct latency *l, uint64_t over_us)
{
    uint64_t count = 0;
    for (size_t i = 0; i < LATENCY_CLASSES; i++)
        if (over_us == 0 || i == LATENCY_BOUNDS || latency_bounds_us[i] > over_us)
            count += l->counts[i];
    return count;
}

static void tells_how_long_its_commits_take(void **state)
{
    struct bench *b = *state;
    struct post posts[3];
    assert_int_equal(writer_waiting(b->writer), 0);
    atomic_store(&b->watched.sync_us, 200000);
    submit_record(b, &posts[0], true);
    assert_int_equal(writer_waiting(b->writer), 1);
    wait_for(b, 1);
    atomic_store(&b->watched.sync_us, 0);
    assert_int_equal(writer_waiting(b->writer), 0);
    struct latency l = writer_commit_latency(b->writer);
    assert_int_equal(count_of(&l, 0), 1);
    assert_int_equal(count_of(&l, 100000), 1);
    assert_true(l.sum_us >= 200000);
    writer_wait(b->writer); /* a barrier, which commits nothing */
    l = writer_commit_latency(b->writer);
    assert_int_equal(count_of(&l, 0), 1);
    atomic_store(&b->watched.sync_sick, true);
    submit_record(b, &posts[1], true);
    wait_for(b, 2);
    submit_record(b, &posts[2], true); /* refused without a try */
    wait_for(b, 3);
    l = writer_commit_latency(b->writer);
    assert_int_equal(count_of(&l, 0), 2);
}

static void gives_out_one_number_for_one_name(void **state)
{
    struct bench *b = *state;
    struct post first, again, other, barrier;
    submit_origin(b, &first, "alice");
    submit_origin(b, &again, "alice");
    submit_origin(b, &other, "bob");
    barrier.item = (struct writer_item){.kind = WRITER_BARRIER, .urgent = true};
    submit(b, &barrier);
    wait_for(b, 4);
    assert_int_equal(first.item.err, 0);
    assert_int_equal(first.item.account, again.item.account);
    assert_int_equal(first.item.source, again.item.source);
    assert_int_not_equal(first.item.account, other.item.account);
    assert_ptr_equal(b->order[3].item, &barrier.item);
}

static void a_name_that_is_too_long_fails_alone(void **state)
{
    struct bench *b = *state;
    struct post bad, good;
    char name[NAME_SIZE_MAX + 2];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    submit_origin(b, &bad, name);
    submit_origin(b, &good, "alice");
    wait_for(b, 2);
    assert_int_equal(bad.item.err, ERR_TOO_LARGE);
    assert_int_equal(good.item.err, 0);
    assert_int_equal(writer_failure(b->writer), 0);
}

static void refuses_everything_once_a_write_failed(void **state)
{
    struct bench *b = *state;
    struct post good, bad, barrier, late;
    submit_record(b, &good, true);
    wait_for(b, 1);
    atomic_store(&b->watched.full, true);
    submit_record(b, &bad, false);
    barrier.item = (struct writer_item){.kind = WRITER_BARRIER, .urgent = true};
    submit(b, &barrier);
    wait_for(b, 3);
    atomic_store(&b->watched.full, false);
    submit_record(b, &late, true);
    wait_for(b, 4);
    assert_int_equal(good.item.err, 0);
    assert_int_equal(bad.item.err, -ENOSPC);
    assert_int_equal(barrier.item.err, -ENOSPC);
    assert_int_equal(late.item.err, -ENOSPC);
    assert_int_equal(writer_failure(b->writer), -ENOSPC);
}

static void never_syncs_again_after_a_failed_sync(void **state)
{
    struct bench *b = *state;
    struct post posts[3];
    submit_record(b, &posts[0], true);
    wait_for(b, 1);
    atomic_store(&b->watched.sync_sick, true);
    submit_record(b, &posts[1], true);
    wait_for(b, 2);
    unsigned syncs = atomic_load(&b->watched.syncs);
    atomic_store(&b->watched.sync_sick, false);
    submit_record(b, &posts[2], true);
    wait_for(b, 3);
    assert_int_equal(posts[1].item.err, -EIO);
    assert_int_equal(posts[2].item.err, -EIO);
    assert_int_equal(atomic_load(&b->watched.syncs), syncs);
}

static void gives_memory_back_before_it_acknowledges(void **state)
{
    struct bench *b = *state;
    struct budget_claim claim = {0};
    struct post post = {.item = {.kind = WRITER_RECORD,
                                 .urgent = true,
                                 .record = make_record(BODY_SIZE),
                                 .memory = BODY_SIZE}};
    budget_pass(b->budget, &claim, BODY_SIZE);
    assert_int_equal(budget_used(b->budget), BODY_SIZE);
    submit(b, &post);
    wait_for(b, 1);
    assert_int_equal(budget_used(b->budget), 0);
}

static void finishes_what_is_queued_when_it_is_destroyed(void **state)
{
    struct bench *b = *state;
    struct post posts[20];
    for (unsigned i = 0; i < 20; i++)
        submit_record(b, &posts[i], false);
    writer_destroy(b->writer);
    b->writer = NULL;
    assert_int_equal(b->done, 20);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(posts[i].item.err, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(acknowledges_only_what_a_later_sync_covers),
        TEST(commits_a_lonely_record_after_a_while),
        TEST(groups_many_records_into_few_commits),
        TEST(gives_out_one_number_for_one_name),
        TEST(a_name_that_is_too_long_fails_alone),
        TEST(refuses_everything_once_a_write_failed),
        TEST(never_syncs_again_after_a_failed_sync),
        TEST(tells_how_long_its_commits_take),
        TEST(gives_memory_back_before_it_acknowledges),
        TEST(finishes_what_is_queued_when_it_is_destroyed),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
