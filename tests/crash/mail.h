/* The mail of a workload: what servers hold. All of it follows from a seed. */
#ifndef MAILCASK_TESTS_CRASH_MAIL_H
#define MAILCASK_TESTS_CRASH_MAIL_H

#include "archive/bytes.h"
#include "archive/digest.h"

#include <stddef.h>
#include <stdint.h>

#define MAIL_ACCOUNTS 3u
#define MAIL_EACH 26u /* messages of an account */

struct mail_message {
    char uidl[16];
    size_t size;
    uint8_t sha256[SHA256_SIZE];
};

struct mail_account {
    char name[16];
    struct mail_message messages[MAIL_EACH];
};

struct mail {
    uint64_t seed;
    struct mail_account accounts[MAIL_ACCOUNTS];
};

void mail_make(struct mail *mail, uint64_t seed);
/* The bytes of a message; out is cleared first. */
void mail_text(const struct mail *mail, unsigned account, unsigned message,
               struct buffer *out);

/* NULL: no server has such a message. */
const struct mail_account *mail_account(const struct mail *mail, const char *name);
const struct mail_message *mail_message(const struct mail_account *account,
                                        struct span uidl);

#endif
