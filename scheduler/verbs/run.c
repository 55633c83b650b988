/* run.c - `penstock run`: under an MPI launcher, one of its ranks; otherwise a check of
 * everything that can be wrong beforehand, and then mpirun. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scheduler/cli.h"
#include "scheduler/coordinator/resume.h"
#include "scheduler/verbs/mpirun.h"
#include "scheduler/verbs/paths.h"
#include "scheduler/verbs/rank.h"
#include "scheduler/verbs/verbs.h"

enum { WORKERS_MAX = 4095 };

static const struct {
    const char *name;
    enum display_kind kind;
} progress_kinds[] = {
    { "none", DISPLAY_NONE },
    { "lines", DISPLAY_LINES },
    { "table", DISPLAY_TABLE },
};

/* mpirun gives its ranks a terminal of its own making, so only the process that the user
 * started can tell what the output is: it hands its answer down in the environment. */
static const char *progress_name(const struct arguments *arguments, bool launched)
{
    const char *name = arguments_value(arguments, "--progress");
    if (strcmp(name, "auto") != 0) return name;
    const char *handed = getenv("PENSTOCK_PROGRESS");
    if (launched) return handed != NULL && handed[0] != '\0' ? handed : "lines";
    return isatty(STDOUT_FILENO) ? "table" : "lines";
}

static enum err find_progress(const char *name, enum display_kind *kind, struct error *error)
{
    for (size_t i = 0; i < ARRAY_COUNT(progress_kinds); i++) {
        if (strcmp(progress_kinds[i].name, name) != 0) continue;
        *kind = progress_kinds[i].kind;
        return ERR_OK;
    }
    return error_set(error, ERR_INPUT, "--progress %s: auto, table, lines or none is wanted",
                     name);
}

/* As many workers as the batch job has room for, or the machine has cores. */
static int64_t default_workers(void)
{
    const char *tasks = getenv("SLURM_JOB_ID") != NULL ? getenv("SLURM_NTASKS") : NULL;
    int64_t count = 0;
    if (tasks != NULL && text_to_i64(text_of(tasks), &count) && count > 1) return count - 1;
    count = sysconf(_SC_NPROCESSORS_ONLN);
    return max_i64(1, min_i64(count, WORKERS_MAX));
}

/* Says what is wrong before anything starts. *finished: there is nothing left to do. */
static enum err check_beforehand(const char *campaign_path, const char *state_dir,
                                 const char *trainer, bool *finished, int *status,
                                 struct error *error)
{
    struct campaign campaign;
    struct resume resume;
    enum err rc = campaign_load(campaign_path, trainer, &campaign, error);
    if (rc != ERR_OK) return rc;
    struct core_limits limits = resume_limits(&campaign, 0);
    rc = resume_load(state_dir, &campaign, &limits, &resume, error);
    if (rc == ERR_OK && resume.finished) {
        *finished = true;
        *status = resume.exit_status;
        printf("campaign %s is done (status %d); the report: penstock report %s\n",
               campaign.spec.name, resume.exit_status, state_dir);
    }
    if (rc == ERR_OK) resume_fini(&resume);
    campaign_fini(&campaign);
    return rc;
}

static int run_with_mpirun(const struct arguments *arguments, const char *progress,
                           const char *trainer)
{
    const char *campaign_path = arguments->words[0];
    const char *state_dir = arguments_value(arguments, "--dir");
    struct error error;
    char program[PROGRAM_PATH_BYTES];
    int64_t workers = default_workers();
    bool finished = false;
    int status = CLI_DONE;
    enum err rc = ERR_OK;
    if (arguments_given(arguments, "--workers"))
        rc = arguments_number(arguments, "--workers", 1, WORKERS_MAX, &workers, &error);
    if (rc == ERR_OK) rc = path_of_program(program, &error);
    if (rc == ERR_OK)
        rc = check_beforehand(campaign_path, state_dir, trainer, &finished, &status, &error);
    if (rc != ERR_OK) return cli_fail(&error);
    if (finished) return status;
    struct mpirun_options options = { .program = program,
                                      .campaign = campaign_path,
                                      .state_dir = state_dir,
                                      .progress = progress,
                                      .workers = workers };
    return mpirun_run(&options);
}

int verb_run(const struct arguments *arguments)
{
    struct rank_place place;
    struct error error;
    char trainer[PROGRAM_PATH_BYTES];
    enum display_kind kind = DISPLAY_LINES;
    if (arguments_value(arguments, "--dir") == NULL) {
        error_set(&error, ERR_INPUT,
                  "run: --dir STATE is missing: where shall the campaign's state be kept?");
        return cli_fail(&error);
    }
    enum err rc = rank_find_place(&place, &error);
    if (rc == ERR_OK) rc = path_of_trainer(trainer, &error);
    const char *progress = progress_name(arguments, place.launched);
    if (rc == ERR_OK) rc = find_progress(progress, &kind, &error);
    if (rc != ERR_OK) return cli_fail(&error);
    if (!place.launched) return run_with_mpirun(arguments, progress, trainer);
    struct rank_options options = { .campaign_path = arguments->words[0],
                                    .state_dir = arguments_value(arguments, "--dir"),
                                    .trainer = trainer,
                                    .progress = kind };
    return rank_run(&place, &options);
}
