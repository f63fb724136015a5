/* mailgen: folders of made-up but lifelike mail, the same for the same seed. No text comes
 * from anywhere else.
 *
 *   mailgen DIR --accounts N --messages M [--seed S] [--small] [--giant BYTES]
 *
 * Writes DIR/userN@cask.example/NNNN, lines ended by CRLF but for the few that are wrong on
 * purpose.
 * --small: no attachments. --giant: one more message of exactly BYTES in the first account.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define DOMAIN "cask.example"
#define FIRST_DATE 1672567200 /* 2023-01-01 */
#define DATE_SPAN (2 * 365 * 86400)
#define SHARED_ATTACHMENTS 60
#define ATTACHMENT_SIZE_MIN (6u << 10)
#define ATTACHMENT_SIZE_SPAN (400u << 10)
#define FORWARDS_MAX 3
#define LINE_BYTES 57  /* of a base64 line of 76 letters */
#define LINE_LENGTH 78 /* with its CRLF */
#define GIANT_SIZE_MIN 2048
#define FILE_BUFFER (1u << 20)
#define EXIT_USAGE 2

struct options {
    const char *dir;
    unsigned accounts;
    unsigned messages;
    uint64_t seed;
    uint64_t giant_size;
    bool small;
};

struct random {
    uint64_t state;
};

/* One message being written. */
struct mail {
    FILE *out;
    const struct options *options;
    struct random random;
    unsigned account;
    time_t date;
    unsigned forwards; /* how deep this one is in a chain */
    unsigned boundaries;
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const first_names[] = {"Anna",  "Bruno", "Carla", "Dénes",
                                          "Frida", "Göran", "Ivo",   "Jürg",
                                          "Klara", "Maren", "Renée", "Sören"};
static const char *const last_names[] = {"Ahlgren", "Bünger",  "Castell", "Dörfler",
                                         "Gruber",  "Hollweg", "Ibsen",   "Jäger",
                                         "Lück",    "Nygård",  "Quandt",  "Rössler"};
static const char *const syllables[] = {"ta",  "ren", "lo",  "mi",  "ser", "va",
                                        "kon", "di",  "to",  "ber", "ni",  "gra",
                                        "ler", "sti", "mar", "hun"};
static const char *const umlaut_words[] = {"für",    "Grüße", "Änderung",
                                           "größer", "—",     "4 €"};
static const char *const file_words[] = {"report", "minutes", "offer", "plan", "scan"};

/* splitmix64 */
static uint64_t next_random(struct random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static unsigned below(struct random *random, unsigned limit)
{
    return (unsigned)(next_random(random) % limit);
}

static bool chance(struct random *random, unsigned percent)
{
    return below(random, 100) < percent;
}

/* A generator of its own for each thing, so that one does not depend on what came before
 * it. */
static struct random random_for(uint64_t seed, uint64_t kind, uint64_t number)
{
    struct random random = {seed * 0xd1342543de82ef95u ^ kind << 48 ^ number};
    next_random(&random);
    return random;
}

/* Bytes collected before they are encoded. */
static FILE *collect(char **out_data, size_t *out_size)
{
    FILE *file = open_memstream(out_data, out_size);
    if (file == NULL) {
        perror("mailgen");
        exit(EXIT_FAILURE);
    }
    return file;
}

static void put_word(FILE *out, struct random *random)
{
    if (chance(random, 4)) {
        fputs(umlaut_words[below(random, COUNT(umlaut_words))], out);
        return;
    }
    unsigned count = 1 + below(random, 4);
    for (unsigned i = 0; i < count; i++)
        fputs(syllables[below(random, COUNT(syllables))], out);
}

static void put_words(FILE *out, struct random *random, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (i > 0)
            fputc(' ', out);
        put_word(out, random);
    }
}

/* Paragraphs of lines of about 70 letters, ended by eol. */
static void put_text(FILE *out, struct random *random, unsigned lines, const char *prefix,
                     const char *eol)
{
    for (unsigned i = 0; i < lines; i++) {
        fputs(prefix, out);
        if (!chance(random, 12))
            put_words(out, random, 6 + below(random, 6));
        fputs(eol, out);
    }
}

static const char base64_letters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Encode size bytes, padded; returns the letters written. */
static size_t encode_base64(const uint8_t *data, size_t size, char *out)
{
    char *start = out;
    for (; size > 0; data += 3) {
        uint32_t bits = (uint32_t)data[0] << 16;
        bits |= size > 1 ? (uint32_t)data[1] << 8 : 0;
        bits |= size > 2 ? data[2] : 0;
        *out++ = base64_letters[bits >> 18];
        *out++ = base64_letters[bits >> 12 & 63];
        *out++ = size > 1 ? base64_letters[bits >> 6 & 63] : '=';
        *out++ = size > 2 ? base64_letters[bits & 63] : '=';
        size -= size < 3 ? size : 3;
    }
    return (size_t)(out - start);
}

static void put_base64(FILE *out, const uint8_t *data, size_t size)
{
    char line[LINE_LENGTH];
    for (size_t at = 0; at < size; at += LINE_BYTES) {
        size_t piece = size - at < LINE_BYTES ? size - at : LINE_BYTES;
        size_t length = encode_base64(data + at, piece, line);
        fwrite(line, 1, length, out);
        fputs("\r\n", out);
    }
}

static bool is_ascii(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text >= 0x80)
            return false;
    return true;
}

/* RFC 2047: one or more encoded words, never cutting a UTF-8 sequence. */
static void put_header_text(FILE *out, const char *text)
{
    if (is_ascii(text)) {
        fputs(text, out);
        return;
    }
    char encoded[LINE_LENGTH];
    for (size_t left = strlen(text), size; left > 0; text += size, left -= size) {
        size = left < 42 ? left : 42;
        while (size < left && ((unsigned char)text[size] & 0xc0) == 0x80)
            size--;
        size_t length = encode_base64((const uint8_t *)text, size, encoded);
        fprintf(out, "=?utf-8?B?%.*s?=%s", (int)length, encoded,
                size < left ? "\r\n " : "");
    }
}

static void put_quoted_printable(FILE *out, const char *text)
{
    unsigned column = 0;
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool at_end = text[1] == '\n' || text[1] == '\0';
        if (c == '\n') {
            fputs("\r\n", out);
            column = 0;
            continue;
        }
        if (column > 72) {
            fputs("=\r\n", out);
            column = 0;
        }
        bool plain = c > ' ' && c < 0x7f && c != '=';
        if (plain || (c == ' ' && !at_end))
            fputc(c, out);
        else
            fprintf(out, "=%02X", c);
        column += plain ? 1 : 3;
    }
}

static void put_person(FILE *out, unsigned person)
{
    char name[64];
    snprintf(name, sizeof name, "%s %s", first_names[person % COUNT(first_names)],
             last_names[person / COUNT(first_names) % COUNT(last_names)]);
    put_header_text(out, name);
    fprintf(out, " <user%u@" DOMAIN ">", person);
}

static void put_date(FILE *out, time_t date)
{
    char text[64];
    struct tm tm;
    gmtime_r(&date, &tm);
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S +0000", &tm);
    fprintf(out, "Date: %s\r\n", text);
}

static void put_subject(struct mail *mail, const char *prefix)
{
    char *text;
    size_t size;
    FILE *out = collect(&text, &size);
    put_words(out, &mail->random, 2 + below(&mail->random, 6));
    fclose(out);
    fprintf(mail->out, "Subject: %s", prefix);
    put_header_text(mail->out, text);
    fputs("\r\n", mail->out);
    free(text);
}

static void put_headers(struct mail *mail)
{
    FILE *out = mail->out;
    struct random *random = &mail->random;
    unsigned sender = below(random, COUNT(first_names) * COUNT(last_names));
    bool answer = chance(random, 30);

    fprintf(out, "Return-Path: <user%u@" DOMAIN ">\r\n", sender);
    for (unsigned hop = 0; hop < 2; hop++) {
        unsigned host = 1 + below(random, 250);
        fprintf(out,
                "Received: from mx%u." DOMAIN " (mx%u." DOMAIN " [192.0.2.%u])\r\n"
                "\tby relay%u." DOMAIN " with ESMTPS id %08x\r\n",
                hop, hop, host, hop, (unsigned)next_random(random));
    }
    fputs("From: ", out);
    put_person(out, sender);
    fprintf(out, "\r\nTo: <user%u@" DOMAIN ">\r\n", mail->account);
    put_subject(mail, mail->forwards > 0 ? "Fwd: " : answer ? "Re: " : "");
    put_date(out, mail->date);
    fprintf(out, "Message-ID: <%016" PRIx64 "@" DOMAIN ">\r\n", next_random(random));
    if (answer)
        fprintf(out, "In-Reply-To: <%016" PRIx64 "@" DOMAIN ">\r\n", next_random(random));
    fputs("MIME-Version: 1.0\r\n", out);
}

/* The lines that servers and archives get wrong. */
static void put_odd_lines(struct mail *mail)
{
    struct random *random = &mail->random;
    if (chance(random, 6))
        fputs(".\r\n..\r\n.leading dot\r\n...\r\n", mail->out);
    if (chance(random, 3)) {
        unsigned length = 1200 + below(random, 20000);
        for (unsigned i = 0; i < length; i++)
            fputc('a' + (int)(i % 26), mail->out);
        fputs("\r\n", mail->out);
    }
    if (chance(random, 2))
        fputs("a line with a bare LF\nand another\r\n", mail->out);
}

static void put_plain_part(struct mail *mail)
{
    struct random *random = &mail->random;
    fputs("Content-Type: text/plain; charset=utf-8\r\n", mail->out);
    if (chance(random, 50)) {
        fputs("Content-Transfer-Encoding: 8bit\r\n\r\n", mail->out);
        put_text(mail->out, random, 4 + below(random, 30), "", "\r\n");
        put_odd_lines(mail);
        put_text(mail->out, random, below(random, 20), "> ", "\r\n");
        return;
    }
    char *text;
    size_t size;
    FILE *collected = collect(&text, &size);
    put_text(collected, random, 4 + below(random, 30), "", "\n");
    fclose(collected);
    fputs("Content-Transfer-Encoding: quoted-printable\r\n\r\n", mail->out);
    put_quoted_printable(mail->out, text);
    free(text);
}

static void put_html_part(struct mail *mail)
{
    char *text;
    size_t size;
    FILE *out = collect(&text, &size);
    fputs("<html><head><style>p { margin: 0; color: #223344 }</style></head><body>\n", out);
    for (unsigned i = 2 + below(&mail->random, 12); i > 0; i--) {
        fputs("<p class=\"text\" style=\"font-family: sans-serif\">", out);
        put_words(out, &mail->random, 10 + below(&mail->random, 30));
        fputs("</p>\n<br>\n", out);
    }
    fputs("</body></html>\n", out);
    fclose(out);
    fputs("Content-Type: text/html; charset=utf-8\r\n"
          "Content-Transfer-Encoding: quoted-printable\r\n\r\n",
          mail->out);
    put_quoted_printable(mail->out, text);
    free(text);
}

static void new_boundary(struct mail *mail, char boundary[40])
{
    snprintf(boundary, 40, "=_%016" PRIx64 "_%u", next_random(&mail->random),
             mail->boundaries++);
}

static void put_alternative(struct mail *mail)
{
    char boundary[40];
    new_boundary(mail, boundary);
    fprintf(mail->out,
            "Content-Type: multipart/alternative;\r\n\tboundary=\"%s\"\r\n\r\n--%s\r\n",
            boundary, boundary);
    put_plain_part(mail);
    fprintf(mail->out, "\r\n--%s\r\n", boundary);
    put_html_part(mail);
    fprintf(mail->out, "\r\n--%s--\r\n", boundary);
}

enum file_kind { FILE_PDF, FILE_PNG, FILE_ZIP, FILE_CSV, FILE_KINDS };

static const struct {
    const char *suffix;
    const char *type;
    const char *magic;
    size_t magic_size;
} file_kinds[FILE_KINDS] = {
    [FILE_PDF] = {"pdf", "application/pdf", "%PDF-1.5\n", 9},
    [FILE_PNG] = {"png", "image/png", "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16},
    [FILE_ZIP] = {"zip", "application/zip", "PK\3\4\24\0\0\0\10\0", 10},
    [FILE_CSV] = {"csv", "text/csv", "day;place;amount\n", 17},
};

static void put_noise(FILE *out, struct random *random, size_t size)
{
    for (; size >= sizeof(uint64_t); size -= sizeof(uint64_t)) {
        uint64_t noise = next_random(random);
        fwrite(&noise, 1, sizeof noise, out);
    }
}

/* A PDF compresses a little, a picture or an archive not at all, a table well. */
static void put_file_content(FILE *out, struct random *random, enum file_kind kind,
                             size_t size)
{
    fwrite(file_kinds[kind].magic, 1, file_kinds[kind].magic_size, out);
    for (unsigned i = 1; (size_t)ftell(out) < size; i++) {
        if (kind == FILE_CSV) {
            fprintf(out, "2024-%02u-%02u;%u;%u,00\n", 1 + i % 12, 1 + i % 28, i / 50,
                    below(random, 10000));
        } else if (kind == FILE_PDF) {
            fprintf(out, "%u 0 obj\n<< /Length 4096 /Filter /FlateDecode >>\nstream\n", i);
            put_noise(out, random, 4096);
            fputs("\nendstream\nendobj\n", out);
        } else {
            put_noise(out, random, 8192);
        }
        fflush(out);
    }
}

/* Most attachments are of a stock that all accounts share, as in a company. */
static void put_attachment(struct mail *mail)
{
    bool shared = chance(&mail->random, 60);
    uint64_t number =
        shared ? below(&mail->random, SHARED_ATTACHMENTS) : next_random(&mail->random);
    struct random random = random_for(mail->options->seed, shared ? 3 : 4, number);
    enum file_kind kind = (enum file_kind)below(&random, FILE_KINDS);
    size_t percent = below(&random, 100);
    size_t size =
        ATTACHMENT_SIZE_MIN + below(&random, ATTACHMENT_SIZE_SPAN) * percent / 100;
    char *data;
    size_t data_size;
    FILE *content = collect(&data, &data_size);
    put_file_content(content, &random, kind, size);
    fclose(content);
    const char *word = file_words[below(&random, COUNT(file_words))];
    fprintf(mail->out,
            "Content-Type: %s; name=\"%s-%u.%s\"\r\n"
            "Content-Disposition: attachment; filename=\"%s-%u.%s\"\r\n"
            "Content-Transfer-Encoding: base64\r\n\r\n",
            file_kinds[kind].type, word, (unsigned)(number % 1000), file_kinds[kind].suffix,
            word, (unsigned)(number % 1000), file_kinds[kind].suffix);
    put_base64(mail->out, (const uint8_t *)data, data_size);
    free(data);
}

static void put_message(struct mail *mail);

static void put_mixed(struct mail *mail, bool forwards)
{
    char boundary[40];
    new_boundary(mail, boundary);
    fprintf(mail->out, "Content-Type: multipart/mixed; boundary=\"%s\"\r\n\r\n--%s\r\n",
            boundary, boundary);
    put_plain_part(mail);
    unsigned files = forwards ? 0 : 1 + below(&mail->random, 3);
    for (unsigned i = 0; i < files; i++) {
        fprintf(mail->out, "\r\n--%s\r\n", boundary);
        put_attachment(mail);
    }
    if (forwards) {
        fprintf(mail->out,
                "\r\n--%s\r\nContent-Type: message/rfc822\r\n"
                "Content-Disposition: inline\r\n\r\n",
                boundary);
        mail->date -= 3600 + (time_t)below(&mail->random, 86400);
        mail->forwards++;
        put_message(mail);
    }
    fprintf(mail->out, "\r\n--%s--\r\n", boundary);
}

static void put_message(struct mail *mail)
{
    put_headers(mail);
    unsigned kind = below(&mail->random, 100);
    if (kind < 45)
        put_plain_part(mail);
    else if (kind < 72 || mail->options->small)
        put_alternative(mail);
    else
        put_mixed(mail, kind >= 90 && mail->forwards < FORWARDS_MAX);
    if (mail->forwards == 0 && chance(&mail->random, 3))
        fputs("the last line has no line end", mail->out);
}

static FILE *create(const struct options *options, unsigned account, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/user%u@" DOMAIN, options->dir, account);
    if (mkdir(path, 0777) == 0 || errno == EEXIST) {
        snprintf(path, sizeof path, "%s/user%u@" DOMAIN "/%s", options->dir, account, name);
        FILE *file = fopen(path, "we");
        if (file != NULL) {
            setvbuf(file, NULL, _IOFBF, FILE_BUFFER);
            return file;
        }
    }
    fprintf(stderr, "mailgen: %s: %s\n", path, strerror(errno));
    return NULL;
}

static bool finish(FILE *file)
{
    bool good = ferror(file) == 0;
    good = fclose(file) == 0 && good;
    if (!good)
        perror("mailgen");
    return good;
}

static bool write_message(const struct options *options, unsigned account, unsigned number,
                          int width)
{
    char name[16];
    snprintf(name, sizeof name, "%0*u", width, number);
    struct mail mail = {.out = create(options, account, name),
                        .options = options,
                        .random =
                            random_for(options->seed, 1, (uint64_t)account << 32 | number),
                        .account = account};
    if (mail.out == NULL)
        return false;
    mail.date = FIRST_DATE +
                (time_t)((uint64_t)DATE_SPAN * (number - 1) / options->messages) +
                (time_t)below(&mail.random, 7200);
    put_message(&mail);
    return finish(mail.out);
}

/* Exactly giant_size bytes: a header of padding takes what does not fill a line. */
static bool write_giant(const struct options *options)
{
    static const char header[] =
        "From: Giant <giant@" DOMAIN ">\r\nTo: <user1@" DOMAIN ">\r\nSubject: a giant\r\n"
        "Date: Wed, 01 Jan 2025 12:00:00 +0000\r\nMIME-Version: 1.0\r\n"
        "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
        "X-Padding: ";
    FILE *out = create(options, 1, "giant");
    if (out == NULL)
        return false;
    uint64_t left = options->giant_size - strlen(header) - strlen("\r\n\r\n");
    struct random random = random_for(options->seed, 2, 0);
    fputs(header, out);
    for (uint64_t i = left % LINE_LENGTH; i > 0; i--)
        fputc('x', out);
    fputs("\r\n\r\n", out);
    for (uint64_t line = 0; line < left / LINE_LENGTH; line++) {
        uint64_t noise[LINE_BYTES / sizeof(uint64_t) + 1];
        char text[LINE_LENGTH];
        for (size_t i = 0; i < COUNT(noise); i++)
            noise[i] = next_random(&random);
        size_t length = encode_base64((const uint8_t *)noise, LINE_BYTES, text);
        text[length] = '\r';
        text[length + 1] = '\n';
        fwrite_unlocked(text, 1, length + 2, out);
    }
    return finish(out);
}

static bool write_all(const struct options *options)
{
    int width = snprintf(NULL, 0, "%u", options->messages);
    if (width < 4)
        width = 4;
    for (unsigned account = 1; account <= options->accounts; account++)
        for (unsigned number = 1; number <= options->messages; number++)
            if (!write_message(options, account, number, width))
                return false;
    return options->giant_size == 0 || write_giant(options);
}

/* Returns false for a bad command line. */
static bool parse(struct options *options, int argc, char **argv)
{
    static const struct option long_options[] = {{"accounts", required_argument, NULL, 'a'},
                                                 {"messages", required_argument, NULL, 'm'},
                                                 {"seed", required_argument, NULL, 's'},
                                                 {"small", no_argument, NULL, 'l'},
                                                 {"giant", required_argument, NULL, 'g'},
                                                 {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        uint64_t number = optarg != NULL ? strtoull(optarg, NULL, 10) : 0;
        if (option == 'a')
            options->accounts = (unsigned)number;
        else if (option == 'm')
            options->messages = (unsigned)number;
        else if (option == 's')
            options->seed = number;
        else if (option == 'l')
            options->small = true;
        else if (option == 'g')
            options->giant_size = number;
        else
            return false;
    }
    options->dir = argv[optind];
    return optind + 1 == argc &&
           (options->giant_size == 0 || options->giant_size >= GIANT_SIZE_MIN);
}

int main(int argc, char **argv)
{
    struct options options = {.accounts = 1, .seed = 1};
    if (!parse(&options, argc, argv)) {
        fputs("usage: mailgen DIR --accounts N --messages M [--seed S] [--small] [--giant "
              "BYTES]\n"
              "       (BYTES at least 2048)\n",
              stderr);
        return EXIT_USAGE;
    }
    if (mkdir(options.dir, 0777) != 0 && errno != EEXIST) {
        perror(options.dir);
        return EXIT_FAILURE;
    }
    return write_all(&options) ? EXIT_SUCCESS : EXIT_FAILURE;
}
