#include "daemon/secret_readers.h"

#include "archive/error.h"
#include "daemon/clock.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 60000 /* for what ends by itself */
#define TEXT_SIZE 64
/* More than the readers take at once. */
#define MANY (SECRET_READERS_COMMANDS * 3)

/* What one secret_readers_ask() brought. */
struct answer {
    pthread_mutex_t lock;
    pthread_cond_t came;
    unsigned calls;
    int err;
    char secret[TEXT_SIZE];
    char error[SECRET_ERROR_SIZE];
};

static void answer_init(struct answer *a)
{
    memset(a, 0, sizeof(*a));
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->came, NULL);
}

static void answer_keep(void *arg, struct secret *secret, int err,
                        const struct secret_error *error)
{
    struct answer *a = arg;
    pthread_mutex_lock(&a->lock);
    a->calls++;
    a->err = err;
    snprintf(a->secret, sizeof(a->secret), "%s", secret->text != NULL ? secret->text : "");
    snprintf(a->error, sizeof(a->error), "%s", error->text);
    secret_free(secret);
    pthread_cond_signal(&a->came);
    pthread_mutex_unlock(&a->lock);
}

static void answer_wait(struct answer *a)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&a->lock);
    while (a->calls == 0)
        assert_int_equal(pthread_cond_timedwait(&a->came, &a->lock, &until), 0);
    pthread_mutex_unlock(&a->lock);
}

static unsigned answer_calls(struct answer *a)
{
    pthread_mutex_lock(&a->lock);
    unsigned calls = a->calls;
    pthread_mutex_unlock(&a->lock);
    return calls;
}

static struct secret_readers *new_readers(void)
{
    struct secret_readers *r = NULL;
    assert_int_equal(secret_readers_create(&r), 0);
    return r;
}

static void ask(struct secret_readers *r, enum config_password kind, const char *password,
                struct answer *a)
{
    char *copy = strdup(password);
    const struct config_account account = {.password_kind = kind, .password = copy};
    assert_int_equal(secret_readers_ask(r, &account, answer_keep, a), 0);
    /* It is not needed after return. */
    memset(copy, 'x', strlen(copy));
    free(copy);
}

static void secrets_and_errors_come_back(void **state)
{
    (void)state;
    struct secret_readers *r = new_readers();
    struct answer text, command, missing;
    answer_init(&text);
    answer_init(&command);
    answer_init(&missing);
    ask(r, CONFIG_PASSWORD_TEXT, "in the file", &text);
    ask(r, CONFIG_PASSWORD_COMMAND, "echo from a command", &command);
    ask(r, CONFIG_PASSWORD_FILE, "/nonexistent/secret", &missing);
    answer_wait(&text);
    answer_wait(&command);
    answer_wait(&missing);
    assert_string_equal(text.secret, "in the file");
    assert_int_equal(text.err, 0);
    assert_string_equal(command.secret, "from a command");
    assert_int_equal(missing.err, -ENOENT);
    assert_string_equal(missing.secret, "");
    assert_string_equal(missing.error,
                        "password-file /nonexistent/secret: No such file or directory");
    assert_true(secret_readers_destroy(r, PATIENCE_MS));
}

static void each_of_many_is_answered_once(void **state)
{
    (void)state;
    struct secret_readers *r = new_readers();
    static struct answer answers[2 * MANY];
    for (size_t i = 0; i < 2 * MANY; i++) {
        answer_init(&answers[i]);
        ask(r, i % 2 == 0 ? CONFIG_PASSWORD_TEXT : CONFIG_PASSWORD_COMMAND,
            i % 2 == 0 ? "text" : "echo command", &answers[i]);
    }
    for (size_t i = 0; i < 2 * MANY; i++) {
        answer_wait(&answers[i]);
        assert_string_equal(answers[i].secret, i % 2 == 0 ? "text" : "command");
    }
    assert_true(secret_readers_destroy(r, PATIENCE_MS));
    for (size_t i = 0; i < 2 * MANY; i++)
        assert_int_equal(answer_calls(&answers[i]), 1);
}

static void a_slow_command_holds_up_nobody(void **state)
{
    (void)state;
    struct secret_readers *r = new_readers();
    struct answer slow, quick, file;
    answer_init(&slow);
    answer_init(&quick);
    answer_init(&file);
    ask(r, CONFIG_PASSWORD_COMMAND, "sleep 2; echo slow", &slow);
    ask(r, CONFIG_PASSWORD_COMMAND, "echo quick", &quick);
    ask(r, CONFIG_PASSWORD_TEXT, "file", &file);
    answer_wait(&quick);
    answer_wait(&file);
    assert_int_equal(answer_calls(&slow), 0);
    answer_wait(&slow);
    assert_string_equal(slow.secret, "slow");
    assert_true(secret_readers_destroy(r, PATIENCE_MS));
}

static void commands_do_not_hold_up_files(void **state)
{
    (void)state;
    struct secret_readers *r = new_readers();
    static struct answer slow[MANY];
    struct answer file;
    for (size_t i = 0; i < MANY; i++) {
        answer_init(&slow[i]);
        ask(r, CONFIG_PASSWORD_COMMAND, "sleep 2", &slow[i]);
    }
    answer_init(&file);
    ask(r, CONFIG_PASSWORD_TEXT, "file", &file);
    answer_wait(&file);
    assert_int_equal(answer_calls(&slow[0]), 0);
    /* Those that are running end, those in the queue are dropped. */
    assert_true(secret_readers_destroy(r, PATIENCE_MS));
    unsigned calls = 0;
    for (size_t i = 0; i < MANY; i++)
        calls += answer_calls(&slow[i]);
    assert_true(calls <= SECRET_READERS_COMMANDS);
}

static void the_end_does_not_wait_for_a_command(void **state)
{
    (void)state;
    struct secret_readers *r = new_readers();
    static struct answer endless; /* may still be called */
    answer_init(&endless);
    char marker[] = "/tmp/mailcask-test-XXXXXX", command[TEXT_SIZE * 2];
    int fd = mkstemp(marker);
    assert_true(fd >= 0);
    snprintf(command, sizeof(command), "echo begun > %s; exec sleep 4", marker);
    ask(r, CONFIG_PASSWORD_COMMAND, command, &endless);
    struct stat st = {.st_size = 0};
    while (st.st_size == 0) /* until it runs: what is queued is dropped */
        assert_int_equal(fstat(fd, &st), 0);
    close(fd);
    unlink(marker);
    uint64_t began_ms = clock_now_ms();
    assert_false(secret_readers_destroy(r, 50));
    assert_true(clock_now_ms() - began_ms < 3500);
    assert_true(secret_readers_destroy(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_and_errors_come_back),
        cmocka_unit_test(each_of_many_is_answered_once),
        cmocka_unit_test(a_slow_command_holds_up_nobody),
        cmocka_unit_test(commands_do_not_hold_up_files),
        cmocka_unit_test(the_end_does_not_wait_for_a_command),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
