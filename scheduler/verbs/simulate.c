/* simulate.c - `penstock simulate`: a campaign on a virtual clock. */
#include "scheduler/cli.h"
#include "scheduler/verbs/verbs.h"

int verb_simulate(const struct arguments *arguments)
{
    struct error error;
    error_set(&error, ERR_UNSUPPORTED, "%s: this build has no simulator", arguments->words[0]);
    return cli_fail(&error);
}
