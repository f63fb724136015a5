/* A set of message numbers as it is stored: ranges in ascending order that do not touch, 12
 * bytes each (u64 first, u32 count). In memory such a set is a buffer of bits
 * (buffer_put_bit()); stored, it borrows from a record or a row. */
#ifndef MAILCASK_ARCHIVE_NUMBER_SET_H
#define MAILCASK_ARCHIVE_NUMBER_SET_H

#include "archive/bytes.h"

#include <stdbool.h>
#include <stdint.h>

/* Append the numbers whose bits are set. Bit 0 is ignored: numbers count from 1. */
void number_set_encode(struct buffer *out, const struct buffer *bits);

/* Ranges in order, none empty, none beyond 64 bits? */
bool number_set_valid(struct span set);

/* For a valid set. */
uint64_t number_set_count(struct span set);
bool number_set_has(struct span set, uint64_t n);
/* The lowest number above n (0: of all); 0: there is none. */
uint64_t number_set_next(struct span set, uint64_t n);

#endif
