/* main.c - penstock-launch: the launcher as a program of its own, which links nothing that it does not need.
 * Only launcher_start runs it. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "worker/spawn/keeper.h"

int main(int argc, char **argv)
{
    int type = 0;
    socklen_t bytes = sizeof type;
    bool asked = argc == 2 && strcmp(argv[1], PENSTOCK_VERSION) == 0 &&
                 getsockopt(KEEPER_SOCKET, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 &&
                 type == SOCK_SEQPACKET;
    if (asked) keeper_run(KEEPER_SOCKET);
    fputs("penstock-launch: only penstock of the same version starts this program\n", stderr);
    return 2;
}
