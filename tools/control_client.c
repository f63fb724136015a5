#include "tools/control_client.h"

#include "archive/error.h"
#include "daemon/control_protocol.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#define READ_SIZE 65536

/* flags: of socket(). */
static int connect_to(const char *archive, int flags, int *out_fd)
{
    const struct timeval patience = {.tv_sec = ANSWER_PATIENCE_S};
    struct control_address address;
    int err = control_address_open(archive, &address);
    if (err != 0)
        return err;
    const struct sockaddr *name = (const struct sockaddr *)&address.name;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) ||
        connect(fd, name, sizeof(address.name)) != 0)
        err = -errno;
    control_address_close(&address);
    if (err != 0 && fd >= 0)
        (void)close(fd);
    *out_fd = fd;
    return err;
}

/* In one write: it is far below what a socket takes at once. */
static int say_request(int fd, const char *request)
{
    char line[CONTROL_REQUEST_MAX + 1];
    int size = snprintf(line, sizeof(line), "%s\n", request);
    if (size < 0 || size > CONTROL_REQUEST_MAX)
        return ERR_TOO_LARGE;
    ssize_t sent = send(fd, line, (size_t)size, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EPIPE ? ERR_CLOSED : -errno;
    return sent == size ? 0 : ERR_CLOSED;
}

/* Until there is something to read. */
static int wait_for_more(int fd, int stop_fd)
{
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
    int ready = poll(fds, 2, ANSWER_PATIENCE_S * 1000);
    if (ready < 0 && errno != EINTR)
        return -errno;
    if (ready == 0)
        return -EAGAIN;
    return ready > 0 && fds[1].revents != 0 ? ERR_STOPPED : 0;
}

static int hear_answer(int fd, int stop_fd, struct buffer *out)
{
    for (;;) {
        uint8_t *to = buffer_reserve(out, READ_SIZE);
        if (to == NULL)
            return -ENOMEM;
        int err = wait_for_more(fd, stop_fd);
        if (err != 0)
            return err;
        ssize_t got = recv(fd, to, READ_SIZE, 0);
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR && errno != EAGAIN)
            return errno == ECONNRESET ? ERR_CLOSED : -errno;
        if (got > 0)
            out->size += (size_t)got;
        if (out->size > ANSWER_SIZE_MAX)
            return ERR_TOO_LARGE;
    }
}

static bool is_whole(const struct buffer *answer)
{
    const size_t size = strlen(CONTROL_END);
    return answer->size >= size &&
           memcmp(answer->data + answer->size - size, CONTROL_END, size) == 0 &&
           (answer->size == size || answer->data[answer->size - size - 1] == '\n');
}

int control_ask(const char *archive, const char *request, struct buffer *out)
{
    return control_ask_until(archive, request, -1, out);
}

int control_ask_until(const char *archive, const char *request, int stop_fd,
                      struct buffer *out)
{
    int fd = -1;
    /* Who must not be held up does not wait to be let in either. */
    int err = connect_to(archive, stop_fd >= 0 ? SOCK_NONBLOCK : 0, &fd);
    if (err != 0)
        return err;
    err = say_request(fd, request);
    if (err == 0)
        err = hear_answer(fd, stop_fd, out);
    if (err == 0 && !is_whole(out))
        err = ERR_CLOSED;
    (void)close(fd);
    return err;
}

/* Without its newline; false at the end. */
static bool next_line(struct span *rest, struct span *out)
{
    if (rest->size == 0)
        return false;
    const uint8_t *end = memchr(rest->data, '\n', rest->size);
    size_t size = end != NULL ? (size_t)(end - rest->data) : rest->size;
    size_t taken = end != NULL ? size + 1 : size;
    *out = span_of(rest->data, size);
    *rest = span_of(rest->data + taken, rest->size - taken);
    return true;
}

/* The first mark is the one: names have none. */
static bool parse_field(struct span line, struct answer_field *out)
{
    for (size_t i = 0; i < line.size; i++) {
        switch (line.data[i]) {
        case ':':
            out->type = ANSWER_TEXT;
            break;
        case '=':
            out->type = ANSWER_NUMBER;
            break;
        case '@':
            out->type = ANSWER_TIME;
            break;
        default:
            continue;
        }
        out->name = span_of(line.data, i);
        out->value = span_of(line.data + i + 1, line.size - i - 1);
        return i > 0;
    }
    return false;
}

bool answer_next(struct span *rest, struct answer_object *out)
{
    struct span line;
    out->count = 0;
    if (!next_line(rest, &out->kind) || span_equal(out->kind, span_text("end")))
        return false;
    while (next_line(rest, &line) && line.size > 0)
        if (out->count < ANSWER_FIELDS_MAX && parse_field(line, &out->fields[out->count]))
            out->count++;
    return true;
}

bool answer_is(const struct answer_object *o, const char *kind)
{
    return span_equal(o->kind, span_text(kind));
}

static const struct answer_field *find(const struct answer_object *o, const char *name,
                                       enum answer_type type)
{
    for (size_t i = 0; i < o->count; i++)
        if (o->fields[i].type == type && span_equal(o->fields[i].name, span_text(name)))
            return &o->fields[i];
    return NULL;
}

struct span answer_text(const struct answer_object *o, const char *name)
{
    const struct answer_field *f = find(o, name, ANSWER_TEXT);
    return f != NULL ? f->value : span_text("");
}

uint64_t answer_number(const struct answer_object *o, const char *name)
{
    const struct answer_field *f = find(o, name, ANSWER_NUMBER);
    uint64_t value = 0;
    return f != NULL && answer_field_number(f, &value) ? value : 0;
}

int64_t answer_time(const struct answer_object *o, const char *name)
{
    const struct answer_field *f = find(o, name, ANSWER_TIME);
    int64_t value = 0;
    return f != NULL && answer_field_time(f, &value) ? value : 0;
}

bool answer_field_number(const struct answer_field *f, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < f->value.size; i++) {
        unsigned digit = f->value.data[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value))
            return false;
    }
    *out = value;
    return f->value.size > 0;
}

bool answer_field_time(const struct answer_field *f, int64_t *out)
{
    uint64_t value = 0;
    if (!answer_field_number(f, &value) || value > INT64_MAX)
        return false;
    *out = (int64_t)value;
    return true;
}
