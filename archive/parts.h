/* Attachments on their way in: decoded base64 runs become PARTs, each looked up in the
 * whole archive and written only if it is new. Belongs to one intake. */
#ifndef MAILCASK_ARCHIVE_PARTS_H
#define MAILCASK_ARCHIVE_PARTS_H

#include "archive/damage.h"
#include "archive/lookup.h"
#include "archive/meta.h"
#include "archive/packer.h"

struct parts;

/* All borrowed. damaged: parts known to be hurt, which satisfy no look-up; those that are
 * written anew are struck off. NULL when memory runs out. */
struct parts *parts_create(struct packer *packer, struct lookup *lookup,
                           struct damaged_part *damaged, size_t damaged_count);
void parts_destroy(struct parts *p);

/* A new message. */
void parts_begin(struct parts *p);
/* The next decoded bytes of the run. 0; -ENOMEM; ERR_COMPRESSION; ERR_INDEX; what emitting
 * returned. */
int parts_add(struct parts *p, const uint8_t *data, size_t size);
/* The run is complete; it belongs at `at` of what the message keeps of its own. */
int parts_run_end(struct parts *p, const struct base64_run *run, uint64_t at);
/* No more runs fit into this message's meta. */
bool parts_full(const struct parts *p);
/* The message's runs, encoded for its meta; borrowed until parts_begin(). */
struct span parts_runs(const struct parts *p);

size_t parts_memory(const struct parts *p);

#endif
