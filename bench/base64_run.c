/* How fast a core splits messages into text and base64 runs, and encodes runs again, beside
 * memcpy() and libmodpbase64 alone on the same bytes. GB/s (10^9) of encoded bytes, the
 * best of some rounds, in pieces as they come from a socket. With files: what is in them,
 * too. */
#include "archive/base64_run.h"

#include <modp_b64.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUN_BYTES ((size_t)768 << 10)
#define TEXT_BYTES ((size_t)1 << 20)
#define PIECE_BYTES ((size_t)16384)
#define LINE_CHARS 76u
#define LINE_BYTES 57u
#define ROUNDS 200
#define FILE_ROUNDS 10
#define FILE_MAX ((size_t)1 << 30)

struct input {
    uint8_t *data;
    size_t size;
};

struct totals {
    uint64_t text;
    uint64_t decoded;
    uint64_t runs;
};

struct bench {
    struct input raw;     /* a run, decoded */
    struct input encoded; /* the same, in lines of LINE_CHARS with CRLF */
    struct input text;
    uint8_t *out; /* room for any of them */
    struct base64_scanner *scanner;
    struct totals totals;
};

static void *allocate(size_t size)
{
    void *data = malloc(size);
    if (data == NULL) {
        perror("base64_run");
        exit(EXIT_FAILURE);
    }
    return data;
}

/* A benchmark of something that does not work is worth nothing. */
static void check(bool works)
{
    if (!works) {
        fputs("base64_run: wrong result\n", stderr);
        exit(EXIT_FAILURE);
    }
}

static size_t piece_at(const struct input *in, size_t at)
{
    return in->size - at < PIECE_BYTES ? in->size - at : PIECE_BYTES;
}

static int on_text(void *arg, const uint8_t *data, size_t size)
{
    struct totals *t = arg;
    (void)data;
    t->text += size;
    return 0;
}

static int on_decoded(void *arg, const uint8_t *data, size_t size)
{
    struct totals *t = arg;
    (void)data;
    t->decoded += size;
    return 0;
}

static int on_run_end(void *arg, const struct base64_run *run)
{
    struct totals *t = arg;
    t->runs += run->size > 0;
    return 0;
}

static size_t encode(struct bench *b)
{
    struct base64_run run = {b->raw.size, LINE_CHARS, BASE64_LINE_CRLF};
    struct base64_encoder e;
    uint8_t *out = b->out;
    base64_encode_start(&e, &run);
    for (size_t at = 0; at < b->raw.size; at += PIECE_BYTES)
        out += base64_encode_add(&e, b->raw.data + at, piece_at(&b->raw, at), out);
    out += base64_encode_end(&e, out);
    return (size_t)(out - b->out);
}

static void scan(struct bench *b, const struct input *in)
{
    for (size_t at = 0; at < in->size; at += PIECE_BYTES)
        base64_scan(b->scanner, in->data + at, piece_at(in, at));
    base64_scan_end(b->scanner);
}

static void run_memcpy(struct bench *b)
{
    for (size_t at = 0; at < b->encoded.size; at += PIECE_BYTES)
        memcpy(b->out + at, b->encoded.data + at, piece_at(&b->encoded, at));
}

static void run_modp_decode(struct bench *b)
{
    size_t line = LINE_CHARS + 2;
    uint8_t *out = b->out;
    for (size_t at = 0; at + line <= b->encoded.size; at += line) {
        size_t size =
            modp_b64_decode((char *)out, (const char *)b->encoded.data + at, LINE_CHARS);
        check(size == LINE_BYTES);
        out += size;
    }
}

static void run_scan(struct bench *b)
{
    scan(b, &b->encoded);
}

static void run_scan_text(struct bench *b)
{
    scan(b, &b->text);
}

static void run_modp_encode(struct bench *b)
{
    uint8_t *out = b->out;
    for (size_t at = 0; at + LINE_BYTES <= b->raw.size; at += LINE_BYTES) {
        out += modp_b64_encode((char *)out, (const char *)b->raw.data + at, LINE_BYTES);
        memcpy(out, "\r\n", 2);
        out += 2;
    }
}

static void run_encode(struct bench *b)
{
    encode(b);
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void measure(struct bench *b, const char *what, size_t size,
                    void (*run)(struct bench *))
{
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds_now();
        run(b);
        double took = seconds_now() - start;
        best = took < best ? took : best;
    }
    printf("%-44s %6.2f GB/s\n", what, (double)size / best / 1e9);
}

/* Words of ordinary length in lines of ordinary length; deterministic. */
static void fill_text(struct input *text)
{
    static const char *const words[] = {
        "the",    "message", "and", "> ",      "--",      "Received:", "of",     "archive",
        "please", "a",       "to",  "meeting", "Regards", "<br>",      "number", "http://",
    };
    uint32_t seed = 1;
    size_t column = 0;
    text->size = 0;
    while (text->size + 16 < TEXT_BYTES) {
        seed = seed * 1664525 + 1013904223;
        const char *word = words[seed >> 28];
        size_t size = strlen(word);
        memcpy(text->data + text->size, word, size);
        text->size += size;
        column += size + 1;
        if (column > 30 + (seed >> 8) % 42) {
            memcpy(text->data + text->size, "\r\n", 2);
            text->size += 2;
            column = 0;
        } else {
            text->data[text->size++] = ' ';
        }
    }
}

static void prepare(struct bench *b)
{
    struct base64_sink sink = {on_text, on_decoded, on_run_end, &b->totals};
    b->scanner = base64_scanner_create(BASE64_MINIMUM, &sink);
    b->raw = (struct input){allocate(RUN_BYTES), RUN_BYTES};
    b->text = (struct input){allocate(TEXT_BYTES), 0};
    b->out = allocate(RUN_BYTES * 2);
    b->encoded.data = allocate(RUN_BYTES * 2);
    if (b->scanner == NULL)
        exit(EXIT_FAILURE);
    uint32_t seed = 1;
    for (size_t i = 0; i < RUN_BYTES; i++) {
        seed = seed * 1664525 + 1013904223;
        b->raw.data[i] = (uint8_t)(seed >> 24);
    }
    b->encoded.size = encode(b);
    memcpy(b->encoded.data, b->out, b->encoded.size);
    fill_text(&b->text);
}

static void scan_file(struct bench *b, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    if (size <= 0 || (size_t)size > FILE_MAX) {
        fclose(file);
        return;
    }
    struct input in = {allocate((size_t)size), (size_t)size};
    in.size = fread(in.data, 1, in.size, file);
    fclose(file);
    b->totals = (struct totals){0};
    double best = 1e9;
    for (int round = 0; round < FILE_ROUNDS; round++) {
        b->totals = (struct totals){0};
        double start = seconds_now();
        scan(b, &in);
        double took = seconds_now() - start;
        best = took < best ? took : best;
    }
    printf("%-44s %6.2f GB/s, %llu runs, %.1f %% text\n", path,
           (double)in.size / best / 1e9, (unsigned long long)b->totals.runs,
           100.0 * (double)b->totals.text / (double)in.size);
    free(in.data);
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    prepare(&b);
    measure(&b, "memcpy", b.encoded.size, run_memcpy);
    measure(&b, "libmodpbase64 decode, line by line", b.encoded.size, run_modp_decode);
    measure(&b, "scan and decode, 76 columns, CRLF", b.encoded.size, run_scan);
    check(b.totals.decoded == ROUNDS * RUN_BYTES && b.totals.runs == ROUNDS);
    measure(&b, "scan text without runs", b.text.size, run_scan_text);
    measure(&b, "libmodpbase64 encode, line by line", b.encoded.size, run_modp_encode);
    measure(&b, "encode, 76 columns, CRLF", b.encoded.size, run_encode);
    check(memcmp(b.out, b.encoded.data, b.encoded.size) == 0);
    for (int i = 1; i < argc; i++)
        scan_file(&b, argv[i]);
    base64_scanner_destroy(b.scanner);
    free(b.raw.data);
    free(b.encoded.data);
    free(b.text.data);
    free(b.out);
    return 0;
}
