/* rank.c - see rank.h. */
#include "scheduler/verbs/rank.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/base/text.h"
#include "proto/wire/link_mpi.h"
#include "scheduler/cli.h"
#include "scheduler/coordinator/loop.h"
#include "scheduler/verbs/paths.h"
#include "worker/agent/agent.h"
#include "worker/spawn/launcher.h"

/* A launcher without trainers ends at once; this is for one that hangs. */
#define LAUNCHER_WAIT_NS (2 * NS_PER_S)

/* Variables that say the same thing, the most specific first. Slurm's count only where PMIx is
 * there: without it, srun's ranks do not know each other. */
static const char *const rank_names[] = { "OMPI_COMM_WORLD_RANK", "PMIX_RANK" };
static const char *const size_names[] = { "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS",
                                          "SLURM_NTASKS" };

static bool read_number(const char *const *names, size_t count, uint32_t *number)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 0;
        const char *word = getenv(names[i]);
        if (word == NULL || !text_to_u64(text_of(word), &value) || value > UINT32_MAX) continue;
        *number = (uint32_t)value;
        return true;
    }
    return false;
}

enum err rank_find_place(struct rank_place *place, struct error *error)
{
    memset(place, 0, sizeof *place);
    place->launched = read_number(rank_names, ARRAY_COUNT(rank_names), &place->rank);
    if (!place->launched) return ERR_OK;
    if (!read_number(size_names, ARRAY_COUNT(size_names), &place->size))
        return error_set(
            error, ERR_INPUT,
            "the MPI launcher does not say how many ranks there are; start with mpirun, "
            "or srun --mpi=pmix");
    if (place->rank >= place->size)
        return error_set(error, ERR_INPUT, "rank %u of %u does not exist", place->rank,
                         place->size);
    if (place->size < 2)
        return error_set(
            error, ERR_INPUT,
            "a job of one rank has no worker; start with at least two: mpirun -n 2");
    return ERR_OK;
}

/* Opens MPI for a coordinator that has everything else. */
static enum err join(const struct rank_place *place, struct link *link, struct error *error)
{
    enum err rc = link_mpi_open(link, NULL, error);
    if (rc != ERR_OK) return rc;
    if (link->size == place->size && link->rank == place->rank) return ERR_OK;
    return error_set(error, ERR_DEVICE, "MPI says rank %u of %u, its launcher said %u of %u",
                     link->rank, link->size, place->rank, place->size);
}

static int run_coordinator(const struct rank_place *place, const struct rank_options *options)
{
    struct coordinator_options settings = { .campaign_path = options->campaign_path,
                                            .state_dir = options->state_dir,
                                            .trainer = options->trainer,
                                            .workers = place->size - 1,
                                            .progress = options->progress };
    struct coordinator *coordinator = NULL;
    struct link link;
    struct error error;
    log_setup(log_level_of(getenv("PENSTOCK_LOG"), LOG_LEVEL_WARN), "coordinator");
    if (coordinator_open(&settings, &coordinator, &error) != ERR_OK) return cli_fail(&error);
    memset(&link, 0, sizeof link);
    if (join(place, &link, &error) != ERR_OK) {
        int status = cli_fail(&error);
        coordinator_close(coordinator, status);
        return status;
    }
    int status = CLI_DONE;
    bool all_left = false;
    if (coordinator_live(coordinator, &link, &status, &all_left, &error) != ERR_OK)
        cli_fail(&error);
    coordinator_close(coordinator, status);
    fflush(NULL);
    /* Leaving MPI together waits for every rank; one that is stuck would keep us for ever. */
    if (!all_left) _exit(status);
    link_mpi_close(&link);
    return status;
}

/* The launcher is forked first: forking after MPI has started is not safe everywhere. */
static int run_agent(const struct rank_place *place, const struct rank_options *options)
{
    struct launcher launcher;
    struct link link;
    struct link_mpi_place slot;
    struct error error;
    char who[NAME_MAX_BYTES];
    struct writer writer = writer_of(who, sizeof who);
    writer_format(&writer, "agent %u", place->rank);
    log_setup(log_level_of(getenv("PENSTOCK_LOG"), LOG_LEVEL_WARN), who);
    memset(&launcher, 0, sizeof launcher);
    char program[PROGRAM_PATH_BYTES];
    if (path_of_launcher(program, &error) != ERR_OK ||
        launcher_start(&launcher, program, &error) != ERR_OK)
        return cli_fail(&error);
    if (link_mpi_open(&link, &slot, &error) != ERR_OK) {
        launcher_stop(&launcher, LAUNCHER_WAIT_NS);
        return cli_fail(&error);
    }
    struct agent_options settings = { .link = &link,
                                      .launcher = &launcher,
                                      .slot = slot.slot,
                                      .slot_count = slot.slot_count,
                                      .trainer_path = options->trainer };
    int status = agent_main(&settings);
    launcher_stop(&launcher, LAUNCHER_WAIT_NS);
    if (status != 0) _exit(status);
    link_mpi_close(&link);
    return status;
}

int rank_run(const struct rank_place *place, const struct rank_options *options)
{
    return place->rank == 0 ? run_coordinator(place, options) : run_agent(place, options);
}
