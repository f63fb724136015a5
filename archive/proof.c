#include "archive/proof.h"

#include "archive/reader.h"

#include <errno.h>
#include <stdlib.h>

struct proof {
    struct archive *archive;
    struct reader *reader; /* of this set; NULL: nothing is read yet */
    uint64_t bytes_before; /* read in earlier sets */
};

int proof_create(struct archive *a, struct proof **out)
{
    struct proof *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return -ENOMEM;
    p->archive = a;
    *out = p;
    return 0;
}

void proof_destroy(struct proof *p)
{
    if (p == NULL)
        return;
    reader_destroy(p->reader);
    free(p);
}

/* A reader remembers blocks, parts and open files in many places: a new one nothing. */
void proof_begin(struct proof *p)
{
    p->bytes_before = proof_bytes_read(p);
    reader_destroy(p->reader);
    p->reader = NULL;
}

int proof_message(struct proof *p, uint32_t account, uint64_t n,
                  const uint8_t sha256[SHA256_SIZE],
                  int (*sink)(void *arg, const uint8_t *data, size_t size), void *arg)
{
    int err = p->reader != NULL ? 0 : reader_create_from_disk(p->archive, &p->reader);
    return err != 0 ? err : reader_body_of(p->reader, account, n, sha256, sink, arg);
}

uint64_t proof_bytes_read(const struct proof *p)
{
    return p->bytes_before + (p->reader != NULL ? reader_bytes_read(p->reader) : 0);
}
