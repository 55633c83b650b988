/*
 * load.c - a state directory's ledger, folded into a model.
 */

#include "scheduler/ledger/replay.h"
#include "scheduler/report/report.h"

static enum err visit(void *context, const struct ledger_entry *entry, const struct core *core,
                      struct error *error)
{
    (void)error;
    model_add(context, &entry->record, core);
    return ERR_OK;
}

/* Whether the ledger's lock is taken; a lock file that cannot be read tells nothing. */
static enum liveness liveness_of(const char *dir)
{
    struct ledger_holder holder;
    if (ledger_holder(dir, NULL, &holder, NULL) != ERR_OK) return LIVE_UNKNOWN;
    return holder.locked ? LIVE_YES : LIVE_NO;
}

enum err model_load(const char *dir, const struct model_options *options, struct model *model,
                    struct core **core, struct error *error)
{
    struct model_options own = { 0 };
    if (options) own = *options;
    if (own.live == LIVE_UNKNOWN) own.live = liveness_of(dir);
    model_init(model, &own);
    if (core) *core = NULL;
    struct core *replayed = NULL;
    struct replay_summary summary;
    struct replay_options replay = { .visit = visit, .context = model };
    enum err rc = replay_run(dir, &replay, &replayed, &summary, error);
    if (rc != ERR_OK) {
        model_fini(model);
        return rc;
    }
    model_finish(model, replayed,
                 &(struct model_source){ .head_seq = summary.head.seq,
                                         .head = summary.head.chain,
                                         .ledger_bytes = summary.head.bytes,
                                         .torn_bytes = summary.tail_bytes });
    if (core)
        *core = replayed;
    else
        core_destroy(replayed);
    return ERR_OK;
}
