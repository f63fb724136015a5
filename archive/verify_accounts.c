/* The accounts met in the archive. Their numbers come from records, and a record may name
 * any number: what is kept grows with the accounts met, not with their numbers. */
#include "archive/verify_internal.h"

#include <errno.h>
#include <stdlib.h>

/* Numbers are given out one by one: what is beyond comes from no writer of ours. */
#define ACCOUNT_NUMBER_MAX (1u << 24)
#define FIRST_CAPACITY 64

static void number_key(uint32_t number, uint8_t key[SHA256_SIZE])
{
    memset(key, 0, SHA256_SIZE);
    put_u64(key, number);
}

struct checked_account *verify_find_account(const struct verifier *v, uint32_t number)
{
    uint8_t key[SHA256_SIZE];
    number_key(number, key);
    const uint32_t *at = hash_set_get(&v->accounts_by_number, key);
    return at == NULL ? NULL : &v->accounts[*at];
}

static bool make_room(struct verifier *v)
{
    if (v->accounts_count < v->accounts_capacity)
        return true;
    size_t capacity = v->accounts_capacity == 0 ? FIRST_CAPACITY : v->accounts_capacity * 2;
    struct checked_account *accounts = realloc(v->accounts, capacity * sizeof(*accounts));
    if (accounts == NULL)
        return false;
    v->accounts = accounts;
    v->accounts_capacity = capacity;
    return true;
}

struct checked_account *verify_account(struct verifier *v, uint32_t number)
{
    if (number > ACCOUNT_NUMBER_MAX)
        return NULL;
    struct checked_account *account = verify_find_account(v, number);
    if (account != NULL)
        return account;
    uint8_t key[SHA256_SIZE];
    number_key(number, key);
    uint32_t *at = make_room(v) ? hash_set_put(&v->accounts_by_number, key) : NULL;
    if (at == NULL) {
        v->err = -ENOMEM;
        return NULL;
    }
    *at = (uint32_t)v->accounts_count++;
    account = &v->accounts[*at];
    *account = (struct checked_account){.number = number};
    return account;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = ((const struct checked_account *)a)->number;
    uint32_t y = ((const struct checked_account *)b)->number;
    return (x > y) - (x < y);
}

void verify_sort_accounts(struct verifier *v)
{
    if (v->accounts_count > 0)
        qsort(v->accounts, v->accounts_count, sizeof(*v->accounts), compare_numbers);
    for (size_t i = 0; i < v->accounts_count; i++) {
        uint8_t key[SHA256_SIZE];
        number_key(v->accounts[i].number, key);
        uint32_t *at = hash_set_get(&v->accounts_by_number, key);
        *at = (uint32_t)i;
    }
}

void verify_free_accounts(struct verifier *v)
{
    for (size_t i = 0; i < v->accounts_count; i++) {
        buffer_free(&v->accounts[i].name);
        buffer_free(&v->accounts[i].valid);
        buffer_free(&v->accounts[i].placed);
        buffer_free(&v->accounts[i].broken);
        buffer_free(&v->accounts[i].sharing);
    }
    free(v->accounts);
    hash_set_free(&v->accounts_by_number);
}
