/* Exit statuses of the daemon: fixed, scripts rely on them. */
#ifndef MAILCASK_DAEMON_EXITS_H
#define MAILCASK_DAEMON_EXITS_H

enum exit_status {
    EXIT_DONE = 0,
    EXIT_PART = 1,   /* --once: some accounts are not complete */
    EXIT_USAGE = 2,  /* usage or configuration */
    EXIT_CANNOT = 4, /* could not run: locked, no archive, no space */
};

#endif
