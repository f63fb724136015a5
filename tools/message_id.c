#include "tools/message_id.h"

#include "archive/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int parse_n(const char *text, uint64_t *out)
{
    uint64_t n = 0;
    if (text[0] < '1' || text[0] > '9')
        return ERR_SYNTAX;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return ERR_SYNTAX;
        uint64_t digit = (uint64_t)(*text - '0');
        if (n > (UINT64_MAX - digit) / 10)
            return ERR_SYNTAX;
        n = n * 10 + digit;
    }
    *out = n;
    return 0;
}

int message_id_parse(const char *text, struct message_id *out)
{
    const char *slash = strrchr(text, '/');
    if (slash == NULL || slash == text || (size_t)(slash - text) > NAME_SIZE_MAX)
        return ERR_SYNTAX;
    size_t size = (size_t)(slash - text);
    memcpy(out->account, text, size);
    out->account[size] = '\0';
    return parse_n(slash + 1, &out->n);
}

void message_id_text(const char *account, uint64_t n, char out[MESSAGE_ID_TEXT_MAX])
{
    (void)snprintf(out, MESSAGE_ID_TEXT_MAX, "%s/%" PRIu64, account, n);
}

bool account_is_folder(const char *name)
{
    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL)
        return false;
    for (; *name != '\0'; name++)
        if ((unsigned char)*name < 0x20 || *name == 0x7F)
            return false;
    return true;
}
