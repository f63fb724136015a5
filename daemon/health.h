/* How each server and account has fared, for the log, which does not say a thing with each
 * try, and for the status: what is wrong with it and since when, its last complete poll. Of
 * this process only, but for what the archive knows. Times are seconds of CLOCK_REALTIME.
 * One thread. */
#ifndef MAILCASK_DAEMON_HEALTH_H
#define MAILCASK_DAEMON_HEALTH_H

#include "daemon/config.h"

#include <stdbool.h>
#include <stdint.h>

#define HEALTH_TEXT_SIZE 640 /* with its NUL; a longer problem is cut */
#define HEALTH_LISTED_UNKNOWN UINT64_MAX

/* A failure that goes on is told again after so long, then after twice as long, at last
 * once in HEALTH_AGAIN_MAX_S. One that comes and goes is told of once in HEALTH_QUIET_S. */
#define HEALTH_AGAIN_S 3600
#define HEALTH_AGAIN_MAX_S 86400
#define HEALTH_QUIET_S 60

struct health;

struct health_problem {
    char *text;        /* the newest; NULL: all is well, or memory ran out */
    int64_t since_s;   /* of the first without anything good in between; 0: all is well */
    uint64_t failures; /* since then */
    bool told;         /* that it fails, */
    uint64_t cause;    /* for this cause: the last that was told, also of problems before */
    int64_t told_s;    /* when that was; 0: never */
    int64_t again_s;   /* how long after that it is told again */
};

enum health_event {
    HEALTH_NOTHING, /* to be told */
    HEALTH_FAILS,   /* it worked before, or failed for another cause */
    HEALTH_STILL,   /* it fails as it was told */
    HEALTH_WORKS,   /* it failed, which was told */
};

/* What is to be told. failures, since_s: as above; with HEALTH_WORKS those that were. */
struct health_news {
    enum health_event event;
    uint64_t failures;
    int64_t since_s;
};

struct health_polls {
    int64_t complete_s; /* the last complete poll's end; 0: not known to have been one */
    uint64_t listed;    /* messages on the server then; HEALTH_LISTED_UNKNOWN */
};

/* Nothing known yet. Accounts and servers are their indices in config, which is borrowed
 * for life. 0 or -ENOMEM. */
int health_new(const struct config *config, struct health **out);
void health_free(struct health *h);

/* After a reload: move over what is known of a server or mailbox that is still the same,
 * config_same_server(). old: only to be freed. */
void health_adopt(struct health *h, struct health *old);

/* What its newest session says is wrong, "" that all is well. lasting: it is not tried
 * again by itself, so that there is no later time to tell it. The caller tells what is
 * returned. */
struct health_news health_account_news(struct health *h, uint32_t account, const char *text,
                                       bool lasting, int64_t now_s);
struct health_news health_server_news(struct health *h, uint32_t server, const char *text,
                                      int64_t now_s);

/* A poll has found everything that the server lists archived. An earlier one than the last
 * is ignored. listed: HEALTH_LISTED_UNKNOWN leaves it as it was. */
void health_complete(struct health *h, uint32_t account, uint64_t listed, int64_t at_s);

/* Borrowed until the next change. */
const struct health_problem *health_account(const struct health *h, uint32_t account);
const struct health_problem *health_server(const struct health *h, uint32_t server);
const struct health_polls *health_polls(const struct health *h, uint32_t account);

#endif
