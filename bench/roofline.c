/* What anyone must pay who stores mail this way, each part alone on the bytes that it
 * really concerns, from memory: SHA-256 of the messages, SHA-256 of the parts that are to
 * be looked up, base64 of the runs (libmodpbase64, whole lines), zstd of the text in blocks
 * and of each part that is new.
 *
 *   roofline FOLDER...
 *
 * A folder is an account; its messages are files in the order of their names, as they came
 * over the wire. Prints a line for each part: its name, CPU seconds, bytes. How the mail
 * falls into text and parts is found out beforehand, and not counted. */
#include "archive/base64_run.h"
#include "archive/codec.h"
#include "archive/digest.h"

#include <dirent.h>
#include <modp_b64.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define PIECE_BYTES ((size_t)1 << 20) /* of a block, and of a part */
#define PATH_SIZE 4096

struct bytes {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

/* Pieces one behind the other in one place. */
struct pile {
    struct bytes all;
    size_t *ends;
    size_t count;
    size_t capacity;
};

struct work {
    struct pile messages;
    struct pile text;    /* what is no run, by account, in blocks */
    struct pile parts;   /* decoded, all of them */
    struct pile new;     /* those that are not there yet */
    struct pile encoded; /* whole lines of runs, without their ends */
    struct bytes run;    /* being read */
    void *seen;          /* a tree of digests */
};

static void *allocate(void *old, size_t size)
{
    void *data = realloc(old, size);
    if (data == NULL) {
        perror("roofline");
        exit(EXIT_FAILURE);
    }
    return data;
}

static void add(struct bytes *b, const void *data, size_t size)
{
    if (b->size + size > b->capacity) {
        b->capacity = 2 * (b->size + size);
        b->data = allocate(b->data, b->capacity);
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

static size_t start_of(const struct pile *p, size_t i)
{
    return i == 0 ? 0 : p->ends[i - 1];
}

/* What was added since the last piece is one. */
static void close_piece(struct pile *p)
{
    if (p->all.size == start_of(p, p->count))
        return;
    if (p->count == p->capacity) {
        p->capacity = 2 * p->capacity + 64;
        p->ends = allocate(p->ends, p->capacity * sizeof(*p->ends));
    }
    p->ends[p->count++] = p->all.size;
}

static int on_text(void *arg, const uint8_t *data, size_t size)
{
    struct work *w = arg;
    while (size > 0) {
        size_t room = PIECE_BYTES - (w->text.all.size - start_of(&w->text, w->text.count));
        size_t taken = size < room ? size : room;
        add(&w->text.all, data, taken);
        if (taken == room)
            close_piece(&w->text);
        data += taken;
        size -= taken;
    }
    return 0;
}

static int on_decoded(void *arg, const uint8_t *data, size_t size)
{
    struct work *w = arg;
    add(&w->run, data, size);
    return 0;
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, SHA256_SIZE);
}

static void take_part(struct work *w, const uint8_t *data, size_t size)
{
    add(&w->parts.all, data, size);
    close_piece(&w->parts);
    uint8_t *digest = allocate(NULL, SHA256_SIZE);
    sha256_of(data, size, digest);
    if (*(uint8_t **)tsearch(digest, &w->seen, compare) != digest) {
        free(digest);
        return;
    }
    add(&w->new.all, data, size);
    close_piece(&w->new);
}

/* The run's lines again, without their ends, so that they can be decoded as libraries do.
 */
static void take_lines(struct work *w, const struct base64_run *run)
{
    size_t chars = run->line_length != 0 ? run->line_length : BASE64_LINE_MAX;
    size_t line = chars / BASE64_QUANTUM_CHARS * BASE64_QUANTUM_BYTES;
    char *text = allocate(NULL, modp_b64_encode_len(line));
    for (size_t at = 0; at < w->run.size; at += line) {
        size_t size = w->run.size - at < line ? w->run.size - at : line;
        add(&w->encoded.all, text,
            modp_b64_encode(text, (const char *)w->run.data + at, size));
        close_piece(&w->encoded);
    }
    free(text);
}

static int on_run_end(void *arg, const struct base64_run *run)
{
    struct work *w = arg;
    take_lines(w, run);
    for (size_t at = 0; at < w->run.size; at += PIECE_BYTES) {
        size_t left = w->run.size - at;
        take_part(w, w->run.data + at, left < PIECE_BYTES ? left : PIECE_BYTES);
    }
    w->run.size = 0;
    return 0;
}

static void read_message(struct work *w, const char *path)
{
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &info) != 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    if (!S_ISREG(info.st_mode)) {
        fclose(file);
        return;
    }
    size_t size = (size_t)info.st_size;
    uint8_t *data = allocate(NULL, size + 1);
    size = fread(data, 1, size, file);
    add(&w->messages.all, data, size);
    close_piece(&w->messages);
    free(data);
    fclose(file);
}

static void read_account(struct work *w, struct base64_scanner *scanner, const char *folder)
{
    struct dirent **names;
    char path[PATH_SIZE];
    int count = scandir(folder, &names, NULL, alphasort);
    if (count < 0) {
        perror(folder);
        exit(EXIT_FAILURE);
    }
    size_t first = w->messages.count;
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]->d_name);
        read_message(w, path);
        free(names[i]);
    }
    free(names);
    for (size_t i = first; i < w->messages.count; i++) {
        size_t start = start_of(&w->messages, i);
        base64_scan(scanner, w->messages.all.data + start, w->messages.ends[i] - start);
        base64_scan_end(scanner);
    }
    close_piece(&w->text);
}

static void hash(const uint8_t *data, size_t size, void *arg)
{
    uint8_t digest[SHA256_SIZE];
    (void)arg;
    sha256_of(data, size, digest);
}

static void decode(const uint8_t *data, size_t size, void *arg)
{
    modp_b64_decode(arg, (const char *)data, size);
}

struct compressor {
    struct codec *codec;
    enum codec_effort effort;
    uint8_t *out;
};

static void compress(const uint8_t *data, size_t size, void *arg)
{
    struct compressor *c = arg;
    size_t out_size;
    if (codec_compress(c->codec, c->effort, data, size, c->out, codec_bound(PIECE_BYTES),
                       &out_size) != 0)
        abort(); /* the room is the bound */
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void measure(const char *name, const struct pile *p,
                    void (*run)(const uint8_t *, size_t, void *), void *arg)
{
    double start = cpu_seconds();
    for (size_t i = 0; i < p->count; i++)
        run(p->all.data + start_of(p, i), p->ends[i] - start_of(p, i), arg);
    printf("%s %.6f %zu\n", name, cpu_seconds() - start, p->all.size);
}

static void release(struct pile *p)
{
    free(p->all.data);
    free(p->ends);
}

static void release_all(struct work *w)
{
    release(&w->messages);
    release(&w->text);
    release(&w->parts);
    release(&w->new);
    release(&w->encoded);
    free(w->run.data);
    tdestroy(w->seen, free);
}

static void measure_all(struct work *w, struct compressor *c)
{
    char *line = allocate(NULL, modp_b64_decode_len(BASE64_LINE_MAX));
    measure("sha256-messages", &w->messages, hash, NULL);
    measure("sha256-parts", &w->parts, hash, NULL);
    measure("base64", &w->encoded, decode, line);
    measure("zstd-text", &w->text, compress, c);
    c->effort = CODEC_FETCH_PART;
    measure("zstd-parts", &w->new, compress, c);
    free(line);
}

int main(int argc, char **argv)
{
    struct work w = {0};
    struct base64_sink sink = {on_text, on_decoded, on_run_end, &w};
    struct base64_scanner *scanner = base64_scanner_create(BASE64_MINIMUM, &sink);
    struct compressor c = {codec_create(), CODEC_FETCH,
                           allocate(NULL, codec_bound(PIECE_BYTES))};
    if (scanner == NULL || c.codec == NULL)
        return EXIT_FAILURE;
    for (int i = 1; i < argc; i++)
        read_account(&w, scanner, argv[i]);
    measure_all(&w, &c);
    base64_scanner_destroy(scanner);
    codec_destroy(c.codec);
    free(c.out);
    release_all(&w);
    return EXIT_SUCCESS;
}
