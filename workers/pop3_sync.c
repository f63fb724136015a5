#include "workers/pop3_internal.h"

#include <string.h>

/* How far a size of LIST may be off and still be exact: Courier leaves out the line end
 * that it adds (Q16). */
#define EXACT_SLACK ((uint64_t)2)

/* The status word that the body begins with, however it is cut; NULL if there is none. */
static const char *status_word(const struct pop3 *p)
{
    if (p->body_size >= 3 && memcmp(p->body_head, "+OK", 3) == 0)
        return "+OK";
    if (p->body_size >= 4 && memcmp(p->body_head, "-ERR", 4) == 0)
        return "-ERR";
    return NULL;
}

static bool octets_are_reliable(const struct pop3 *p)
{
    return p->octets_agreed && !p->octets_differed;
}

static bool sizes_are_reliable(const struct pop3 *p)
{
    return p->sizes_agreed && !p->sizes_differed;
}

bool pop3_sync_slice(struct pop3 *p, const char *slice, size_t size)
{
    size_t begun =
        p->body_size < sizeof(p->body_head) ? (size_t)p->body_size : sizeof(p->body_head);
    size_t room = sizeof(p->body_head) - begun;
    if (size > 0)
        memcpy(p->body_head + begun, slice, size < room ? size : room);
    p->body_size += size;
    p->stats.body_bytes += size;
    if (room == 0 || p->window <= 1 || status_word(p) == NULL)
        return true;
    pop3_desynchronised(p, status_word(p), strlen(status_word(p)));
    return false;
}

bool pop3_sync_status(struct pop3 *p, uint64_t octets)
{
    struct listing_entry entry = listing_wanted(p->listing, pop3_expected(p)->index);
    bool agrees = octets == entry.size && octets != POP3_OCTETS_UNKNOWN;
    bool lost = p->window > 1 && !agrees && octets_are_reliable(p);
    p->octets_agreed |= agrees;
    p->octets_differed |= !agrees;
    if (lost) {
        static const char text[] = "+OK, with another size than is listed";
        pop3_desynchronised(p, text, sizeof(text) - 1);
    }
    return !lost;
}

bool pop3_sync_end(struct pop3 *p)
{
    uint64_t listed = p->current.size;
    uint64_t off = UINT64_MAX;
    if (listed != LISTING_SIZE_UNKNOWN)
        off = p->body_size < listed ? listed - p->body_size : p->body_size - listed;
    bool lost = p->window > 1 && off > EXACT_SLACK && sizes_are_reliable(p);
    p->sizes_agreed |= off <= EXACT_SLACK;
    p->sizes_differed |= off > EXACT_SLACK;
    if (p->window == 1 && (sizes_are_reliable(p) || octets_are_reliable(p)))
        pop3_window_open(p, p->config.limits.window_start);
    if (!lost)
        return true;
    /* A message without an ID cannot be remembered as the one to be careful with. */
    p->memory.window_one |= p->current.uidl_size == 0;
    pop3_fetch_drop(p, POP3_DISCARD_SUSPECT, POP3_DISCARD_SUSPECT, false);
    pop3_fail(
        p, SCOPE_MAILBOX, RETRY_BACKOFF,
        "A message had another size than the server listed, as none before it; it will "
        "be fetched anew with nothing else under way, to see whether that was its end.");
    return false;
}
