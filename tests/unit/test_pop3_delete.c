/* DELE and QUIT behind it: what leaves, what is answered, and what is known in the end. */
#include "tests/support/pop3_script.h"
#include "workers/pop3.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DELETES_MAX 40

/* A mailbox whose messages are all archived: each is deleted, in order, with "+OK". */
struct deletion {
    struct script script;
    struct generated listing;
    uint32_t numbers[DELETES_MAX];
    char dele[DELETES_MAX][24];
    struct step *steps; /* of the DELEs; QUIT behind them */
};

static void build(struct deletion *d, bool pipelining, unsigned count)
{
    const struct step plain[] = {PLAIN_START}, pipelined[] = {PIPELINED_START};
    memset(d, 0, sizeof(*d));
    generate(&d->listing, count, 0, "");
    struct step *s = d->script.steps;
    const struct step *listing = d->listing.script.steps + sizeof(pipelined) / sizeof(*s);
    size_t start = pipelining ? sizeof(pipelined) / sizeof(*s) : sizeof(plain) / sizeof(*s);
    memcpy(s, pipelining ? pipelined : plain, start * sizeof(*s));
    memcpy(s + start, listing, 3 * sizeof(*s));
    d->steps = s + start + 3;
    for (unsigned i = 0; i < count; i++) {
        d->numbers[i] = i + 1;
        sprintf(d->dele[i], "DELE %u", i + 1);
        d->steps[i] = STEP(d->dele[i], "+OK\r\n");
    }
    d->steps[count] = BYE;
    d->script.known = "*";
    d->script.deletes = d->numbers;
    d->script.deletes_count = count;
}

/* Cuts the script off behind the DELE with this index, or, one further, behind QUIT. */
static void end_with(struct deletion *d, unsigned index, const char *reply,
                     enum after after)
{
    d->steps[index].reply = reply;
    d->steps[index].after = after;
    d->steps[index + 1].command = NULL;
}

static void assert_in_doubt(const struct play *y, const char *word, size_t sent)
{
    char count[64];
    sprintf(count, "not known which messages it deleted (DELE was sent for %zu)", sent);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, word);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, count);
    assert_false(y->stats.quit_accepted);
    assert_int_equal(y->deletes_sent, sent);
}

static size_t count_in(const struct text *text, const char *word)
{
    size_t n = 0;
    for (const char *at = strstr(text->data, word); at != NULL; at = strstr(at + 1, word))
        n++;
    return n;
}

/* In order. */

static void without_pipelining_deletes_go_one_by_one(void **state)
{
    (void)state;
    static const uint32_t numbers[] = {2, 1};
    const struct script script = {
        .steps = {PLAIN_START, TWO, STEP("DELE 2", "+OK\r\n"),
                  STEP("DELE 1", "+OK gone\r\n"), BYE},
        .known = "*",
        .deletes = numbers,
        .deletes_count = 2,
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_non_null(strstr(y->log.data, "all\ndeleted 2\ndeleted 1\n"));
    assert_int_equal(y->stats.round_trips, y->stats.commands);
    assert_int_equal(y->stats.window, 0);
    assert_int_equal(y->deletes_sent, 2);
    assert_true(y->stats.quit_answered);
    assert_true(y->stats.quit_accepted);
}

static void window_of_8(struct pop3_limits *l)
{
    l->window_max = 8;
}

/* The highest number of DELEs that were ever under way. */
static size_t most_under_way(const struct script *script, size_t count)
{
    static struct play y;
    size_t most = 0;
    play_open(&y, script);
    do {
        play_serve(&y);
        size_t sent = count_in(&y.sent, "DELE "), answered = count_in(&y.log, "deleted ");
        assert_true(sent == pop3_deletes_sent(y.pop3));
        assert_true(answered == count || strstr(y.sent.data, "QUIT") == NULL);
        if (sent - answered > most)
            most = sent - answered;
    } while (play_feed(&y, sizeof("+OK\r\n") - 1, 0));
    assert_true(pop3_done(y.pop3));
    play_close(&y);
    assert_success(&y);
    return most;
}

static void pipelined_deletes_keep_the_window(void **state)
{
    (void)state;
    static struct deletion d;
    build(&d, true, 40);
    d.script.limit = window_of_8;
    assert_int_equal(most_under_way(&d.script, 40), 8);
    const struct play *y = perform(&d.script);
    assert_success(y);
    assert_int_equal(y->stats.window, 8);
    assert_true(y->stats.round_trips < 20);
    build(&d, false, 40);
    assert_int_equal(most_under_way(&d.script, 40), 1);
}

static void few_unanswered(struct pop3_limits *l)
{
    l->unanswered_max = 34; /* "DELE 1": 8 bytes, and 17 must be free for another */
}

static void pipelined_deletes_keep_their_bytes(void **state)
{
    (void)state;
    static struct deletion d;
    build(&d, true, 9);
    d.script.limit = few_unanswered;
    assert_int_equal(most_under_way(&d.script, 9), 3);
}

static void the_first_batch_has_no_quit(void **state)
{
    (void)state;
    static struct deletion d;
    static struct play y;
    const char *data;
    build(&d, true, 2);
    play_open(&y, &d.script);
    while (pop3_state(y.pop3) != POP3_DELETE)
        assert_true(play_feed(&y, SIZE_MAX, 0));
    assert_string_equal(pop3_state_name(POP3_DELETE), "delete");
    assert_int_equal(pop3_output(y.pop3, &data), 16);
    assert_memory_equal(data, "DELE 1\r\nDELE 2\r\n", 16);
    play_close(&y);
}

static void a_careful_session_deletes_one_by_one(void **state)
{
    (void)state;
    static struct deletion d;
    build(&d, true, 5);
    d.script.careful = true;
    assert_int_equal(most_under_way(&d.script, 5), 1);
}

static void deletes_follow_messages_that_were_fetched(void **state)
{
    (void)state;
    static const uint32_t numbers[] = {1, 2};
    const struct script script = {
        .steps = {PIPELINED_START, TWO, STEP("RETR 2", "+OK\r\nx\r\n.\r\n"), NOOP,
                  STEP("DELE 1", "+OK\r\n"), STEP("DELE 2", "+OK\r\n"), BYE},
        .known = "aa",
        .deletes = numbers,
        .deletes_count = 2,
    };
    const struct play *y = perform(&script);
    assert_success(y);
    assert_non_null(strstr(y->log.data, "end 2 flags 0\nall\ndeleted 1\ndeleted 2\n"));
}

static void q19_nothing_is_listed_after_a_delete(void **state)
{
    (void)state;
    static struct deletion d;
    build(&d, true, 10);
    const struct play *y = perform(&d.script);
    assert_success(y);
    const char *rest = strstr(y->sent.data, "DELE ");
    assert_non_null(rest);
    for (const char *line = rest; *line != '\0'; line = strchr(line, '\n') + 1)
        assert_true(strncmp(line, "DELE ", 5) == 0 || strcmp(line, "QUIT\r\n") == 0);
}

static void a_refused_delete_leaves_the_others(void **state)
{
    (void)state;
    static struct deletion d;
    for (int pipelining = 0; pipelining <= 1; pipelining++) {
        build(&d, pipelining != 0, 3);
        d.steps[1].reply = "-ERR [SYS/PERM] read only\r\n";
        const struct play *y = perform(&d.script);
        assert_success(y);
        assert_non_null(strstr(y->log.data, "all\ndeleted 1\nkept 2\ndeleted 3\n"));
        assert_int_equal(y->deletes_sent, 3);
    }
}

static void no_numbers_are_as_durable(void **state)
{
    (void)state;
    static struct deletion d;
    build(&d, true, 2);
    d.script.deletes_count = 0;
    d.steps[0] = BYE;
    d.steps[1].command = NULL;
    const struct play *y = perform(&d.script);
    assert_success(y);
    assert_true(y->stats.quit_accepted);
    d.steps[0].reply = "-ERR\r\n";
    y = perform(&d.script);
    assert_success(y);
    assert_true(y->stats.quit_answered);
    assert_false(y->stats.quit_accepted);
    d.steps[0] = (struct step){"QUIT", "", CLOSE};
    y = perform(&d.script);
    assert_success(y);
    assert_int_equal(y->deletes_sent, 0);
}

static void deletes_wait_for_the_reply_to_a_noop(void **state)
{
    (void)state;
    static struct deletion d;
    static struct play y;
    build(&d, true, 2);
    memmove(d.steps + 1, d.steps, 3 * sizeof(*d.steps));
    d.steps[0] = NOOP;
    d.script.hold = true;
    play_open(&y, &d.script);
    while (play_feed(&y, SIZE_MAX, 0))
        ;
    assert_true(pop3_keepalive(y.pop3, y.now));
    pop3_delete(y.pop3, y.now, d.numbers, 2);
    assert_int_equal(pop3_state(y.pop3), POP3_DURABLE);
    assert_false(pop3_keepalive(y.pop3, y.now));
    play_serve(&y);
    assert_null(strstr(y.sent.data, "DELE"));
    while (play_feed(&y, SIZE_MAX, 0))
        ;
    assert_true(pop3_done(y.pop3));
    play_close(&y);
    assert_success(&y);
    assert_int_equal(y.deletes_sent, 2);
}

/* Lost. */

static void a_close_tells_sent_answered_and_never_sent_apart(void **state)
{
    (void)state;
    static struct deletion d;
    build(&d, true, 10);
    end_with(&d, 1, "+OK\r\n", CLOSE);
    const struct play *y = perform(&d.script);
    assert_in_doubt(y, "closed the connection while deleting", 6); /* 4, then 2 behind 2 */
    assert_int_equal(count_in(&y->log, "deleted "), 2);
    assert_null(strstr(y->sent.data, "QUIT"));
    build(&d, true, 10);
    end_with(&d, 0, "+OK\r\n", CLOSE);
    assert_in_doubt(perform(&d.script), "closed the connection", 4); /* not half empty */
    build(&d, false, 3);
    end_with(&d, 1, "", CLOSE);
    y = perform(&d.script);
    assert_in_doubt(y, "closed the connection", 2);
    assert_int_equal(count_in(&y->log, "deleted "), 1);
}

static void a_command_that_left_in_part_counts_as_sent(void **state)
{
    (void)state;
    static struct deletion d;
    static const size_t taken[] = {0, 1, 8, 9, 16}, sent[] = {0, 1, 1, 2, 2};
    build(&d, true, 3);
    for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++) {
        static struct play y;
        play_open(&y, &d.script);
        while (pop3_state(y.pop3) != POP3_DELETE)
            assert_true(play_feed(&y, SIZE_MAX, 0));
        assert_int_equal(pop3_deletes_sent(y.pop3), 0);
        pop3_output_consume(y.pop3, taken[i]);
        assert_int_equal(pop3_deletes_sent(y.pop3), sent[i]);
        pop3_eof(y.pop3, y.now, true);
        assert_true(pop3_done(y.pop3));
        play_close(&y);
        if (sent[i] > 0)
            assert_in_doubt(&y, "closed", sent[i]);
        else
            assert_outcome(&y, SCOPE_MAILBOX, RETRY_BACKOFF,
                           "The server closed the connection while deleting");
        assert_int_equal(y.deletes_sent, sent[i]);
    }
}

static void what_is_no_reply_drops_the_session(void **state)
{
    (void)state;
    static struct deletion d;
    build(&d, true, 4);
    end_with(&d, 1, "what was that\r\n", GO_ON);
    const struct play *y = perform(&d.script);
    assert_in_doubt(y, "what was that", 4);
    assert_true(y->memory.window_one);
    assert_null(strstr(y->sent.data, "QUIT"));
    assert_int_equal(count_in(&y->log, "deleted "), 1);
    build(&d, false, 4);
    end_with(&d, 1, "what was that\r\n", GO_ON);
    y = perform(&d.script);
    assert_in_doubt(y, "what was that", 2);
    assert_false(y->memory.window_one);
}

static void q41_an_err_nobody_asked_for_is_no_refusal(void **state)
{
    (void)state;
    static struct deletion d;
    static struct play y;
    build(&d, false, 3);
    end_with(&d, 0, "+OK\r\n-ERR autologout\r\n", CLOSE);
    play(&y, &d.script, SIZE_MAX, 0);
    assert_in_doubt(&y, "autologout", 1);
    assert_non_null(strstr(y.log.data, "deleted 1\n"));
    assert_null(strstr(y.log.data, "kept"));
}

static void an_endless_reply_drops_the_session(void **state)
{
    (void)state;
    static char line[8300];
    static struct deletion d;
    memset(line, 'x', sizeof(line) - 1);
    memcpy(line, "+OK ", 4);
    build(&d, false, 2);
    end_with(&d, 0, line, GO_ON);
    assert_in_doubt(perform(&d.script), "8192 bytes", 1);
    build(&d, false, 2);
    end_with(&d, 2, line, GO_ON);
    assert_in_doubt(perform(&d.script), "8192 bytes", 2);
}

static void silence_ends_the_deleting_after_60_s(void **state)
{
    (void)state;
    static struct deletion d;
    static struct play y;
    build(&d, false, 2);
    end_with(&d, 1, "", HANG);
    assert_in_doubt(perform(&d.script), "did not answer in time", 2);
    play(&y, &d.script, SIZE_MAX, 0);
    assert_int_equal(y.now, 1000 + POP3_REPLY_MS);
}

static void an_abandoned_session_is_in_doubt_too(void **state)
{
    (void)state;
    static struct deletion d;
    static struct play y;
    build(&d, true, 9);
    end_with(&d, 1, "+OK\r\n", GO_ON);
    play_open(&y, &d.script);
    while (play_feed(&y, SIZE_MAX, 0))
        ;
    pop3_abandon(y.pop3, "The service stops.");
    play_serve(&y);
    play_close(&y);
    assert_in_doubt(&y, "The service stops.", 6);
    assert_null(strstr(y.sent.data, "QUIT"));
}

/* QUIT. */

static void q58_a_refused_quit_leaves_it_unknown(void **state)
{
    (void)state;
    static struct deletion d;
    build(&d, true, 2);
    end_with(&d, 2, "-ERR some deleted messages not removed\r\n", GO_ON);
    const struct play *y = perform(&d.script);
    assert_in_doubt(y, "not removed", 2);
    assert_outcome(y, SCOPE_MAILBOX, RETRY_BACKOFF, "is a refusal");
    assert_true(y->stats.quit_answered);
    assert_int_equal(count_in(&y->log, "deleted "), 2);
}

static void q58_a_lost_quit_reply_leaves_it_unknown(void **state)
{
    (void)state;
    static struct deletion d;
    static struct play y;
    build(&d, true, 2);
    end_with(&d, 2, "", CLOSE);
    const struct play *z = perform(&d.script);
    assert_in_doubt(z, "closed the connection while leaving", 2);
    assert_outcome(z, SCOPE_MAILBOX, RETRY_BACKOFF, "is missing");
    assert_false(z->stats.quit_answered);
    assert_int_equal(count_in(&z->log, "deleted "), 2);
    end_with(&d, 2, "+O", CLOSE);
    assert_in_doubt(perform(&d.script), "closed the connection while leaving", 2);
    end_with(&d, 2, "", HANG);
    play(&y, &d.script, SIZE_MAX, 0);
    assert_in_doubt(&y, "did not answer in time while leaving", 2);
    assert_int_equal(y.now, 1000 + POP3_QUIT_MS);
    end_with(&d, 2, "bye\r\n", GO_ON);
    assert_in_doubt(perform(&d.script), "bye", 2);
}

static void the_doubt_is_never_cut_off(void **state)
{
    (void)state;
    static char line[1000];
    static struct deletion d;
    memset(line, '\x01', sizeof(line) - 3);
    memcpy(line + sizeof(line) - 3, "\r\n", 3);
    build(&d, true, 2);
    end_with(&d, 1, line, GO_ON);
    assert_in_doubt(perform(&d.script), "the next listing shows it", 2);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_pipelining_deletes_go_one_by_one),
        cmocka_unit_test(pipelined_deletes_keep_the_window),
        cmocka_unit_test(pipelined_deletes_keep_their_bytes),
        cmocka_unit_test(the_first_batch_has_no_quit),
        cmocka_unit_test(a_careful_session_deletes_one_by_one),
        cmocka_unit_test(deletes_follow_messages_that_were_fetched),
        cmocka_unit_test(q19_nothing_is_listed_after_a_delete),
        cmocka_unit_test(a_refused_delete_leaves_the_others),
        cmocka_unit_test(no_numbers_are_as_durable),
        cmocka_unit_test(deletes_wait_for_the_reply_to_a_noop),
        cmocka_unit_test(a_close_tells_sent_answered_and_never_sent_apart),
        cmocka_unit_test(a_command_that_left_in_part_counts_as_sent),
        cmocka_unit_test(what_is_no_reply_drops_the_session),
        cmocka_unit_test(q41_an_err_nobody_asked_for_is_no_refusal),
        cmocka_unit_test(an_endless_reply_drops_the_session),
        cmocka_unit_test(silence_ends_the_deleting_after_60_s),
        cmocka_unit_test(an_abandoned_session_is_in_doubt_too),
        cmocka_unit_test(q58_a_refused_quit_leaves_it_unknown),
        cmocka_unit_test(q58_a_lost_quit_reply_leaves_it_unknown),
        cmocka_unit_test(the_doubt_is_never_cut_off),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
