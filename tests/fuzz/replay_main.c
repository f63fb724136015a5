/* Gives a fuzz target its seeds, as a test: with the name of the program, fuzz_NAME, every
 * file of tests/fuzz/corpus/NAME; with arguments, these files (a crash to look at). TAP. */
#include "tests/fuzz/fuzz.h"

#include "archive/error.h"
#include "archive/files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sys/resource.h>

#define INPUT_SIZE_MAX (64u << 20)
/* The fuzzers allow twice as much; a seed needs a few dozen. */
#define PEAK_KIB_MAX (1L << 20)
#define NAME_PREFIX "fuzz_"

static long peak_kib(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_maxrss : LONG_MAX;
}

static bool replay(const char *path, unsigned number)
{
    char *data = NULL;
    size_t size = 0;
    int err = file_load(&system_files, path, INPUT_SIZE_MAX, &data, &size);
    if (err != 0) {
        printf("not ok %u - %s: %s\n", number, path, error_text(err));
        return false;
    }
    uint8_t *copy = fuzz_copy(data, size);
    free(data);
    printf("# %s\n", path);
    fflush(stdout); /* names the culprit, should it crash */
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    bool modest = peak_kib() <= PEAK_KIB_MAX;
    printf("%s %u - %s%s\n", modest ? "ok" : "not ok", number, path,
           modest ? "" : ": memory out of all proportion");
    return modest;
}

static int is_seed(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static bool replay_folder(const char *folder, unsigned *number)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_seed, alphasort);
    bool good = count > 0;
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        int n = snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        good &= n > 0 && n < PATH_MAX && replay(path, ++*number);
        free(entries[i]);
    }
    free(entries);
    if (count <= 0)
        printf("not ok %u - no seeds in %s\n", ++*number, folder);
    return good;
}

int main(int argc, char **argv)
{
    const char *name = program_invocation_short_name;
    char folder[PATH_MAX];
    unsigned number = 0;
    bool good = true;
    if (strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) == 0)
        name += strlen(NAME_PREFIX);
    snprintf(folder, sizeof(folder), "tests/fuzz/corpus/%s", name);
    if (argc == 1)
        good = replay_folder(folder, &number);
    for (int i = 1; i < argc; i++)
        good &= replay(argv[i], ++number);
    printf("1..%u\n", number);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
