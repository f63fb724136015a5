/* `mailcaskd --probe`, which `mailcask probe` runs and shows: the walk of workers/probe.h
 * for an account or a server of the configuration, on standard output, as objects in the
 * form of control_protocol.h, each written as soon as it is known:
 *
 *   probe   what is walked: account (empty with --server), server, host, port=, tls
 *           ("implicit" or "starttls"), user
 *   step    for each: step, result ("ok" or "failed"), microseconds=, text
 *   result  at the end: cause ("none": all is well), step (where), text, meaning, remedy,
 *           provider (what is known of this one, where a login failed) */
#ifndef MAILCASK_DAEMON_PROBE_COMMAND_H
#define MAILCASK_DAEMON_PROBE_COMMAND_H

#include "daemon/command_line.h"
#include "daemon/config.h"
#include "daemon/log.h"

/* line: has --probe and one of --account and --server. Returns an exit status: EXIT_DONE,
 * EXIT_PART (a step failed), EXIT_USAGE (there is no such account or server), EXIT_CANNOT
 * (no memory). */
int probe_command(const struct command_line *line, const struct config *config,
                  struct log *log);

#endif
