/* The same work done by several threads at once. */
#ifndef MAILCASK_TOOLS_CREW_H
#define MAILCASK_TOOLS_CREW_H

/* Processors that this process may use, at most max. */
unsigned crew_size(unsigned max);

/* Call work(arg, lane) once for each lane from 0 to lanes - 1 (CREW_LANES_MAX at most): 0
 * on the calling thread, the others on threads of their own; all have come back on return.
 * What is to be done they take from arg, so that whoever is free takes the next: where
 * threads cannot be had the lanes there are do all of it. Signals are blocked where the
 * caller has them blocked. */
#define CREW_LANES_MAX 64
void crew_run(unsigned lanes, void (*work)(void *arg, unsigned lane), void *arg);

#endif
