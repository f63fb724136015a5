/* Whatever the effort: a frame gives back its bytes, says how many they are, and refuses to
 * be taken for another number of them. */
#include "archive/codec.h"
#include "archive/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEXT_SIZE ((size_t)300 * 1000)
#define NOISE_SIZE ((size_t)200 * 1000)

struct world {
    struct codec *codec;
    uint8_t *data;
    uint8_t *frame;
    uint8_t *back;
    size_t capacity;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    w->codec = codec_create();
    w->capacity = codec_bound(TEXT_SIZE);
    w->data = malloc(TEXT_SIZE);
    w->frame = malloc(w->capacity);
    w->back = malloc(TEXT_SIZE);
    assert_true(w->codec != NULL && w->data != NULL && w->frame != NULL && w->back != NULL);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    codec_destroy(w->codec);
    free(w->data);
    free(w->frame);
    free(w->back);
    free(w);
    return 0;
}

static uint32_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return (uint32_t)(*x >> 32);
}

/* Words of a small vocabulary, some more frequent than others. */
static void fill_with_text(struct world *w)
{
    uint64_t x = 88172645463325252u;
    for (size_t at = 0; at < TEXT_SIZE;) {
        char word[16];
        uint32_t r = next_random(&x);
        int size =
            snprintf(word, sizeof(word), "w%x ", (r % 1000) * (r >> 16 & 3) * 40503u);
        size_t room = TEXT_SIZE - at;
        size_t taken = (size_t)size < room ? (size_t)size : room;
        memcpy(w->data + at, word, taken);
        at += taken;
    }
}

static void fill_with_noise(struct world *w)
{
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < NOISE_SIZE; i++)
        w->data[i] = (uint8_t)next_random(&x);
}

static size_t there_and_back(struct world *w, enum codec_effort effort, size_t size)
{
    size_t stored = 0, claimed = 0;
    assert_int_equal(
        codec_compress(w->codec, effort, w->data, size, w->frame, w->capacity, &stored), 0);
    assert_int_equal(codec_raw_size(w->frame, stored, size, &claimed), 0);
    assert_int_equal(claimed, size);
    memset(w->back, 0, size);
    assert_int_equal(codec_decompress(w->codec, w->frame, stored, w->back, size), 0);
    assert_memory_equal(w->back, w->data, size);
    return stored;
}

static void test_bytes_come_back_at_every_effort_in_any_order(void **state)
{
    struct world *w = *state;
    fill_with_text(w);
    for (int first = 0; first < CODEC_EFFORT_COUNT; first++)
        for (int then = 0; then < CODEC_EFFORT_COUNT; then++) {
            assert_true(there_and_back(w, (enum codec_effort)first, TEXT_SIZE) <
                        TEXT_SIZE / 2);
            there_and_back(w, (enum codec_effort)then, 1000);
            there_and_back(w, (enum codec_effort)then, 1);
        }
}

static void test_an_effort_is_its_own_whatever_came_before(void **state)
{
    struct world *w = *state;
    fill_with_text(w);
    size_t fetched = there_and_back(w, CODEC_FETCH, TEXT_SIZE);
    size_t repacked = there_and_back(w, CODEC_REPACK, TEXT_SIZE);
    assert_true(repacked < fetched);
    assert_int_equal(there_and_back(w, CODEC_FETCH, TEXT_SIZE), fetched);
    assert_int_equal(there_and_back(w, CODEC_REPACK, TEXT_SIZE), repacked);
}

static void test_noise_grows_by_hardly_anything(void **state)
{
    struct world *w = *state;
    fill_with_noise(w);
    for (int effort = 0; effort < CODEC_EFFORT_COUNT; effort++)
        assert_true(there_and_back(w, (enum codec_effort)effort, NOISE_SIZE) <
                    NOISE_SIZE + NOISE_SIZE / 1000);
}

static void test_a_frame_is_refused_for_another_size(void **state)
{
    struct world *w = *state;
    size_t stored = 0, claimed = 0;
    fill_with_text(w);
    assert_int_equal(codec_compress(w->codec, CODEC_FETCH_PART, w->data, 5000, w->frame,
                                    w->capacity, &stored),
                     0);
    assert_int_equal(codec_decompress(w->codec, w->frame, stored, w->back, 5001),
                     ERR_DAMAGED);
    assert_int_equal(codec_decompress(w->codec, w->frame, stored, w->back, 4999),
                     ERR_DAMAGED);
    assert_int_equal(codec_decompress(w->codec, w->frame, stored - 1, w->back, 5000),
                     ERR_DAMAGED);
    assert_int_equal(codec_raw_size(w->frame, stored, 4999, &claimed), ERR_DAMAGED);
    assert_int_equal(codec_raw_size("no frame", 8, 4999, &claimed), ERR_DAMAGED);
}

int main(void)
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bytes_come_back_at_every_effort_in_any_order,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_effort_is_its_own_whatever_came_before,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_noise_grows_by_hardly_anything, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_frame_is_refused_for_another_size, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
