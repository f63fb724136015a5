#include "tests/pop3d/options.h"

#include <errno.h>
#include <getopt.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define EXIT_USAGE 2

#define CAPABILITY_TEXT(name, text) text,
static const char *const capability_names[] = {CAPABILITY_LIST(CAPABILITY_TEXT)};
#undef CAPABILITY_TEXT

static const char usage[] =
    "usage: pop3d [OPTION]... DIR\n"
    "A POP3 server for tests: DIR/USER/FILE is a message. tests/pop3d/README.md explains "
    "all.\n"
    "  --listen ADDRESS:PORT    127.0.0.1:0; up to 4 times, [::1]:0 for IPv6\n"
    "  --port-file FILE         the ports in use, one a line, written atomically\n"
    "  --tls implicit|starttls|none\n"
    "  --cert FILE --key FILE   PEM; without them a certificate is made in memory\n"
    "  --write-ca FILE          the certificate a client has to trust, PEM\n"
    "  --tls-max VERSION        1.0, 1.1, 1.2, 1.3: the newest version offered\n"
    "  --no-tickets             no TLS session resumption\n"
    "  --password TEXT          of users without DIR/USER.password (secret)\n"
    "  --line-ends crlf|asis    crlf: a bare LF becomes CRLF (crlf)\n"
    "  --uidl name|number|random-per-session\n"
    "  --no-lock                several sessions in one mailbox\n"
    "  --read-only              QUIT deletes nothing\n"
    "  --no-capa NAME           do not announce it (it still works)\n"
    "  --late-capa NAME         announce it after the login only\n"
    "  --expire TEXT            announce EXPIRE TEXT\n"
    "  --login-delay SECONDS    announce and enforce LOGIN-DELAY\n"
    "  --throttle BYTES         a second and session\n"
    "  --delay-ms MS            before each reply\n"
    "  --rtt-ms MS              before each batch of commands\n"
    "  --log FILE               the event log\n"
    "  --script FILE            rules for what a server should not do\n"
    "  --die-with-parent        end when the parent process ends\n";

enum option_id {
    OPTION_HELP = 256,
    OPTION_LISTEN,
    OPTION_PORT_FILE,
    OPTION_TLS,
    OPTION_CERT,
    OPTION_KEY,
    OPTION_WRITE_CA,
    OPTION_TLS_MAX,
    OPTION_NO_TICKETS,
    OPTION_PASSWORD,
    OPTION_LINE_ENDS,
    OPTION_UIDL,
    OPTION_NO_LOCK,
    OPTION_READ_ONLY,
    OPTION_NO_CAPA,
    OPTION_LATE_CAPA,
    OPTION_EXPIRE,
    OPTION_LOGIN_DELAY,
    OPTION_THROTTLE,
    OPTION_DELAY,
    OPTION_RTT,
    OPTION_LOG,
    OPTION_SCRIPT,
    OPTION_DIE_WITH_PARENT
};

static const struct option long_options[] = {
    {"help", no_argument, NULL, OPTION_HELP},
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"port-file", required_argument, NULL, OPTION_PORT_FILE},
    {"tls", required_argument, NULL, OPTION_TLS},
    {"cert", required_argument, NULL, OPTION_CERT},
    {"key", required_argument, NULL, OPTION_KEY},
    {"write-ca", required_argument, NULL, OPTION_WRITE_CA},
    {"tls-max", required_argument, NULL, OPTION_TLS_MAX},
    {"no-tickets", no_argument, NULL, OPTION_NO_TICKETS},
    {"password", required_argument, NULL, OPTION_PASSWORD},
    {"line-ends", required_argument, NULL, OPTION_LINE_ENDS},
    {"uidl", required_argument, NULL, OPTION_UIDL},
    {"no-lock", no_argument, NULL, OPTION_NO_LOCK},
    {"read-only", no_argument, NULL, OPTION_READ_ONLY},
    {"no-capa", required_argument, NULL, OPTION_NO_CAPA},
    {"late-capa", required_argument, NULL, OPTION_LATE_CAPA},
    {"expire", required_argument, NULL, OPTION_EXPIRE},
    {"login-delay", required_argument, NULL, OPTION_LOGIN_DELAY},
    {"throttle", required_argument, NULL, OPTION_THROTTLE},
    {"delay-ms", required_argument, NULL, OPTION_DELAY},
    {"rtt-ms", required_argument, NULL, OPTION_RTT},
    {"log", required_argument, NULL, OPTION_LOG},
    {"script", required_argument, NULL, OPTION_SCRIPT},
    {"die-with-parent", no_argument, NULL, OPTION_DIE_WITH_PARENT},
    {NULL, 0, NULL, 0},
};

const char *capability_name(enum capability capability)
{
    return capability_names[capability];
}

static bool parse_number(const char *text, uint64_t *out_number)
{
    char *end;
    errno = 0;
    *out_number = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && text[0] != '-';
}

static bool parse_word(const char *text, const char *const *words, int count,
                       int *out_index)
{
    for (*out_index = 0; *out_index < count; ++*out_index)
        if (strcasecmp(text, words[*out_index]) == 0)
            return true;
    return false;
}

static bool parse_tls(struct options *options, const char *text)
{
    static const char *const words[] = {"implicit", "starttls", "none"};
    int index;
    bool good = parse_word(text, words, 3, &index);
    options->tls = (enum tls_mode)index;
    return good;
}

static bool parse_tls_max(struct options *options, const char *text)
{
    static const char *const words[] = {"1.0", "1.1", "1.2", "1.3"};
    static const int versions[] = {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION,
                                   TLS1_3_VERSION, 0};
    int index;
    bool good = parse_word(text, words, 4, &index);
    options->tls_max_version = versions[index];
    return good;
}

static bool parse_line_ends(struct options *options, const char *text)
{
    static const char *const words[] = {"crlf", "asis"};
    int index;
    bool good = parse_word(text, words, 2, &index);
    options->line_ends = (enum line_ends)index;
    return good;
}

static bool parse_uidl(struct options *options, const char *text)
{
    static const char *const words[] = {"name", "number", "random-per-session"};
    int index;
    bool good = parse_word(text, words, 3, &index);
    options->uidl = (enum uidl_kind)index;
    return good;
}

static bool parse_capability(unsigned *bits, const char *text)
{
    int index;
    bool good = parse_word(text, capability_names, CAPABILITY_COUNT, &index);
    if (good)
        *bits |= 1u << index;
    return good;
}

static bool add_listen(struct options *options, const char *text)
{
    if (options->listen_count == LISTEN_MAX)
        return false;
    options->listen[options->listen_count++] = text;
    return true;
}

static bool apply_flag(struct options *options, int id)
{
    switch (id) {
    case OPTION_NO_TICKETS:
        options->tickets = false;
        return true;
    case OPTION_NO_LOCK:
        options->lock = false;
        return true;
    case OPTION_READ_ONLY:
        options->read_only = true;
        return true;
    case OPTION_DIE_WITH_PARENT:
        options->die_with_parent = true;
        return true;
    default:
        return false;
    }
}

static bool apply_text(struct options *options, int id, const char *text)
{
    const char **fields[] = {
        [OPTION_PORT_FILE - OPTION_HELP] = &options->port_file,
        [OPTION_CERT - OPTION_HELP] = &options->cert,
        [OPTION_KEY - OPTION_HELP] = &options->key,
        [OPTION_WRITE_CA - OPTION_HELP] = &options->write_ca,
        [OPTION_PASSWORD - OPTION_HELP] = &options->password,
        [OPTION_EXPIRE - OPTION_HELP] = &options->expire,
        [OPTION_LOG - OPTION_HELP] = &options->log,
        [OPTION_SCRIPT - OPTION_HELP] = &options->script,
    };
    size_t index = (size_t)(id - OPTION_HELP);
    if (index >= sizeof fields / sizeof fields[0] || fields[index] == NULL)
        return false;
    *fields[index] = text;
    return true;
}

static bool apply_value(struct options *options, int id, const char *text)
{
    switch (id) {
    case OPTION_LISTEN:
        return add_listen(options, text);
    case OPTION_TLS:
        return parse_tls(options, text);
    case OPTION_TLS_MAX:
        return parse_tls_max(options, text);
    case OPTION_LINE_ENDS:
        return parse_line_ends(options, text);
    case OPTION_UIDL:
        return parse_uidl(options, text);
    case OPTION_NO_CAPA:
        return parse_capability(&options->hidden_capabilities, text);
    case OPTION_LATE_CAPA:
        return parse_capability(&options->late_capabilities, text);
    case OPTION_LOGIN_DELAY:
        return parse_number(text, &options->login_delay_s);
    case OPTION_THROTTLE:
        return parse_number(text, &options->throttle);
    case OPTION_DELAY:
        return parse_number(text, &options->delay_ms);
    case OPTION_RTT:
        return parse_number(text, &options->rtt_ms);
    default:
        return apply_text(options, id, text);
    }
}

static int bad_usage(const char *what)
{
    fprintf(stderr, "pop3d: %s\n%s", what, usage);
    return EXIT_USAGE;
}

int options_parse(struct options *options, int argc, char **argv)
{
    *options = (struct options){
        .password = "secret", .lock = true, .tickets = true, .line_ends = LINE_ENDS_CRLF};
    int id, index = 0;
    while ((id = getopt_long(argc, argv, "h", long_options, &index)) != -1) {
        if (id == OPTION_HELP || id == 'h') {
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        }
        if (id == '?')
            return bad_usage("unknown option");
        bool good =
            optarg == NULL ? apply_flag(options, id) : apply_value(options, id, optarg);
        if (!good) {
            fprintf(stderr, "pop3d: bad value for --%s: %s\n", long_options[index].name,
                    optarg);
            return EXIT_USAGE;
        }
    }
    if (optind + 1 != argc)
        return bad_usage("one folder is needed");
    options->dir = argv[optind];
    if ((options->cert == NULL) != (options->key == NULL))
        return bad_usage("--cert and --key belong together");
    if (options->listen_count == 0)
        options->listen[options->listen_count++] = "127.0.0.1:0";
    return -1;
}
