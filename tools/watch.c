#include "tools/watch.h"

#include "archive/archive.h"
#include "archive/error.h"
#include "tools/control_client.h"
#include "tools/exits.h"
#include "tools/open.h"
#include "tools/screen.h"
#include "tools/watch_text.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

struct watch {
    char *archive; /* path */
    struct rates rates;
    struct buffer answer; /* empty: there was none, */
    char trouble[256];    /* and why */
    int64_t next_ms;
};

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* There must be an archive that we may ask about; a service may come. */
static int open_watch(struct watch *w, const struct options *o)
{
    uid_t owner;
    int status = find_archive(o, &w->archive);
    if (status != EXIT_DONE)
        return status;
    int err = archive_owner(w->archive, &owner);
    return err != 0 ? say_open_failed(o, w->archive, err) : EXIT_DONE;
}

static void close_watch(struct watch *w)
{
    buffer_free(&w->answer);
    free(w->archive);
}

static const char *trouble_of(int err)
{
    switch (err) {
    case -ENOENT:
    case -ECONNREFUSED:
        return "none runs; waiting for it";
    case -EAGAIN:
        return "it does not answer; trying again";
    case ERR_CLOSED:
        return "it ended before its answer was whole; trying again";
    default:
        return error_text(err);
    }
}

/* The answer's service; without one it is an error, in words. */
static bool find_service(struct span answer, struct answer_object *out)
{
    struct span rest = answer;
    return answer_next(&rest, out) && answer_is(out, "service");
}

/* Ask once more. False: a signal came before the answer, and nothing has changed. */
static bool look(struct watch *w, int stop_fd)
{
    struct buffer answer = {0};
    struct answer_object service;
    int err = control_ask_until(w->archive, "status", stop_fd, &answer);
    if (err == ERR_STOPPED) {
        buffer_free(&answer);
        return false;
    }
    bool told = err == 0 && find_service(span_of(answer.data, answer.size), &service);
    struct span text = span_text(err != 0 ? trouble_of(err) : "");
    if (err == 0 && !told)
        text = answer_text(&service, "text");
    (void)snprintf(w->trouble, sizeof(w->trouble), "%.*s", (int)text.size,
                   (const char *)text.data);
    if (told)
        rates_look(&w->rates, &service, now_ms());
    else
        buffer_clear(&answer);
    buffer_free(&w->answer);
    w->answer = answer;
    return true;
}

static void draw(struct watch *w, struct screen *screen)
{
    char *text = NULL;
    size_t size = 0;
    struct output frame = {.file = open_memstream(&text, &size)};
    if (frame.file == NULL)
        return;
    watch_text(&frame, span_of(w->answer.data, w->answer.size), &w->rates,
               (int64_t)time(NULL), w->trouble);
    if (fclose(frame.file) == 0 && frame.error == 0)
        screen_draw(screen, span_of(text, size));
    free(text);
}

int watch_screen(const struct options *o, struct output *out)
{
    struct watch w = {0};
    struct screen screen;
    int status = open_watch(&w, o);
    int err = status == EXIT_DONE ? screen_open(&screen, out) : 0;
    if (status != EXIT_DONE || err != 0) {
        close_watch(&w);
        return status != EXIT_DONE ? status : say_failed("watching", err);
    }
    enum screen_event event = SCREEN_TIME;
    w.next_ms = now_ms();
    while (event != SCREEN_END && out->error == 0) {
        if (event == SCREEN_TIME && now_ms() >= w.next_ms) {
            w.next_ms = now_ms() + WATCH_INTERVAL_MS;
            if (!look(&w, screen.signal_fd))
                w.next_ms = now_ms(); /* the signal first */
        }
        draw(&w, &screen);
        event = screen_wait(&screen, w.next_ms - now_ms());
    }
    screen_close(&screen);
    close_watch(&w);
    return EXIT_DONE;
}

int watch_lines(const struct options *o, struct output *out,
                void (*print)(struct output *out, struct span answer, const char *trouble))
{
    const struct timespec interval = {.tv_sec = WATCH_INTERVAL_MS / 1000,
                                      .tv_nsec = WATCH_INTERVAL_MS % 1000 * 1000000};
    struct watch w = {0};
    int status = open_watch(&w, o);
    while (status == EXIT_DONE && out->error == 0) {
        (void)look(&w, -1);
        print(out, span_of(w.answer.data, w.answer.size), w.trouble);
        output_flush(out);
        if (out->error == 0)
            (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &interval, NULL);
    }
    close_watch(&w);
    return status;
}
