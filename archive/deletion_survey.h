/* What deletion would do with an account's messages, as far as the archive alone can tell:
 * nothing is asked of the server, and what it listed last stands for what it lists now. */
#ifndef MAILCASK_ARCHIVE_DELETION_SURVEY_H
#define MAILCASK_ARCHIVE_DELETION_SURVEY_H

#include "archive/archive.h"
#include "archive/deletion.h"

struct deletion_survey {
    uint32_t account;
    struct span host, login;    /* the maildrop; empty: the account's newest source */
    int64_t archived_before_us; /* the rule: INT64_MAX is at once */
};

struct surveyed_message {
    const struct message_meta *message;
    struct deletion_row deletion; /* its state; all zero: it was never tried */
    enum deletion_verdict verdict;
    const char *why; /* as deletion_verdict()'s */
};

/* Each message that the maildrop's last trusted listing named, and each whose deletion is
 * not confirmed yet, in order of N; a non-zero return of each() ends it and is returned.
 * *out_others: the account's other messages. 0; ERR_NOT_FOUND: nothing was ever listed
 * there; ERR_INDEX; -errno. */
int deletion_survey(struct archive *a, const struct deletion_survey *how,
                    int (*each)(void *arg, const struct surveyed_message *m), void *arg,
                    uint64_t *out_others);

#endif
