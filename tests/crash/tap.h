/* What the crash tests' programs share: results in TAP, a folder to work in, and processes
 * that work side by side. */
#ifndef MAILCASK_TESTS_CRASH_TAP_H
#define MAILCASK_TESTS_CRASH_TAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define JOBS_MAX 32u

/* Zero-initialised. */
struct tap {
    unsigned tests, failed;
};

void tap_result(struct tap *t, bool ok, const char *what);
/* Each line of the text, as a comment. */
void tap_comment(const char *text);
/* The plan; returns the exit status. */
int tap_end(const struct tap *t);

/* A new folder, in memory where there is some: nothing here needs a real disk. */
void make_work_folder(char *out, size_t size);

/* Fork `jobs` processes that call work(arg, 0..jobs-1) and exit; then wait for all. lost,
 * if one does not come back in order: its number, and how waitpid() says that it ended. */
void run_jobs(unsigned jobs, void (*work)(void *arg, unsigned job), void *arg,
              void (*lost)(void *arg, unsigned job, int status));

#endif
