/* main.c - penstock's entry. The composition root is cli.c and the verbs; this file only hands
 * over. */
#include <stdlib.h>

#include "proto/base/log.h"
#include "scheduler/cli.h"

int main(int argc, char **argv)
{
    log_setup(log_level_of(getenv("PENSTOCK_LOG"), LOG_LEVEL_WARN), "penstock");
    return cli_main(argc, argv);
}
