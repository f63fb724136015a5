#include "daemon/cause.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define BLANKS " \t"
#define NAME_MIN 3 /* bytes: shorter ones are part of many words */

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

static bool within(const char *word, size_t size, const char *part, size_t part_size)
{
    return part_size >= NAME_MIN && memmem(word, size, part, part_size) != NULL;
}

/* The part before '@' stands for the whole in folders and greetings. */
static bool names(const char *word, size_t size, const char *name)
{
    return name != NULL && (within(word, size, name, strlen(name)) ||
                            within(word, size, name, strcspn(name, "@")));
}

uint64_t cause_of(const char *text, const char *name)
{
    uint64_t hash = HASH_START;
    if (text[0] == '\0')
        return 0;
    for (const char *word = text + strspn(text, BLANKS); *word != '\0';) {
        size_t size = strcspn(word, BLANKS);
        if (!varies(word, size) && !names(word, size, name))
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
