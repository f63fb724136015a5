/* Groups of 4 characters are decoded and encoded by libmodpbase64, a line at a time. It
 * refuses characters outside the alphabet, '=' before the last two places and lengths that
 * are not a multiple of 4, but takes any pad bits: take_unit() looks at those. */
#include "archive/base64_run.h"

#include <assert.h>
#include <modp_b64.h>
#include <stdlib.h>
#include <string.h>

#define QUANTUM_BYTES BASE64_QUANTUM_BYTES
#define QUANTUM_CHARS BASE64_QUANTUM_CHARS
/* A group of 4 and the line end before it. */
#define UNIT_MAX (QUANTUM_CHARS + 2)
/* Characters decoded at once where a line is longer. */
#define BLOCK_CHARS 4096
#define BLOCK_BYTES (BLOCK_CHARS / QUANTUM_CHARS * QUANTUM_BYTES)
/* libmodpbase64 asks for this much more room than it fills. */
#define DECODE_SLACK 2
/* Decoded bytes that are gathered before the sink gets them. */
#define GATHER_BYTES 16384

enum scan_state {
    SCAN_LINE_START,
    SCAN_TEXT,
    SCAN_CANDIDATE, /* in what is a run if it gets long enough */
    SCAN_RUN,
};

/* What a byte can be in a run. */
enum kind {
    KIND_JUNK, /* not in any */
    KIND_DIGIT,
    KIND_LINE_END,
};

/* 1. SCAN_CANDIDATE: run.encoded < minimum; `held` are its characters from earlier pieces.
 * In every other state held_size is 0.
 * 2. `decoded` holds the bytes of this candidate or run that the sink has not had; between
 * steps it has room for BLOCK_BYTES more.
 * 3. `carry` is the beginning of a unit (a group of 4 with the line end before it, if one
 * belongs there) of a candidate or run, less than the unit: else carry_size is 0. */
struct base64_scanner {
    struct base64_sink sink;
    size_t minimum;
    enum scan_state state;
    struct base64_run run; /* line_length is 0 in the first line */
    uint64_t encoded;      /* size of the run's encoded form so far */
    uint64_t column;       /* characters taken of this line */
    bool over;             /* nothing can follow: padding, or something that does not fit */
    uint8_t carry[UNIT_MAX];
    size_t carry_size;
    uint8_t kinds[256]; /* enum kind of each byte; '=' counts as a digit */
    size_t held_size;
    size_t decoded_size;
    size_t decoded_capacity;
    uint8_t *held;
    uint8_t *decoded;
};

/* The bytes a step works on. */
struct window {
    const uint8_t *text;   /* the sink has had what is before */
    const uint8_t *start;  /* of the candidate, or of its part in this window */
    const uint8_t *at;     /* the scanner is here */
    const uint8_t *probed; /* see leap() */
    const uint8_t *end;
};

static const char line_ends[BASE64_LINE_END_COUNT][3] = {"", "\r\n", "\n"};
static const uint8_t line_end_sizes[BASE64_LINE_END_COUNT] = {0, 2, 1};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

bool base64_run_valid(const struct base64_run *run)
{
    if (run->size == 0 || run->size > BASE64_RUN_SIZE_MAX)
        return false;
    if (run->line_length == 0)
        return run->line_end == BASE64_LINE_NONE;
    return run->line_length <= BASE64_LINE_MAX && run->line_length % QUANTUM_CHARS == 0 &&
           (run->line_end == BASE64_LINE_CRLF || run->line_end == BASE64_LINE_LF);
}

uint64_t base64_run_encoded_size(const struct base64_run *run)
{
    uint64_t chars = (run->size + QUANTUM_BYTES - 1) / QUANTUM_BYTES * QUANTUM_CHARS;
    if (run->line_length == 0 || chars == 0)
        return chars;
    return chars + (chars - 1) / run->line_length * line_end_sizes[run->line_end];
}

static void fill_kinds(uint8_t kinds[256])
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    for (size_t i = 0; i < sizeof(digits) - 1; i++)
        kinds[(uint8_t)digits[i]] = KIND_DIGIT;
    kinds['\r'] = KIND_LINE_END;
    kinds['\n'] = KIND_LINE_END;
}

struct base64_scanner *base64_scanner_create(size_t minimum, const struct base64_sink *sink)
{
    assert(minimum >= QUANTUM_CHARS && minimum <= BASE64_MINIMUM_MAX);
    size_t held = minimum + UNIT_MAX;
    size_t decoded = minimum + GATHER_BYTES + BLOCK_BYTES;
    struct base64_scanner *s = calloc(1, sizeof(*s) + held + decoded + DECODE_SLACK);
    if (s == NULL)
        return NULL;
    fill_kinds(s->kinds);
    s->sink = *sink;
    s->minimum = minimum;
    s->held = (uint8_t *)(s + 1);
    s->decoded = s->held + held;
    s->decoded_capacity = decoded;
    return s;
}

void base64_scanner_destroy(struct base64_scanner *s)
{
    free(s);
}

void base64_scan_reset(struct base64_scanner *s)
{
    s->state = SCAN_LINE_START;
    s->carry_size = 0;
    s->held_size = 0;
    s->decoded_size = 0;
}

static int put_text(struct base64_scanner *s, const uint8_t *data, size_t size)
{
    return size > 0 ? s->sink.text(s->sink.arg, data, size) : 0;
}

static int put_held(struct base64_scanner *s)
{
    size_t size = s->held_size;
    s->held_size = 0;
    return put_text(s, s->held, size);
}

static int put_decoded(struct base64_scanner *s)
{
    size_t size = s->decoded_size;
    s->decoded_size = 0;
    return size > 0 ? s->sink.decoded(s->sink.arg, s->decoded, size) : 0;
}

static void begin_candidate(struct base64_scanner *s, struct window *w)
{
    s->state = SCAN_CANDIDATE;
    s->run = (struct base64_run){.line_end = BASE64_LINE_NONE};
    s->encoded = 0;
    s->column = 0;
    s->over = false;
    w->start = w->at;
}

/* At the start of a line: can a group of 4 be here? */
static bool may_begin(const struct base64_scanner *s, const uint8_t *at, const uint8_t *end)
{
    size_t size = smaller((size_t)(end - at), QUANTUM_CHARS);
    for (size_t i = 0; i < size; i++)
        if (s->kinds[at[i]] != KIND_DIGIT)
            return false;
    return true;
}

/* Leap over text. A byte that no run can have in it ends every candidate that begins in the
 * `minimum` bytes up to it too soon: so look for the last such byte there, from the far
 * end. In ordinary text that is a blank a few bytes from that end, and most of the text is
 * never looked at. w->probed: no such byte is left between w->at and there, so that no byte
 * is looked at twice. Returns false if w->at did not move. */
static bool leap(const struct base64_scanner *s, struct window *w)
{
    const uint8_t *before = w->at;
    for (;;) {
        const uint8_t *from = w->at > w->probed ? w->at : w->probed;
        const uint8_t *junk = w->at + smaller(s->minimum, (size_t)(w->end - w->at));
        if (junk <= from)
            break;
        w->probed = junk;
        while (junk > from && s->kinds[junk[-1]] != KIND_JUNK)
            junk--;
        if (junk == from)
            break;
        w->at = junk;
    }
    return w->at > before;
}

/* Go on to where a candidate begins, or to the end of the window. */
static void find_candidate(struct base64_scanner *s, struct window *w)
{
    while (w->at < w->end) {
        if (w->at >= w->probed && leap(s, w))
            s->state = SCAN_TEXT;
        if (s->state == SCAN_LINE_START && may_begin(s, w->at, w->end)) {
            begin_candidate(s, w);
            return;
        }
        const uint8_t *lf = memchr(w->at, '\n', (size_t)(w->end - w->at));
        s->state = lf != NULL ? SCAN_LINE_START : SCAN_TEXT;
        w->at = lf != NULL ? lf + 1 : w->end;
    }
}

/* The line end that belongs before the next group of 4, which begins with this byte. The
 * first line ends where its line end stands. */
static enum base64_line_end next_line_end(const struct base64_scanner *s, uint8_t first)
{
    if (s->run.line_length > 0)
        return s->column == s->run.line_length ? s->run.line_end : BASE64_LINE_NONE;
    if (s->column == 0 || s->column > BASE64_LINE_MAX)
        return BASE64_LINE_NONE;
    if (first == '\r')
        return BASE64_LINE_CRLF;
    return first == '\n' ? BASE64_LINE_LF : BASE64_LINE_NONE;
}

/* Spelt out, because it is asked for each line. */
static bool is_line_end(enum base64_line_end line_end, const uint8_t *at)
{
    if (line_end == BASE64_LINE_CRLF)
        return at[0] == '\r' && at[1] == '\n';
    return line_end == BASE64_LINE_NONE || at[0] == '\n';
}

static void count(struct base64_scanner *s, enum base64_line_end line_end, size_t chars,
                  size_t bytes)
{
    if (line_end != BASE64_LINE_NONE) {
        s->run.line_length = (uint32_t)s->column;
        s->run.line_end = line_end;
        s->column = 0;
    }
    s->column += chars;
    s->encoded += line_end_sizes[line_end] + chars;
    s->run.size += bytes;
    s->decoded_size += bytes;
}

/* Take whole groups of 4, up to the end of a line, all or none: none where one of them does
 * not fit or is padded. Returns the size of what was taken. */
static size_t take_block(struct base64_scanner *s, const uint8_t *at, size_t size)
{
    enum base64_line_end line_end = next_line_end(s, *at);
    size_t gap = line_end_sizes[line_end];
    if (size < gap + QUANTUM_CHARS || !is_line_end(line_end, at))
        return 0;
    size_t chars = smaller(size - gap, BLOCK_CHARS);
    if (gap > 0)
        chars = smaller(chars, (size_t)s->column);
    else if (s->run.line_length > 0)
        chars = smaller(chars, s->run.line_length - (size_t)s->column);
    chars -= chars % QUANTUM_CHARS;
    size_t bytes = chars / QUANTUM_CHARS * QUANTUM_BYTES;
    char *out = (char *)s->decoded + s->decoded_size;
    if (modp_b64_decode(out, (const char *)at + gap, chars) != bytes)
        return 0;
    count(s, line_end, chars, bytes);
    return gap + chars;
}

/* Decode one canonical group of 4: 1 to 3 bytes, 0 if it is not one. */
static size_t decode_quantum(const uint8_t *at, char out[QUANTUM_BYTES + 1])
{
    char again[QUANTUM_CHARS + 1];
    size_t bytes = modp_b64_decode(out, (const char *)at, QUANTUM_CHARS);
    if (bytes == 0 || bytes > QUANTUM_BYTES)
        return 0;
    modp_b64_encode(again, out, bytes);
    return memcmp(again, at, QUANTUM_CHARS) == 0 ? bytes : 0;
}

/* Take one unit. Returns its size; 0 if it is not there in full, or, with `over` set, if it
 * does not fit. */
static size_t take_unit(struct base64_scanner *s, const uint8_t *at, size_t size)
{
    enum base64_line_end line_end = next_line_end(s, *at);
    size_t gap = line_end_sizes[line_end];
    if (size < gap + QUANTUM_CHARS)
        return 0;
    char out[QUANTUM_BYTES + 1];
    size_t bytes = 0;
    if (is_line_end(line_end, at))
        bytes = decode_quantum(at + gap, out);
    s->over = bytes < QUANTUM_BYTES;
    if (bytes == 0)
        return 0;
    memcpy(s->decoded + s->decoded_size, out, bytes);
    count(s, line_end, QUANTUM_CHARS, bytes);
    return gap + QUANTUM_CHARS;
}

/* Where no whole block fits, the run's end or the window's is near: find it unit by unit.
 * Bounded like a block; returns the size of what was taken. */
static size_t take_units(struct base64_scanner *s, const uint8_t *at, size_t size)
{
    size_t taken = 0;
    while (taken < size && taken + UNIT_MAX <= BLOCK_CHARS && !s->over) {
        size_t n = take_unit(s, at + taken, size - taken);
        if (n == 0)
            break;
        taken += n;
    }
    return taken;
}

/* The candidate is long enough, or over. */
static int settle_candidate(struct base64_scanner *s, struct window *w)
{
    if (s->encoded < s->minimum) {
        s->state = SCAN_TEXT;
        s->decoded_size = 0;
        return put_held(s);
    }
    s->state = SCAN_RUN;
    s->held_size = 0;
    return put_text(s, w->text, (size_t)(w->start - w->text));
}

static int end_run(struct base64_scanner *s, struct window *w)
{
    assert(s->encoded == base64_run_encoded_size(&s->run));
    s->state = SCAN_TEXT;
    w->text = w->at;
    int err = put_decoded(s);
    return err != 0 ? err : s->sink.run_end(s->sink.arg, &s->run);
}

/* What has to happen with the candidate or run before it can go on. */
static int settle(struct base64_scanner *s, struct window *w)
{
    int err = 0;
    if (s->state == SCAN_CANDIDATE && (s->over || s->encoded >= s->minimum))
        err = settle_candidate(s, w);
    if (err == 0 && s->state == SCAN_RUN && s->over)
        return end_run(s, w);
    if (err == 0 && s->state == SCAN_RUN && s->decoded_size >= GATHER_BYTES)
        return put_decoded(s);
    return err;
}

/* The window is used up but for less than a unit: keep what the sink cannot have yet. */
static int leave_window(struct base64_scanner *s, const struct window *w)
{
    if (s->state == SCAN_TEXT || s->state == SCAN_LINE_START)
        return put_text(s, w->text, (size_t)(w->end - w->text));
    s->carry_size = (size_t)(w->end - w->at);
    memcpy(s->carry, w->at, s->carry_size);
    if (s->state == SCAN_RUN)
        return 0;
    size_t size = (size_t)(w->at - w->start);
    memcpy(s->held + s->held_size, w->start, size);
    s->held_size += size;
    return put_text(s, w->text, (size_t)(w->start - w->text));
}

static int scan_window(struct base64_scanner *s, const uint8_t *data, size_t size)
{
    struct window w = {data, data, data, data, data + size};
    while (w.at < w.end) {
        if (s->state == SCAN_TEXT || s->state == SCAN_LINE_START) {
            find_candidate(s, &w);
            continue;
        }
        assert(s->decoded_capacity - s->decoded_size >= BLOCK_BYTES);
        size_t taken = take_block(s, w.at, (size_t)(w.end - w.at));
        if (taken == 0)
            taken = take_units(s, w.at, (size_t)(w.end - w.at));
        if (taken == 0 && !s->over)
            break;
        w.at += taken;
        int err = settle(s, &w);
        if (err != 0)
            return err;
    }
    return leave_window(s, &w);
}

int base64_scan(struct base64_scanner *s, const uint8_t *data, size_t size)
{
    while (s->carry_size > 0 && size > 0) {
        size_t need = line_end_sizes[next_line_end(s, s->carry[0])] + QUANTUM_CHARS;
        size_t more = smaller(need - s->carry_size, size);
        memcpy(s->carry + s->carry_size, data, more);
        s->carry_size += more;
        data += more;
        size -= more;
        if (s->carry_size < need)
            return 0;
        uint8_t unit[UNIT_MAX];
        memcpy(unit, s->carry, need);
        s->carry_size = 0;
        int err = scan_window(s, unit, need);
        if (err != 0)
            return err;
    }
    return size > 0 ? scan_window(s, data, size) : 0;
}

int base64_scan_end(struct base64_scanner *s)
{
    while (s->state == SCAN_CANDIDATE || s->state == SCAN_RUN) {
        uint8_t rest[UNIT_MAX];
        size_t size = s->carry_size;
        memcpy(rest, s->carry, size);
        s->carry_size = 0;
        s->over = true;
        struct window w = {rest, rest, rest, rest, rest + size};
        int err = settle(s, &w);
        if (err == 0)
            err = scan_window(s, rest, size);
        if (err != 0)
            return err;
    }
    base64_scan_reset(s);
    return 0;
}

void base64_encode_start(struct base64_encoder *e, const struct base64_run *run)
{
    *e =
        (struct base64_encoder){.line_length = run->line_length, .line_end = run->line_end};
}

size_t base64_encode_room(const struct base64_encoder *e, size_t size)
{
    size_t chars = (e->carry_size + size) / QUANTUM_BYTES * QUANTUM_CHARS;
    size_t lines = e->line_length > 0 ? chars / e->line_length + 1 : 0;
    /* And the terminator that the encoder writes. */
    return chars + lines * line_end_sizes[e->line_end] + 1;
}

/* Groups of 4 for whole groups of 3, up to the end of the line. Returns the bytes used. */
static size_t encode_line(struct base64_encoder *e, const uint8_t *data, size_t size,
                          uint8_t **out)
{
    if (e->line_length > 0 && e->column == e->line_length) {
        memcpy(*out, line_ends[e->line_end], line_end_sizes[e->line_end]);
        *out += line_end_sizes[e->line_end];
        e->column = 0;
    }
    if (e->line_length > 0)
        size = smaller(size, (e->line_length - e->column) / QUANTUM_CHARS * QUANTUM_BYTES);
    size_t chars = modp_b64_encode((char *)*out, (const char *)data, size);
    *out += chars;
    e->column += e->line_length > 0 ? (uint32_t)chars : 0;
    return size;
}

size_t base64_encode_add(struct base64_encoder *e, const uint8_t *data, size_t size,
                         uint8_t *out)
{
    uint8_t *at = out;
    while (e->carry_size > 0 && size > 0) {
        e->carry[e->carry_size++] = *data++;
        size--;
        if (e->carry_size == QUANTUM_BYTES) {
            encode_line(e, e->carry, QUANTUM_BYTES, &at);
            e->carry_size = 0;
        }
    }
    while (size >= QUANTUM_BYTES) {
        size_t used = encode_line(e, data, size - size % QUANTUM_BYTES, &at);
        data += used;
        size -= used;
    }
    if (size > 0) {
        memcpy(e->carry + e->carry_size, data, size);
        e->carry_size += size;
    }
    return (size_t)(at - out);
}

size_t base64_encode_end(struct base64_encoder *e, uint8_t out[BASE64_ENCODE_END_MAX])
{
    uint8_t *at = out;
    if (e->carry_size > 0)
        encode_line(e, e->carry, e->carry_size, &at);
    e->carry_size = 0;
    return (size_t)(at - out);
}
