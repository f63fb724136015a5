/* How sessions ended, in the words that `accounts` and `ledger` print and scripts rely on.
 */
#ifndef MAILCASK_TOOLS_SESSION_WORDS_H
#define MAILCASK_TOOLS_SESSION_WORDS_H

#include "archive/archive.h"

/* "complete", "partial" or "failed"; "unknown" for a state of a later version. */
static inline const char *session_state_word(uint8_t state)
{
    switch (state) {
    case SESSION_COMPLETE:
        return "complete";
    case SESSION_PARTIAL:
        return "partial";
    case SESSION_FAILED:
        return "failed";
    default:
        return "unknown";
    }
}

/* The same of an account's newest session; "never polled" where there was none. */
static inline const char *session_word(const struct account_info *info)
{
    return info->session_us == 0 ? "never polled" : session_state_word(info->session_state);
}

#endif
