/* The rounds: whose turn it is, the session that is held, what it teaches for the next.
 * Ties configuration, scheduler, marks, archive and sessions together; what to say of it,
 * and when to stop, is the caller's. One thread. */
#ifndef MAILCASK_DAEMON_ROUNDS_H
#define MAILCASK_DAEMON_ROUNDS_H

#include "daemon/archive_problem.h"
#include "daemon/config.h"
#include "daemon/control.h"
#include "daemon/deletes.h"
#include "daemon/gather.h"
#include "daemon/health.h"
#include "daemon/log.h"
#include "daemon/lookups.h"
#include "daemon/marks.h"
#include "daemon/metrics_server.h"
#include "daemon/pauses.h"
#include "daemon/refused.h"
#include "daemon/scheduler.h"
#include "daemon/sessions.h"
#include "daemon/signals.h"
#include "daemon/space.h"

#include <stdbool.h>
#include <stdint.h>

#define ROUNDS_FOREVER UINT64_MAX

struct rounds {
    struct log *log;
    enum scheduler_mode mode;
    enum loop_backend backend;
    struct config *config;
    struct scheduler *scheduler;
    struct marks *marks;
    struct pauses *pauses;
    struct health *health;
    struct gather *gather; /* of news.h */
    struct deletes *deletes;
    struct refused *refused;
    uint64_t state_saved_ms; /* 0: not even loaded */
    bool trace;              /* every session, whatever its account's `trace` says */
    bool marks_unsaved;      /* that was said */
    bool pauses_unsaved;     /* as well */
    struct archive *archive; /* NULL: closed */
    uint64_t damage_found;   /* when it was opened last: notes of damage */
    struct sessions *sessions;
    uint32_t sessions_max; /* at once; asked for at a reload, too */
    struct lookups *lookups;
    struct space space;
    uint64_t space_looked_ms;
};

/* config: taken over if 0 is returned. selected: as scheduler_new(). log: borrowed. The
 * archive is not opened yet. 0, -ENOMEM or -errno. */
int rounds_create(struct rounds *r, struct config *config, const bool *selected,
                  enum scheduler_mode mode, enum loop_backend backend, struct log *log);
/* Closes it if it is open. */
void rounds_destroy(struct rounds *r);

/* Open the archive, which recovers it and logs what was found, and start the workers. 0; or
 * an error, and out_text is the sentence for it. -ENOSPC once there was no room, until
 * there is plenty: see rounds_room(). */
int rounds_open(struct rounds *r, char out_text[ARCHIVE_PROBLEM_SIZE]);

/* End every session, then seal and close the archive. The ends are there to be taken. 0, or
 * the failure that met the last messages; it is logged, unless rounds_failure() told it
 * before. A failure to seal is only logged: what is archived stays so. */
int rounds_close(struct rounds *r);

/* Why nothing more can be archived until rounds_close() and rounds_open(): an error, and
 * out_text is the sentence for it; or 0. -ENOSPC already when little room is left. */
int rounds_failure(struct rounds *r, char out_text[ARCHIVE_PROBLEM_SIZE]);

/* False: there was no room when last looked at, which is a moment ago. */
bool rounds_room(struct rounds *r);

/* Replace the configuration, with all that goes on going on: 0, and config is taken over;
 * or -ENOMEM and nothing has changed. */
int rounds_reload(struct rounds *r, struct config *config);

/* Pause or resume: pauses_begin(), pauses_end(). Not with SCHEDULER_ONCE. True: it is on
 * disk; else, which is logged, it holds, and is written as soon as that can be done. */
bool rounds_pause(struct rounds *r, enum pause_scope scope, uint32_t index, bool pause);

/* Begin every session whose turn it is; none while there is no room. Suspended accounts
 * whose password has changed are among them. */
void rounds_begin(struct rounds *r);

/* Wait until a session ends, a signal comes, a look-up is answered, it is an account's
 * turn, or max_ms have passed. Takes the signals, then serves the control socket and
 * metrics, which may be NULL; then
 * tells what was gathered (news.h). */
void rounds_wait(struct rounds *r, struct signals *signals, struct control *control,
                 struct metrics_server *metrics, uint64_t max_ms);

/* A session that has ended, to be given to rounds_settle() before anything else is asked of
 * r. out->account is an index in r->config, never SESSIONS_NOBODY. False if there is none
 * now. A message that was put aside is logged. */
bool rounds_take(struct rounds *r, struct session_end *out);

/* The account's next turn follows from this outcome, which may be changed before. */
void rounds_settle(struct rounds *r, const struct session_end *end);

/* Whether something that was listed is not archived: the session failed, or a message was
 * refused by the server, or put aside. */
bool rounds_incomplete(const struct session_end *end);

/* Why, in a sentence that names the server; "" if nothing failed
 * and nothing was refused: of messages that were put aside rounds_take() has told. */
#define ROUNDS_SENTENCE_SIZE (OUTCOME_TEXT_SIZE + CONFIG_NAME_MAX + 320)
void rounds_sentence(const struct rounds *r, const struct session_end *end,
                     char out[ROUNDS_SENTENCE_SIZE]);

/* Begin an event of an account's session, with the fields account, server and session; 0:
 * it has no session. */
void rounds_event(struct log_event *e, const struct rounds *r, enum log_level level,
                  const char *message, uint32_t account, uint64_t session);

/* One line: version, archive, loop, accounts and servers. selected: as scheduler_new(). */
void rounds_announce(const struct rounds *r, const bool *selected);

#endif
