#include "daemon/log.h"

#include "archive/error.h"
#include "archive/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ESCAPE_SIZE 4      /* \xNN */
#define COLUMNS_DEFAULT 80 /* of a terminal that does not tell */
#define WRITE_WAIT_MS 1000 /* for a reader that does not take a line */
#define VALUE_MIN 32       /* a value with less room than this is left out */
#define TIME_SIZE 32
#define ERASE "\r\033[K"
#define JOURNAL_VARIABLE "JOURNAL_STREAM"

/* priority: of syslog(3). */
static const struct {
    const char *name;
    int priority;
} levels[] = {
    [LEVEL_ERROR] = {"error", 3},
    [LEVEL_WARNING] = {"warning", 4},
    [LEVEL_INFO] = {"info", 6},
    [LEVEL_DEBUG] = {"debug", 7},
};
_Static_assert(sizeof(levels) / sizeof(levels[0]) == LEVEL_DEBUG + 1,
               "a name for every level");

/* Inherited, the variable may tell of another stream than this one. */
static bool is_journal(int fd)
{
    const char *value = getenv(JOURNAL_VARIABLE);
    struct stat st;
    char ours[64];
    if (value == NULL || fstat(fd, &st) != 0)
        return false;
    (void)snprintf(ours, sizeof(ours), "%ju:%ju", (uintmax_t)st.st_dev,
                   (uintmax_t)st.st_ino);
    return strcmp(ours, value) == 0;
}

void log_init(struct log *log, int fd)
{
    *log = (struct log){.fd = fd,
                        .level = LEVEL_INFO,
                        .journal = is_journal(fd),
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .terminal = isatty(fd) == 1};
}

int log_level_from_name(const char *name, enum log_level *out)
{
    for (int i = LEVEL_ERROR; i <= LEVEL_DEBUG; i++) {
        if (strcmp(levels[i].name, name) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return ERR_SYNTAX;
}

void log_configure(struct log *log, enum log_level level)
{
    if (!log->level_fixed)
        log->level = level;
}

size_t log_clean(char *to, size_t to_size, const char *text)
{
    static const char hex[] = "0123456789abcdef", cut[] = "...";
    size_t used = 0;
    const uint8_t *at = (const uint8_t *)text, *end = at + strlen(text);
    while (at < end) {
        uint32_t code = 0;
        size_t size = utf8_valid(at, (size_t)(end - at), &code);
        bool escaped = size == 0 || utf8_unsafe(code);
        size_t taken = size == 0 ? 1 : size;
        size_t room = escaped ? taken * ESCAPE_SIZE : taken;
        if (used + room + sizeof(cut) > to_size) {
            memcpy(to + used, cut, sizeof(cut));
            return used + sizeof(cut) - 1;
        }
        for (size_t i = 0; i < taken && escaped; i++, used += ESCAPE_SIZE) {
            const char one[ESCAPE_SIZE] = {'\\', 'x', hex[at[i] >> 4], hex[at[i] & 15]};
            memcpy(to + used, one, ESCAPE_SIZE);
        }
        if (!escaped) {
            memcpy(to + used, at, taken);
            used += taken;
        }
        at += taken;
    }
    to[used] = '\0';
    return used;
}

/* A descriptor made non-blocking by whoever shares it is waited for, but not for ever. */
static void put(const struct log *log, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(log->fd, data, size);
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            struct pollfd room = {.fd = log->fd, .events = POLLOUT};
            if (poll(&room, 1, WRITE_WAIT_MS) <= 0)
                return;
        } else if (n == 0 || errno != EINTR) {
            return;
        }
    }
}

static size_t columns(int fd)
{
    struct winsize window;
    if (ioctl(fd, TIOCGWINSZ, &window) != 0 || window.ws_col < 2)
        return COLUMNS_DEFAULT;
    return window.ws_col;
}

static void draw_status(struct log *log, const char *text)
{
    if (!log->terminal || (text[0] == '\0' && !log->status))
        return;
    char line[LOG_LINE_SIZE];
    char clean[LOG_LINE_SIZE - sizeof(ERASE)];
    (void)log_clean(clean, sizeof(clean), text);
    int width = (int)columns(log->fd) - 1;
    int n = snprintf(line, sizeof(line), ERASE "%.*s", width, clean);
    if (n > 0)
        put(log, line, (size_t)n);
    log->status = text[0] != '\0';
}

void log_status(struct log *log, const char *text)
{
    (void)pthread_mutex_lock(&log->lock);
    draw_status(log, text);
    (void)pthread_mutex_unlock(&log->lock);
}

/* Room that is kept: for the newline. */
static size_t room(const struct log_event *e)
{
    return sizeof(e->text) - 1 - e->size;
}

/* What fits by its nature: levels, keys, numbers. */
static void add(struct log_event *e, const char *text, size_t size)
{
    if (size > room(e))
        return;
    memcpy(e->text + e->size, text, size);
    e->size += size;
}

static void add_priority(struct log_event *e, enum log_level level)
{
    char text[8];
    int n = snprintf(text, sizeof(text), "<%d>", levels[level].priority);
    if (e->log->journal && n > 0)
        add(e, text, (size_t)n);
}

static bool needs_quotes(const char *value)
{
    return value[0] == '\0' || strpbrk(value, " \"=\\") != NULL;
}

/* The bytes it takes, with its quotes where it needs them. */
static size_t quoted_size(const char *value)
{
    size_t size = strlen(value) + (needs_quotes(value) ? 2 : 0);
    for (const char *at = value; (at = strpbrk(at, "\"\\")) != NULL; at++)
        size++;
    return size;
}

static void add_quoted(struct log_event *e, const char *value)
{
    if (!needs_quotes(value)) {
        add(e, value, strlen(value));
        return;
    }
    add(e, "\"", 1);
    for (const char *at = value; *at != '\0'; at++) {
        if (*at == '"' || *at == '\\')
            add(e, "\\", 1);
        add(e, at, 1);
    }
    add(e, "\"", 1);
}

/* value: cleaned here, and cut to what there is room for. */
static void add_field(struct log_event *e, const char *key, const char *value)
{
    char clean[LOG_LINE_SIZE];
    size_t taken = strlen(key) + 2, left = room(e);
    if (left < taken + VALUE_MIN)
        return;
    left -= taken;
    (void)log_clean(clean, sizeof(clean), value);
    for (size_t size; (size = quoted_size(clean)) > left;) {
        size_t length = strlen(clean), over = size - left;
        /* At worst each byte takes two. */
        (void)log_clean(clean, length + 1 - (over < length / 2 ? over : length / 2), value);
    }
    if (e->size > 0 && e->text[e->size - 1] != '>')
        add(e, " ", 1);
    add(e, key, strlen(key));
    add(e, "=", 1);
    add_quoted(e, clean);
}

static void begin(struct log_event *e, struct log *log, enum log_level level,
                  const char *message)
{
    e->log = log;
    e->size = 0;
    e->muted = false;
    add_priority(e, level);
    add_field(e, "level", levels[level].name);
    add_field(e, "msg", message);
}

void log_begin(struct log_event *e, struct log *log, enum log_level level,
               const char *message)
{
    if (level <= log->level)
        begin(e, log, level, message);
    else
        e->muted = true;
}

void log_text(struct log_event *e, const char *key, const char *value)
{
    if (!e->muted && value != NULL && value[0] != '\0')
        add_field(e, key, value);
}

void log_number(struct log_event *e, const char *key, uint64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    log_text(e, key, text);
}

void log_time(struct log_event *e, const char *key, int64_t time_s)
{
    char text[TIME_SIZE] = "";
    time_t at = (time_t)time_s;
    struct tm local;
    if (localtime_r(&at, &local) != NULL)
        (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S%z", &local);
    log_text(e, key, text);
}

static void write_line(struct log_event *e)
{
    struct log *log = e->log;
    e->text[e->size++] = '\n';
    (void)pthread_mutex_lock(&log->lock);
    draw_status(log, "");
    put(log, e->text, e->size);
    (void)pthread_mutex_unlock(&log->lock);
}

void log_end(struct log_event *e)
{
    if (!e->muted)
        write_line(e);
}

void log_say(struct log *log, enum log_level level, const char *message, const char *error)
{
    struct log_event e;
    log_begin(&e, log, level, message);
    log_text(&e, "error", error);
    log_end(&e);
}

void log_wire(struct log *log, const char *account, uint64_t session, uint64_t at_ms,
              const char *text)
{
    struct log_event e;
    begin(&e, log, LEVEL_DEBUG, "wire");
    log_text(&e, "account", account);
    log_number(&e, "session", session);
    log_number(&e, "ms", at_ms);
    log_text(&e, "line", text);
    log_end(&e);
}

void log_line(struct log *log, const char *format, ...)
{
    char text[LOG_LINE_SIZE];
    struct log_event e = {.log = log};
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n < 0)
        return;
    add_priority(&e, LEVEL_ERROR);
    e.size += log_clean(e.text + e.size, room(&e), text);
    write_line(&e);
}
