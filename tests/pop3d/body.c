#include "tests/pop3d/body.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PIECE_SIZE 16384

void body_from_file(struct body *body, int fd)
{
    *body = (struct body){.fd = fd,
                          .lines_left = BODY_ALL_LINES,
                          .in_header = true,
                          .at_line_start = true,
                          .first_line = true,
                          .line_blank = true};
}

void body_from_text(struct body *body, struct bytes text)
{
    body_from_file(body, -1);
    body->text = text;
}

void body_close(struct body *body)
{
    if (body->fd >= 0)
        close(body->fd);
    body->fd = -1;
    body->finished = true;
}

static bool needs_dot(const struct body *body, const char *data, size_t size)
{
    if (data[0] != '.')
        return false;
    switch (body->stuffing) {
    case STUFF_ALL:
        return true;
    case STUFF_NOT_FIRST:
        return !body->first_line;
    case STUFF_NOT_LONE:
        return size > 1 && data[1] != '\r' && data[1] != '\n';
    case STUFF_NONE:
        break;
    }
    return false;
}

static void end_line(struct body *body)
{
    if (body->in_header)
        body->in_header = !body->line_blank;
    else if (body->lines_left != BODY_ALL_LINES && body->lines_left > 0)
        body->lines_left--;
    if (!body->in_header && body->lines_left == 0)
        body->finished = true;
    /* To RFC 1939 a bare LF ends no line, and a client takes no dot out behind one. */
    body->at_line_start = body->after_cr;
    body->first_line = false;
    body->after_cr = false;
    body->line_blank = true;
}

/* What there is of one line; returns the bytes taken, at most up to and with its LF. */
static size_t emit_line(struct body *body, const char *data, size_t size,
                        struct buffer *out)
{
    const char *newline = memchr(data, '\n', size);
    size_t length = newline != NULL ? (size_t)(newline - data) : size;

    if (body->at_line_start && needs_dot(body, data, size))
        buffer_add(out, ".", 1);
    buffer_add(out, data, length);
    if (length > 0) {
        body->at_line_start = false;
        body->after_cr = data[length - 1] == '\r';
        body->line_blank = body->line_blank && length == 1 && body->after_cr;
        body->ends_open = true;
    }
    if (newline == NULL)
        return length;
    if (body->line_ends == LINE_ENDS_CRLF && !body->after_cr) {
        buffer_add(out, "\r", 1);
        body->after_cr = true;
    }
    buffer_add(out, "\n", 1);
    body->ends_open = !body->after_cr;
    end_line(body);
    return length + 1;
}

static void emit_end(struct body *body, struct buffer *out)
{
    if (body->ends_open && !body->keep_last_line)
        buffer_add(out, "\r\n", 2);
    body_close(body);
}

/* Up to PIECE_SIZE bytes of the file; 0 at its end or on failure. */
static size_t read_piece(struct body *body, char *piece)
{
    ssize_t got;
    do
        got = pread(body->fd, piece, PIECE_SIZE, (off_t)body->offset);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return 0;
    size_t size = (size_t)got;
    /* A dot at the end of a full piece is kept for the next one: needs_dot() looks behind
     * it. */
    if (size == PIECE_SIZE && piece[size - 1] == '.')
        size--;
    body->offset += size;
    return size;
}

static void emit(struct body *body, const char *data, size_t size, struct buffer *out)
{
    while (size > 0 && !body->finished) {
        size_t used = emit_line(body, data, size, out);
        data += used;
        size -= used;
    }
}

bool body_fill(struct body *body, struct buffer *out)
{
    if (body->finished)
        return false;
    if (body->fd < 0) {
        emit(body, body->text.data, body->text.size, out);
        emit_end(body, out);
        return true;
    }
    char piece[PIECE_SIZE];
    size_t size = read_piece(body, piece);
    emit(body, piece, size, out);
    if (size == 0 || body->finished)
        emit_end(body, out);
    return true;
}

int body_octets(int fd, enum line_ends line_ends, uint64_t *out_octets)
{
    char piece[PIECE_SIZE];
    uint64_t offset = 0, added = 0;
    char last = '\n', before_last = '\r';

    for (;;) {
        ssize_t got = pread(fd, piece, sizeof piece, (off_t)offset);
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        for (ssize_t i = 0; i < got; i++) {
            before_last = last;
            last = piece[i];
            added += last == '\n' && before_last != '\r';
        }
        if (line_ends == LINE_ENDS_ASIS)
            added = 0;
        offset += (uint64_t)got;
    }
    bool complete = last == '\n' && (line_ends == LINE_ENDS_CRLF || before_last == '\r');
    *out_octets = offset + added + (complete ? 0 : 2);
    return 0;
}
