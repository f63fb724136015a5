#include "archive/error.h"
#include "tests/support/attachments.h"
#include "tests/support/records.h"
#include "workers/prover.h"

#include <fcntl.h>
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

#define NAME "a@x"
#define MESSAGES 20
#define MESSAGE_SIZE 3000
#define LONG_SIZE ((size_t)6 << 20)
#define POSTS_MAX 64
#define THREADS 4
#define PATIENCE_S 60

/* The system's files; what opens them past the cache is believed, whatever /tmp is. */
struct watched {
    struct file_ops ops;
    atomic_bool direct[256]; /* by descriptor */
    atomic_int open;         /* descriptors that read the disk */
    atomic_uint reads;
    atomic_uint delay_ms; /* each read of the disk takes so long */
};

struct bench {
    struct fixture fixture;
    struct watched watched;
    struct prover *prover;
    uint32_t account;
    uint8_t sha256[MESSAGES + 2][SHA256_SIZE]; /* by N; the last one is long */
    pthread_mutex_t mutex;                     /* guards what follows */
    pthread_cond_t changed;
    unsigned done;
    const struct prover_item *order[POSTS_MAX];
    bool elsewhere; /* every done() came in another thread than main's */
    pthread_t main;
};

struct post {
    struct prover_item item;
    struct prover_claim claims[MESSAGES];
    struct bench *bench;
    int open; /* descriptors that read the disk when it was done */
};

static int watched_open(void *ctx, const char *path, int flags, mode_t mode, int *out_fd)
{
    struct watched *w = ctx;
    int err = system_files.open(NULL, path, flags & ~O_DIRECT, mode, out_fd);
    if (err == 0 && (flags & O_DIRECT) != 0) {
        atomic_store(&w->direct[*out_fd], true);
        atomic_fetch_add(&w->open, 1);
    }
    return err;
}

static int watched_close(void *ctx, int fd)
{
    struct watched *w = ctx;
    if (atomic_exchange(&w->direct[fd], false))
        atomic_fetch_sub(&w->open, 1);
    return system_files.close(NULL, fd);
}

static int watched_pread(void *ctx, int fd, void *data, size_t size, uint64_t offset,
                         size_t *out_read)
{
    struct watched *w = ctx;
    if (atomic_load(&w->direct[fd])) {
        atomic_fetch_add(&w->reads, 1);
        usleep(atomic_load(&w->delay_ms) * 1000);
    }
    return system_files.pread(NULL, fd, data, size, offset, out_read);
}

static int watched_direct_unit(void *ctx, int fd, uint32_t *out_unit)
{
    (void)ctx;
    (void)fd;
    *out_unit = 512;
    return 0;
}

static void take(struct bench *b, struct intake *in, int n)
{
    struct buffer m = {0};
    char uidl[16];
    enum intake_result result;
    mail_header(&m, NAME, "a letter");
    mail_lines(&m, (unsigned)n, n > MESSAGES ? LONG_SIZE : MESSAGE_SIZE);
    sha256_of(m.data, m.size, b->sha256[n]);
    snprintf(uidl, sizeof(uidl), "u%d", n);
    assert_int_equal(fixture_take(in, uidl, m.data, m.size, &result), INTAKE_WANTED);
    buffer_free(&m);
}

static void fill(struct bench *b)
{
    struct account_info info;
    struct intake *in = fixture_intake(&b->fixture, NAME);
    for (int n = 1; n <= MESSAGES + 1; n++)
        take(b, in, n);
    fixture_finish(&b->fixture, in);
    assert_int_equal(archive_find_account(b->fixture.archive, NAME, &info), 0);
    b->account = info.number;
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    assert_non_null(b);
    fixture_setup(&b->fixture);
    fixture_close(&b->fixture);
    b->watched.ops = system_files;
    b->watched.ops.ctx = &b->watched;
    b->watched.ops.open = watched_open;
    b->watched.ops.close = watched_close;
    b->watched.ops.pread = watched_pread;
    b->watched.ops.direct_unit = watched_direct_unit;
    assert_int_equal(fixture_try_open(&b->fixture, ARCHIVE_WRITE, false, &b->watched.ops),
                     0);
    fill(b);
    pthread_mutex_init(&b->mutex, NULL);
    pthread_cond_init(&b->changed, NULL);
    b->main = pthread_self();
    b->elsewhere = true;
    assert_int_equal(prover_create(b->fixture.archive, &b->prover), 0);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    prover_destroy(b->prover);
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
    p->open = atomic_load(&b->watched.open);
    pthread_mutex_lock(&b->mutex);
    b->order[b->done++] = &p->item;
    b->elsewhere &= !pthread_equal(pthread_self(), b->main);
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

/* Claim messages first..last, rightly. */
static void claim(struct bench *b, struct post *p, uint64_t first, uint64_t last)
{
    *p = (struct post){.bench = b, .open = -1};
    p->item.account = b->account;
    p->item.claims = p->claims;
    p->item.count = (size_t)(last - first + 1);
    p->item.done = done;
    p->item.arg = p;
    for (size_t i = 0; i < p->item.count; i++) {
        p->claims[i].n = first + i;
        p->claims[i].err = 1;
        memcpy(p->claims[i].sha256, b->sha256[first + i], SHA256_SIZE);
    }
}

static void assert_claims(const struct post *p, int err)
{
    for (size_t i = 0; i < p->item.count; i++)
        assert_int_equal(p->claims[i].err, err);
}

static void says_of_each_claim_whether_it_is_sound(void **state)
{
    struct bench *b = *state;
    struct post p;
    claim(b, &p, 1, 5);
    memcpy(p.claims[1].sha256, b->sha256[1], SHA256_SIZE);
    p.claims[3].n = MESSAGES + 2;
    p.claims[4].n = MESSAGES + 1;
    memcpy(p.claims[4].sha256, b->sha256[MESSAGES + 1], SHA256_SIZE);
    prover_submit(b->prover, &p.item);
    wait_for(b, 1);
    assert_int_equal(p.claims[0].err, 0);
    assert_int_equal(p.claims[1].err, ERR_DAMAGED);
    assert_int_equal(p.claims[2].err, 0);
    assert_int_equal(p.claims[3].err, ERR_NOT_FOUND);
    assert_int_equal(p.claims[4].err, 0);
    assert_true(b->elsewhere);
    assert_int_equal(prover_claims(b->prover), 5);
    assert_true(prover_bytes_read(b->prover) > LONG_SIZE / 4);
}

static void does_items_in_the_order_in_which_they_came(void **state)
{
    struct bench *b = *state;
    struct post posts[MESSAGES];
    for (size_t i = 0; i < MESSAGES; i++) {
        claim(b, &posts[i], i + 1, i % 3 == 0 ? i : i + 1); /* some are empty */
        prover_submit(b->prover, &posts[i].item);
    }
    wait_for(b, MESSAGES);
    for (size_t i = 0; i < MESSAGES; i++) {
        assert_ptr_equal(b->order[i], &posts[i].item);
        assert_claims(&posts[i], 0);
    }
}

/* Damage that came after one item is found by the next, and nothing stays open between. */
static void reads_anew_for_each_item(void **state)
{
    struct bench *b = *state;
    struct post before, after;
    claim(b, &before, 1, MESSAGES);
    prover_submit(b->prover, &before.item);
    wait_for(b, 1);
    assert_claims(&before, 0);
    assert_int_equal(before.open, 0);
    unsigned reads = atomic_load(&b->watched.reads);
    assert_in_range(reads, 1, MESSAGES); /* they share a block */

    struct record_sum blocks = records_sum(&b->fixture, RECORD_BLOCK);
    assert_int_equal(blocks.count, 1);
    segment_flip(&b->fixture, 1, blocks.bytes / 2, 3);
    claim(b, &after, 1, MESSAGES);
    prover_submit(b->prover, &after.item);
    wait_for(b, 2);
    assert_claims(&after, ERR_DAMAGED);
    assert_int_equal(after.open, 0);
}

struct submitter {
    pthread_t thread;
    struct bench *bench;
    struct post posts[POSTS_MAX / THREADS];
};

static void *submit_all(void *arg)
{
    struct submitter *s = arg;
    for (size_t i = 0; i < POSTS_MAX / THREADS; i++) {
        claim(s->bench, &s->posts[i], i + 1, i + 3);
        prover_submit(s->bench->prover, &s->posts[i].item);
    }
    return NULL;
}

static void takes_items_from_any_thread(void **state)
{
    struct bench *b = *state;
    struct submitter *submitters = calloc(THREADS, sizeof(*submitters));
    assert_non_null(submitters);
    for (size_t i = 0; i < THREADS; i++) {
        submitters[i].bench = b;
        assert_int_equal(
            pthread_create(&submitters[i].thread, NULL, submit_all, &submitters[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(submitters[i].thread, NULL);
    wait_for(b, POSTS_MAX);
    for (size_t i = 0; i < THREADS; i++)
        for (size_t k = 0; k < POSTS_MAX / THREADS; k++)
            assert_claims(&submitters[i].posts[k], 0);
    assert_int_equal(prover_claims(b->prover), POSTS_MAX * 3);
    free(submitters);
}

static void wait_for_reads(struct bench *b, unsigned count)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    for (int i = 0; i < PATIENCE_S * 1000 && atomic_load(&b->watched.reads) < count; i++)
        nanosleep(&moment, NULL);
    assert_true(atomic_load(&b->watched.reads) >= count);
}

/* In the middle of a long message on a slow disk, with more behind it. */
static void stops_while_busy(void **state)
{
    struct bench *b = *state;
    struct post begun, rest, behind;
    claim(b, &begun, MESSAGES + 1, MESSAGES + 1);
    prover_submit(b->prover, &begun.item);
    wait_for(b, 1);
    unsigned whole = atomic_load(&b->watched.reads);

    atomic_store(&b->watched.delay_ms, 20);
    claim(b, &begun, MESSAGES + 1, MESSAGES + 1);
    claim(b, &rest, 1, MESSAGES);
    claim(b, &behind, 1, MESSAGES);
    prover_submit(b->prover, &begun.item);
    prover_submit(b->prover, &rest.item);
    prover_submit(b->prover, &behind.item);
    wait_for_reads(b, whole + 5);
    prover_destroy(b->prover);
    b->prover = NULL;

    assert_int_equal(b->done, 4);
    assert_ptr_equal(b->order[3], &behind.item);
    assert_claims(&begun, ERR_STOPPED);
    assert_claims(&rest, ERR_STOPPED);
    assert_claims(&behind, ERR_STOPPED);
    assert_true(atomic_load(&b->watched.reads) < 2 * whole);
    assert_int_equal(begun.open, 0);
}

/* Sessions that are still ending may ask on, and get an answer. */
static void refuses_what_comes_after_stop(void **state)
{
    struct bench *b = *state;
    struct post p;
    prover_stop(b->prover);
    prover_stop(NULL);
    for (unsigned i = 1; i <= 2; i++) {
        claim(b, &p, 1, 3);
        prover_submit(b->prover, &p.item);
        wait_for(b, i);
        assert_claims(&p, ERR_STOPPED);
    }
    assert_int_equal(prover_claims(b->prover), 0);
    assert_int_equal(prover_bytes_read(b->prover), 0);
}

static void stops_at_rest(void **state)
{
    struct bench *b = *state;
    struct post p;
    claim(b, &p, 1, 1);
    prover_submit(b->prover, &p.item);
    wait_for(b, 1);
    prover_destroy(b->prover);
    b->prover = NULL;
    prover_destroy(NULL);
    assert_int_equal(b->done, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(says_of_each_claim_whether_it_is_sound),
        TEST(does_items_in_the_order_in_which_they_came),
        TEST(reads_anew_for_each_item),
        TEST(takes_items_from_any_thread),
        TEST(stops_while_busy),
        TEST(refuses_what_comes_after_stop),
        TEST(stops_at_rest),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("prover", tests, NULL, NULL);
}
