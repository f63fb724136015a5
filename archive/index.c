#include "archive/index.h"

#include "archive/digest.h"
#include "archive/error.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX_VERSION 3
#define IDENTITY_KEY "identity"
#define MAX_READERS 1022
/* Address space, not disk. */
#define MAP_SIZE (1ull << 40)

static const char *const table_names[] = {
    [TABLE_INFO] = "info",
    [TABLE_SEGMENTS] = "segments",
    [TABLE_ACCOUNTS] = "accounts",
    [TABLE_NAMES] = "names",
    [TABLE_SOURCES] = "sources",
    [TABLE_MESSAGES] = "messages",
    [TABLE_UIDLS] = "uidls",
    [TABLE_HASHES] = "hashes",
    [TABLE_CHUNKS] = "chunks",
    [TABLE_LEDGER] = "ledger",
    [TABLE_CARRIED] = "carried",
    [TABLE_LOST] = "lost",
    [TABLE_PARTS] = "parts",
    [TABLE_SUPERSEDED] = "superseded",
    [TABLE_MAILDROPS] = "maildrops",
    [TABLE_DELETIONS] = "deletions",
    [TABLE_UNCONFIRMED] = "unconfirmed",
};

_Static_assert(sizeof(table_names) / sizeof(table_names[0]) == TABLE_COUNT, "a name each");

struct index {
    MDB_env *env;
    MDB_dbi tables[TABLE_COUNT];
};

struct index_txn {
    struct index *ix;
    MDB_txn *txn;
    MDB_cursor *cursors[TABLE_COUNT]; /* made on first seek; a writer's die with it */
    struct sha256 *hash;              /* made on first use */
    bool write;
    size_t changes;
    int err; /* sticky */
};

static int index_error(int rc)
{
    if (rc == MDB_SUCCESS)
        return 0;
    if (rc == MDB_NOTFOUND)
        return ERR_NOT_FOUND;
    return rc > 0 ? -rc : ERR_INDEX;
}

static int index_path(const char *archive, const char *file, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%s/index%s", archive, file);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* What an index says of itself: version, archive, and the very file it was made as, so that
 * a copy (which may be older than the segments beside it) is not trusted. */
static int identity(const char *archive, const uint8_t uuid[UUID_SIZE], struct buffer *out)
{
    char path[PATH_MAX];
    struct stat st;
    int err = index_path(archive, "/data.mdb", path);
    if (err != 0)
        return err;
    if (stat(path, &st) != 0)
        return -errno;
    buffer_put_u32(out, INDEX_VERSION);
    buffer_put(out, uuid, UUID_SIZE);
    buffer_put_u64(out, st.st_dev);
    buffer_put_u64(out, st.st_ino);
    return out->failed ? -ENOMEM : 0;
}

static int open_tables(struct index *ix, bool create)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(ix->env, NULL, create ? 0 : MDB_RDONLY, &txn);
    for (int i = 0; rc == 0 && i < TABLE_COUNT; i++)
        rc = mdb_dbi_open(txn, table_names[i], create ? MDB_CREATE : 0, &ix->tables[i]);
    if (rc != 0) {
        if (txn != NULL)
            mdb_txn_abort(txn);
        return index_error(rc);
    }
    return index_error(mdb_txn_commit(txn));
}

static int check_identity(struct index *ix, const char *archive, const uint8_t *uuid)
{
    struct index_txn *t = NULL;
    struct buffer expected = {0};
    struct span found;
    int err = identity(archive, uuid, &expected);
    if (err == 0)
        err = index_begin_read(ix, &t);
    if (err == 0) {
        err = index_get(t, TABLE_INFO, span_text(IDENTITY_KEY), &found);
        if (err == 0 && !span_equal(found, span_of(expected.data, expected.size)))
            err = ERR_NO_INDEX;
        index_abort(t);
    }
    buffer_free(&expected);
    return err;
}

int index_sign(struct index *ix, const char *archive, const uint8_t uuid[UUID_SIZE])
{
    struct index_txn *t = NULL;
    struct buffer value = {0};
    int err = identity(archive, uuid, &value);
    if (err == 0)
        err = index_begin_write(ix, &t);
    if (err == 0) {
        index_put(t, TABLE_INFO, span_text(IDENTITY_KEY), span_of(value.data, value.size));
        err = index_commit(t);
    }
    buffer_free(&value);
    return err;
}

int index_open(const char *archive, const uint8_t uuid[UUID_SIZE], enum index_mode mode,
               struct index **out)
{
    char path[PATH_MAX];
    int err = index_path(archive, "", path);
    if (err != 0)
        return err;
    bool create = mode == INDEX_CREATE;
    if (create && mkdir(path, 0700) != 0 && errno != EEXIST)
        return -errno;
    struct index *ix = calloc(1, sizeof(*ix));
    if (ix == NULL)
        return -ENOMEM;
    int rc = mdb_env_create(&ix->env);
    if (rc != 0) {
        free(ix);
        return index_error(rc);
    }
    mdb_env_set_mapsize(ix->env, MAP_SIZE);
    mdb_env_set_maxdbs(ix->env, TABLE_COUNT);
    mdb_env_set_maxreaders(ix->env, MAX_READERS);
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD;
    flags |= mode == INDEX_READ ? MDB_RDONLY : MDB_NOMETASYNC;
    rc = mdb_env_open(ix->env, path, flags, 0600);
    if (rc == EROFS && mode == INDEX_READ) /* a read-only copy: nobody writes beside us */
        rc = mdb_env_open(ix->env, path, flags | MDB_NOLOCK, 0600);
    err = index_error(rc);
    if (err == 0)
        err = open_tables(ix, create);
    if (err == 0 && !create)
        err = check_identity(ix, archive, uuid);
    if (err != 0) {
        index_close(ix);
        /* Whatever is wrong with a derived thing, the remedy is the same; but no space, no
         * memory and no permission are not its fault. */
        if (!create && err != -ENOSPC && err != -ENOMEM && err != -EACCES && err != -EMFILE)
            err = ERR_NO_INDEX;
        return err;
    }
    *out = ix;
    return 0;
}

void index_close(struct index *ix)
{
    if (ix == NULL)
        return;
    mdb_env_close(ix->env);
    free(ix);
}

int index_remove(const char *archive)
{
    static const char *const files[] = {"/data.mdb", "/lock.mdb"};
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        int err = index_path(archive, files[i], path);
        if (err != 0)
            return err;
        if (unlink(path) != 0 && errno != ENOENT)
            return -errno;
    }
    return 0;
}

static int begin(struct index *ix, bool write, struct index_txn **out)
{
    struct index_txn *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return -ENOMEM;
    t->ix = ix;
    t->write = write;
    int rc = mdb_txn_begin(ix->env, NULL, write ? 0 : MDB_RDONLY, &t->txn);
    if (rc != 0) {
        free(t);
        return index_error(rc);
    }
    *out = t;
    return 0;
}

int index_begin_write(struct index *ix, struct index_txn **out)
{
    return begin(ix, true, out);
}

int index_begin_read(struct index *ix, struct index_txn **out)
{
    return begin(ix, false, out);
}

void index_reset(struct index_txn *t)
{
    assert(!t->write);
    mdb_txn_reset(t->txn);
}

int index_renew(struct index_txn *t)
{
    assert(!t->write);
    int rc = mdb_txn_renew(t->txn);
    for (int i = 0; rc == 0 && i < TABLE_COUNT; i++)
        if (t->cursors[i] != NULL)
            rc = mdb_cursor_renew(t->txn, t->cursors[i]);
    return index_error(rc);
}

static void close_cursors(struct index_txn *t)
{
    for (int i = 0; i < TABLE_COUNT; i++)
        if (t->cursors[i] != NULL)
            mdb_cursor_close(t->cursors[i]);
}

void index_abort(struct index_txn *t)
{
    if (t == NULL)
        return;
    close_cursors(t);
    mdb_txn_abort(t->txn);
    sha256_destroy(t->hash);
    free(t);
}

int index_commit(struct index_txn *t)
{
    int err = t->err;
    close_cursors(t);
    if (err != 0)
        mdb_txn_abort(t->txn);
    else
        err = index_error(mdb_txn_commit(t->txn));
    sha256_destroy(t->hash);
    free(t);
    return err;
}

/* LMDB does not write through keys or values it is given. */
static MDB_val value_of(struct span s)
{
    union {
        const uint8_t *data;
        void *any;
    } bytes = {.data = s.data};
    return (MDB_val){.mv_size = s.size, .mv_data = bytes.any};
}

int index_get(struct index_txn *t, enum index_table table, struct span key,
              struct span *out_value)
{
    MDB_val k = value_of(key), v;
    int rc = mdb_get(t->txn, t->ix->tables[table], &k, &v);
    if (rc == 0)
        *out_value = span_of(v.mv_data, v.mv_size);
    return index_error(rc);
}

void index_put(struct index_txn *t, enum index_table table, struct span key,
               struct span value)
{
    MDB_val k = value_of(key), v = value_of(value);
    t->changes++;
    if (t->err == 0)
        t->err = index_error(mdb_put(t->txn, t->ix->tables[table], &k, &v, 0));
}

void index_delete(struct index_txn *t, enum index_table table, struct span key)
{
    MDB_val k = value_of(key);
    t->changes++;
    if (t->err != 0)
        return;
    int rc = mdb_del(t->txn, t->ix->tables[table], &k, NULL);
    t->err = rc == MDB_NOTFOUND ? 0 : index_error(rc);
}

size_t index_changes(const struct index_txn *t)
{
    return t->changes;
}

void index_fail(struct index_txn *t, int err)
{
    if (t->err == 0)
        t->err = err;
}

int index_seek(struct index_txn *t, enum index_table table, struct span *key,
               struct span *out_value)
{
    if (t->cursors[table] == NULL) {
        int rc = mdb_cursor_open(t->txn, t->ix->tables[table], &t->cursors[table]);
        if (rc != 0)
            return index_error(rc);
    }
    MDB_val k = value_of(*key), v;
    int rc = mdb_cursor_get(t->cursors[table], &k, &v,
                            key->size == 0 ? MDB_FIRST : MDB_SET_RANGE);
    if (rc == 0) {
        *key = span_of(k.mv_data, k.mv_size);
        *out_value = span_of(v.mv_data, v.mv_size);
    }
    return index_error(rc);
}

int index_walk(struct index_txn *t, enum index_table table, struct index_walk *w,
               struct span *out_value)
{
    w->key[w->size] = 0; /* one byte longer is the very next key there can be */
    struct span key = span_of(w->key, w->size == 0 ? 0 : w->size + 1);
    int err = index_seek(t, table, &key, out_value);
    if (err == 0 && key.size > INDEX_WALK_KEY_MAX)
        err = ERR_INDEX;
    if (err != 0)
        return err;
    memcpy(w->key, key.data, key.size);
    w->size = key.size;
    return 0;
}

int index_count(struct index_txn *t, enum index_table table, uint64_t *out_count)
{
    MDB_stat st;
    int rc = mdb_stat(t->txn, t->ix->tables[table], &st);
    if (rc == 0)
        *out_count = st.ms_entries;
    return index_error(rc);
}

struct sha256 *index_hash(struct index_txn *t)
{
    if (t->hash == NULL)
        t->hash = sha256_create();
    return t->hash;
}

uint64_t index_txn_id(struct index_txn *t)
{
    return mdb_txn_id(t->txn);
}

void index_check_readers(struct index *ix)
{
    int dead = 0;
    mdb_reader_check(ix->env, &dead);
}

int index_sync(struct index *ix)
{
    return index_error(mdb_env_sync(ix->env, 1));
}
