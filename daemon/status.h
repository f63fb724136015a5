/* What a service answers to `status`: control_protocol.h says how, this what.
 *
 * service: version, pid, since@; mode: "service" or "once"; archive; loop: "io_uring" or
 * "epoll" with what it can do, empty while the archive is closed; state: "running";
 * "disk-full" (fetching has stopped until there is room) and "failed" (the archive cannot
 * be written), with problem, a sentence, problem_since@ and, when failed, next_try@; or
 * "stopping"; config_error, why the last reload was refused, a sentence, and
 * config_error_since@; free_bytes on the archive's disk, stop_below_bytes and
 * go_on_at_bytes, the marks for fetching; sessions under way; since the start messages
 * taken in, received_bytes, stored_bytes, commits; memory_bytes, memory_peak_bytes,
 * memory_limit_bytes; deletes: "off", "on", or "suspended" since
 * the clock has jumped; unconfirmed deletions in the archive, of accounts that left, too;
 * recovery_damage, the places that opening the archive found damaged; damaged_messages and
 * damaged_parts, what the last verify found and was not fetched again since;
 * server_count, account_count; paused@, where everything is.
 *
 * repack, not with --once: run, the number of the run under way or the last one, 0 before
 * the first; state: "idle", "running", "waiting" until less is being archived, "beginning"
 * where one that was asked for takes another's place, and of the last one "done",
 * "stopped", "damaged" (a copy did not read back) or "failed" with error, a sentence
 * fragment; asked, 0: by itself; segments and bytes chosen, done_bytes of total_bytes of
 * work; and once it has ended segments_read, rewritten, segments_skipped for damage,
 * segments_removed, segments_kept for a day, or, with removal_held, while somebody copies,
 * bytes_before, bytes_after.
 *
 * server: server, host, port, sessions, max_connections; address_sessions, address_limit
 * and address_servers: how many sessions there are at its address, may be, and how many
 * servers share that, empty while the address is not known; held_until@: none begins
 * before; paused@; error, a sentence, and error_since@.
 *
 * account: account, server; state: "waiting" for due@, "ready", and waits_for: "turn", the
 * next that comes, "lookup" of its server, "server" that is held back, "connection", all of
 * its server's being in use, "address", the same of its server's address, "pace" of the
 * logins there; "parked" while another account uses its mailbox, "running", "suspended"
 * until its password-file changes, a reload, a restart or `poll`, "paused" by the
 * administrator, "finished" with --once; paused@, and paused_by, what was paused:
 * "account", its "server" or "all", also while it still runs; failures in a row;
 * last_complete@, the end of the last poll that left nothing unarchived, and how many
 * messages the server listed then; unconfirmed, deletions that later listings have not
 * confirmed yet; error, a sentence, and error_since@. */
#ifndef MAILCASK_DAEMON_STATUS_H
#define MAILCASK_DAEMON_STATUS_H

#include "daemon/control.h"
#include "daemon/repacking.h"
#include "daemon/rounds.h"

#include <stdbool.h>
#include <stdint.h>

/* Where the answer is from. Times are seconds of CLOCK_REALTIME. */
struct status {
    struct rounds *rounds;
    const struct signals *signals;
    bool once;
    int64_t began_s;
    /* While the archive is closed: why, since when, and when it is tried again (0: once
     * there is room). */
    const char *problem;
    struct repacking *repacking; /* NULL with once */
    int64_t problem_since_s, next_try_s;
    /* Why the configuration was not taken over, "" where it was, and since when. */
    const char *refused;
    int64_t refused_since_s;
};

/* The answer to `status`, as a control_answer. */
bool status_answer(const struct status *s, struct control_request *request,
                   struct buffer *out);

/* One object of it. server, account: index in the configuration. */
void status_put_service(struct buffer *out, const struct status *s);
void status_put_server(struct buffer *out, const struct status *s, uint32_t server);
void status_put_account(struct buffer *out, const struct status *s, uint32_t account);

/* Of an account, and the word that stands for it. */
enum scheduler_state status_account_state(const struct rounds *r, uint32_t account);
const char *status_state_word(enum scheduler_state state);

/* control_listen(); that it cannot is logged, and keeps no service from running. */
void status_listen(const struct status *s, struct control *control, struct log *log);

#endif
