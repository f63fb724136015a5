/* The maildrops: DIR/USER/, one regular file a message, in the order of their names
 * (strcmp). A login takes a listing, an unchanging picture of the folder that sessions
 * share. Passwords stand in DIR/USER.password, or are one for all. */
#ifndef MAILCASK_POP3D_MAILBOX_H
#define MAILCASK_POP3D_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/pop3d/body.h"

struct message {
    const char *name; /* the file's, within its folder */
    uint64_t octets;  /* on the wire, unstuffed */
    uint64_t file_size;
    int64_t changed_ns;
};

struct listing {
    size_t references;
    size_t count;
    struct message *messages;
    char *names;
};

struct mailbox {
    char *user;
    struct listing *listing; /* of the last login */
    unsigned sessions_open;
    uint64_t logins;
    int64_t last_login_ms;
    struct mailbox *next;
};

struct mailboxes;

/* dir and password are borrowed. */
struct mailboxes *mailboxes_new(const char *dir, const char *password,
                                enum line_ends line_ends);
void mailboxes_free(struct mailboxes *mailboxes);

/* NULL if there is no such user; otherwise it lives as long as the mailboxes. */
struct mailbox *mailboxes_find(struct mailboxes *mailboxes, const char *user);
bool mailbox_password_is(const struct mailboxes *mailboxes, const struct mailbox *mailbox,
                         const char *password);

/* The folder as it is now, with a reference for the caller; 0 or a negated errno. */
int mailbox_list(const struct mailboxes *mailboxes, struct mailbox *mailbox,
                 struct listing **out_listing);
void listing_release(struct listing *listing);

/* A descriptor for reading, or a negated errno. */
int mailbox_open_message(const struct mailboxes *mailboxes, const struct mailbox *mailbox,
                         const char *name);
int mailbox_delete_message(const struct mailboxes *mailboxes, const struct mailbox *mailbox,
                           const char *name);

#endif
