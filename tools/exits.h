/* Exit statuses of the tool: fixed, scripts rely on them. */
#ifndef MAILCASK_TOOLS_EXITS_H
#define MAILCASK_TOOLS_EXITS_H

enum exit_status {
    EXIT_DONE = 0,
    EXIT_PART = 1,   /* done in part; what failed is on standard error */
    EXIT_USAGE = 2,  /* usage or configuration */
    EXIT_DAMAGE = 3, /* damage was found */
    EXIT_CANNOT = 4, /* could not run: locked, no space, the output failed */
};

/* Which of two statuses a command ends with when it met both: could not run, then usage,
 * then damage, then done in part. */
static inline int exit_worse(int a, int b)
{
    static const int rank[] = {[EXIT_DONE] = 0,
                               [EXIT_PART] = 1,
                               [EXIT_DAMAGE] = 2,
                               [EXIT_USAGE] = 3,
                               [EXIT_CANNOT] = 4};
    return rank[a] >= rank[b] ? a : b;
}

#endif
