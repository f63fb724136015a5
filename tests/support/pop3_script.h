/* Scripted dialogues with the POP3 session: the server's part is a list of steps, and every
 * script is played with the server's bytes all at once, one by one, and cut in two at every
 * place; commands, callbacks and outcome must be the same each time. */
#ifndef MAILCASK_SUPPORT_POP3_SCRIPT_H
#define MAILCASK_SUPPORT_POP3_SCRIPT_H

#include "workers/pop3.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_MAX ((size_t)32 * 1024)
#define STEPS_MAX 64

enum after { GO_ON, CLOSE, HANG };

/* The server's part: reply once the client has sent exactly this command. */
struct step {
    const char *command;
    const char *reply;
    enum after after;
};

struct script {
    struct step steps[STEPS_MAX]; /* ends at a NULL command */
    struct pop3_memory memory;
    struct pop3_day day;
    void (*limit)(struct pop3_limits *limits);
    const struct pop3_glance *glance; /* pop3_expect() */
    const char *user;                 /* NULL: "u" */
    const char *password;             /* NULL: "pw9" */
    const char *known;                /* this UIDL is archived already; "*": all are */
    const uint32_t *deletes; /* pop3_delete() with these instead of pop3_durable() */
    size_t deletes_count;
    bool stls;
    bool careful;
    bool no_login;
    bool hold;           /* do not say durable */
    bool pause_at_begin; /* pause in message_begin, resume when nothing moves */
};

struct text {
    char data[TEXT_MAX];
    size_t size;
};

struct play {
    const struct script *script;
    struct pop3 *pop3;
    uint64_t now;
    struct text log;  /* the callbacks */
    struct text sent; /* commands, one a line */
    size_t parsed;    /* of sent */
    struct text incoming;
    size_t fed;
    size_t step;
    enum after after;
    bool surprised; /* the client sent something else */
    bool want_tls;
    struct outcome outcome;
    struct pop3_stats stats;
    struct pop3_memory memory;
    size_t deletes_sent;
};

/* A script that owns its replies. */
struct generated {
    struct script script;
    char list[8 * 1024];
    char uidl[8 * 1024];
    char stat[32];
    char retr[STEPS_MAX][24];
};

/* Logs into its arg, a struct play. */
extern const struct pop3_callbacks play_callbacks;

/* Connects and hands over the greeting's bytes; then move by hand with play_feed(). */
void play_open(struct play *y, const struct script *script);

/* Takes the client's commands and lets the server answer them. */
void play_serve(struct play *y);

/* Gives the session its next bytes: at most chunk, and not across the place `split` of all
 * bytes. False if nothing moves any more. */
bool play_feed(struct play *y, size_t chunk, size_t split);

/* Keeps outcome, stats, memory and pop3_deletes_sent(), and frees the session. */
void play_close(struct play *y);

/* From open to close. */
void play(struct play *y, const struct script *script, size_t chunk, size_t split);

/* Plays all at once, then in every other way, and compares. The result lives until the next
 * call. */
const struct play *perform(const struct script *script);

/* word: part of the outcome's text. */
void assert_outcome(const struct play *y, enum scope scope, enum retry retry,
                    const char *word);

/* No failure, and the script was played to its end. */
void assert_success(const struct play *y);

/* A pipelining server with `count` messages of 3 bytes by LIST; the first `retrieved` are
 * asked for and answered with reply, then come NOOP and QUIT. */
void generate(struct generated *g, unsigned count, unsigned retrieved, const char *reply);

/* Pieces of scripts. */
#define STEP(sent, answer)                               \
    (struct step)                                        \
    {                                                    \
        .command = sent, .reply = answer, .after = GO_ON \
    }
#define GREETING STEP("", "+OK ready\r\n")
#define NO_CAPA STEP("CAPA", "-ERR what?\r\n")
#define CAPA(list) STEP("CAPA", "+OK\r\n" list ".\r\n")
#define LOGIN STEP("USER u", "+OK\r\n"), STEP("PASS pw9", "+OK\r\n")
#define NOOP STEP("NOOP", "+OK\r\n")
#define BYE STEP("QUIT", "+OK bye\r\n")
/* Listings of one and of two messages. */
#define ONE                                                           \
    STEP("STAT", "+OK 1 7\r\n"), STEP("LIST", "+OK\r\n1 7\r\n.\r\n"), \
        STEP("UIDL", "+OK\r\n1 aa\r\n.\r\n")
#define TWO                                                                   \
    STEP("STAT", "+OK 2 14\r\n"), STEP("LIST", "+OK\r\n1 7\r\n2 7\r\n.\r\n"), \
        STEP("UIDL", "+OK\r\n1 aa\r\n2 bb\r\n.\r\n")
/* Logged in without, and with capabilities. */
#define PLAIN_START GREETING, NO_CAPA, LOGIN
#define PIPELINING CAPA("PIPELINING\r\nUIDL\r\nUSER\r\n")
#define PIPELINED_START GREETING, PIPELINING, LOGIN, PIPELINING

#endif
