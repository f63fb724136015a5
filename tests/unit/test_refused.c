#include "daemon/refused.h"

#include "daemon/secret.h"
#include "tests/support/config_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TEXT                                     \
    "[archive]\npath = /a\n"                     \
    "[server s]\nhost = h\npassword-file = %a\n" \
    "[account a]\nserver = s\n"                  \
    "[account b]\nserver = s\n"                  \
    "[account c]\nserver = s\npassword = text\n"

struct fixture {
    const struct config_files *files;
    struct config *config;
    struct refused *refused;
};

static struct fixture begin(void **state)
{
    struct fixture f = {.files = *state};
    files_write(f.files, "a", 0600, "one\n");
    files_write(f.files, "b", 0600, "one\n");
    f.config = files_load_text(f.files, TEXT);
    assert_int_equal(refused_new(f.config, &f.refused), 0);
    return f;
}

static void end(struct fixture *f)
{
    refused_free(f->refused);
    config_free(f->config);
}

static uint64_t stamp(const struct fixture *f, uint32_t account)
{
    struct secret secret;
    struct secret_error error;
    assert_int_equal(secret_read(&f->config->accounts[account], &secret, &error), 0);
    uint64_t found = secret.stamp;
    secret_free(&secret);
    return found;
}

static void nobody_refused_is_nothing_to_look_at(void **state)
{
    struct fixture f = begin(state);
    uint32_t account = 0;
    assert_true(refused_wait_ms(f.refused, 1000000) == REFUSED_FOREVER);
    refused_set(f.refused, 2, stamp(&f, 2));
    assert_true(refused_wait_ms(f.refused, 1000000) == REFUSED_FOREVER);
    assert_false(refused_next(f.refused, 1000000, &account));
    end(&f);
}

static void an_account_comes_once_when_its_file_has_changed(void **state)
{
    struct fixture f = begin(state);
    uint32_t account = 99;
    uint64_t now = 1000000;
    refused_set(f.refused, 0, stamp(&f, 0));
    refused_set(f.refused, 1, stamp(&f, 1));
    assert_false(refused_next(f.refused, now, &account));
    assert_int_equal(refused_wait_ms(f.refused, now), REFUSED_LOOK_MS);
    files_forget(f.files, "b");
    files_write(f.files, "b", 0600, "three\n");
    now += REFUSED_LOOK_MS - 1;
    assert_false(refused_next(f.refused, now, &account));
    now += 1;
    assert_true(refused_next(f.refused, now, &account));
    assert_int_equal(account, 1);
    assert_false(refused_next(f.refused, now, &account));
    now += REFUSED_LOOK_MS;
    assert_false(refused_next(f.refused, now, &account));
    end(&f);
}

static void an_account_that_works_again_is_forgotten(void **state)
{
    struct fixture f = begin(state);
    uint32_t account = 99;
    refused_set(f.refused, 0, stamp(&f, 0));
    refused_set(f.refused, 0, 0);
    files_write(f.files, "a", 0600, "another\n");
    assert_true(refused_wait_ms(f.refused, 1000000) == REFUSED_FOREVER);
    assert_false(refused_next(f.refused, 1000000, &account));
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_refused_is_nothing_to_look_at),
        cmocka_unit_test(an_account_comes_once_when_its_file_has_changed),
        cmocka_unit_test(an_account_that_works_again_is_forgotten),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
