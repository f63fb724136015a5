/* Segments that repacking has replaced are removed only while nobody copies segments: who
 * copies holds removals, who removes asks first. It is a flock() of the folder segments/,
 * so it ends with the process, however that ends, and needs no permission to write. */
#ifndef MAILCASK_ARCHIVE_REMOVAL_H
#define MAILCASK_ARCHIVE_REMOVAL_H

/* No segment is removed until removal_release(); any number may hold at a time. Waits for a
 * removal that is under way, which is short. 0 or -errno. */
int removal_hold(const char *archive, int *out_fd);

/* Segments may be removed until removal_release(). 0; ERR_LOCKED: they are held, try again
 * later; -errno. */
int removal_begin(const char *archive, int *out_fd);

/* -1 is fine. */
void removal_release(int fd);

#endif
