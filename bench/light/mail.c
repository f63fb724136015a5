#include "bench/light/mail.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FIRST_DATE 1672567200 /* 2023-01-01 */
#define DATE_STEP_SECONDS 60
#define LINE_MIN 40u /* bytes with CRLF, but for the last ones */
#define LINE_SPAN 32u
#define WORD_ROOM 16u /* copied whole, as that is faster */
#define WORDS 64u     /* a power of 2 */

static const char words[WORDS][WORD_ROOM] = {
    "account ", "after ",    "agree ",    "all ",     "and ",      "answer ",   "archive ",
    "are ",     "attached ", "because ",  "before ",  "between ",  "board ",    "budget ",
    "by ",      "call ",     "change ",   "client ",  "contract ", "copy ",     "customer ",
    "date ",    "decision ", "delivery ", "draft ",   "due ",      "enclosed ", "final ",
    "for ",     "friday ",   "from ",     "has ",     "have ",     "in ",       "invoice ",
    "is ",      "it ",       "letter ",   "meeting ", "month ",    "next ",     "not ",
    "of ",      "offer ",    "on ",       "order ",   "our ",      "please ",   "price ",
    "project ", "question ", "regards ",  "report ",  "review ",   "schedule ", "send ",
    "signed ",  "that ",     "the ",      "this ",    "to ",       "week ",     "will ",
    "with ",
};

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t hash_of(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *text != '\0'; text++)
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
    return hash;
}

bool mailbox_of(const char *user, struct mailbox *out)
{
    const char *dash = strrchr(user, '-');
    if (dash == NULL || dash == user ||
        sscanf(dash, "-%" SCNu32 "x%" SCNu32, &out->count, &out->message_size) != 2)
        return false;
    out->seed = hash_of(user);
    out->held = user[0] == 'h';
    return out->message_size >= MAILBOX_MESSAGE_MIN;
}

void mailbox_uidl(const struct mailbox *box, uint32_t number, char out[MAILBOX_UIDL_SIZE])
{
    snprintf(out, MAILBOX_UIDL_SIZE, "%08" PRIx32 "v%08" PRIx32, number,
             (uint32_t)box->seed);
}

size_t message_start(struct message *m, const struct mailbox *box, uint32_t number,
                     char *out, size_t capacity)
{
    char date[64];
    time_t when = FIRST_DATE + (time_t)number * DATE_STEP_SECONDS;
    struct tm parts;
    gmtime_r(&when, &parts);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &parts);
    m->state = box->seed ^ ((uint64_t)number << 32);
    uint64_t random = next_random(&m->state);
    int size = snprintf(out, capacity,
                        "Return-Path: <sender%u@cask.example>\r\n"
                        "Date: %s\r\n"
                        "From: Sender %u <sender%u@cask.example>\r\n"
                        "To: box%08" PRIx64 "@cask.example\r\n"
                        "Subject: %s%s%s%" PRIu32 "\r\n"
                        "Message-ID: <%016" PRIx64 ".%" PRIu32 "@cask.example>\r\n"
                        "Content-Type: text/plain; charset=us-ascii\r\n\r\n",
                        (unsigned)(random % 1000), date, (unsigned)(random % 1000),
                        (unsigned)(random % 1000), box->seed & UINT32_MAX,
                        words[random >> 58], words[(random >> 52) % WORDS],
                        words[(random >> 46) % WORDS], number, random, number);
    if (size < 0 || (size_t)size >= capacity || (uint32_t)size > box->message_size)
        abort(); /* MAILBOX_MESSAGE_MIN is too small */
    m->left = box->message_size - (uint32_t)size;
    return (size_t)size;
}

/* Words up to the CRLF of a line of `size` bytes (2 and more). */
static void write_line(uint64_t *state, char *out, uint32_t size)
{
    uint64_t random = 0;
    for (uint32_t at = 0; at < size - 2;) {
        if (random < WORDS)
            random = next_random(state) | (uint64_t)1 << 63;
        const char *word = words[random % WORDS];
        random /= WORDS;
        memcpy(out + at, word, WORD_ROOM);
        at += (uint32_t)strlen(word);
    }
    memcpy(out + size - 2, "\r\n", 2);
}

size_t message_read(struct message *m, char *out, size_t capacity)
{
    size_t at = 0;
    while (m->left > 0 && capacity - at >= MESSAGE_LINE_ROOM) {
        uint32_t size = LINE_MIN + (uint32_t)(next_random(&m->state) % LINE_SPAN);
        if (size > m->left)
            size = m->left;
        if (m->left - size == 1) /* too short for a line */
            size--;
        write_line(&m->state, out + at, size);
        at += size;
        m->left -= size;
    }
    return at;
}
