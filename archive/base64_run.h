/* Base64 runs: attachments are stored decoded, and whatever goes out must be the same bytes
 * as came in. The scanner splits a message, as it streams, exactly and reversibly into text
 * (bytes as they are) and runs (decoded bytes and how to encode them again); the encoder is
 * its inverse. Both look at bytes only, never at MIME, and neither cares how the message is
 * cut into pieces.
 *
 * The encoded form of a run is, by definition: standard base64 (RFC 4648, section 4: + and
 * /, padded, pad bits zero) of its `size` bytes, with the line end put in behind every
 * line_length characters, but not behind the last character. What the scanner takes:
 *
 * 1. A run begins at the start of a line: of the message, or behind LF.
 * 2. Its first line, ended by CRLF or LF and followed by more of the run, sets line_length
 * (a multiple of 4, at most BASE64_LINE_MAX) and line_end. A run that has no line end
 * inside, of any length, has line_length 0 and BASE64_LINE_NONE.
 * 3. It goes on for as long as whole groups of 4 characters follow that are canonical and
 * stand where this line length and this line end put them. Behind padding it is over. What
 * does not fit (another line length, another line end, a blank, '=' in the middle, pad bits
 * that are not zero, 1 to 3 characters left over) ends it before that group, and before the
 * line end in front of it, and is text.
 * 4. It counts only if its encoded form has at least `minimum` bytes; else all of it is
 * text, and no run begins inside it. */
#ifndef MAILCASK_ARCHIVE_BASE64_RUN_H
#define MAILCASK_ARCHIVE_BASE64_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BASE64_LINE_MAX 65532u
/* The usual `minimum`: below it a part of its own costs more than it saves. */
#define BASE64_MINIMUM 4096u
#define BASE64_MINIMUM_MAX 65536u
/* Of decoded bytes; keeps the encoded size within 64 bits. */
#define BASE64_RUN_SIZE_MAX ((uint64_t)1 << 60)

enum base64_line_end {
    BASE64_LINE_NONE,
    BASE64_LINE_CRLF,
    BASE64_LINE_LF,
    BASE64_LINE_END_COUNT,
};

struct base64_run {
    uint64_t size;        /* decoded bytes */
    uint32_t line_length; /* characters a line; 0: no line breaks */
    enum base64_line_end line_end;
};

/* May these three have come from a scanner? For what was read from a disk: line_length a
 * multiple of 4 up to BASE64_LINE_MAX, a line end exactly where there are lines, size
 * 1..BASE64_RUN_SIZE_MAX. */
bool base64_run_valid(const struct base64_run *run);

/* Bytes of the encoded form of a valid run. */
uint64_t base64_run_encoded_size(const struct base64_run *run);

/* Where the scanner puts what it finds, in the order of the message: text(); or decoded()
 * once or more, then run_end() with the whole run. Data (size > 0) is borrowed until
 * return; how it is cut into calls means nothing. A return other than 0 stops the scan and
 * is returned from it. */
struct base64_sink {
    int (*text)(void *arg, const uint8_t *data, size_t size);
    int (*decoded)(void *arg, const uint8_t *data, size_t size);
    int (*run_end)(void *arg, const struct base64_run *run);
    void *arg;
};

/* One message after the other. Memory: 20 KiB and twice the minimum, whatever the message.
 * One owner at a time. */
struct base64_scanner;

/* minimum: 4..BASE64_MINIMUM_MAX bytes. The sink is copied. NULL when memory runs out. */
struct base64_scanner *base64_scanner_create(size_t minimum,
                                             const struct base64_sink *sink);
void base64_scanner_destroy(struct base64_scanner *s);

/* The next piece of the message, of any size. What may yet become a run, or more of one, is
 * kept; everything else has been given to the sink on return. 0, or what the sink returned:
 * then only base64_scan_reset() and base64_scanner_destroy() are legal. */
int base64_scan(struct base64_scanner *s, const uint8_t *data, size_t size);

/* The message is over: what was kept goes to the sink. 0: the next message may begin. */
int base64_scan_end(struct base64_scanner *s);

/* Forget the message. */
void base64_scan_reset(struct base64_scanner *s);

#define BASE64_QUANTUM_BYTES 3
#define BASE64_QUANTUM_CHARS 4

/* Encodes the decoded bytes of one run again, in pieces of any size. Nothing to free. */
struct base64_encoder {
    uint32_t line_length;
    enum base64_line_end line_end;
    uint32_t column;                     /* characters written in this line */
    uint8_t carry[BASE64_QUANTUM_BYTES]; /* bytes that do not make a group of 4 yet */
    size_t carry_size;                   /* 0..2 */
};

/* What base64_encode_end() may write. */
#define BASE64_ENCODE_END_MAX 8

/* Begin: only line_length and line_end of the run (valid) are used. */
void base64_encode_start(struct base64_encoder *e, const struct base64_run *run);

/* The room that base64_encode_add() needs to be given for size more bytes; a little more
 * than it writes. At most 2 * size + 16. */
size_t base64_encode_room(const struct base64_encoder *e, size_t size);

/* The next decoded bytes. Returns how many bytes it wrote to out. */
size_t base64_encode_add(struct base64_encoder *e, const uint8_t *data, size_t size,
                         uint8_t *out);

/* The run is over: the last group, padded, if there is one. Returns the bytes written. */
size_t base64_encode_end(struct base64_encoder *e, uint8_t out[BASE64_ENCODE_END_MAX]);

#endif
