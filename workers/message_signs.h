/* What the header of a message tells about the server that delivered it, so that nothing is
 * deleted on the strength of it. */
#ifndef MAILCASK_WORKERS_MESSAGE_SIGNS_H
#define MAILCASK_WORKERS_MESSAGE_SIGNS_H

#include "archive/bytes.h"

#include <stdint.h>

/* MESSAGE_STAND_IN: it is a text of the server's own, in place of a message with 8-bit
 * headers (Courier, Q22) or of one that could not be converted (Exchange, Q32).
 * MESSAGE_FORGEABLE: the UIDL stands in its X-UIDL field, where its sender may have put it
 * (Q9). A message that looks like it and is none is only kept on the server. */
uint8_t message_signs(struct span subject, struct span x_uidl, struct span uidl);

#endif
