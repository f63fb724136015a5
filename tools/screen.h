/* The whole terminal for one view, by ANSI escapes, and the signals and keys that concern
 * it. The shell's screen comes back however the view ends: signals are taken one by one in
 * screen_wait(), none interrupts anything. One thread. */
#ifndef MAILCASK_TOOLS_SCREEN_H
#define MAILCASK_TOOLS_SCREEN_H

#include "archive/bytes.h"
#include "tools/display.h"
#include "tools/output.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

struct screen {
    struct output *out; /* borrowed; the terminal */
    struct display *display;
    bool typed;           /* standard input is a terminal, too, */
    struct termios modes; /* which had these modes, */
    bool keys;            /* and is still there: q ends */
    sigset_t mask;        /* of signals, before */
    int signal_fd;        /* readable when a signal waits */
};

enum screen_event {
    SCREEN_TIME,    /* so long nothing happened */
    SCREEN_CHANGED, /* the terminal has another size, or came back from a stop */
    SCREEN_END,     /* q, Ctrl-C, SIGTERM, SIGHUP, SIGQUIT */
};

/* 0, -errno, or what display_create() returns. */
int screen_open(struct screen *s, struct output *out);
void screen_close(struct screen *s);

/* Show the text's first lines, as many and as much of each as fits. Clean text, lines ended
 * by LF. */
void screen_draw(struct screen *s, struct span text);

enum screen_event screen_wait(struct screen *s, int64_t timeout_ms);

#endif
