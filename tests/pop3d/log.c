#include "tests/pop3d/log.h"

#include <stdarg.h>
#include <string.h>

void log_line(struct log *log, const char *format, ...)
{
    if (log->file == NULL)
        return;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(log->file, format, arguments);
    va_end(arguments);
    fputc('\n', log->file);
}

void log_flush(struct log *log)
{
    if (log->file != NULL)
        fflush(log->file);
}

const char *log_name(struct log_field *field, const char *name)
{
    if (name == NULL || name[0] == '\0')
        return "-";
    size_t size = 0;
    for (; *name != '\0' && size + sizeof "\\xHH" <= sizeof field->text; name++) {
        unsigned char c = (unsigned char)*name;
        if (c > ' ' && c != '\\' && c != 0x7f)
            field->text[size++] = (char)c;
        else
            size += (size_t)snprintf(field->text + size, sizeof field->text - size,
                                     "\\x%02X", c);
    }
    field->text[size] = '\0';
    return field->text;
}
