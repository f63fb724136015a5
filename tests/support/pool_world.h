/* An archive, a mail server and a pool between them, for tests of whole sessions. */
#ifndef MAILCASK_SUPPORT_POOL_WORLD_H
#define MAILCASK_SUPPORT_POOL_WORLD_H

#include "tests/support/archive_fixture.h"
#include "tests/support/held_port.h"
#include "tests/support/mail_server.h"
#include "workers/pool.h"

#include <pthread.h>

#define WORLD_RESULTS_MAX 256

/* What was reported of a session. tag is its place in the order of world_submit(). */
struct world_result {
    bool there;
    bool stopped, unlisted;
    struct outcome outcome;
    struct pool_counts counts;
    struct pool_marks marks;
    char address[POOL_ADDRESS_SIZE];
    char tls[64];
    char aside[POOL_ASIDE_SIZE];
};

struct world {
    enum loop_backend backend;
    struct fixture fixture;
    struct certificate *authority, *certificate;
    char ca_file[128];
    struct mail_server *server; /* NULL: none */
    struct held_port port;
    struct pool *pool;
    uint64_t max_memory; /* set before world_begin(); 0: 64 MiB */
    const struct file_ops *ops;
    struct pop3_limits limits;
    unsigned submitted;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    unsigned ended;
    struct world_result results[WORLD_RESULTS_MAX];
};

/* cmocka's: *state is a struct world, with certificates. The group's own state, before,
 * points to an enum loop_backend. Skips nothing: see world_backend_works(). */
int world_setup(void **state, enum loop_backend backend);
int world_teardown(void **state);
bool world_backend_works(enum loop_backend backend);

/* Open the archive (with w->ops), start the server and the pool. certificate: filled in. */
void world_begin(struct world *w, struct mail_server_options *options);
/* End pool and server; the archive is closed. */
void world_end(struct world *w);
/* Another server for the same archive; on another port, unless it is given. */
void world_serve(struct world *w, struct mail_server_options *options);

/* A job for this account that suits the server. */
struct pool_job world_job(const struct world *w, const char *account,
                          const struct mail_server_options *options);
/* Returns its place. */
unsigned world_submit(struct world *w, const struct pool_job *job);
/* Wait for the result. */
const struct world_result *world_wait(struct world *w, unsigned place);
/* Both. */
const struct world_result *world_run(struct world *w, const struct pool_job *job);

/* How many messages the archive has for the account; 0 if it does not know it. */
uint64_t world_messages(struct world *w, const char *account);
/* Message n of the account is exactly this one. */
void world_assert_message(struct world *w, const char *account, uint64_t n,
                          const struct mail_message *expected);

/* A message of about size bytes that is no other's; free() its data. */
struct mail_message world_message(const char *uidl, unsigned seed, size_t size);

#endif
