/* File names in a maildir's cur folder: the same at every restore, so that what is there is
 * known again, also after a mail program has changed its flags. */
#ifndef MAILCASK_TOOLS_MAILDIR_NAMES_H
#define MAILCASK_TOOLS_MAILDIR_NAMES_H

#include "tools/target.h"

#include <stddef.h>

/* "NNNNNNNNNN.HASH.mailcask:2,S": N first, because Dovecot takes messages in the order of
 * the number there; the first 16 digits of the SHA-256; and the flag for seen. */
void maildir_name(const struct target_message *m, char out[TARGET_NAME_MAX]);

/* Files of earlier restores that a mail program has renamed: other flags, or a size added.
 */
struct maildir_flagged {
    char **names; /* in order of strcmp() */
    size_t count;
};

/* Read them all, once: 0 or -errno. maildir_flagged_free() in any case. */
int maildir_flagged_read(int cur_fd, struct maildir_flagged *out);
/* The one that is the same but for what follows ".mailcask"; NULL if there is none. */
const char *maildir_flagged_find(const struct maildir_flagged *f, const char *name);
void maildir_flagged_free(struct maildir_flagged *f);

#endif
