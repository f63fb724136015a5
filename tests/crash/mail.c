#include "tests/crash/mail.h"

#include "tests/crash/image.h"
#include "tests/support/attachments.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum shape {
    SHAPE_SMALL,
    SHAPE_SMALL_TOO,
    SHAPE_MIDDLE,
    SHAPE_ATTACHED, /* an attachment of its own, and one that all accounts have */
    SHAPE_EQUAL,    /* the same bytes as the message before it */
    SHAPE_COUNT,
};

/* One in so many is more than a CHUNK. */
#define LARGE_EACH 22u

static void attach(struct buffer *out, unsigned seed)
{
    const struct attachment own = {.seed = seed, .size = 9000, .line_length = 76};
    const struct attachment shared = {
        .seed = 7, .size = 30000, .text = true, .line_length = 76};
    mail_attach(out, &own);
    buffer_put(out, "\r\n--\r\n", 6);
    mail_attach(out, &shared);
    buffer_put(out, "\r\n", 2);
}

void mail_text(const struct mail *mail, unsigned account, unsigned message,
               struct buffer *out)
{
    char subject[64];
    uint64_t random = mail->seed * 1000003 + account * 1009 + message;
    unsigned seed = (unsigned)random_next(&random);
    enum shape shape = (enum shape)random_below(&random, SHAPE_COUNT);
    if (shape == SHAPE_EQUAL && message > 0) {
        mail_text(mail, account, message - 1, out);
        return;
    }
    buffer_clear(out);
    snprintf(subject, sizeof(subject), "message %u", message);
    mail_header(out, mail->accounts[account].name, subject);
    if (message % LARGE_EACH == LARGE_EACH / 2)
        mail_lines(out, seed, (1u << 20) + random_below(&random, 100000));
    else if (shape == SHAPE_MIDDLE)
        mail_lines(out, seed, 4000 + random_below(&random, 20000));
    else
        mail_lines(out, seed, 100 + random_below(&random, 2000));
    if (shape == SHAPE_ATTACHED)
        attach(out, seed);
    assert(!out->failed);
}

void mail_make(struct mail *mail, uint64_t seed)
{
    struct buffer text = {0};
    *mail = (struct mail){.seed = seed};
    for (unsigned a = 0; a < MAIL_ACCOUNTS; a++) {
        struct mail_account *account = &mail->accounts[a];
        snprintf(account->name, sizeof(account->name), "%c@example", (char)('a' + a));
        for (unsigned i = 0; i < MAIL_EACH; i++) {
            struct mail_message *m = &account->messages[i];
            snprintf(m->uidl, sizeof(m->uidl), "u%u", i);
            mail_text(mail, a, i, &text);
            m->size = text.size;
            sha256_of(text.data, text.size, m->sha256);
        }
    }
    buffer_free(&text);
}

const struct mail_account *mail_account(const struct mail *mail, const char *name)
{
    for (unsigned a = 0; a < MAIL_ACCOUNTS; a++)
        if (strcmp(mail->accounts[a].name, name) == 0)
            return &mail->accounts[a];
    return NULL;
}

const struct mail_message *mail_message(const struct mail_account *account,
                                        struct span uidl)
{
    for (unsigned i = 0; i < MAIL_EACH; i++)
        if (span_equal(span_text(account->messages[i].uidl), uidl))
            return &account->messages[i];
    return NULL;
}
