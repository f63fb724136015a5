/* A configuration of any contents, read from memory: the file, and after a byte of value 1
 * an accounts-file, which the first part may name as TABLE_PATH. */
#include "archive/error.h"
#include "daemon/config.h"
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABLE_FD 999
#define TABLE_PATH "/proc/self/fd/999"
#define SEPARATOR 1
#define PATH_SIZE 64

static int memory_file(struct span text)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && fchmod(fd, 0600) == 0);
    if (text.size > 0)
        FUZZ_CHECK(write(fd, text.data, text.size) == (ssize_t)text.size);
    return fd;
}

static void check_error(int err, const struct config_error *error)
{
    size_t size = strnlen(error->text, sizeof(error->text));
    FUZZ_CHECK(err < 0 && size > 0 && size < sizeof(error->text));
    for (size_t i = 0; i < size; i++)
        FUZZ_CHECK((unsigned char)error->text[i] >= ' ' && error->text[i] != 0x7f);
}

static void check_name(const char *name)
{
    size_t size = strlen(name);
    FUZZ_CHECK(size > 0 && size <= CONFIG_NAME_MAX && name[0] != '.');
    for (size_t i = 0; i < size; i++)
        FUZZ_CHECK(name[i] != '/' && (unsigned char)name[i] >= ' ');
}

static void check_config(const struct config *config)
{
    FUZZ_CHECK(config->archive_path[0] != '\0');
    for (size_t i = 0; i < config->server_count; i++) {
        const struct config_server *s = &config->servers[i];
        FUZZ_CHECK(s->host[0] != '\0' && s->port > 0 && s->max_connections > 0);
        FUZZ_CHECK(config_find_server(config, s->name) == s);
        FUZZ_CHECK(i == 0 || strcmp(config->servers[i - 1].name, s->name) < 0);
    }
    for (size_t i = 0; i < config->account_count; i++) {
        const struct config_account *a = &config->accounts[i];
        check_name(a->name);
        FUZZ_CHECK(a->user[0] != '\0' && a->password[0] != '\0' && a->poll_ms > 0);
        FUZZ_CHECK((a->delete_rule == CONFIG_DELETE_AFTER) == (a->delete_after_ms > 0));
        FUZZ_CHECK(config_find_account(config, a->name) == a);
        FUZZ_CHECK(config_find_server(config, a->server->name) == a->server);
        FUZZ_CHECK(i == 0 || strcmp(config->accounts[i - 1].name, a->name) < 0);
    }
}

/* What is read alone, which must be the same. */
static void check_alone(const char *path, const struct config *config)
{
    struct config_error error = {""};
    char *archive_path = NULL;
    bool deletes = false;
    int err = config_archive_path(path, &archive_path, &error);
    if (err != 0)
        check_error(err, &error);
    FUZZ_CHECK(config == NULL ||
               (err == 0 && strcmp(archive_path, config->archive_path) == 0));
    free(archive_path);
    err = config_archive_deletes(path, &deletes, &error);
    if (err != 0)
        check_error(err, &error);
    FUZZ_CHECK(config == NULL || (err == 0 && deletes == config->deletes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = size > 0 ? memchr(data, SEPARATOR, size) : NULL;
    size_t first = cut != NULL ? (size_t)(cut - data) : size;
    size_t skip = cut != NULL ? first + 1 : first;
    int fd = memory_file(span_of(data, first));
    int table = memory_file(span_of(data + skip, size - skip));
    FUZZ_CHECK(dup2(table, TABLE_FD) == TABLE_FD);
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    struct config *config = NULL;
    struct config_error error = {""};
    int err = config_load(path, &config, &error);
    if (err == 0)
        check_config(config);
    else
        check_error(err, &error);
    check_alone(path, err == 0 ? config : NULL);
    if (err == 0)
        config_free(config);
    close(TABLE_FD);
    close(table);
    close(fd);
    return 0;
}
