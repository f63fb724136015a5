/* The numbers of archive/FORMAT.md, which gives them their meaning. */
#ifndef MAILCASK_ARCHIVE_FORMAT_H
#define MAILCASK_ARCHIVE_FORMAT_H

#include <stdint.h>

#define FORMAT_VERSION 1
#define UUID_SIZE 16
#define SALT_SIZE 32

/* CASK */
#define CASK_MAGIC "MAILCASK"
#define CASK_SIZE 96

/* Segment file: header, records, and when sealed the SEAL record and the trailer. */
#define SEGMENT_MAGIC "MCSEG\r\n\x1a"
#define SEGMENT_HEADER_SIZE 192
#define SEGMENT_REPACKED 1u /* compatible feature: repacking made the segment */
#define SEGMENT_TRAILER_MAGIC "MCSEAL\r\n"
#define SEGMENT_TRAILER_SIZE 160

/* Sizes a writer keeps and a reader insists on. */
#define SEGMENT_SIZE_MAX (256ull << 20) /* a segment is sealed before it grows beyond */
#define BLOCK_RAW_MAX (4u << 20)        /* raw bytes of a BLOCK: repacking's largest */
#define CHUNK_RAW_MAX (1u << 20)   /* raw bytes of a CHUNK, and of a block while fetching */
#define PART_RAW_MAX (1u << 20)    /* decoded bytes of a PART */
#define MESSAGE_RUNS_MAX 262144    /* base64 runs of one message; what follows stays text */
#define BODY_STORED_MAX (5u << 20) /* stored bytes of any body */
#define META_STORED_MAX (16u << 20)
#define META_RAW_MAX (32u << 20)
#define BLOCK_MESSAGES_MAX 4096
#define UIDL_SIZE_MAX 1024 /* a longer UIDL is recorded as none */
#define FIELD_SIZE_MAX 998 /* a header field kept for `list`: RFC 5322's line */
#define NAME_SIZE_MAX 255  /* account, host, login: a file name's limit */
#define TEXT_SIZE_MAX 1024 /* a sentence in a SESSION, QUARANTINE or LOST record */

/* Record header: without and with a cipher's nonce and tag. */
#define RECORD_HEADER_SIZE 88
#define RECORD_HEADER_CIPHER_SIZE 128

enum record_type {
    RECORD_COMMIT = 1,
    RECORD_ACCOUNT = 2,
    RECORD_SOURCE = 3,
    RECORD_BLOCK = 4,
    RECORD_CHUNK = 5,
    RECORD_END = 6,
    RECORD_PART = 7,
    RECORD_SEEN = 8,
    RECORD_SESSION = 9,
    RECORD_SESSION_RUN = 10,
    RECORD_DELETE_INTENT = 11,
    RECORD_DELETE_OUTCOME = 12,
    RECORD_QUARANTINE = 13,
    RECORD_LOST = 14,
    RECORD_SUPERSEDES = 15,
    RECORD_SEAL = 16,
    RECORD_PACK = 17,
    RECORD_ACCESS = 18,
    RECORD_UNLISTED_RUN = 19,
    RECORD_TYPE_MAX =
        127, /* readers skip unknown types up to here, and refuse those above */
};

/* Record flags */
#define RECORD_META_ZSTD 1u /* the meta is one zstd frame */
#define RECORD_CARRIED 2u   /* copied here by recovery, with the LSN it had */
#define RECORD_HEALS 4u     /* PART: takes the place of a damaged copy */
#define RECORD_FLAGS_KNOWN 7u

#endif
