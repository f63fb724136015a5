#include "daemon/config_text.h"

#include "archive/error.h"
#include "archive/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_OF(number) #number
#define MIB_TEXT(number) TEXT_OF(number) " MiB"
#define FILE_SIZE_MAX ((uint64_t)CONFIG_FILE_MAX_MIB << 20)

const char *config_text_problem(int err)
{
    if (err == ERR_TOO_LARGE)
        return "larger than " MIB_TEXT(CONFIG_FILE_MAX_MIB);
    return err == -EINVAL ? "not a regular file" : error_text(err);
}

static int read_whole(int fd, char *data, size_t size, size_t *out_read)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = read(fd, data + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *out_read = done;
    return 0;
}

static int read_file(const char *path, struct arena *arena, struct config_text *out)
{
    /* O_NONBLOCK: a FIFO must be refused, not waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    struct stat st;
    int err = fstat(fd, &st) < 0 ? -errno : 0;
    if (err == 0 && S_ISDIR(st.st_mode))
        err = -EISDIR;
    if (err == 0 && !S_ISREG(st.st_mode))
        err = -EINVAL;
    if (err == 0 && (uint64_t)st.st_size > FILE_SIZE_MAX)
        err = ERR_TOO_LARGE;
    if (err == 0) {
        out->open_to_others = (st.st_mode & (S_IRWXG | S_IRWXO)) != 0;
        out->data = arena_take(arena, (size_t)st.st_size + 1);
        err = out->data == NULL ? -ENOMEM
                                : read_whole(fd, out->data, (size_t)st.st_size, &out->size);
    }
    close(fd);
    return err;
}

static int check_text(const char *path, const struct config_text *text,
                      struct config_error *error)
{
    const uint8_t *at = (const uint8_t *)text->data, *end = at + text->size;
    unsigned line = 1;
    while (at < end) {
        if (*at == '\0')
            return config_error_set(error, path, line,
                                    "a NUL byte; allowed: text in UTF-8, no NUL");
        uint32_t c = 0;
        size_t length = utf8_valid(at, (size_t)(end - at), &c);
        if (length == 0)
            return config_error_set(error, path, line,
                                    "text that is not UTF-8; save the file as UTF-8");
        line += *at == '\n';
        at += length;
    }
    return 0;
}

int config_text_load(const char *path, struct arena *arena, struct config_text *out,
                     struct config_error *error)
{
    static const char mark[] = "\xef\xbb\xbf";
    int err = read_file(path, arena, out);
    if (err != 0)
        return err;
    if (strncmp(out->data, mark, sizeof(mark) - 1) == 0) {
        out->data += sizeof(mark) - 1;
        out->size -= sizeof(mark) - 1;
    }
    return check_text(path, out, error);
}
