#include "tools/target.h"

#include <string.h>

static const struct target_kind *const kinds[] = {&target_maildir, &target_mbox,
                                                  &target_eml};

const struct target_kind *target_parse(const char *text, const char **out_path)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t size = strlen(kinds[i]->name);
        if (strncmp(text, kinds[i]->name, size) == 0 && text[size] == ':' &&
            text[size + 1] != '\0') {
            *out_path = text + size + 1;
            return kinds[i];
        }
    }
    return NULL;
}
