/*
 * audit.h - the books kept a second time, from the records alone.
 *
 * Shares no code with the core, so that one mistake cannot hide in both. It knows the campaign's
 * tiers, each run's tranches and gates, each attempt's lease and slots, and refuses a record that
 * breaks one of these rules (docs/formats/ledger.md lists them with their tests):
 *
 *   money     spent + reserved <= released <= approved, per run and for the campaign, at every record
 *   tiers     opened in order, each once, to the amount that the campaign says
 *   tranches  each once, in order, of the planned amount, and only after GO at the gate before;
 *             from the second on the record says on what: the run's last utilization, known and at
 *             or above its floor (where its guardrail has one), and its settled spend
 *   leases    numbered without a gap; the whole price with the stop grace is reserved; what is settled
 *             never falls and never exceeds what was reserved; settled once, for the time held
 *   slots     never in two attempts at a time; a gang is whole
 *   gates     reached in order, one final verdict each; nothing is granted after NO-GO or HOLD
 *   ends      a run that has ended gets nothing more; one that finished has GO at every gate
 */
#ifndef SCHEDULER_LEDGER_AUDIT_H
#define SCHEDULER_LEDGER_AUDIT_H

#include "proto/base/error.h"
#include "scheduler/core/record.h"

struct audit;

struct audit_totals {
    uint32_t runs, attempts;
    int64_t approved_micros, released_micros, reserved_micros, spent_micros;
};

struct audit *audit_create(void); /* NULL when memory runs out */
void audit_destroy(struct audit *audit);

/* Takes the next record of the ledger. ERR_DAMAGED names the rule that it breaks; ERR_NO_MEMORY.
 * After a failure the audit is over. */
must_use enum err audit_take(struct audit *audit, const struct record *record,
                             struct error *error);

struct audit_totals audit_totals(const struct audit *audit);

#endif
