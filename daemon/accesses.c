#include "daemon/accesses.h"

#include "archive/archive.h"
#include "archive/error.h"
#include "daemon/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int parse_command(const char *text, uint8_t *out)
{
    *out = strcmp(text, "show") == 0 ? ACCESS_SHOW : ACCESS_RESTORE;
    return *out == ACCESS_SHOW || strcmp(text, "restore") == 0 ? 0 : ERR_SYNTAX;
}

static int parse_number(const char *text, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    *out = strtoull(text, &end, 10);
    bool whole = text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
    return whole ? 0 : ERR_SYNTAX;
}

int access_request_parse(char *line, struct access_request *out)
{
    enum { COMMAND, ACCOUNT, COUNT, FIRST, LAST, USER, DETAIL, REASON, FIELDS };
    char *fields[FIELDS];
    struct access_meta *m = &out->meta;
    for (size_t i = 0; i < FIELDS; i++)
        if ((fields[i] = strsep(&line, "\t")) == NULL)
            return ERR_SYNTAX;
    int err = line != NULL ? ERR_SYNTAX : parse_command(fields[COMMAND], &m->command);
    if (err == 0)
        err = parse_number(fields[COUNT], &m->count);
    if (err == 0)
        err = parse_number(fields[FIRST], &m->first);
    if (err == 0)
        err = parse_number(fields[LAST], &m->last);
    out->account = fields[ACCOUNT];
    m->user = span_text(fields[USER]);
    m->detail = span_text(fields[DETAIL]);
    m->reason = span_text(fields[REASON]);
    if (err == 0 && (m->first > m->last || m->user.size > NAME_SIZE_MAX))
        err = ERR_SYNTAX;
    return err;
}

int access_write(const struct rounds *r, const struct access_request *access)
{
    struct account_info account;
    int err = r->archive == NULL
                  ? ERR_STOPPED
                  : archive_find_account(r->archive, access->account, &account);
    if (err != 0)
        return err;
    return sessions_write_access(r->sessions, account.number, clock_wall_us(),
                                 &access->meta);
}
