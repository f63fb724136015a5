/* The least that receiving mail can cost: POP3S with OpenSSL, one maildrop after the other,
 * all RETRs in one go, and every byte is thrown away unread.
 *
 *   tls_sink PORT CA-FILE PASSWORD USER...
 *
 * From 127.0.0.1. Prints how many bytes came within TLS. Not for a server that must not be
 * sent more commands than its socket buffer holds: RETR_MAX. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORDS_READ 65536u
#define LINE_SIZE 512
#define COMMAND_SIZE 20
#define RETR_MAX 2000ul

static void die(const char *what)
{
    fprintf(stderr, "tls_sink: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(EXIT_FAILURE);
}

static SSL_CTX *context_of(const char *ca_file)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || SSL_CTX_load_verify_locations(context, ca_file, NULL) != 1)
        die(ca_file);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, RECORDS_READ);
    return context;
}

static SSL *connect_to(SSL_CTX *context, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        die("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    SSL *tls = SSL_new(context);
    if (tls == NULL || SSL_set_fd(tls, fd) != 1 || SSL_connect(tls) != 1)
        die("TLS");
    return tls;
}

static void send_text(SSL *tls, const char *text)
{
    if (SSL_write(tls, text, (int)strlen(text)) <= 0)
        die("cannot send");
}

/* One reply of one line, which comes alone as nothing more was asked for. */
static void reply(SSL *tls, char out[LINE_SIZE])
{
    size_t size = 0, got;
    do {
        if (SSL_read_ex(tls, out + size, LINE_SIZE - 1 - size, &got) != 1)
            die("the server closed");
        size += got;
    } while (out[size - 1] != '\n' && size < LINE_SIZE - 1);
    out[size] = '\0';
    if (strncmp(out, "+OK", 3) != 0)
        die(out);
}

static void ask(SSL *tls, const char *command, const char *argument, char out[LINE_SIZE])
{
    char line[LINE_SIZE];
    snprintf(line, sizeof(line), "%s%s\r\n", command, argument);
    send_text(tls, line);
    reply(tls, out);
}

static void ask_for_all(SSL *tls, unsigned long count)
{
    if (count > RETR_MAX)
        die("too many messages");
    char *commands = malloc((count + 1) * COMMAND_SIZE);
    size_t size = 0;
    if (commands == NULL)
        die("no memory");
    for (unsigned long n = 1; n <= count; n++)
        size += (size_t)snprintf(commands + size, COMMAND_SIZE, "RETR %lu\r\n", n);
    snprintf(commands + size, COMMAND_SIZE, "QUIT\r\n");
    send_text(tls, commands);
    free(commands);
}

static uint64_t drain(SSL_CTX *context, uint16_t port, const char *user,
                      const char *password)
{
    static char sink[RECORDS_READ];
    char line[LINE_SIZE];
    uint64_t received = 0;
    size_t got;
    SSL *tls = connect_to(context, port);
    reply(tls, line);
    ask(tls, "USER ", user, line);
    ask(tls, "PASS ", password, line);
    ask(tls, "STAT", "", line);
    ask_for_all(tls, strtoul(line + strlen("+OK "), NULL, 10));
    while (SSL_read_ex(tls, sink, sizeof(sink), &got) == 1)
        received += got;
    int fd = SSL_get_fd(tls);
    SSL_free(tls);
    close(fd);
    return received;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fputs("usage: tls_sink PORT CA-FILE PASSWORD USER...\n", stderr);
        return 2;
    }
    SSL_CTX *context = context_of(argv[2]);
    uint64_t received = 0;
    for (int i = 4; i < argc; i++)
        received += drain(context, (uint16_t)strtoul(argv[1], NULL, 10), argv[i], argv[3]);
    SSL_CTX_free(context);
    printf("%llu\n", (unsigned long long)received);
    return 0;
}
