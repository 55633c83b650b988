#include "scheduler/ledger/shape.h"

/* Each table below defines RECORD (the C struct) and MESSAGE (the generated struct) for the row
 * macros. A row does not compile when a member is missing or has another size than its type. */
#define MEMBER_BYTES(type, member) sizeof(((type *)0)->member)
#define FITS(member, c_bytes, message_bytes)                                                   \
    (0 * sizeof(char[MEMBER_BYTES(RECORD, member) == (c_bytes) &&                              \
                             MEMBER_BYTES(MESSAGE, member) == (message_bytes)                  \
                         ? 1                                                                   \
                         : -1]))
#define ROW(field_type, member, c_bytes, message_bytes, low, high)                             \
    .name = #member, .type = (field_type), .record_at = offsetof(RECORD, member),              \
    .record_bytes = MEMBER_BYTES(RECORD, member) + FITS(member, c_bytes, message_bytes),       \
    .message_at = offsetof(MESSAGE, member), .min = (low), .max = (high)
#define COUNTED(count, member)                                                                 \
    .count_at = offsetof(RECORD, count), .number_at = offsetof(MESSAGE, n_##member)

#define OF(member) MEMBER_BYTES(RECORD, member)
#define U32(member, ...) ROW(FIELD_U32, member, 4, 4, __VA_ARGS__)
#define U64(member) ROW(FIELD_U64, member, 8, 8, 0, 0)
#define I32(member, ...) ROW(FIELD_I32, member, 4, 4, __VA_ARGS__)
#define I64(member, ...) ROW(FIELD_I64, member, 8, 8, __VA_ARGS__)
#define BOOL(member) ROW(FIELD_BOOL, member, sizeof(bool), sizeof(protobuf_c_boolean), 0, 1)
#define ENUM(member, count) ROW(FIELD_ENUM, member, 4, 4, 0, (int64_t)(count)-1)
#define NAME(member, low)                                                                      \
    ROW(FIELD_NAME, member, OF(member), sizeof(char *), low, OF(member) - 1)
#define TEXTUAL(member, ...)                                                                   \
    ROW(FIELD_TEXT, member, sizeof(struct text), sizeof(char *), __VA_ARGS__)
#define FREE(member, high) ROW(FIELD_FREE, member, sizeof(struct text), sizeof(char *), 0, high)
#define BYTES(member, high)                                                                    \
    ROW(FIELD_BYTES, member, sizeof(struct text), sizeof(ProtobufCBinaryData), 0, high)
#define HASH(member) ROW(FIELD_HASH, member, SHA256_BYTES, sizeof(ProtobufCBinaryData), 0, 0)
#define ONE(member, its_shape)                                                                 \
    ROW(FIELD_ONE, member, OF(member), sizeof(void *), 0, 0), .shape = &(its_shape)
#define ONE_IF(member, its_shape)                                                              \
    ROW(FIELD_ONE_IF, member, OF(member), sizeof(void *), 0, 0), .shape = &(its_shape)
#define LIST(member, count, its_shape, low, high)                                              \
    ROW(FIELD_LIST, member, OF(member), sizeof(void *), low, high), COUNTED(count, member),    \
        .shape = &(its_shape)
#define LIST_FAR(member, count, its_shape, low, high)                                          \
    ROW(FIELD_LIST_FAR, member, sizeof(void *), sizeof(void *), low, high),                    \
        COUNTED(count, member), .shape = &(its_shape)
#define U32S_FAR(member, count, low, high)                                                     \
    ROW(FIELD_U32S_FAR, member, sizeof(void *), sizeof(void *), low, high),                    \
        COUNTED(count, member)
#define I64S(member, low)                                                                      \
    ROW(FIELD_I64S, member, OF(member), sizeof(void *), low, OF(member) / sizeof(int64_t)),    \
        .number_at = offsetof(MESSAGE, n_##member)

/* Ranges that many rows share. */
#define ANY32 0, UINT32_MAX
#define ANY_INT INT32_MIN, INT32_MAX
#define NOT_NEGATIVE 0, INT64_MAX
#define ANY64 INT64_MIN, INT64_MAX
#define RATIO 0, INT32_MAX
#define RUN 0, UINT32_MAX - 1
#define WORKER 1, UINT32_MAX - 1
#define FROM_ONE 1, UINT32_MAX

enum {
    FREE_MAX = 1023,
    STATEMENT_MAX = 4095,
    SIGNATURE_MAX = SSH_ARMOR_BYTES_MAX - 1,
    LABEL_MAX = NAME_MAX_BYTES - 1,
    PATH_MAX_LEN = PATH_MAX_BYTES - 1,
    LAUNCH_MAX = 65536,
    GATES_OF_CAMPAIGN_MAX = 8192
};

#define SHAPE(its_name, rows, message, its_rule)                                               \
    .name = its_name, .descriptor = &(message), .record_bytes = sizeof(RECORD),                \
    .fields = rows, .field_count = ARRAY_COUNT(rows), .rule = its_rule

/* ---- campaign ---- */

#define RECORD struct tier_spec
#define MESSAGE Penstock__Ledger__TierSpec
static const struct field tier_spec_fields[] = {
    { I64(up_to_micros, 1, INT64_MAX) },
    { U32(owner_index, ANY32) },
};
static const struct shape tier_spec_shape = { SHAPE(
    "tier", tier_spec_fields, penstock__ledger__tier_spec__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct ssh_key
#define MESSAGE Penstock__Ledger__OwnerKey
static const struct field owner_key_fields[] = { { HASH(bytes) } };
static const struct shape owner_key_shape = { SHAPE(
    "owner's key", owner_key_fields, penstock__ledger__owner_key__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct owner_spec
#define MESSAGE Penstock__Ledger__OwnerSpec
static const struct field owner_spec_fields[] = {
    { NAME(name, 1) },
    { NAME(role, 0) },
    { LIST(keys, key_count, owner_key_shape, 0, OWNER_KEYS_MAX) },
    { U32(delegate_index, ANY32) },
    { I64(answer_within_ns, NOT_NEGATIVE) },
    { ENUM(otherwise, OTHERWISE_COUNT) },
};
static const struct shape owner_spec_shape = { SHAPE(
    "owner", owner_spec_fields, penstock__ledger__owner_spec__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct device_class
#define MESSAGE Penstock__Ledger__DeviceClass
static const struct field device_class_fields[] = {
    { NAME(name, 1) },
    { I64(rate_micros, NOT_NEGATIVE) },
};
static const struct shape device_class_shape = { SHAPE(
    "device class", device_class_fields, penstock__ledger__device_class__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct device_peak
#define MESSAGE Penstock__Ledger__DevicePeak
static const struct field device_peak_fields[] = { { NAME(match, 1) }, { U64(peak_flops) } };
static const struct shape device_peak_shape = { SHAPE(
    "device peak", device_peak_fields, penstock__ledger__device_peak__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct guard_spec
#define MESSAGE Penstock__Ledger__GuardSpec
static const struct field guard_spec_fields[] = {
    { I64(window_ns, 1, INT64_MAX) },
    { I64(grace_ns, NOT_NEGATIVE) },
    { I32(floor_ppm, RATIO) },
    { I32(clear_ppm, RATIO) },
    { U32(warn_windows, ANY32) },
    { U32(park_windows, ANY32) },
    { U32(stop_windows, ANY32) },
    { I32(idle_ppm, RATIO) },
    { I64S(idle_start_warn_ns, 0) },
    { I64(idle_start_stop_ns, NOT_NEGATIVE) },
    { I64(idle_again_warn_ns, NOT_NEGATIVE) },
    { I64(idle_again_stop_ns, NOT_NEGATIVE) },
    { I64(park_ns, NOT_NEGATIVE) },
};
static const struct shape guard_spec_shape = { SHAPE(
    "guard", guard_spec_fields, penstock__ledger__guard_spec__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct runbook_step
#define MESSAGE Penstock__Ledger__RunbookStep
static const struct field runbook_step_fields[] = {
    { ENUM(action, RUNBOOK_ACTION_COUNT) },
    { U32(limit, 0, RUNBOOK_UNLIMITED) },
};
static const struct shape runbook_step_shape = { SHAPE(
    "runbook step", runbook_step_fields, penstock__ledger__runbook_step__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct runbook_row
#define MESSAGE Penstock__Ledger__RunbookRow
static const struct field runbook_row_fields[] = {
    { ENUM(incident, INCIDENT_COUNT) },
    { I32(exit_code, ANY_INT) },
    { NAME(pattern, 0) },
    { BOOL(builtin_only) },
    { LIST(steps, step_count, runbook_step_shape, 0, RUNBOOK_STEPS_MAX) },
};
static const struct shape runbook_row_shape = { SHAPE(
    "runbook row", runbook_row_fields, penstock__ledger__runbook_row__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct gate_rule_spec
#define MESSAGE Penstock__Ledger__GateRuleSpec
static const struct field gate_rule_spec_fields[] = {
    { ENUM(rule, GATE_RULE_COUNT) },
    { I64(loss_max_micro, ANY64) },
    { U32(eta, ANY32) },
    { U32(siblings_min, ANY32) },
    { I64(margin_micro, ANY64) },
    { I64(seed_sd_micro, ANY64) },
    { I64(limit, ANY64) },
    { I32(share_min_ppm, ANY_INT) },
    { U32(points_min, ANY32) },
};
static const struct shape gate_rule_spec_shape = { SHAPE(
    "gate rule", gate_rule_spec_fields, penstock__ledger__gate_rule_spec__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct gate_spec
#define MESSAGE Penstock__Ledger__GateSpec
static const struct field gate_spec_fields[] = {
    { NAME(name, 1) },
    { U64(step) },
    { U64(tokens) },
    { U32(owner_index, ANY32) },
    { LIST(rules, rule_count, gate_rule_spec_shape, 1, RULES_PER_GATE_MAX) },
    { BOOL(any) },
};
static const struct shape gate_spec_shape = { SHAPE(
    "gate", gate_spec_fields, penstock__ledger__gate_spec__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

static bool names_owner(const struct campaign_spec *campaign, uint32_t owner_index)
{
    return owner_index == NO_INDEX || owner_index < campaign->owner_count;
}

static const char *campaign_rule(const void *record)
{
    const struct campaign_spec *campaign = record;
    int64_t covered_micros = 0;
    for (uint32_t i = 0; i < campaign->tier_count; i++) {
        const struct tier_spec *tier = &campaign->tiers[i];
        if (tier->up_to_micros <= covered_micros) return "tiers do not rise";
        if (!names_owner(campaign, tier->owner_index)) return "a tier's owner is not listed";
        covered_micros = tier->up_to_micros;
    }
    if (campaign->budget_micros != covered_micros)
        return "budget_micros is not the last tier's";
    for (uint32_t i = 0; i < campaign->owner_count; i++)
        if (!names_owner(campaign, campaign->owners[i].delegate_index))
            return "an owner's delegate is not listed";
    for (uint32_t i = 0; i < campaign->gate_count; i++)
        if (!names_owner(campaign, campaign->gates[i].owner_index))
            return "a gate's owner is not listed";
    return NULL;
}

#define RECORD struct campaign_spec
#define MESSAGE Penstock__Ledger__Campaign
static const struct field campaign_fields[] = {
    { NAME(name, 1) },
    { NAME(currency, 1) },
    { HASH(file_hash) },
    { BYTES(file_text, FRAME_BYTES_MAX) },
    { I64(budget_micros, NOT_NEGATIVE) },
    { LIST(tiers, tier_count, tier_spec_shape, 1, TIERS_MAX) },
    { LIST(owners, owner_count, owner_spec_shape, 0, OWNERS_MAX) },
    { LIST(classes, class_count, device_class_shape, 0, CLASSES_MAX) },
    { ENUM(place, PLACE_POLICY_COUNT) },
    { BOOL(backfill) },
    { I64(heartbeat_ns, 1, INT64_MAX) },
    { I64(lease_ns, 1, INT64_MAX) },
    { I64(stop_grace_ns, NOT_NEGATIVE) },
    { I64(worker_timeout_ns, NOT_NEGATIVE) },
    { I32(clock_error_ppm, RATIO) },
    { I64(backoff_ns, NOT_NEGATIVE) },
    { I64(backoff_max_ns, NOT_NEGATIVE) },
    { LIST(guards, guard_count, guard_spec_shape, 1, GUARDS_MAX) },
    { LIST(runbook, runbook_count, runbook_row_shape, 0, RUNBOOK_ROWS_MAX) },
    { LIST_FAR(gates, gate_count, gate_spec_shape, 0, GATES_OF_CAMPAIGN_MAX) },
    { LIST(devices, device_count, device_peak_shape, 0, DEVICE_PEAKS_MAX) },
};
static const struct shape campaign_shape = { SHAPE(
    "campaign", campaign_fields, penstock__ledger__campaign__descriptor, campaign_rule) };
#undef RECORD
#undef MESSAGE

/* ---- run ---- */

#define RECORD struct run_gate_spec
#define MESSAGE Penstock__Ledger__RunGateSpec
static const struct field run_gate_spec_fields[] = {
    { U32(gate_index, 0, UINT32_MAX - 1) },
    { I64(tranche_micros, NOT_NEGATIVE) },
};
static const struct shape run_gate_spec_shape = { SHAPE(
    "run gate", run_gate_spec_fields, penstock__ledger__run_gate_spec__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

static const char *run_rule(const void *record)
{
    const struct run_spec *run = record;
    int64_t left_micros = run->budget_micros - run->first_tranche_micros;
    for (uint32_t i = 0; i < run->gate_count && left_micros >= 0; i++)
        left_micros -= run->gates[i].tranche_micros;
    return left_micros == 0 ? NULL : "budget_micros is not the sum of the tranches";
}

#define RECORD struct run_spec
#define MESSAGE Penstock__Ledger__Run
static const struct field run_fields[] = {
    { NAME(name, 1) },
    { NAME(tenant, 0) },
    { U32(ranks, 1, GANG_MAX) },
    { U32(class_index, ANY32) },
    { I32(priority, ANY_INT) },
    { I64(budget_micros, NOT_NEGATIVE) },
    { I64(first_tranche_micros, NOT_NEGATIVE) },
    { U64(steps) },
    { U32(guard_index, 0, GUARDS_MAX - 1) },
    { U32(owner_index, ANY32) },
    { BOOL(builtin) },
    { BYTES(launch, LAUNCH_MAX) },
    { LIST(gates, gate_count, run_gate_spec_shape, 0, GATES_PER_RUN_MAX) },
};
static const struct shape run_shape = { SHAPE("run", run_fields,
                                              penstock__ledger__run__descriptor, run_rule) };
#undef RECORD
#undef MESSAGE

/* ---- coordinator and workers ---- */

#define RECORD struct record_epoch
#define MESSAGE Penstock__Ledger__Epoch
static const struct field epoch_fields[] = {
    { U64(epoch) },          { TEXTUAL(host, 1, LABEL_MAX) }, { U32(pid, ANY32) },
    { U32(workers, ANY32) }, { FREE(version, LABEL_MAX) },
};
static const struct shape epoch_shape = { SHAPE("epoch", epoch_fields,
                                                penstock__ledger__epoch__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_worker
#define MESSAGE Penstock__Ledger__Worker
static const struct field worker_fields[] = {
    { U32(worker, WORKER) },
    { TEXTUAL(host, 1, LABEL_MAX) },
    { FREE(boot_id, LABEL_MAX) },
    { FREE(device, 255) },
    { FREE(peak_source, LABEL_MAX) },
    { FREE(backend, LABEL_MAX) },
    { FREE(backend_reason, FREE_MAX) },
    { U32(slot, ANY32) },
    { U32(class_index, ANY32) },
    { U64(peak_flops) },
    { U32(threads, ANY32) },
    { BOOL(on_cpu) },
    { TEXTUAL(pci_bus_id, 0, LABEL_MAX) },
    { U64(memory_bytes) },
};
static const struct shape worker_shape = { SHAPE("worker", worker_fields,
                                                 penstock__ledger__worker__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_worker_lost
#define MESSAGE Penstock__Ledger__WorkerLost
static const struct field worker_lost_fields[] = {
    { U32(worker, WORKER) },
    { FREE(cause, FREE_MAX) },
};
static const struct shape worker_lost_shape = { SHAPE(
    "worker lost", worker_lost_fields, penstock__ledger__worker_lost__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

/* ---- money ---- */

#define RECORD struct record_tier
#define MESSAGE Penstock__Ledger__Tier
static const struct field tier_fields[] = {
    { U32(tier, 0, TIERS_MAX - 1) },
    { I64(approved_micros, NOT_NEGATIVE) },
};
static const struct shape tier_shape = { SHAPE("tier", tier_fields,
                                               penstock__ledger__tier__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_tranche
#define MESSAGE Penstock__Ledger__Tranche
static const struct field tranche_fields[] = {
    { U32(run, RUN) },
    { U32(number, 0, GATES_PER_RUN_MAX) },
    { I64(amount_micros, NOT_NEGATIVE) },
    { I64(released_micros, NOT_NEGATIVE) },
    { I32(util_ppm, UTIL_UNKNOWN, INT32_MAX) },
    { I32(floor_ppm, 0, INT32_MAX) },
    { I64(spent_micros, NOT_NEGATIVE) },
};
static const struct shape tranche_shape = { SHAPE(
    "tranche", tranche_fields, penstock__ledger__tranche__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_placed
#define MESSAGE Penstock__Ledger__Placed
static const struct field placed_fields[] = {
    { U32(run, RUN) },
    { U32(attempt, FROM_ONE) },
    { U32S_FAR(workers, member_count, 1, GANG_MAX) },
    { I64(rate_micros, NOT_NEGATIVE) },
    { I64(reserved_micros, NOT_NEGATIVE) },
    { I64(lease_end_ns, NOT_NEGATIVE) },
    { U64(resume_step) },
    { BOOL(backfilled) },
};
static const struct shape placed_shape = { SHAPE("placed", placed_fields,
                                                 penstock__ledger__placed__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_lease
#define MESSAGE Penstock__Ledger__Lease
static const struct field lease_fields[] = {
    { U32(run, RUN) },
    { U32(attempt, FROM_ONE) },
    { U32(sequence, ANY32) },
    { I64(settled_micros, NOT_NEGATIVE) },
    { I64(reserved_micros, NOT_NEGATIVE) },
    { I64(lease_end_ns, NOT_NEGATIVE) },
};
static const struct shape lease_shape = { SHAPE("lease", lease_fields,
                                                penstock__ledger__lease__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

/* ---- an attempt's life ---- */

#define RECORD struct record_member_started
#define MESSAGE Penstock__Ledger__MemberStarted
static const struct field member_started_fields[] = {
    { U32(run, RUN) },
    { U32(attempt, FROM_ONE) },
    { U32(member, 0, GANG_MAX - 1) },
    { U32(pid, ANY32) },
};
static const struct shape member_started_shape = { SHAPE(
    "member started", member_started_fields, penstock__ledger__member_started__descriptor,
    NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct guard_state
#define MESSAGE Penstock__Ledger__GuardState
static const struct field guard_state_fields[] = {
    { I64(held_ns, NOT_NEGATIVE) },
    { I64(idle_ns, NOT_NEGATIVE) },
    { U32(low_windows, ANY32) },
    { U32(parks, ANY32) },
    { U32(idle_warnings, ANY32) },
    { BOOL(warned) },
    { BOOL(was_busy) },
};
static const struct shape guard_state_shape = { SHAPE(
    "guard state", guard_state_fields, penstock__ledger__guard_state__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct device_figures
#define MESSAGE Penstock__Ledger__Device
static const struct field device_fields[] = {
#define X(name, kind) { I64(name, NOT_NEGATIVE) },
    DEVICE_FIGURES(X)
#undef X
};
static const struct shape device_shape = { SHAPE("device", device_fields,
                                                 penstock__ledger__device__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_window
#define MESSAGE Penstock__Ledger__Window
static const struct field window_fields[] = {
    { U32(run, RUN) },
    { U32(attempt, FROM_ONE) },
    { U64(step) },
    { U64(tokens) },
    { I64(loss_micro, ANY64) },
    { I64(val_loss_micro, ANY64) },
    { I64(length_ns, NOT_NEGATIVE) },
    { I32(util_ppm, UTIL_UNKNOWN, INT32_MAX) },
    { ENUM(rung, UTIL_RUNG_COUNT) },
    { U64(flops_per_token) },
    { I64(cpu_ns, -1, INT64_MAX) },
    { ENUM(action, GUARD_ACTION_COUNT) },
    { ENUM(rule, GUARD_RULE_COUNT) },
    { I64(observed, ANY64) },
    { I64(bound, ANY64) },
    { ONE(guard, guard_state_shape) },
    { U32(flags, 0, (INT64_C(1) << UTIL_FLAG_COUNT) - 1) },
    { ONE_IF(device, device_shape) },
    { I32(fair_ppm, UTIL_UNKNOWN, INT32_MAX) },
};
static const struct shape window_shape = { SHAPE("window", window_fields,
                                                 penstock__ledger__window__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_checkpoint
#define MESSAGE Penstock__Ledger__Checkpoint
static const struct field checkpoint_fields[] = {
    { U32(run, RUN) }, { U32(attempt, FROM_ONE) },         { U64(step) },
    { U64(tokens) },   { TEXTUAL(path, 1, PATH_MAX_LEN) },
};
static const struct shape checkpoint_shape = { SHAPE(
    "checkpoint", checkpoint_fields, penstock__ledger__checkpoint__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_gate
#define MESSAGE Penstock__Ledger__Gate
static const struct field gate_fields[] = {
    { U32(run, RUN) },
    { U32(attempt, FROM_ONE) },
    { U32(slot, 0, GATES_PER_RUN_MAX - 1) },
    { U64(step) },
    { U64(tokens) },
    { I64(loss_micro, ANY64) },
    { I64(best_micro, ANY64) },
    { I64(mean_micro, ANY64) },
    { TEXTUAL(checkpoint, 0, PATH_MAX_LEN) },
};
static const struct shape gate_shape = { SHAPE("gate", gate_fields,
                                               penstock__ledger__gate__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

static const char *decision_rule(const void *record)
{
    const struct record_decision *decision = record;
    bool has_run = decision->run != NO_INDEX;
    bool has_slot = decision->slot != NO_INDEX;
    bool has_tier = decision->tier != NO_INDEX;
    if (decision->verdict == VERDICT_NONE) return "verdict is none";
    if (decision->subject == SUBJECT_GATE)
        return has_run && has_slot && !has_tier ? NULL : "a gate is named by run and slot";
    if (decision->subject == SUBJECT_RUN)
        return has_run && !has_slot && !has_tier ? NULL : "a run is named by run";
    return has_tier && !has_run && !has_slot ? NULL : "a tier is named by tier";
}

#define RECORD struct signoff
#define MESSAGE Penstock__Ledger__SignOff
static const struct field signoff_fields[] = {
    { HASH(origin) },
    { BYTES(statement, STATEMENT_MAX) },
    { BYTES(signature, SIGNATURE_MAX) },
};
static const struct shape signoff_shape = { SHAPE(
    "sign-off", signoff_fields, penstock__ledger__sign_off__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_decision
#define MESSAGE Penstock__Ledger__Decision
static const struct field decision_fields[] = {
    { ENUM(subject, SUBJECT_TIER + 1) },
    { U32(run, ANY32) },
    { U32(slot, ANY32) },
    { U32(tier, ANY32) },
    { ENUM(verdict, VERDICT_COUNT) },
    { ENUM(rule, GATE_RULE_COUNT) },
    { U32(owner, ANY32) },
    { I64(asked_ns, NOT_NEGATIVE) },
    { I64(observed_micro, ANY64) },
    { I64(bound_micro, ANY64) },
    { U32(rank, ANY32) },
    { U32(siblings, ANY32) },
    { FREE(reason, FREE_MAX) },
    { BOOL(is_signed) },
    { U64(request) },
    { BOOL(by_default) },
    { ONE_IF(signoff, signoff_shape) },
};
static const struct shape decision_shape = { SHAPE(
    "decision", decision_fields, penstock__ledger__decision__descriptor, decision_rule) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_incident
#define MESSAGE Penstock__Ledger__Incident
static const struct field incident_fields[] = {
    { U32(run, RUN) },
    { U32(attempt, FROM_ONE) },
    { U32(member, ANY32) },
    { ENUM(incident, INCIDENT_COUNT) },
    { I32(exit_code, ANY_INT) },
    { I32(signal, ANY_INT) },
    { ENUM(action, RUNBOOK_ACTION_COUNT) },
    { U32(row, ANY32) },
    { U32(step, ANY32) },
    { FREE(detail, FREE_MAX) },
    { FREE(stderr_tail, STDERR_TAIL_BYTES) },
    { FREE(ras, RAS_TEXT_BYTES) },
};
static const struct shape incident_shape = { SHAPE(
    "incident", incident_fields, penstock__ledger__incident__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_stopping
#define MESSAGE Penstock__Ledger__Stopping
static const struct field stopping_fields[] = {
    { U32(run, RUN) },
    { U32(attempt, FROM_ONE) },
    { ENUM(intent, INTENT_COUNT) },
    { ENUM(reason, REASON_COUNT) },
    { I64(park_until_ns, NOT_NEGATIVE) },
    { BOOL(pinned) },
    { U64(resume_step) },
    { U64(resume_tokens) },
    { TEXTUAL(resume_path, 0, PATH_MAX_LEN) },
};
static const struct shape stopping_shape = { SHAPE(
    "stopping", stopping_fields, penstock__ledger__stopping__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_member_ended
#define MESSAGE Penstock__Ledger__MemberEnded
static const struct field member_ended_fields[] = {
    { U32(run, RUN) },
    { U32(attempt, FROM_ONE) },
    { U32(member, 0, GANG_MAX - 1) },
    { ENUM(ending, ENDING_COUNT) },
    { I32(exit_code, ANY_INT) },
    { I32(signal, ANY_INT) },
    { U64(step) },
    { U64(tokens) },
    { I64(loss_micro, ANY64) },
};
static const struct shape member_ended_shape = { SHAPE(
    "member ended", member_ended_fields, penstock__ledger__member_ended__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_attempt_ended
#define MESSAGE Penstock__Ledger__AttemptEnded
static const struct field attempt_ended_fields[] = {
    { U32(run, RUN) },
    { U32(attempt, FROM_ONE) },
    { I64(held_ns, NOT_NEGATIVE) },
    { I64(settled_micros, NOT_NEGATIVE) },
    { I64(returned_micros, NOT_NEGATIVE) },
    { U64(step) },
    { U64(tokens) },
    { ENUM(state, RUN_STATE_COUNT) },
    { ENUM(reason, REASON_COUNT) },
    { I64(until_ns, NOT_NEGATIVE) },
};
static const struct shape attempt_ended_shape = { SHAPE(
    "attempt ended", attempt_ended_fields, penstock__ledger__attempt_ended__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_run_state
#define MESSAGE Penstock__Ledger__RunMoved
static const struct field run_state_fields[] = {
    { U32(run, RUN) },
    { ENUM(state, RUN_STATE_COUNT) },
    { ENUM(reason, REASON_COUNT) },
    { I64(until_ns, NOT_NEGATIVE) },
};
static const struct shape run_state_shape = { SHAPE(
    "run state", run_state_fields, penstock__ledger__run_moved__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

/* ---- the life as a whole ---- */

#define RECORD struct record_suspended
#define MESSAGE Penstock__Ledger__Suspended
static const struct field suspended_fields[] = {
    { FREE(cause, FREE_MAX) },
    { BOOL(at_once) },
};
static const struct shape suspended_shape = { SHAPE(
    "suspended", suspended_fields, penstock__ledger__suspended__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_space
#define MESSAGE Penstock__Ledger__Space
static const struct field space_fields[] = {
    { BOOL(low) },
};
static const struct shape space_shape = { SHAPE("space", space_fields,
                                                penstock__ledger__space__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_note
#define MESSAGE Penstock__Ledger__Note
static const struct field note_fields[] = {
    { U32(run, ANY32) },
    { FREE(text, FREE_MAX) },
};
static const struct shape note_shape = { SHAPE("note", note_fields,
                                               penstock__ledger__note__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define RECORD struct record_closed
#define MESSAGE Penstock__Ledger__Closed
static const struct field closed_fields[] = {
    { I32(exit_status, ANY_INT) },
};
static const struct shape closed_shape = { SHAPE("closed", closed_fields,
                                                 penstock__ledger__closed__descriptor, NULL) };
#undef RECORD
#undef MESSAGE

#define BODY(id) PENSTOCK__LEDGER__RECORD__BODY_##id

const struct record_shape record_shapes[RECORD_KIND_COUNT] = {
    [RECORD_CAMPAIGN] = { BODY(CAMPAIGN), &campaign_shape },
    [RECORD_RUN] = { BODY(RUN), &run_shape },
    [RECORD_EPOCH] = { BODY(EPOCH_BEGAN), &epoch_shape },
    [RECORD_WORKER] = { BODY(WORKER), &worker_shape },
    [RECORD_WORKER_LOST] = { BODY(WORKER_LOST), &worker_lost_shape },
    [RECORD_TIER] = { BODY(TIER), &tier_shape },
    [RECORD_TRANCHE] = { BODY(TRANCHE), &tranche_shape },
    [RECORD_PLACED] = { BODY(PLACED), &placed_shape },
    [RECORD_LEASE] = { BODY(LEASE), &lease_shape },
    [RECORD_MEMBER_STARTED] = { BODY(MEMBER_STARTED), &member_started_shape },
    [RECORD_WINDOW] = { BODY(WINDOW), &window_shape },
    [RECORD_CHECKPOINT] = { BODY(CHECKPOINT), &checkpoint_shape },
    [RECORD_GATE] = { BODY(GATE), &gate_shape },
    [RECORD_DECISION] = { BODY(DECISION), &decision_shape },
    [RECORD_INCIDENT] = { BODY(INCIDENT), &incident_shape },
    [RECORD_STOPPING] = { BODY(STOPPING), &stopping_shape },
    [RECORD_MEMBER_ENDED] = { BODY(MEMBER_ENDED), &member_ended_shape },
    [RECORD_ATTEMPT_ENDED] = { BODY(ATTEMPT_ENDED), &attempt_ended_shape },
    [RECORD_RUN_STATE] = { BODY(RUN_STATE), &run_state_shape },
    [RECORD_SUSPENDED] = { BODY(SUSPENDED), &suspended_shape },
    [RECORD_SPACE] = { BODY(SPACE), &space_shape },
    [RECORD_NOTE] = { BODY(NOTE), &note_shape },
    [RECORD_CLOSED] = { BODY(CLOSED), &closed_shape },
};
