#include "daemon/config_error.h"

#include "archive/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void make_printable(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

int config_error_set(struct config_error *error, const char *file, unsigned line,
                     const char *format, ...)
{
    char *text = error->text;
    int n = line > 0 ? snprintf(text, CONFIG_ERROR_SIZE, "%s:%u: ", file, line)
                     : snprintf(text, CONFIG_ERROR_SIZE, "%s: ", file);
    size_t used = n < 0 ? 0 : (size_t)n;
    if (used < CONFIG_ERROR_SIZE) {
        va_list args;
        va_start(args, format);
        n = vsnprintf(text + used, CONFIG_ERROR_SIZE - used, format, args);
        va_end(args);
        used += n < 0 ? 0 : (size_t)n;
    }
    if (used >= CONFIG_ERROR_SIZE)
        memcpy(text + CONFIG_ERROR_SIZE - 4, "...", 4);
    make_printable(text);
    return ERR_SYNTAX;
}
