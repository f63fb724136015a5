/* pop3d: a POP3 server for tests, correct unless a script says otherwise. See README.md. */
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "tests/pop3d/options.h"
#include "tests/pop3d/server.h"

int main(int argc, char **argv)
{
    struct options options;
    struct server server;

    int status = options_parse(&options, argc, argv);
    if (status >= 0)
        return status;
    if (options.die_with_parent)
        prctl(PR_SET_PDEATHSIG, SIGTERM);
    status = server_open(&server, &options) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    if (status == EXIT_SUCCESS)
        server_run(&server);
    server_close(&server);
    return status;
}
