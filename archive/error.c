#include "archive/error.h"

#include <string.h>

#define ERROR_TEXT(name, text) text,
static const char *const texts[] = {ERROR_LIST(ERROR_TEXT)};
#undef ERROR_TEXT

_Static_assert(sizeof(texts) / sizeof(texts[0]) == ERROR_COUNT, "a text for every code");

const char *error_text(int err)
{
    if (err == 0)
        return "success";
    if (err < -ERROR_BASE && err >= -(ERROR_BASE + ERROR_COUNT))
        return texts[-err - ERROR_BASE - 1];
    const char *text = err < 0 && err >= -ERROR_BASE ? strerrordesc_np(-err) : NULL;
    return text != NULL ? text : "unknown error";
}
