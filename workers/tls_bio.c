#include "workers/tls_bio.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A flight of the handshake is below 1 KiB, OpenSSL hands it over 4 KiB at a time at most;
 * the rest is room for a batch of commands. */
#define TLS_OUTPUT_SIZE ((size_t)16 * 1024)

static int wire_read(BIO *bio, char *data, int size)
{
    struct tls_wire *wire = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (size <= 0)
        return 0;
    if (wire->input_size == 0) {
        if (wire->input_ended)
            return 0;
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t n = (size_t)size < wire->input_size ? (size_t)size : wire->input_size;
    memcpy(data, wire->input, n);
    wire->input += n;
    wire->input_size -= n;
    if (wire->input_size == 0)
        tls_wire_drop_input(wire);
    return (int)n;
}

static int wire_write(BIO *bio, const char *data, int size)
{
    struct tls_wire *wire = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (size <= 0)
        return 0;
    if (wire->output == NULL) {
        wire->output = malloc(TLS_OUTPUT_SIZE);
        if (wire->output == NULL) {
            wire->no_memory = true;
            return -1;
        }
    }
    size_t room = tls_wire_room(wire);
    if (room == 0) {
        BIO_set_retry_write(bio);
        return -1;
    }
    size_t n = (size_t)size < room ? (size_t)size : room;
    memcpy(wire->output + wire->output_end, data, n);
    wire->output_end += n;
    return (int)n;
}

/* OpenSSL takes a flush that is not 1 for a failed write, and an EOF that is not 0 for the
 * end of the stream. */
static long wire_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)number, (void)pointer;
    const struct tls_wire *wire = BIO_get_data(bio);
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return wire->input_ended && wire->input_size == 0;
    case BIO_CTRL_PENDING:
        return (long)wire->input_size;
    case BIO_CTRL_WPENDING:
        return (long)(wire->output_end - wire->output_start);
    default:
        return 0;
    }
}

BIO_METHOD *tls_wire_method(void)
{
    /* No index of its own: BIO_get_new_index() has 127 for the whole life of the process,
     * and contexts come and go with each reload. Nobody asks this BIO for its type. */
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "TLS engine");
    if (method == NULL)
        return NULL;
    BIO_meth_set_read(method, wire_read);
    BIO_meth_set_write(method, wire_write);
    BIO_meth_set_ctrl(method, wire_ctrl);
    return method;
}

BIO *tls_wire_bio(const BIO_METHOD *method, struct tls_wire *wire)
{
    BIO *bio = BIO_new(method);
    if (bio == NULL)
        return NULL;
    BIO_set_data(bio, wire);
    BIO_set_init(bio, 1);
    return bio;
}

void tls_wire_clear(struct tls_wire *wire)
{
    tls_wire_drop_input(wire);
    free(wire->output);
    wire->output = NULL;
    wire->output_start = wire->output_end = 0;
}

void tls_wire_feed(struct tls_wire *wire, const uint8_t *data, size_t size)
{
    assert(wire->input_size == 0 && !wire->input_ended);
    if (size == 0)
        return;
    for (size_t i = 0; i < size && wire->first_size < TLS_FIRST_SIZE; i++)
        wire->first[wire->first_size++] = data[i];
    wire->input = data;
    wire->input_size = size;
}

void tls_wire_drop_input(struct tls_wire *wire)
{
    free(wire->kept);
    wire->kept = NULL;
    wire->input = NULL;
    wire->input_size = 0;
}

int tls_wire_keep(struct tls_wire *wire)
{
    if (wire->input_size == 0 || wire->kept != NULL)
        return 0;
    uint8_t *copy = malloc(wire->input_size);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, wire->input, wire->input_size);
    wire->kept = copy;
    wire->input = copy;
    return 0;
}

size_t tls_wire_room(const struct tls_wire *wire)
{
    return TLS_OUTPUT_SIZE - wire->output_end;
}

void tls_wire_consume(struct tls_wire *wire, size_t size)
{
    assert(size <= wire->output_end - wire->output_start);
    wire->output_start += size;
    if (wire->output_start < wire->output_end)
        return;
    free(wire->output);
    wire->output = NULL;
    wire->output_start = wire->output_end = 0;
}
