/* One error space for the whole project: 0 is success, a small negative number is a negated
 * errno, and below -ERROR_BASE come mailcask's own codes. Functions that can fail return
 * int in this space unless their header says otherwise. */
#ifndef MAILCASK_ARCHIVE_ERROR_H
#define MAILCASK_ARCHIVE_ERROR_H

#define ERROR_BASE 4096

/* name, text for an administrator */
#define ERROR_LIST(X)                                                          \
    X(ERR_DAMAGED, "damaged data")                                             \
    X(ERR_FORMAT, "not a mailcask archive")                                    \
    X(ERR_VERSION, "written by a newer mailcask; this version cannot read it") \
    X(ERR_LOCKED, "in use by another process")                                 \
    X(ERR_OWNER, "belongs to another user")                                    \
    X(ERR_NOT_FOUND, "not found")                                              \
    X(ERR_EXISTS, "exists already")                                            \
    X(ERR_NO_INDEX, "the index is missing or unusable")                        \
    X(ERR_INDEX, "the index failed")                                           \
    X(ERR_SEGMENT_FULL, "segment full")                                        \
    X(ERR_FAILED, "an earlier write failed")                                   \
    X(ERR_TOO_LARGE, "too large")                                              \
    X(ERR_SYNTAX, "syntax error")                                              \
    X(ERR_TLS, "TLS failed")                                                   \
    X(ERR_PROTOCOL, "the server broke the protocol")                           \
    X(ERR_CLOSED, "connection closed")                                         \
    X(ERR_STOPPED, "stopped")                                                  \
    X(ERR_COMPRESSION, "compression failed")                                   \
    X(ERR_CRYPTO, "the cryptographic library failed")                          \
    X(ERR_NOT_FROM_DISK, "this file system cannot be read past its cache")

#define ERROR_ORDINAL(name, text) name##_ORDINAL,
enum error_ordinal { ERROR_LIST(ERROR_ORDINAL) ERROR_COUNT };
#undef ERROR_ORDINAL

#define ERROR_CODE(name, text) name = -(ERROR_BASE + 1 + name##_ORDINAL),
enum error_code { ERROR_LIST(ERROR_CODE) ERROR_LOWEST = -(ERROR_BASE + ERROR_COUNT) };
#undef ERROR_CODE

/* A sentence fragment for any value of the error space; never NULL, never to be freed.
 * For an errno the text of strerrordesc_np(). */
const char *error_text(int err);

#endif
