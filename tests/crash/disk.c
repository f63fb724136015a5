#include "tests/crash/disk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void *grow(void *list, size_t count, size_t size)
{
    /* To the next power of two: called for each element added. */
    if ((count & (count - 1)) == 0)
        list = realloc(list, (count == 0 ? 1 : 2 * count) * size);
    assert(list != NULL);
    return list;
}

static struct inode *new_inode(struct disk *d, bool folder)
{
    d->inodes = grow(d->inodes, d->inode_count, sizeof(*d->inodes));
    struct inode *inode = &d->inodes[d->inode_count++];
    *inode = (struct inode){.folder = folder};
    return inode;
}

void disk_init(struct disk *d)
{
    *d = (struct disk){0};
    new_inode(d, false);
    new_inode(d, true);
}

static void forget_pages(struct inode *inode)
{
    for (size_t i = 0; i < inode->page_count; i++)
        free(inode->pages[i].versions);
    free(inode->pages);
    inode->pages = NULL;
    inode->page_count = 0;
}

void disk_free(struct disk *d)
{
    for (size_t i = 0; i < d->inode_count; i++) {
        forget_pages(&d->inodes[i]);
        free(d->inodes[i].sizes);
        buffer_free(&d->inodes[i].durable);
    }
    free(d->inodes);
    free(d->waiting);
    entries_free(&d->durable);
    *d = (struct disk){0};
}

void inode_durable_page(const struct inode *inode, uint64_t index,
                        uint8_t out[PAGE_SIZE_BYTES])
{
    uint64_t offset = index * PAGE_SIZE_BYTES;
    size_t there = 0;
    if (offset < inode->durable.size)
        there = (size_t)(inode->durable.size - offset);
    if (there > PAGE_SIZE_BYTES)
        there = PAGE_SIZE_BYTES;
    if (there > 0)
        memcpy(out, inode->durable.data + offset, there);
    memset(out + there, 0, PAGE_SIZE_BYTES - there);
}

/* The page's next version, to begin with as it is now. */
static struct page_version *new_version(struct inode *inode, uint64_t index, size_t serial)
{
    size_t i = 0;
    while (i < inode->page_count && inode->pages[i].index != index)
        i++;
    if (i == inode->page_count) {
        inode->pages = grow(inode->pages, inode->page_count, sizeof(*inode->pages));
        inode->pages[inode->page_count++] = (struct waiting_page){.index = index};
    }
    struct waiting_page *p = &inode->pages[i];
    p->versions = grow(p->versions, p->count, sizeof(*p->versions));
    struct page_version *v = &p->versions[p->count++];
    p->lost = false;
    v->serial = serial;
    if (p->count > 1)
        memcpy(v->data, v[-1].data, sizeof(v->data));
    else
        inode_durable_page(inode, index, v->data);
    return v;
}

static void new_size(struct inode *inode, uint64_t size, size_t serial)
{
    if (size == inode->size)
        return;
    inode->size = size;
    inode->sizes = grow(inode->sizes, inode->size_count, sizeof(*inode->sizes));
    inode->sizes[inode->size_count++] = (struct waiting_size){serial, size};
}

static void apply_write(struct disk *d, const struct event *e)
{
    struct inode *inode = &d->inodes[e->inode];
    size_t done = 0;
    while (done < e->size) {
        uint64_t at = e->offset + done;
        size_t in_page = (size_t)(at % PAGE_SIZE_BYTES);
        size_t n = PAGE_SIZE_BYTES - in_page;
        if (n > e->size - done)
            n = e->size - done;
        memcpy(new_version(inode, at / PAGE_SIZE_BYTES, d->serial)->data + in_page,
               e->data + done, n);
        done += n;
    }
    if (e->offset + e->size > inode->size)
        new_size(inode, e->offset + e->size, d->serial);
}

static void apply_resize(struct disk *d, const struct event *e)
{
    struct inode *inode = &d->inodes[e->inode];
    for (uint64_t at = e->offset; at < inode->size;) {
        uint64_t index = at / PAGE_SIZE_BYTES;
        size_t in_page = (size_t)(at % PAGE_SIZE_BYTES);
        memset(new_version(inode, index, d->serial)->data + in_page, 0,
               PAGE_SIZE_BYTES - in_page);
        at = (index + 1) * PAGE_SIZE_BYTES;
    }
    new_size(inode, e->offset, d->serial);
}

static void put_durable(struct inode *inode, uint64_t offset, const uint8_t *data,
                        size_t size)
{
    if (offset >= inode->durable.size)
        return;
    if (size > inode->durable.size - offset)
        size = inode->durable.size - offset;
    memcpy(inode->durable.data + offset, data, size);
}

static void set_durable_size(struct inode *inode, uint64_t size)
{
    size_t before = inode->durable.size;
    if (size > before) {
        assert(buffer_reserve(&inode->durable, size - before) != NULL);
        memset(inode->durable.data + before, 0, size - before);
    }
    inode->durable.size = size;
}

/* The size, and the pages from first to last, as they are now. */
static void sync_pages(struct inode *inode, uint64_t first, uint64_t last)
{
    size_t left = 0;
    set_durable_size(inode, inode->size);
    inode->size_count = 0;
    for (size_t i = 0; i < inode->page_count; i++) {
        struct waiting_page *p = &inode->pages[i];
        if (p->lost || p->index < first || p->index > last) {
            inode->pages[left++] = *p;
            continue;
        }
        put_durable(inode, p->index * PAGE_SIZE_BYTES, p->versions[p->count - 1].data,
                    PAGE_SIZE_BYTES);
        free(p->versions);
    }
    inode->page_count = left;
    if (left == 0)
        forget_pages(inode);
}

static bool concerns(const struct waiting_entry *w, uint32_t folder)
{
    return w->change[0].folder == folder || w->change[1].folder == folder;
}

static void sync_folder(struct disk *d, uint32_t folder)
{
    size_t left = 0;
    for (size_t i = 0; i < d->waiting_count; i++) {
        const struct waiting_entry w = d->waiting[i];
        if (!concerns(&w, folder)) {
            d->waiting[left++] = w;
            continue;
        }
        for (int k = 0; k < 2; k++)
            if (w.change[k].folder != 0)
                entries_set(&d->durable, w.change[k].folder, w.change[k].name,
                            w.change[k].inode);
    }
    d->waiting_count = left;
}

static void wait_entry(struct disk *d, const struct entry *from, uint32_t from_inode,
                       const struct entry *to, uint32_t to_inode)
{
    d->waiting = grow(d->waiting, d->waiting_count, sizeof(*d->waiting));
    struct waiting_entry *w = &d->waiting[d->waiting_count++];
    *w = (struct waiting_entry){.serial = d->serial};
    w->change[0] = *from;
    w->change[0].inode = from_inode;
    if (to == NULL)
        return;
    w->change[1] = *to;
    w->change[1].inode = to_inode;
}

void disk_apply(struct disk *d, const struct event *e)
{
    switch (e->type) {
    case EVENT_CREATE:
        new_inode(d, e->folder);
        assert(d->inode_count == e->inode + 1);
        wait_entry(d, &e->from, e->inode, NULL, 0);
        break;
    case EVENT_WRITE:
        apply_write(d, e);
        if (e->synced && e->size > 0)
            sync_pages(&d->inodes[e->inode], e->offset / PAGE_SIZE_BYTES,
                       (e->offset + e->size - 1) / PAGE_SIZE_BYTES);
        break;
    case EVENT_RESIZE:
        apply_resize(d, e);
        break;
    case EVENT_SYNC:
        if (d->inodes[e->inode].folder)
            sync_folder(d, e->inode);
        else
            sync_pages(&d->inodes[e->inode], 0, UINT64_MAX);
        break;
    case EVENT_SYNC_FAILED:
        for (size_t i = 0; i < d->inodes[e->inode].page_count; i++)
            d->inodes[e->inode].pages[i].lost = true;
        break;
    case EVENT_RENAME:
        wait_entry(d, &e->from, 0, &e->to, e->inode);
        break;
    case EVENT_REMOVE:
        wait_entry(d, &e->from, 0, NULL, 0);
        break;
    case EVENT_MARK:
        break;
    }
    d->serial++;
}

bool disk_waits(const struct disk *d)
{
    bool waits = d->waiting_count > 0;
    for (size_t i = 0; i < d->inode_count && !waits; i++)
        waits = d->inodes[i].page_count > 0 || d->inodes[i].size_count > 0;
    return waits;
}
