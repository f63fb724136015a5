#include "tools/say.h"

#include "archive/utf8.h"

#include <stdarg.h>
#include <stdio.h>

void say(const char *format, ...)
{
    char text[SAY_SIZE_MAX];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (size < 0)
        return;

    struct buffer line = {0};
    buffer_put(&line, "mailcask: ", sizeof("mailcask: ") - 1);
    utf8_clean(&line, span_text(text));
    buffer_put_u8(&line, '\n');
    /* Nowhere to say that saying failed. */
    if (!line.failed)
        (void)fwrite(line.data, 1, line.size, stderr);
    buffer_free(&line);
}
