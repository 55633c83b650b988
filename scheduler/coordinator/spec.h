/*
 * spec.h - what the agents need to start a run's trainers, as wire.proto's Spec: packed once
 * when the run is submitted, kept in the ledger, and unpacked whenever the run is launched.
 *
 * What was recorded is what is launched: a changed default in a later version of this program
 * changes nothing about a campaign that has begun.
 */
#ifndef SCHEDULER_COORDINATOR_SPEC_H
#define SCHEDULER_COORDINATOR_SPEC_H

#include "proto/base/arena.h"
#include "proto/base/error.h"
#include "proto/wire.pb-c.h"
#include "scheduler/campaign/campaign.h"

/* Packs launches[i] into runs[i].launch for every run of the campaign; the bytes live in
 * `arena`. ERR_INPUT when a run's command and environment together are too long for one
 * message. */
must_use enum err spec_pack_all(struct campaign *campaign, struct arena *arena,
                                struct error *error);

/* Unpacks one; free with penstock__wire__spec__free_unpacked(spec, NULL). NULL when the bytes
 * are not a Spec. */
Penstock__Wire__Spec *spec_unpack(struct text launch);

#endif
