/* Sets of message numbers, and the metas that hold them. */
#include "archive/error.h"
#include "archive/meta.h"
#include "archive/number_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct span encoded(struct buffer *out, const uint64_t *numbers, size_t count)
{
    struct buffer bits = {0};
    for (size_t i = 0; i < count; i++)
        buffer_put_bit(&bits, numbers[i]);
    number_set_encode(out, &bits);
    buffer_free(&bits);
    return span_of(out->data, out->size);
}

static void a_set_says_what_was_put_in(void **state)
{
    static const uint64_t numbers[] = {1, 2, 3, 7, 9, 10, 64, 1000, 1001};
    struct buffer out = {0};
    (void)state;
    struct span set = encoded(&out, numbers, 9);
    assert_true(number_set_valid(set));
    assert_int_equal(set.size, 5 * 12);
    assert_int_equal(number_set_count(set), 9);
    uint64_t n = 0;
    for (size_t i = 0; i < 9; i++) {
        n = number_set_next(set, n);
        assert_int_equal(n, numbers[i]);
        assert_true(number_set_has(set, n));
    }
    assert_int_equal(number_set_next(set, n), 0);
    static const uint64_t others[] = {0, 4, 6, 8, 11, 63, 65, 999, 1002, UINT64_MAX};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(number_set_has(set, others[i]));
    buffer_free(&out);
}

static void an_empty_set_is_valid(void **state)
{
    struct buffer out = {0};
    (void)state;
    struct span set = encoded(&out, NULL, 0);
    assert_true(number_set_valid(set));
    assert_int_equal(number_set_count(set), 0);
    assert_int_equal(number_set_next(set, 0), 0);
    assert_false(number_set_has(set, 1));
    buffer_free(&out);
}

static void put_range(struct buffer *out, uint64_t first, uint32_t count)
{
    buffer_put_u64(out, first);
    buffer_put_u32(out, count);
}

static bool two_ranges_valid(uint64_t first, uint32_t count, uint64_t then, uint32_t more)
{
    struct buffer out = {0};
    put_range(&out, first, count);
    put_range(&out, then, more);
    bool valid = number_set_valid(span_of(out.data, out.size));
    buffer_free(&out);
    return valid;
}

static void ranges_out_of_order_are_refused(void **state)
{
    (void)state;
    assert_true(two_ranges_valid(1, 2, 5, 1));
    assert_false(two_ranges_valid(1, 2, 2, 1));
    assert_false(two_ranges_valid(5, 1, 1, 1));
    assert_false(two_ranges_valid(0, 1, 5, 1));
    assert_false(two_ranges_valid(1, 0, 5, 1));
    assert_false(two_ranges_valid(1, 1, UINT64_MAX, 1));
    assert_false(number_set_valid(span_of("12345678901", 11)));
}

static void an_outcome_with_too_many_numbers_is_damage(void **state)
{
    struct buffer set = {0}, meta = {0};
    struct outcome_meta m = {.source = 1, .state = DELETION_CONFIRMED};
    (void)state;
    put_range(&set, 1, DELETIONS_MAX);
    m.numbers = span_of(set.data, set.size);
    outcome_meta_encode(&meta, &m);
    assert_int_equal(outcome_meta_decode(span_of(meta.data, meta.size), &m), 0);
    assert_int_equal(number_set_count(m.numbers), DELETIONS_MAX);
    buffer_clear(&set);
    buffer_clear(&meta);
    put_range(&set, 1, DELETIONS_MAX + 1);
    m = (struct outcome_meta){
        .source = 1, .state = DELETION_CONFIRMED, .numbers = span_of(set.data, set.size)};
    outcome_meta_encode(&meta, &m);
    assert_int_equal(outcome_meta_decode(span_of(meta.data, meta.size), &m), ERR_DAMAGED);
    buffer_free(&set);
    buffer_free(&meta);
}

static void intents_are_read_as_written(void **state)
{
    struct buffer meta = {0};
    struct intents_reader reader;
    struct intent_meta m = {
        .n = 7, .listed_size = 100, .attempt = 2, .uidl = span_text("u")};
    (void)state;
    m.proof = INTENT_READ_BACK | INTENT_FETCHED_AGAIN;
    memset(m.sha256, 0xab, sizeof(m.sha256));
    intents_begin(&meta, 3, 2);
    intents_add(&meta, &m);
    m.n = 9;
    intents_add(&meta, &m);
    assert_int_equal(intents_open(&reader, span_of(meta.data, meta.size)), 0);
    assert_int_equal(reader.source, 3);
    assert_int_equal(intents_next(&reader, &m), 0);
    assert_int_equal(m.n, 7);
    assert_int_equal(m.attempt, 2);
    assert_int_equal(m.proof, 3);
    assert_true(span_equal(m.uidl, span_text("u")));
    assert_int_equal(m.sha256[31], 0xab);
    assert_int_equal(intents_next(&reader, &m), 0);
    assert_int_equal(m.n, 9);
    assert_int_equal(intents_next(&reader, &m), ERR_NOT_FOUND);
    assert_int_equal(intents_open(&reader, span_of(meta.data, meta.size - 1)), 0);
    assert_int_equal(intents_next(&reader, &m), 0);
    assert_int_equal(intents_next(&reader, &m), ERR_DAMAGED);
    buffer_free(&meta);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_says_what_was_put_in),
        cmocka_unit_test(an_empty_set_is_valid),
        cmocka_unit_test(ranges_out_of_order_are_refused),
        cmocka_unit_test(an_outcome_with_too_many_numbers_is_damage),
        cmocka_unit_test(intents_are_read_as_written),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
