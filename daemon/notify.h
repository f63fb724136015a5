/* What the service manager is told: sd_notify(3). Without one every call does nothing, and
 * a message that cannot be sent is lost: the service goes on without. One thread. */
#ifndef MAILCASK_DAEMON_NOTIFY_H
#define MAILCASK_DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#define NOTIFY_STATUS_SIZE 512 /* with its NUL; longer is cut */
#define NOTIFY_FOREVER UINT64_MAX

struct notify {
    uint64_t watchdog_ms; /* we are killed after so long without a sign; 0: never */
    bool relaxed;         /* by notify_long_work() */
    uint64_t alive_ms;    /* the last sign of life */
    uint64_t status_ms;   /* when the status was sent last */
    char status[NOTIFY_STATUS_SIZE];
};

/* Reads the environment. Times are monotonic, in ms. */
void notify_init(struct notify *n, uint64_t now_ms);

/* The service is up, or its reload is over, whatever became of it. */
void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);

/* Something follows that may keep this thread for hours, such as a recovery: no sign of
 * life is waited for until the next notify_alive(). */
void notify_long_work(struct notify *n);

/* We are alive: to be called whenever notify_wait_ms() has passed, and as often as one
 * likes. */
void notify_alive(struct notify *n, uint64_t now_ms);
uint64_t notify_wait_ms(const struct notify *n, uint64_t now_ms);

/* The line of `systemctl status`. Sent if it is another one, at most once a second: what
 * comes sooner is dropped. One line; control characters are made harmless. */
void notify_status(struct notify *n, uint64_t now_ms, const char *text);

#endif
