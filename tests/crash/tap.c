#include "tests/crash/tap.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void tap_result(struct tap *t, bool ok, const char *what)
{
    printf("%sok %u - %s\n", ok ? "" : "not ", ++t->tests, what);
    fflush(stdout);
    t->failed += !ok;
}

void tap_comment(const char *text)
{
    for (const char *line = text; *line != '\0';) {
        size_t size = strcspn(line, "\n");
        printf("#   %.*s\n", (int)size, line);
        line += size + (line[size] == '\n');
    }
    fflush(stdout);
}

int tap_end(const struct tap *t)
{
    printf("1..%u\n", t->tests);
    return t->failed == 0 && t->tests > 0 ? 0 : 1;
}

void make_work_folder(char *out, size_t size)
{
    snprintf(out, size, "/dev/shm/mailcask-crash-XXXXXX");
    if (mkdtemp(out) != NULL)
        return;
    snprintf(out, size, "/tmp/mailcask-crash-XXXXXX");
    assert(mkdtemp(out) != NULL);
}

void run_jobs(unsigned jobs, void (*work)(void *arg, unsigned job), void *arg,
              void (*lost)(void *arg, unsigned job, int status))
{
    pid_t children[JOBS_MAX];
    assert(jobs <= JOBS_MAX);
    fflush(stdout);
    for (unsigned job = 0; job < jobs; job++) {
        children[job] = fork();
        assert(children[job] >= 0);
        if (children[job] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would look at what it finds */
            work(arg, job);
            fflush(stdout);
            _exit(0);
        }
    }
    for (unsigned job = 0; job < jobs; job++) {
        int status = 0;
        if (waitpid(children[job], &status, 0) != children[job] || status != 0)
            lost(arg, job, status);
    }
}
