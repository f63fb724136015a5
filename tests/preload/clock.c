/* A clock that a test moves on, for the real programs: LD_PRELOAD this, and name a file in
 * MAILCASK_CLOCK. CLOCK_MONOTONIC is ahead by as many seconds as the file has bytes
 * (truncate(1) makes it longer, at any time). Who is asleep when it moves sleeps on.
 *
 * The C library waits by the clock of the system, so a wait on a condition until a moment
 * of ours is put right; by their size those moments are told from times of day. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define MONOTONIC_MAX_S ((time_t)10 * 366 * 86400) /* no machine is up for so long */

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                           const struct timespec *until);
int clock_gettime(clockid_t clock, struct timespec *out);

/* The next definition of a function behind this library. */
static void real(const char *name, void *out_function)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        abort();
    memcpy(out_function, &found, sizeof(found));
}

static time_t ahead_s(void)
{
    struct stat s;
    const char *path = getenv("MAILCASK_CLOCK");
    return path != NULL && stat(path, &s) == 0 ? (time_t)s.st_size : 0;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    int (*function)(clockid_t, struct timespec *);
    real("clock_gettime", &function);
    int rc = function(clock, out);
    if (rc == 0 && clock == CLOCK_MONOTONIC)
        out->tv_sec += ahead_s();
    return rc;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                           const struct timespec *until)
{
    int (*function)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec moment = *until;
    real("pthread_cond_timedwait", &function);
    if (moment.tv_sec < MONOTONIC_MAX_S)
        moment.tv_sec -= ahead_s();
    return function(condition, mutex, &moment);
}
