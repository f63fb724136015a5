/* Why an archive cannot be written, for an administrator. */
#ifndef MAILCASK_DAEMON_ARCHIVE_PROBLEM_H
#define MAILCASK_DAEMON_ARCHIVE_PROBLEM_H

#define ARCHIVE_PROBLEM_SIZE 8192 /* the path may be there twice */

/* One sentence, what, where, and what to do, for an error of archive_open() with
 * ARCHIVE_WRITE or of a write that failed later. */
void archive_problem(char out[ARCHIVE_PROBLEM_SIZE], const char *path, int err);

#endif
