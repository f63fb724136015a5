/* A message's ID as people write it: ACCOUNT/N. */
#ifndef MAILCASK_TOOLS_MESSAGE_ID_H
#define MAILCASK_TOOLS_MESSAGE_ID_H

#include "archive/format.h"

#include <stdbool.h>
#include <stdint.h>

struct message_id {
    char account[NAME_SIZE_MAX + 1];
    uint64_t n; /* from 1 */
};

/* Split at the last '/'. 0 or ERR_SYNTAX. */
int message_id_parse(const char *text, struct message_id *out);

/* ACCOUNT/N. */
#define MESSAGE_ID_TEXT_MAX (NAME_SIZE_MAX + 24)
void message_id_text(const char *account, uint64_t n, char out[MESSAGE_ID_TEXT_MAX]);

/* True if an account's name can be a folder of `restore --all`: not empty, no '/', no
 * control character, no leading dot, valid UTF-8 or not. The configuration refuses others;
 * a damaged archive may hold any. */
bool account_is_folder(const char *name);

#endif
