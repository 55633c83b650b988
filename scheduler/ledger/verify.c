#include "scheduler/ledger/verify.h"

#include <inttypes.h>

#include "scheduler/core/state.h"
#include "scheduler/ledger/prefix.h"
#include "scheduler/ledger/replay.h"
#include "scheduler/ledger/signoff.h"

/* core_check looks at the whole state. It runs at every record as long as this keeps the work per
 * record bounded; beyond, at as many records as the allowance pays for. The audit runs at all. */
enum { CHECK_FIRST = 1 << 28, CHECK_PER_RECORD = 1 << 13 };

struct verification {
    struct audit *audit;
    const struct ledger_holder *holder;
    const char *dir;
    const struct ledger_io *io;
    struct prefix prefix;
    bool met; /* the acknowledged head was passed */
    uint64_t allowance;
    struct verify_report *report;
};

static void check_core(struct verification *verification, const struct core *core)
{
    uint64_t work = (uint64_t)core_run_count(core) + core_workers_max(core);
    verification->allowance += CHECK_PER_RECORD;
    if (verification->allowance < work) return;
    verification->allowance -= work;
    core_check(core);
    verification->report->prefixes_checked++;
}

/* The core's books and the audit's must say the same. */
static enum err compare_books(const struct core *core, const struct audit_totals *totals,
                              struct error *error)
{
    const struct budget *budget = core_budget(core);
    if (budget->approved_micros == totals->approved_micros &&
        budget->released_micros == totals->released_micros &&
        budget->reserved_micros == totals->reserved_micros &&
        budget->spent_micros == totals->spent_micros)
        return ERR_OK;
    return error_set(error, ERR_DAMAGED,
                     "audit: the core's totals differ (spent %" PRId64 " here, %" PRId64
                     " there; reserved %" PRId64 ", %" PRId64 "; released %" PRId64 ", %" PRId64
                     "; approved %" PRId64 ", %" PRId64 ")",
                     totals->spent_micros, budget->spent_micros, totals->reserved_micros,
                     budget->reserved_micros, totals->released_micros, budget->released_micros,
                     totals->approved_micros, budget->approved_micros);
}

/* Every signature again: by a key of its owner, on what was recorded, on a head of this ledger. */
static enum err check_signoff(struct verification *verification, const struct core *core,
                              const struct record *record, struct error *error)
{
    struct decision signed_on;
    bool is_signed = false;
    if (record->kind != RECORD_DECISION) return ERR_OK;
    enum err rc = signoff_check(core, &record->as.decision, &is_signed, &signed_on, error);
    if (rc != ERR_OK || !is_signed) return rc;
    verification->report->signatures++;
    rc = prefix_check(&verification->prefix, verification->dir, verification->io,
                      signed_on.head_seq, &signed_on.head_chain, error);
    if (rc != ERR_REFUSED) return rc;
    return error_prefix(error, ERR_DAMAGED, "the sign-off of question %" PRIu64,
                        signed_on.request);
}

static enum err visit(void *context, const struct ledger_entry *entry, const struct core *core,
                      struct error *error)
{
    struct verification *verification = context;
    const struct ledger_holder *holder = verification->holder;
    if (holder->has_head && entry->offset + entry->frame_bytes == holder->head_bytes)
        verification->met =
            entry->seq == holder->head_seq && sha256_equal(&entry->chain, &holder->head_chain);
    enum err rc = audit_take(verification->audit, &entry->record, error);
    if (rc != ERR_OK) return rc;
    check_core(verification, core);
    struct ledger_head head = { .seq = entry->seq,
                                .epoch = entry->epoch,
                                .at_ns = entry->record.at_ns,
                                .bytes = entry->offset + entry->frame_bytes,
                                .chain = entry->chain };
    prefix_note(&verification->prefix, &head);
    rc = check_signoff(verification, core, &entry->record, error);
    if (rc != ERR_OK) return rc;
    struct audit_totals totals = audit_totals(verification->audit);
    return compare_books(core, &totals, error);
}

static enum err missing(const struct verification *verification, const struct ledger_head *head,
                        struct error *error)
{
    const struct ledger_holder *holder = verification->holder;
    if (verification->met) return ERR_OK;
    verification->report->bad_offset = head->bytes;
    return error_set(error, ERR_DAMAGED,
                     "record %" PRIu64 ", up to offset %" PRId64
                     ", was acknowledged and is not there: the ledger ends at record %" PRIu64
                     ", offset %" PRId64,
                     holder->head_seq, holder->head_bytes, head->seq, head->bytes);
}

enum err ledger_verify(const char *dir, const struct ledger_io *io,
                       struct verify_report *report, struct error *error)
{
    *report = (struct verify_report){ .bad_offset = -1 };
    struct ledger_holder holder; /* first: what it says can then only be behind the file */
    enum err rc = ledger_holder(dir, io, &holder, error);
    if (rc != ERR_OK) return rc;
    struct verification verification = { .audit = audit_create(),
                                         .holder = &holder,
                                         .dir = dir,
                                         .io = io,
                                         .met = !holder.has_head || holder.head_seq == 0,
                                         .allowance = CHECK_FIRST,
                                         .report = report };
    if (verification.audit == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory");

    struct replay_options options = { .io = io, .visit = visit, .context = &verification };
    struct core *core;
    struct replay_summary summary;
    rc = replay_run(dir, &options, &core, &summary, error);
    report->head = summary.head;
    report->tail_bytes = summary.tail_bytes;
    report->acknowledged = holder.has_head;
    report->totals = audit_totals(verification.audit);
    if (rc == ERR_OK)
        rc = missing(&verification, &summary.head, error);
    else if (rc == ERR_DAMAGED)
        report->bad_offset = summary.head.bytes;
    if (report->bad_offset >= 0) report->bad_seq = summary.head.seq + 1;
    audit_destroy(verification.audit);
    prefix_fini(&verification.prefix);
    core_destroy(core);
    return rc;
}
