/* Whichever decoder this processor gets, it agrees with libmodpbase64 in what it takes, in
 * what it gives, and in how much it writes. */
#include "archive/base64_decode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CHARS_MAX 200u
#define BYTES_MAX (CHARS_MAX / 4 * 3)
#define UNTOUCHED 0xa5

static const char digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static uint32_t next_random(uint32_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return *x;
}

static void fill(uint8_t *chars, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++)
        chars[i] = (uint8_t)digits[next_random(&seed) % 64];
}

/* Exactly as many characters as are given, so that reading on is noticed. */
static size_t decode_exactly(base64_decoder *decode, const uint8_t *chars, size_t size,
                             uint8_t out[BYTES_MAX + BASE64_DECODE_SLACK])
{
    uint8_t *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, chars, size);
    memset(out, UNTOUCHED, BYTES_MAX + BASE64_DECODE_SLACK);
    size_t bytes = decode(out, copy, size);
    free(copy);
    return bytes;
}

static void test_every_length_gives_the_plain_decoders_bytes(void **state)
{
    (void)state;
    base64_decoder *decode = base64_decode_choose();
    uint8_t chars[CHARS_MAX], got[BYTES_MAX + BASE64_DECODE_SLACK],
        want[BYTES_MAX + BASE64_DECODE_SLACK];
    for (size_t size = 4; size <= CHARS_MAX; size += 4)
        for (uint32_t seed = 1; seed <= 50; seed++) {
            size_t bytes = size / 4 * 3;
            fill(chars, size, seed);
            assert_int_equal(decode_exactly(base64_decode_plain, chars, size, want), bytes);
            assert_int_equal(decode_exactly(decode, chars, size, got), bytes);
            assert_memory_equal(got, want, bytes);
            for (size_t i = bytes + BASE64_DECODE_SLACK; i < sizeof(got); i++)
                assert_int_equal(got[i], UNTOUCHED);
        }
}

static void test_every_digit_at_every_place(void **state)
{
    (void)state;
    base64_decoder *decode = base64_decode_choose();
    uint8_t chars[76], got[BYTES_MAX + BASE64_DECODE_SLACK],
        want[BYTES_MAX + BASE64_DECODE_SLACK];
    for (size_t shift = 0; shift < 64; shift++) {
        for (size_t i = 0; i < sizeof(chars); i++)
            chars[i] = (uint8_t)digits[(i + shift) % 64];
        decode_exactly(base64_decode_plain, chars, sizeof(chars), want);
        assert_int_equal(decode_exactly(decode, chars, sizeof(chars), got), 57);
        assert_memory_equal(got, want, 57);
    }
}

static void test_one_byte_that_is_no_digit_is_refused_at_every_place(void **state)
{
    (void)state;
    static const size_t sizes[] = {4, 32, 60, 76, 128};
    base64_decoder *decode = base64_decode_choose();
    uint8_t chars[CHARS_MAX], got[BYTES_MAX + BASE64_DECODE_SLACK];
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
        for (size_t at = 0; at < sizes[k]; at++)
            for (int byte = 0; byte < 256; byte++) {
                if (byte != '\0' && strchr(digits, byte) != NULL)
                    continue;
                fill(chars, sizes[k], 7);
                chars[at] = (uint8_t)byte;
                size_t bytes = sizes[k] / 4 * 3;
                assert_int_not_equal(decode_exactly(decode, chars, sizes[k], got), bytes);
                assert_int_not_equal(
                    decode_exactly(base64_decode_plain, chars, sizes[k], got), bytes);
            }
}

int main(void)
{
    cmocka_set_message_output(CM_OUTPUT_TAP);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_length_gives_the_plain_decoders_bytes),
        cmocka_unit_test(test_every_digit_at_every_place),
        cmocka_unit_test(test_one_byte_that_is_no_digit_is_refused_at_every_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
