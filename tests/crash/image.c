#include "tests/crash/image.h"

#include "archive/digest.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_PAGES 2u

/* How a kind of thing that waited is decided. */
enum rule {
    RULE_NONE,
    RULE_ALL,
    RULE_ANY,     /* each by itself */
    RULE_TORN,    /* pages: each by itself, and sector by sector */
    RULE_ORDERED, /* what was written up to some moment */
    RULE_ONE,     /* a single one */
    RULE_ALL_BUT_ONE,
    RULE_ONE_FILE, /* pages and sizes: all of one file, none of the others */
    RULE_NO_HEADS, /* pages: all, but where files begin; LMDB's roots are there */
    RULE_COUNT,
};

struct choice {
    uint64_t random;
    enum rule pages, sizes, entries;
    size_t moment; /* RULE_ORDERED: serials below it got there */
    size_t one;    /* RULE_ONE, RULE_ALL_BUT_ONE: which, counting from 0 */
    uint32_t file; /* RULE_ONE_FILE */
    size_t page_at, size_at, entry_at; /* counting */
    uint64_t print;                    /* of the image so far */
};

uint64_t random_next(uint64_t *state)
{
    /* splitmix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return random_next(state) % limit;
}

static enum rule draw(uint64_t *random, const enum rule *from, size_t count)
{
    return from[random_below(random, count)];
}

static size_t waiting_pages(const struct disk *d)
{
    size_t count = 0;
    for (size_t i = 0; i < d->inode_count; i++)
        count += d->inodes[i].page_count;
    return count;
}

static void choose(struct choice *c, const struct disk *d, uint64_t seed)
{
    static const enum rule pages[] = {
        RULE_NONE, RULE_ALL,         RULE_ANY,  RULE_ANY,     RULE_TORN,     RULE_ORDERED,
        RULE_ONE,  RULE_ALL_BUT_ONE, RULE_TORN, RULE_ORDERED, RULE_ONE_FILE, RULE_NO_HEADS};
    static const enum rule sizes[] = {RULE_NONE, RULE_ALL,     RULE_ALL,
                                      RULE_ANY,  RULE_ORDERED, RULE_ONE_FILE};
    /* Names mostly get there, or the index would hardly ever be there to be looked at. */
    static const enum rule entries[] = {RULE_NONE, RULE_ALL, RULE_ALL,
                                        RULE_ALL,  RULE_ALL, RULE_ALL,
                                        RULE_ANY,  RULE_ONE, RULE_ORDERED};
    *c = (struct choice){.random = seed};
    if (seed == SEED_NOTHING || seed == SEED_EVERYTHING) {
        c->pages = c->sizes = c->entries = seed == SEED_NOTHING ? RULE_NONE : RULE_ALL;
        return;
    }
    size_t count = waiting_pages(d) + 1;
    c->pages = draw(&c->random, pages, sizeof(pages) / sizeof(pages[0]));
    c->sizes = draw(&c->random, sizes, sizeof(sizes) / sizeof(sizes[0]));
    c->entries = draw(&c->random, entries, sizeof(entries) / sizeof(entries[0]));
    /* Within the last few calls, mostly: older ones have been synced. */
    size_t back = (size_t)random_below(&c->random, 40);
    c->moment = d->serial > back ? d->serial - back : 0;
    c->one = (size_t)random_below(&c->random, count);
    c->file = (uint32_t)random_below(&c->random, d->inode_count);
}

/* Did the thing number `at`, of these waiting since `serial`, get there? */
static bool lets_through(struct choice *c, enum rule rule, size_t at, size_t serial,
                         uint32_t file)
{
    switch (rule) {
    case RULE_NONE:
        return false;
    case RULE_ALL:
        return true;
    case RULE_ANY:
    case RULE_TORN:
        return random_below(&c->random, 2) == 1;
    case RULE_ORDERED:
        return serial < c->moment;
    case RULE_ONE:
        return at == c->one;
    case RULE_ALL_BUT_ONE:
        return at != c->one;
    case RULE_ONE_FILE:
        return file == c->file;
    case RULE_NO_HEADS:
        return at >= HEAD_PAGES;
    case RULE_COUNT:
        break;
    }
    return false;
}

/* The version of a page that got there, NULL for none. */
static const uint8_t *version_of(struct choice *c, const struct waiting_page *p,
                                 uint32_t file)
{
    size_t last = p->count - 1, at = c->page_at++;
    if (c->pages == RULE_ORDERED) {
        while (last > 0 && p->versions[last].serial >= c->moment)
            last--;
        return p->versions[last].serial < c->moment ? p->versions[last].data : NULL;
    }
    if (c->pages == RULE_NO_HEADS)
        at = (size_t)p->index;
    if (!lets_through(c, c->pages, at, 0, file))
        return NULL;
    if (c->pages == RULE_ANY || c->pages == RULE_TORN)
        last = (size_t)random_below(&c->random, p->count);
    return p->versions[last].data;
}

static void build_page(struct choice *c, const struct inode *inode, uint32_t number,
                       const struct waiting_page *p, uint8_t *out)
{
    const uint8_t *version = version_of(c, p, number);
    inode_durable_page(inode, p->index, out);
    if (version == NULL)
        return;
    for (size_t at = 0; at < PAGE_SIZE_BYTES; at += SECTOR_SIZE_BYTES)
        if (c->pages != RULE_TORN || random_below(&c->random, 3) > 0)
            memcpy(out + at, version + at, SECTOR_SIZE_BYTES);
}

static uint64_t build_size(struct choice *c, const struct inode *inode, uint32_t number)
{
    uint64_t size = inode->durable.size;
    for (size_t i = 0; i < inode->size_count; i++)
        if (lets_through(c, c->sizes, c->size_at++, inode->sizes[i].serial, number))
            size = inode->sizes[i].size;
    return size;
}

static void write_at(int fd, const void *data, uint64_t size, uint64_t offset)
{
    ssize_t n = pwrite(fd, data, (size_t)size, (off_t)offset);
    assert(n == (ssize_t)size);
}

static void build_file(struct choice *c, const struct inode *inode, uint32_t number,
                       const char *path)
{
    uint8_t page[PAGE_SIZE_BYTES];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert(fd >= 0);
    uint64_t size = build_size(c, inode, number);
    uint64_t whole = size < inode->durable.size ? size : inode->durable.size;
    if (whole > 0)
        write_at(fd, inode->durable.data, whole, 0);
    assert(ftruncate(fd, (off_t)size) == 0);
    c->print = checksum64(inode->durable.data == NULL ? page : inode->durable.data, whole,
                          c->print ^ size);
    for (size_t i = 0; i < inode->page_count; i++) {
        const struct waiting_page *p = &inode->pages[i];
        uint64_t at = p->index * PAGE_SIZE_BYTES;
        build_page(c, inode, number, p, page);
        if (at >= size)
            continue;
        uint64_t n = size - at < PAGE_SIZE_BYTES ? size - at : PAGE_SIZE_BYTES;
        write_at(fd, page, n, at);
        c->print = checksum64(page, n, c->print + at);
    }
    close(fd);
}

static void build_folder(struct choice *c, const struct disk *d,
                         const struct entries *names, uint32_t folder, const char *path)
{
    char below[PATH_MAX];
    assert(mkdir(path, 0700) == 0 || errno == EEXIST);
    for (size_t i = 0; i < names->count; i++) {
        const struct entry *e = &names->list[i];
        if (e->folder != folder)
            continue;
        snprintf(below, sizeof(below), "%s/%s", path, e->name);
        c->print = checksum64(e->name, strlen(e->name), c->print);
        if (d->inodes[e->inode].folder)
            build_folder(c, d, names, e->inode, below);
        else
            build_file(c, &d->inodes[e->inode], e->inode, below);
    }
}

uint64_t image_build(const struct disk *d, uint64_t seed, const char *folder)
{
    struct choice c;
    struct entries names;
    choose(&c, d, seed);
    entries_copy(&names, &d->durable);
    for (size_t i = 0; i < d->waiting_count; i++) {
        const struct waiting_entry *w = &d->waiting[i];
        if (!lets_through(&c, c.entries, c.entry_at++, w->serial, 0))
            continue;
        for (int k = 0; k < 2; k++)
            if (w->change[k].folder != 0)
                entries_set(&names, w->change[k].folder, w->change[k].name,
                            w->change[k].inode);
    }
    image_remove(folder);
    build_folder(&c, d, &names, ROOT_INODE, folder);
    entries_free(&names);
    return c.print;
}

void image_remove(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *e;
    if (dir == NULL)
        return;
    while ((e = readdir(dir)) != NULL) {
        char below[PATH_MAX];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(below, sizeof(below), "%s/%s", folder, e->d_name);
        if (unlink(below) != 0)
            image_remove(below);
    }
    closedir(dir);
    rmdir(folder);
}
