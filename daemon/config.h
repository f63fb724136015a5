/* The configuration of the service: an archive, servers, accounts. Read whole, checked
 * whole, never changed afterwards; a reload makes another one. Any thread may read it.
 *
 * The file is UTF-8 (a byte order mark is tolerated) with sections [archive], [server NAME]
 * and [account NAME]; the keys are in config_keys.h. A [server] may hold any key of an
 * account as the default of its accounts, and may name an accounts-file (accounts_table.h).
 * An account's own password, password-file or password-command replaces whichever of them
 * its server has. An empty value is as if the key were not there. Relative paths are
 * relative to the configuration file, those of a table too. A password-file
 * `credential:NAME` is what the service manager has put into $CREDENTIALS_DIRECTORY.
 * `user`, `password-file` and `password-command` have %a, %u, %d and %% already replaced.
 */
#ifndef MAILCASK_DAEMON_CONFIG_H
#define MAILCASK_DAEMON_CONFIG_H

#include "daemon/config_error.h"
#include "daemon/log.h"
#include "workers/capabilities.h"
#include "workers/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_NAME_MAX 255         /* bytes of a name: one folder of `restore --all` */
#define CONFIG_ACCOUNTS_MAX 500000u /* more are reported */
#define CONFIG_FINGERPRINT_SIZE 32  /* bytes of a SHA-256 */

enum config_tls { CONFIG_TLS_IMPLICIT, CONFIG_TLS_STARTTLS };

enum config_delete {
    CONFIG_DELETE_NEVER,
    CONFIG_DELETE_ARCHIVED,
    CONFIG_DELETE_AFTER, /* a time after archiving */
};

enum config_password {
    CONFIG_PASSWORD_FILE,
    CONFIG_PASSWORD_CREDENTIAL, /* of the service manager: systemd.exec(5) */
    CONFIG_PASSWORD_COMMAND,
    CONFIG_PASSWORD_TEXT
};

struct config_server {
    const char *name, *host;
    const char *ca_file; /* NULL: the system's authorities */
    uint16_t port;
    enum config_tls tls;
    enum tls_oldest tls_oldest;
    bool has_fingerprint;
    uint8_t fingerprint[CONFIG_FINGERPRINT_SIZE];
    uint32_t max_connections;
    unsigned avoid;   /* a set of AVOID_* */
    const char *file; /* where its section stands */
    unsigned line;
};

struct config_account {
    const char *name, *user;
    const struct config_server *server;
    enum config_password password_kind;
    const char *password; /* the path, the name, the command or the password itself */
    bool trace;
    uint64_t poll_ms;
    uint64_t poll_quiet_ms; /* of a quiet account, at least poll_ms; 0: as poll_ms */
    uint64_t daily_bytes;   /* that may be fetched within 24 hours; 0: no limit */
    enum config_delete delete_rule;
    uint64_t delete_after_ms; /* CONFIG_DELETE_AFTER only */
    const char *file;         /* where its section or row stands */
    unsigned line;
};

struct config {
    const char *path; /* of the file, as it was given */
    const char *archive_path;
    bool deletes;
    enum log_level log_level;
    bool require_reason; /* of those who are given messages */
    uint64_t max_memory_bytes;
    const char *metrics;                 /* an address for loopback_parse(), or NULL */
    const struct config_server *servers; /* by name */
    size_t server_count;
    const struct config_account *accounts; /* by name */
    size_t account_count;
};

/* Read the file, its tables, and check that the files named by ca-file exist. Password
 * files are not looked at: see config_check() and secret.h.
 *
 * 0 with *out to be given to config_free(); ERR_SYNTAX, -ENOMEM, or the reason why path
 * cannot be read; *error is then one line for the administrator. */
int config_load(const char *path, struct config **out, struct config_error *error);

/* Wipes the passwords in it. NULL is allowed. */
void config_free(struct config *config);

/* NULL if there is none of this name. O(log n). */
const struct config_account *config_find_account(const struct config *config,
                                                 const char *name);
const struct config_server *config_find_server(const struct config *config,
                                               const char *name);

/* Whether what was learnt of one holds for the other, as after a reload: a server with the
 * same host, port and tls; a mailbox on such a server with the same user. */
bool config_same_server(const struct config_server *a, const struct config_server *b);
bool config_same_mailbox(const struct config_account *a, const struct config_account *b);

/* Accounts that are one mailbox must not delete: what one has archived the other may not
 * have fetched. 0, or ERR_SYNTAX with the reason; -ENOMEM. Part of config_load(). */
int config_check_mailboxes(const struct config *config, struct config_error *error);

/* Only the archive's path, for tools: whatever stands outside [archive] is not looked at,
 * so that mail can be restored with a configuration that is broken elsewhere. *out_path:
 * free() it. Errors as of config_load(). */
int config_archive_path(const char *path, char **out_path, struct config_error *error);

/* Only whether [archive] switches deletion on, as config_archive_path(). */
int config_archive_deletes(const char *path, bool *out_on, struct config_error *error);
/* Only whether those who are given messages must say why. */
int config_archive_requires_reason(const char *path, bool *out_on,
                                   struct config_error *error);

/* A duration as a value writes it, 30s, 15m, 1h or 1d, from min_ms to max_ms. ERR_SYNTAX.
 */
int config_duration_parse(const char *text, uint64_t min_ms, uint64_t max_ms,
                          uint64_t *out_ms);

/* Look for what can only be seen outside the file: the archive's folder, the password files
 * (there, readable, mode 0600, a password in them), credentials only where there are any,
 * which is within the service. report is called once for each problem
 * with a line as in config_error. Returns the number of problems. */
size_t config_check(const struct config *config,
                    void (*report)(void *ctx, const char *problem), void *ctx);

#endif
