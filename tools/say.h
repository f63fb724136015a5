/* Sentences for the person at the terminal. */
#ifndef MAILCASK_TOOLS_SAY_H
#define MAILCASK_TOOLS_SAY_H

/* One line on standard error, "mailcask: " before it. The text may hold bytes of the
 * archive or of a server: it goes through utf8_clean(). At most SAY_SIZE_MAX bytes. */
#define SAY_SIZE_MAX 4096
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
