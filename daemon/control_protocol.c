#include "daemon/control_protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int control_address_open(const char *archive, struct control_address *out)
{
    *out = (struct control_address){.name = {.sun_family = AF_UNIX}, .folder = -1};
    char *path = out->name.sun_path;
    size_t size = sizeof(out->name.sun_path);
    if (strlen(archive) + sizeof("/" CONTROL_FILE) <= size) {
        (void)snprintf(path, size, "%s/" CONTROL_FILE, archive);
        return 0;
    }
    out->folder = open(archive, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (out->folder < 0)
        return -errno;
    (void)snprintf(path, size, "/proc/self/fd/%d/" CONTROL_FILE, out->folder);
    return 0;
}

void control_address_close(struct control_address *a)
{
    if (a->folder >= 0)
        (void)close(a->folder);
    a->folder = -1;
}
