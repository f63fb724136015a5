#include "daemon/cause.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define BLANKS " \t"
#define MARKS "\"'()<>[],.;:"

/* FNV-1a. */
#define HASH_START UINT64_C(0xcbf29ce484222325)
#define HASH_PRIME UINT64_C(0x100000001b3)

static uint64_t hash_bytes(uint64_t hash, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)data[i]) * HASH_PRIME;
    return hash;
}

static bool varies(const char *word, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (word[i] == '@' || (word[i] >= '0' && word[i] <= '9'))
            return true;
    return false;
}

static bool is_mark(char c)
{
    return c != '\0' && strchr(MARKS, c) != NULL;
}

/* Punctuation around it aside. */
static bool is_name(const char *word, size_t size, const char *name)
{
    while (size > 0 && is_mark(word[0])) {
        word++;
        size--;
    }
    while (size > 0 && is_mark(word[size - 1]))
        size--;
    return name != NULL && strlen(name) == size && memcmp(word, name, size) == 0;
}

uint64_t cause_of(const char *text, const char *name)
{
    uint64_t hash = HASH_START;
    if (text[0] == '\0')
        return 0;
    for (const char *word = text + strspn(text, BLANKS); *word != '\0';) {
        size_t size = strcspn(word, BLANKS);
        if (!varies(word, size) && !is_name(word, size, name))
            hash = hash_bytes(hash_bytes(hash, word, size), " ", 1);
        word += size;
        word += strspn(word, BLANKS);
    }
    return hash != 0 ? hash : 1;
}

uint64_t cause_within(uint64_t cause, const char *scope)
{
    uint64_t hash = hash_bytes(cause, scope, strlen(scope));
    return hash != 0 ? hash : 1;
}
