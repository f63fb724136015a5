/* Whether two sentences tell of the same failure: servers put times, addresses, session
 * numbers and names into what they say. */
#ifndef MAILCASK_DAEMON_CAUSE_H
#define MAILCASK_DAEMON_CAUSE_H

#include <stdint.h>

/* A checksum of the text without the words that hold a digit or '@', and without those
 * that hold name (NULL: none), or what it has before '@'. 0 of "" only. Not for secrets,
 * nor against those who look for collisions: then one failure is told under another's
 * heading. */
uint64_t cause_of(const char *text, const char *name);

/* The same of this cause as part of another one. */
uint64_t cause_within(uint64_t cause, const char *scope);

#endif
