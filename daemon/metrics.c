#include "daemon/metrics.h"

#include "daemon/config.h"
#include "daemon/log.h"
#include "daemon/status.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define GAUGE "gauge"
#define COUNTER "counter"
#define LINE_SIZE 512
#define NAME_CLEAN_SIZE (4 * CONFIG_NAME_MAX + 16) /* \xNN for each byte */
#define COMMIT_TIME "mailcask_commit_duration_seconds"

/* One number without a label: a uint64_t of struct metrics. */
struct plain {
    const char *name, *type, *help;
    size_t at;
};

#define AT(member) offsetof(struct metrics, member)

static const struct plain of_service[] = {
    {"mailcask_start_time_seconds", GAUGE, "When the service started.", AT(began_s)},
    {"mailcask_disk_free_bytes", GAUGE, "Free space on the archive's file system.",
     AT(disk_free_bytes)},
    {"mailcask_disk_stop_below_bytes", GAUGE, "Free space below which fetching stops.",
     AT(disk_stop_bytes)},
    {"mailcask_disk_resume_at_bytes", GAUGE, "Free space at which it then goes on.",
     AT(disk_resume_bytes)},
    {"mailcask_memory_limit_bytes", GAUGE, "The memory budget, max-memory.",
     AT(memory_limit_bytes)},
    {"mailcask_memory_used_bytes", GAUGE, "Of the memory budget in use.", AT(work.memory)},
    {"mailcask_memory_peak_bytes", GAUGE, "The most of it that was ever in use.",
     AT(work.memory_peak)},
    {"mailcask_sessions", GAUGE, "Sessions with servers under way.", AT(sessions)},
    {"mailcask_sessions_ended_total", COUNTER, "Sessions that have ended, well or not.",
     AT(counts.sessions)},
    {"mailcask_accounts_failing", GAUGE,
     "Accounts whose newest session failed by a fault of their own.", AT(accounts_failing)},
    {"mailcask_servers", GAUGE, "Servers in the configuration.", AT(server_count)},
    {"mailcask_servers_failing", GAUGE, "Servers that cannot be used at the moment.",
     AT(servers_failing)},
    {"mailcask_messages_deleted_total", COUNTER,
     "Messages for which servers have accepted a deletion.", AT(counts.deleted)},
    {"mailcask_messages_not_deleted_total", COUNTER,
     "Messages whose deletion servers refused or did not answer.", AT(counts.kept)},
    {"mailcask_message_bytes_total", COUNTER, "Bytes of the messages received.",
     AT(counts.message_bytes)},
    {"mailcask_received_bytes_total", COUNTER, "Bytes received from servers, TLS included.",
     AT(work.received_bytes)},
    {"mailcask_stored_bytes_total", COUNTER, "Bytes made durable in the archive.",
     AT(work.stored_bytes)},
    {"mailcask_commit_queue_records", GAUGE,
     "Records that wait to be made durable by the archive's writer.",
     AT(work.commit_queue)},
    {"mailcask_recovery_damage", GAUGE,
     "Damage to archived data that was found when the archive was opened.",
     AT(recovery_damage)},
};

static const struct plain of_archive[] = {
    {"mailcask_parts_named_bytes", GAUGE,
     "Attachments in the archive as messages name them, each time counted.",
     AT(archive.parts_named_bytes)},
    {"mailcask_parts_kept_bytes", GAUGE,
     "The same as they are kept, once each, before they are compressed.",
     AT(archive.parts_kept_bytes)},
    {"mailcask_deletions_unconfirmed", GAUGE,
     "Deletions that no two later listings have confirmed.", AT(archive.unconfirmed)},
    {"mailcask_damaged_messages", GAUGE,
     "Messages that the last verify found damaged and that were not fetched again since.",
     AT(damage.messages)},
    {"mailcask_damaged_parts", GAUGE,
     "Pieces of attachments that it found damaged and that were not stored again since.",
     AT(damage.parts)},
};

void metrics_count(struct metrics_counts *counts, const struct session_end *end)
{
    const struct pool_counts *did = &end->counts;
    counts->sessions++;
    if (!end->stopped)
        counts->errors[end->outcome.scope]++;
    counts->archived += did->fetched;
    counts->deduplicated += did->deduplicated;
    counts->healed += did->healed;
    counts->refused += did->refused;
    counts->quarantined += did->quarantined;
    counts->deleted += did->deleted;
    counts->kept += did->kept;
    counts->message_bytes += did->bytes;
}

static void put(struct buffer *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Of what is ours and short. */
static void put(struct buffer *out, const char *format, ...)
{
    char line[LINE_SIZE];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (n > 0)
        buffer_put(out, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static void put_family(struct buffer *out, const char *name, const char *type,
                       const char *help)
{
    put(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_plain(struct buffer *out, const struct metrics *m,
                      const struct plain *plain, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value;
        memcpy(&value, (const char *)m + plain[i].at, sizeof(value));
        put_family(out, plain[i].name, plain[i].type, plain[i].help);
        put(out, "%s %" PRIu64 "\n", plain[i].name, value);
    }
}

static void put_labelled(struct buffer *out, const char *name, const char *label,
                         const char *value, uint64_t number)
{
    put(out, "%s{%s=\"%s\"} %" PRIu64 "\n", name, label, value, number);
}

static void put_stopped(struct buffer *out, const struct metrics *m)
{
    static const char name[] = "mailcask_fetching_stopped";
    put_family(out, name, GAUGE, "Whether nothing is fetched, and why: 1 or 0.");
    put_labelled(out, name, "reason", "disk_full", m->disk_full);
    put_labelled(out, name, "reason", "archive_failed", m->archive_failed);
}

static void put_accounts(struct buffer *out, const struct metrics *m)
{
    static const char name[] = "mailcask_accounts";
    static const char oldest[] = "mailcask_oldest_complete_poll_timestamp_seconds";
    put_family(out, name, GAUGE, "Accounts by what they do, as `mailcask status` has it.");
    for (int state = 0; state < METRICS_STATES; state++)
        if (state != SCHEDULER_FINISHED) /* which is of --once */
            put_labelled(out, name, "state", status_state_word((enum scheduler_state)state),
                         m->accounts[state]);
    if (m->oldest_s == 0)
        return;
    put_family(out, oldest, GAUGE,
               "The last complete poll of the account whose last one is longest ago; the "
               "service's start for one that never had any.");
    put(out, "%s %" PRId64 "\n", oldest, m->oldest_s);
}

static void put_results(struct buffer *out, const struct metrics *m)
{
    static const char errors[] = "mailcask_session_errors_total";
    static const char messages[] = "mailcask_messages_total";
    const struct metrics_counts *c = &m->counts;
    put_family(out, errors, COUNTER, "Sessions that failed, by what the failure concerns.");
    for (int scope = SCOPE_NONE + 1; scope < METRICS_CLASSES; scope++)
        put_labelled(out, errors, "class", scope_name((enum scope)scope), c->errors[scope]);
    put_family(out, messages, COUNTER, "Messages asked for, by what became of them.");
    put_labelled(out, messages, "result", "archived", c->archived);
    put_labelled(out, messages, "result", "known_by_content", c->deduplicated);
    put_labelled(out, messages, "result", "healed", c->healed);
    put_labelled(out, messages, "result", "refused", c->refused);
    put_labelled(out, messages, "result", "quarantined", c->quarantined);
}

static void put_commits(struct buffer *out, const struct metrics *m)
{
    const struct latency *l = &m->work.commit_latency;
    uint64_t count = 0;
    put_family(out, COMMIT_TIME, "histogram",
               "How long it took to make a group of records durable and indexed.");
    for (size_t i = 0; i < LATENCY_CLASSES; i++) {
        count += l->counts[i];
        put(out, COMMIT_TIME "_bucket{le=\"");
        if (i < LATENCY_BOUNDS)
            put(out, "%g", (double)latency_bounds_us[i] / 1e6);
        else
            put(out, "+Inf");
        put(out, "\"} %" PRIu64 "\n", count);
    }
    put(out, COMMIT_TIME "_sum %" PRIu64 ".%06" PRIu64 "\n", l->sum_us / 1000000,
        l->sum_us % 1000000);
    put(out, COMMIT_TIME "_count %" PRIu64 "\n", count);
}

/* A name out of the configuration: whatever its bytes, the text stays UTF-8 and one line.
 */
static void put_server(struct buffer *out, const char *name, const char *server,
                       int64_t number)
{
    char clean[NAME_CLEAN_SIZE];
    (void)log_clean(clean, sizeof(clean), server);
    put(out, "%s{server=\"", name);
    for (const char *at = clean; *at != '\0'; at++) {
        if (*at == '"' || *at == '\\')
            buffer_put_u8(out, '\\');
        buffer_put_u8(out, (uint8_t)*at);
    }
    put(out, "\"} %" PRId64 "\n", number);
}

static void put_servers(struct buffer *out, const struct metrics *m)
{
    static const char up[] = "mailcask_server_up", accounts[] = "mailcask_server_accounts",
                      sessions[] = "mailcask_server_sessions",
                      oldest[] = "mailcask_server_oldest_complete_poll_timestamp_seconds";
    if (m->servers == NULL)
        return;
    put_family(out, up, GAUGE, "Whether the server can be used, 1 or 0.");
    for (size_t i = 0; i < m->server_count; i++)
        put_server(out, up, m->servers[i].name, m->servers[i].up);
    put_family(out, accounts, GAUGE, "Accounts of the server.");
    for (size_t i = 0; i < m->server_count; i++)
        put_server(out, accounts, m->servers[i].name, (int64_t)m->servers[i].accounts);
    put_family(out, sessions, GAUGE, "Sessions with the server under way.");
    for (size_t i = 0; i < m->server_count; i++)
        put_server(out, sessions, m->servers[i].name, (int64_t)m->servers[i].sessions);
    put_family(out, oldest, GAUGE,
               "As mailcask_oldest_complete_poll_timestamp_seconds, of the server's.");
    for (size_t i = 0; i < m->server_count; i++)
        if (m->servers[i].oldest_s != 0)
            put_server(out, oldest, m->servers[i].name, m->servers[i].oldest_s);
}

void metrics_text(const struct metrics *m, struct buffer *out)
{
    put_family(out, "mailcask_build_info", GAUGE, "The version that runs; always 1.");
    put_labelled(out, "mailcask_build_info", "version", MAILCASK_VERSION, 1);
    put_plain(out, m, of_service, sizeof(of_service) / sizeof(of_service[0]));
    put_stopped(out, m);
    put_accounts(out, m);
    put_servers(out, m);
    put_results(out, m);
    put_commits(out, m);
    if (m->archive_known)
        put_plain(out, m, of_archive, sizeof(of_archive) / sizeof(of_archive[0]));
}
