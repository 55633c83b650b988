/* resume.c - see resume.h. */
#include "scheduler/coordinator/resume.h"

#include <string.h>

#include "scheduler/ledger/replay.h"

struct visit {
    struct resume *resume;
    const struct campaign *campaign;
    uint32_t run_count;
    bool closed; /* the last record was CLOSED */
};

static enum err visit_record(void *context, const struct ledger_entry *entry,
                             const struct core *core, struct error *error)
{
    struct visit *visit = context;
    struct resume *resume = visit->resume;
    (void)core;
    (void)error;
    struct ledger_head head = { .seq = entry->seq,
                                .epoch = entry->epoch,
                                .at_ns = entry->record.at_ns,
                                .bytes = entry->offset + entry->frame_bytes,
                                .chain = entry->chain };
    prefix_note(&resume->prefix, &head);
    resume->last_ns = entry->record.at_ns;
    visit->closed = entry->record.kind == RECORD_CLOSED;
    if (visit->closed) resume->exit_status = entry->record.as.closed.exit_status;
    if (entry->record.kind != RECORD_RUN) return ERR_OK;
    /* More runs than the file has are another campaign's; the hash will say so. */
    uint32_t run = visit->run_count++;
    if (run >= visit->campaign->run_count) return ERR_OK;
    struct text launch = entry->record.as.run.launch;
    char *copy = arena_alloc(&resume->arena, launch.len + 1);
    memcpy(copy, launch.data, launch.len);
    resume->launches[run] = (struct text){ copy, launch.len };
    return ERR_OK;
}

static enum err same_campaign(const char *state_dir, const struct core *core,
                              const struct campaign *campaign, struct error *error)
{
    const struct campaign_spec *recorded = core_campaign(core);
    if (recorded == NULL) return ERR_OK;
    if (sha256_equal(&recorded->file_hash, &campaign->spec.file_hash)) return ERR_OK;
    return error_set(
        error, ERR_INPUT,
        "%s holds campaign \"%s\", begun with another campaign file; to go on, give the "
        "file that it was begun with (a copy is %s/campaign.yaml); for a new campaign, "
        "give another --dir",
        state_dir, recorded->name, state_dir);
}

static bool all_ended(const struct core *core, const struct campaign *campaign)
{
    if (core_campaign(core) == NULL || core_epoch(core) == 0) return false;
    if (core_run_count(core) != campaign->run_count) return false;
    for (uint32_t i = 0; i < core_run_count(core); i++) {
        enum run_state state = core_run(core, i)->state;
        if (state != RUN_STATE_FINISHED && state != RUN_STATE_STOPPED &&
            state != RUN_STATE_FAILED)
            return false;
    }
    return true;
}

enum err resume_load(const char *state_dir, const struct campaign *campaign,
                     const struct core_limits *minimum, struct resume *resume,
                     struct error *error)
{
    memset(resume, 0, sizeof *resume);
    struct visit visit = { .resume = resume, .campaign = campaign };
    struct replay_options options = { .minimum = *minimum,
                                      .visit = visit_record,
                                      .context = &visit };
    struct replay_summary summary;
    resume->launches =
        arena_array(&resume->arena, (size_t)campaign->run_count + 1, sizeof *resume->launches);
    enum err rc = replay_run(state_dir, &options, &resume->core, &summary, error);
    if (rc == ERR_NOT_FOUND) return ERR_OK;
    if (rc == ERR_OK) rc = same_campaign(state_dir, resume->core, campaign, error);
    if (rc != ERR_OK) {
        resume_fini(resume);
        return rc;
    }
    resume->finished = visit.closed && all_ended(resume->core, campaign);
    return ERR_OK;
}

void resume_fini(struct resume *resume)
{
    core_destroy(resume->core);
    prefix_fini(&resume->prefix);
    arena_fini(&resume->arena);
    memset(resume, 0, sizeof *resume);
}

struct core_limits resume_limits(const struct campaign *campaign, uint32_t workers)
{
    struct core_limits limits = { .runs_max = campaign->run_count,
                                  .workers_max = workers + 1,
                                  .gates_max = campaign->spec.gate_count };
    for (uint32_t i = 0; i < campaign->run_count; i++)
        limits.run_gates_max += campaign->runs[i].gate_count;
    return limits;
}
