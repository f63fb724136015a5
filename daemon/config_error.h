/* The one line that says what is wrong with a configuration, and where. */
#ifndef MAILCASK_DAEMON_CONFIG_ERROR_H
#define MAILCASK_DAEMON_CONFIG_ERROR_H

#define CONFIG_ERROR_SIZE 1024

struct config_error {
    char text[CONFIG_ERROR_SIZE]; /* "FILE:LINE: what; what is allowed", no newline */
};

/* Write "file:line: " and the sentence; line 0 leaves the line out. What the sentence
 * quotes may be anything: control characters become '?', what does not fit ends in "...".
 * Returns ERR_SYNTAX, so that a check can end in `return config_error_set(...)`. */
int config_error_set(struct config_error *error, const char *file, unsigned line,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
