/* The one with AVX2 is after W. Mula and D. Lemire, "Faster Base64 Encoding and Decoding
 * Using AVX2 Instructions" (2018): 32 characters at once. */
#include "archive/base64_decode.h"

#include <modp_b64.h>

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdbool.h>
#endif

size_t base64_decode_plain(uint8_t *out, const uint8_t *in, size_t chars)
{
    return modp_b64_decode((char *)out, (const char *)in, chars);
}

#if defined(__x86_64__)

#define AVX2 __attribute__((target("avx2")))

#define STEP_CHARS ((size_t)32)

/* A table of 16 bytes, for both halves of a vector. */
AVX2 static inline __m256i table(const int8_t bytes[16])
{
    return _mm256_broadcastsi128_si256(
        _mm_loadu_si128((const __m128i *)(const void *)bytes));
}

/* Characters to their 6 bits, or false. What a character is follows from its two halves:
 * each half has a set of the classes that it excludes, and a character is a digit if no
 * class is in both. The upper half also tells how far the digit is from its character, but
 * for '/'. */
AVX2 static inline bool to_digits(__m256i *chars)
{
    static const int8_t excluded_by_lower[16] = {0x15, 0x11, 0x11, 0x11, 0x11, 0x11,
                                                 0x11, 0x11, 0x11, 0x11, 0x13, 0x1a,
                                                 0x1b, 0x1b, 0x1b, 0x1a};
    static const int8_t excluded_by_upper[16] = {0x10, 0x10, 0x01, 0x02, 0x04, 0x08,
                                                 0x04, 0x08, 0x10, 0x10, 0x10, 0x10,
                                                 0x10, 0x10, 0x10, 0x10};
    static const int8_t distances[16] = {0, 16, 19, 4, -65, -65, -71, -71};
    const __m256i slash = _mm256_set1_epi8('/');
    /* 0x2f keeps bit 5 too, which a shuffle ignores. */
    __m256i upper = _mm256_and_si256(_mm256_srli_epi32(*chars, 4), slash);
    __m256i lower = _mm256_and_si256(*chars, slash);
    __m256i by_upper = _mm256_shuffle_epi8(table(excluded_by_upper), upper);
    __m256i by_lower = _mm256_shuffle_epi8(table(excluded_by_lower), lower);
    if (_mm256_testz_si256(by_lower, by_upper) == 0)
        return false;
    __m256i is_slash = _mm256_cmpeq_epi8(*chars, slash); /* -1 there */
    __m256i distance =
        _mm256_shuffle_epi8(table(distances), _mm256_add_epi8(is_slash, upper));
    *chars = _mm256_add_epi8(*chars, distance);
    return true;
}

/* 32 times 6 bits to 24 bytes, and 8 that mean nothing. */
AVX2 static inline __m256i pack(__m256i digits)
{
    static const int8_t reversed[16] = {2, 1,  0,  6,  5,  4,  10, 9,
                                        8, 14, 13, 12, -1, -1, -1, -1};
    __m256i pairs = _mm256_maddubs_epi16(digits, _mm256_set1_epi32(0x01400140));
    __m256i groups = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00011000));
    __m256i bytes = _mm256_shuffle_epi8(groups, table(reversed));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7));
}

/* What is left of a step is done once more, together with characters before it. */
AVX2 static size_t decode_avx2(uint8_t *out, const uint8_t *in, size_t chars)
{
    if (chars < STEP_CHARS)
        return base64_decode_plain(out, in, chars);
    for (size_t at = 0; at < chars; at += STEP_CHARS) {
        if (chars - at < STEP_CHARS)
            at = chars - STEP_CHARS;
        __m256i step = _mm256_loadu_si256((const __m256i *)(const void *)(in + at));
        if (!to_digits(&step))
            return 0;
        _mm256_storeu_si256((__m256i *)(void *)(out + at / 4 * 3), pack(step));
    }
    return chars / 4 * 3;
}

base64_decoder *base64_decode_choose(void)
{
    return __builtin_cpu_supports("avx2") ? decode_avx2 : base64_decode_plain;
}

#else

base64_decoder *base64_decode_choose(void)
{
    return base64_decode_plain;
}

#endif
