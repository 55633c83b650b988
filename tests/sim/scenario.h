/* scenario.h - small random campaigns from a seed, and a second core that follows the first
 * one's records: after each event both must have the same digest. Beside it the audit keeps its own
 * books of every record, and must find nothing wrong with it. */
#ifndef TESTS_SIM_SCENARIO_H
#define TESTS_SIM_SCENARIO_H

#include "proto/base/rng.h"
#include "scheduler/ledger/audit.h"
#include "scheduler/sim/history.h"
#include "scheduler/sim/sim.h"

/* A campaign of up to `runs` runs with random gangs, gates, tiers, guardrails and runbooks. Its
 * memory is its own arena: campaign_fini is in another unit, so scenario_fini. */
void scenario_campaign(struct campaign *campaign, struct rng *rng, uint32_t runs);
void scenario_fini(struct campaign *campaign);

/* Enough room for a campaign and so many workers. */
struct core *scenario_core(const struct campaign *campaign, uint32_t workers);

struct shadow {
    const struct campaign *campaign;
    uint32_t workers;
    struct core *core;
    struct audit *audit;
    struct history history;
};

void shadow_init(struct shadow *shadow, const struct campaign *campaign, uint32_t workers);
void shadow_fini(struct shadow *shadow);
void shadow_record(struct shadow *shadow, const struct record *record);
void shadow_cut(struct shadow *shadow, uint64_t count);

/* Checks the invariants of `core`, and its money against the audit's. */
void shadow_check(const struct shadow *shadow, const struct core *core);

/* Checks that, and that the shadow has the same state. */
void shadow_compare(const struct shadow *shadow, const struct core *core);

#endif
