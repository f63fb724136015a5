#include "tests/pop3d/view.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define UIDL_SIZE_MAX 70 /* RFC 1939, 7 */
#define HASH_BYTES 16    /* of the SHA-256 of a name that cannot be a UIDL itself */

static void make_random(char out_text[RANDOM_SIZE])
{
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        abort();
    snprintf(out_text, RANDOM_SIZE, "%016llx", (unsigned long long)random);
}

void view_open(struct view *view, struct listing *listing, const struct action *action,
               enum uidl_kind uidl_kind)
{
    *view = (struct view){.listing = listing,
                          .count = listing->count,
                          .uidls = action->uidls,
                          .uidl_kind = uidl_kind};
    if (action->show_first < view->count)
        view->count = (size_t)action->show_first;
    if (action->show_last < view->count) {
        view->first = view->count - (size_t)action->show_last;
        view->count = (size_t)action->show_last;
    }
    make_random(view->random);
}

void view_close(struct view *view)
{
    listing_release(view->listing);
    free(view->deleted);
    *view = (struct view){0};
}

static const struct message *message_at(const struct view *view, uint64_t number)
{
    assert(number >= 1 && number <= view->count);
    return &view->listing->messages[view->first + number - 1];
}

bool view_is_deleted(const struct view *view, uint64_t number)
{
    return view->deleted != NULL && (view->deleted[number / 8] >> (number % 8) & 1) != 0;
}

const struct message *view_message(const struct view *view, uint64_t number)
{
    if (number < 1 || number > view->count || view_is_deleted(view, number))
        return NULL;
    return message_at(view, number);
}

void view_delete(struct view *view, uint64_t number)
{
    assert(number >= 1 && number <= view->count);
    if (view->deleted == NULL)
        view->deleted = memory_new(view->count / 8 + 1);
    view->deleted[number / 8] |= (unsigned char)(1u << (number % 8));
}

void view_undelete_all(struct view *view)
{
    free(view->deleted);
    view->deleted = NULL;
}

void view_totals(const struct view *view, uint64_t *out_count, uint64_t *out_octets)
{
    *out_count = *out_octets = 0;
    for (uint64_t number = 1; number <= view->count; number++) {
        if (view_is_deleted(view, number))
            continue;
        ++*out_count;
        *out_octets += message_at(view, number)->octets;
    }
}

static bool can_be_uidl(const char *name)
{
    size_t size = strlen(name);
    for (const char *at = name; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~')
            return false;
    return size > 0 && size <= UIDL_SIZE_MAX;
}

static void add_name_hash(struct buffer *out, const char *name)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    if (EVP_Digest(name, strlen(name), hash, NULL, EVP_sha256(), NULL) != 1)
        abort();
    for (size_t i = 0; i < HASH_BYTES; i++)
        buffer_addf(out, "%02x", hash[i]);
}

static void add_own_uidl(const struct view *view, uint64_t number, struct buffer *out)
{
    const char *name = message_at(view, number)->name;
    switch (view->uidl_kind) {
    case UIDL_NUMBER:
        buffer_addf(out, "%llu", (unsigned long long)number);
        return;
    case UIDL_RANDOM:
        buffer_addf(out, "%s%llu", view->random, (unsigned long long)number);
        return;
    case UIDL_NAME:
        break;
    }
    if (can_be_uidl(name))
        buffer_add_text(out, name);
    else
        add_name_hash(out, name);
}

void view_uidl(const struct view *view, uint64_t number, struct buffer *out)
{
    buffer_consume(out, out->size);
    const struct edit *edit = view->uidls;
    while (edit != NULL && (number < edit->numbers.first || number > edit->numbers.last))
        edit = edit->next;
    if (edit != NULL) {
        struct format_values values = {.number = number,
                                       .octets = message_at(view, number)->octets,
                                       .file = message_at(view, number)->name,
                                       .random = view->random};
        format_add(out, edit->format, &values);
    } else {
        add_own_uidl(view, number, out);
    }
    buffer_add(out, "", 1);
}

void view_format(const struct view *view, uint64_t number, struct bytes format,
                 struct buffer *scratch, struct buffer *out)
{
    view_uidl(view, number, scratch);
    struct format_values values = {.number = number,
                                   .octets = message_at(view, number)->octets,
                                   .uidl = buffer_front(scratch),
                                   .file = message_at(view, number)->name,
                                   .random = view->random};
    format_add(out, format, &values);
}
