/* archive/envelope.h: the same fields however the message is cut, within their limits.
 * Input: number of cuts, the cuts, the message. */
#include "archive/envelope.h"
#include "tests/fuzz/fuzz.h"

static void scan(struct envelope *e, struct span message, struct cursor cuts)
{
    size_t done = 0;
    envelope_start(e);
    while (done < message.size) {
        size_t piece = fuzz_piece(&cuts, message.size - done);
        uint8_t *copy = fuzz_copy(message.data + done, piece);
        envelope_add(e, copy, piece);
        free(copy);
        done += piece;
    }
}

static void check_field(struct span field)
{
    FUZZ_CHECK(field.size <= FIELD_SIZE_MAX);
    for (size_t i = 0; i < field.size; i++)
        FUZZ_CHECK(field.data[i] != '\n' && field.data[i] != '\r');
    if (field.size > 0)
        FUZZ_CHECK(field.data[0] != ' ' && field.data[field.size - 1] != ' ');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = fuzz_input(data, size);
    struct cursor cuts = fuzz_cuts(&c), no_cuts = {.at = c.at, .end = c.at};
    struct span message = span_of(c.at, cursor_left(&c));
    struct span whole_fields[FIELD_COUNT], cut_fields[FIELD_COUNT];
    struct envelope *whole = malloc(sizeof(*whole)), *cut = malloc(sizeof(*cut));
    FUZZ_CHECK(whole != NULL && cut != NULL);
    scan(whole, message, no_cuts);
    scan(cut, message, cuts);
    envelope_fields(whole, whole_fields);
    envelope_fields(cut, cut_fields);
    for (int i = 0; i < FIELD_COUNT; i++) {
        check_field(whole_fields[i]);
        FUZZ_CHECK(span_equal(whole_fields[i], cut_fields[i]));
    }
    free(whole);
    free(cut);
    return 0;
}
