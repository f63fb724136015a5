#include "tools/progress.h"

#include "archive/size_text.h"
#include "tools/interrupt.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define DRAW_INTERVAL_MS 200
#define RATE_AFTER_MS 1000 /* before that a rate is noise */

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void progress_start(struct progress *p, const char *verb, uint64_t total_bytes)
{
    *p = (struct progress){
        .shown = isatty(STDERR_FILENO) == 1,
        .verb = verb,
        .total_bytes = total_bytes,
        .began_ms = now_ms(),
    };
}

void progress_text(char out[PROGRESS_TEXT_MAX], uint64_t done_bytes, uint64_t total_bytes,
                   int64_t elapsed_ms)
{
    char size[SIZE_TEXT_MAX];
    char rate[SIZE_TEXT_MAX + 8] = "";
    char left[DURATION_TEXT_MAX + 8] = "";
    double share = total_bytes > 0 ? (double)done_bytes / (double)total_bytes : 0;
    if (share > 1)
        share = 1;
    if (elapsed_ms >= RATE_AFTER_MS && done_bytes > 0) {
        double per_second = (double)done_bytes * 1000.0 / (double)elapsed_ms;
        char each[SIZE_TEXT_MAX];
        size_text((uint64_t)per_second, each);
        (void)snprintf(rate, sizeof(rate), ", %s/s", each);
        if (share > 0 && per_second >= 1) {
            char duration[DURATION_TEXT_MAX];
            duration_text((uint64_t)((double)total_bytes * (1 - share) / per_second + 0.5),
                          duration);
            (void)snprintf(left, sizeof(left), ", %s left", duration);
        }
    }
    size_text(done_bytes, size);
    if (total_bytes > 0)
        (void)snprintf(out, PROGRESS_TEXT_MAX, "%s, %d %%%s%s", size, (int)(share * 100),
                       rate, left);
    else
        (void)snprintf(out, PROGRESS_TEXT_MAX, "%s%s", size, rate);
}

void progress_update(struct progress *p, uint64_t done_bytes)
{
    if (!p->shown)
        return;
    int64_t now = now_ms();
    if (now - p->drawn_ms < DRAW_INTERVAL_MS)
        return;
    p->drawn_ms = now;
    char text[PROGRESS_TEXT_MAX];
    progress_text(text, done_bytes, p->total_bytes, now - p->began_ms);
    (void)fprintf(stderr, "\r%s: %s\033[K", p->verb, text);
    p->visible = true;
}

int progress_step(struct progress *p, const char *verb, uint64_t done_bytes,
                  uint64_t total_bytes)
{
    if (p->verb == NULL)
        progress_start(p, verb, total_bytes);
    p->total_bytes = total_bytes;
    progress_update(p, done_bytes);
    return interrupt_wanted() ? 1 : 0;
}

void progress_hide(struct progress *p)
{
    if (p->visible)
        (void)fputs("\r\033[K", stderr);
    p->visible = false;
    p->drawn_ms = 0;
}
