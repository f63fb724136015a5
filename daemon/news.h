/* What the log is told of servers, accounts and sessions: a line each, or one for a crowd
 * (gather.h). */
#ifndef MAILCASK_DAEMON_NEWS_H
#define MAILCASK_DAEMON_NEWS_H

#include "daemon/rounds.h"

enum news_kind {
    NEWS_ACCOUNT_FAILS,
    NEWS_ACCOUNT_FAILS_FOR_GOOD, /* it is not tried again by itself */
    NEWS_ACCOUNT_STILL_FAILS,
    NEWS_ACCOUNT_WORKS,
    NEWS_PASSWORD_CHANGED,
    NEWS_SERVER_FAILS,
    NEWS_SERVER_STILL_FAILS,
    NEWS_SERVER_WORKS,
    NEWS_QUARANTINED,
    NEWS_MAILBOX_CHANGED,
    NEWS_CLOCK_BEHIND,
    NEWS_ARCHIVED,
    NEWS_DELETED,
    NEWS_KIND_COUNT
};

struct news {
    enum news_kind kind;
    uint32_t account;          /* whose session tells it, also of a server */
    uint64_t session;          /* 0: none */
    uint64_t messages, bytes;  /* 0: left out */
    struct health_news health; /* of HEALTH_STILL and HEALTH_WORKS; else zeroed */
    const char *text;          /* the error, or NULL */
};

/* Write the line, unless it is to be gathered. */
void news_tell(struct rounds *r, const struct news *news);

/* Write what was gathered for long enough; at_once: everything. */
void news_tell_gathered(struct rounds *r, bool at_once);

/* What is told of every session however it ended: its counts, a message put aside, what is
 * strange about the mailbox. */
void news_of_session(struct rounds *r, const struct session_end *end);

/* What a session's failure (text: rounds_sentence()) or success means for what was known of
 * its account, and for its server: kept in r->health, and told if it is news. */
void news_of_account(struct rounds *r, const struct session_end *end, const char *text);
void news_of_server(struct rounds *r, const struct session_end *end, const char *text);

#endif
