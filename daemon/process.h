/* What a daemon sets up for its whole process before anything else. */
#ifndef MAILCASK_DAEMON_PROCESS_H
#define MAILCASK_DAEMON_PROCESS_H

#include <stdint.h>

/* Files are the owner's only (umask 077), a peer that is gone and a file that may not grow
 * are errors and no signals, descriptors 0 to 2 are open, as many descriptors as the hard
 * limit allows, and no other process of the user may look into the memory, where passwords
 * are. None of it failing keeps the daemon from running. */
void process_prepare(void);

/* How many descriptors may be open at once. */
uint64_t process_descriptors(void);

/* A number that differs from one start to the next. */
uint64_t process_seed(void);

#endif
