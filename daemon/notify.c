#include "daemon/notify.h"

#include "daemon/log.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#define STATUS_EVERY_MS 1000
#define LONG_WORK_MAX_US (UINT64_C(24) * 3600 * 1000000)

void notify_init(struct notify *n, uint64_t now_ms)
{
    uint64_t interval_us = 0;
    *n = (struct notify){.alive_ms = now_ms};
    if (sd_watchdog_enabled(0, &interval_us) > 0)
        n->watchdog_ms = interval_us / 1000;
}

void notify_ready(void)
{
    (void)sd_notify(0, "READY=1");
}

void notify_reloading(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    /* Type=notify-reload pairs the answer with its own question by the time. */
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
                     (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

void notify_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1");
}

void notify_long_work(struct notify *n)
{
    if (n->watchdog_ms == 0 || n->relaxed)
        return;
    n->relaxed = true;
    (void)sd_notifyf(0, "WATCHDOG_USEC=%" PRIu64, LONG_WORK_MAX_US);
}

uint64_t notify_wait_ms(const struct notify *n, uint64_t now_ms)
{
    if (n->watchdog_ms == 0)
        return NOTIFY_FOREVER;
    uint64_t due_ms = n->alive_ms + n->watchdog_ms / 2;
    return due_ms > now_ms && !n->relaxed ? due_ms - now_ms : 0;
}

void notify_alive(struct notify *n, uint64_t now_ms)
{
    if (notify_wait_ms(n, now_ms) > 0)
        return;
    if (n->relaxed)
        (void)sd_notifyf(0, "WATCHDOG_USEC=%" PRIu64, n->watchdog_ms * 1000);
    (void)sd_notify(0, "WATCHDOG=1");
    n->relaxed = false;
    n->alive_ms = now_ms;
}

void notify_status(struct notify *n, uint64_t now_ms, const char *text)
{
    char line[NOTIFY_STATUS_SIZE];
    (void)log_clean(line, sizeof(line), text);
    bool too_soon = n->status_ms != 0 && now_ms - n->status_ms < STATUS_EVERY_MS;
    if (too_soon || strcmp(line, n->status) == 0)
        return;
    memcpy(n->status, line, sizeof(line));
    n->status_ms = now_ms;
    (void)sd_notifyf(0, "STATUS=%s", line);
}
