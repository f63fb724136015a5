#include "daemon/metrics_source.h"

#include "daemon/clock.h"

#include <stdlib.h>

/* The account whose last complete poll is longest ago. */
static void take_poll(int64_t *oldest_s, int64_t at_s)
{
    if (*oldest_s == 0 || at_s < *oldest_s)
        *oldest_s = at_s;
}

/* servers: of the configuration, zeroed, or NULL. */
static void look_at_accounts(const struct status *s, struct metrics *m,
                             struct metrics_of_server *servers)
{
    const struct rounds *r = s->rounds;
    for (uint32_t i = 0; i < r->config->account_count; i++) {
        int64_t at_s = health_polls(r->health, i)->complete_s;
        if (at_s == 0)
            at_s = s->began_s;
        m->accounts[status_account_state(r, i)]++;
        m->accounts_failing += health_account(r->health, i)->since_s != 0;
        take_poll(&m->oldest_s, at_s);
        if (servers == NULL)
            continue;
        size_t server = (size_t)(r->config->accounts[i].server - r->config->servers);
        servers[server].accounts++;
        take_poll(&servers[server].oldest_s, at_s);
    }
}

static void look_at_servers(const struct rounds *r, struct metrics *m,
                            struct metrics_of_server *servers)
{
    m->server_count = r->config->server_count;
    for (uint32_t i = 0; i < m->server_count; i++) {
        bool up = health_server(r->health, i)->since_s == 0;
        m->servers_failing += !up;
        if (servers == NULL)
            continue;
        servers[i].name = r->config->servers[i].name;
        servers[i].up = up;
        servers[i].sessions = scheduler_server_running(r->scheduler, i);
    }
    m->servers = servers;
}

static void look_at_space(const struct rounds *r, struct metrics *m)
{
    struct space space = r->space;
    space_look(&space, r->config->archive_path);
    m->disk_full = r->archive == NULL && r->space.low;
    m->archive_failed = r->archive == NULL && !r->space.low;
    m->disk_free_bytes = space.free_bytes;
    m->disk_stop_bytes = space.mark_bytes;
    m->disk_resume_bytes = space.mark_bytes * SPACE_ROOM_AGAIN;
}

static void look_at_archive(struct metrics_source *source, struct metrics *m)
{
    struct archive *archive = source->status->rounds->archive;
    uint64_t now_ms = clock_now_ms();
    if (archive != source->archive || now_ms - source->looked_ms >= METRICS_ARCHIVE_MS) {
        source->archive = archive;
        source->looked_ms = now_ms;
        source->known = archive != NULL &&
                        archive_quick_stats(archive, &source->stats) == 0 &&
                        damage_count(archive, &source->damage) == 0;
    }
    m->archive_known = source->known;
    m->archive = source->stats;
    m->damage = source->damage;
}

void metrics_source_text(void *arg, struct buffer *out)
{
    struct metrics_source *source = arg;
    const struct status *s = source->status;
    const struct rounds *r = s->rounds;
    struct metrics_of_server *servers = NULL;
    struct metrics m = {.began_s = (uint64_t)s->began_s,
                        .memory_limit_bytes = r->config->max_memory_bytes,
                        .sessions = sessions_count(r->sessions),
                        .counts = source->counts,
                        .recovery_damage = r->damage_found};
    if (r->config->server_count <= METRICS_SERVERS_MAX)
        servers = calloc(r->config->server_count + 1, sizeof(*servers));
    sessions_progress(r->sessions, &m.work);
    look_at_space(r, &m);
    look_at_accounts(s, &m, servers);
    look_at_servers(r, &m, servers);
    look_at_archive(source, &m);
    metrics_text(&m, out);
    free(servers);
}
