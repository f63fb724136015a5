/* Where one account's messages are restored to: a maildir, an mbox file, a folder of .eml
 * files. A message is begun, written in pieces and committed or cancelled; nothing stands
 * under its final name before it is whole, and nothing that differs is ever overwritten.
 * Each lane has one message at a time and belongs to one thread; an mbox has lane 0 only.
 * Functions return 0, ERR_EXISTS, or -errno of a file call that failed. */
#ifndef MAILCASK_TOOLS_TARGET_H
#define MAILCASK_TOOLS_TARGET_H

#include "archive/digest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct target;

#define TARGET_LANES_MAX 8

/* What the target needs to know of a message before its bytes. */
struct target_message {
    uint64_t n;
    uint64_t size; /* bytes */
    uint8_t sha256[SHA256_SIZE];
    int64_t time_s;
};

#define TARGET_PRESENT 1 /* of begin() and finish(): it is there already, equal */

struct target_kind {
    const char *name; /* "maildir" of --to maildir:DIR */
    const char
        *branch; /* behind PATH/ACCOUNT where there are several accounts: "", "/mbox" */
    bool whole;  /* one file for all messages, in the order in which they are given, that
                    begins anew if it was interrupted */

    /* Make or take up what is at path, whose folder exists. ERR_LOCKED: another restore is
     * writing there. */
    int (*open)(const char *path, struct target **out);
    /* 0: its bytes follow; TARGET_PRESENT: skip it; ERR_EXISTS: something else has its
     * name. */
    int (*begin)(struct target *t, unsigned lane, const struct target_message *m);
    int (*write)(struct target *t, unsigned lane, const uint8_t *data, size_t size);
    /* ERR_EXISTS: something else has taken its name meanwhile. */
    int (*commit)(struct target *t, unsigned lane);
    /* Forget the message that was begun. */
    int (*cancel)(struct target *t, unsigned lane);
    /* All messages were given. ERR_EXISTS: something else has the final name. */
    int (*finish)(struct target *t);
    /* What was not finished is taken away again. */
    void (*close)(struct target *t);
};

extern const struct target_kind target_maildir;
extern const struct target_kind target_mbox;
extern const struct target_kind target_eml;

/* "maildir:DIR": the kind and the path behind the colon; NULL if it is none of them. */
const struct target_kind *target_parse(const char *text, const char **out_path);

#define TARGET_NAME_MAX 96 /* a file name that a target gives, with its NUL */

#endif
