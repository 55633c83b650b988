/* verdict.c - gates that were reached. */

#include "scheduler/core/internal.h"

__extension__ typedef unsigned __int128 u128;

/* What the other runs reported at the same gate point. */
static size_t collect_siblings(const struct core *core, uint32_t run_index, uint32_t gate_index)
{
    size_t count = 0;
    for (uint32_t r = 0; r < core->run_count; r++) {
        const struct run *other = &core->runs[r];
        for (uint32_t slot = 0; r != run_index && slot < other->gate_count; slot++) {
            const struct run_gate *gate = &core->run_gates[other->first_gate + slot];
            if (gate->gate_index != gate_index || !gate->reported) continue;
            core->scratch_values[0][count] = gate->loss_micro;
            core->scratch_values[1][count] = gate->mean_micro;
            count++;
        }
    }
    return count;
}

static enum gate_end end_of(const struct run *run)
{
    if (run->state == RUN_STATE_STOPPED) return GATE_END_STOPPED;
    return run_state_ended(run->state) ? GATE_END_DONE : GATE_END_NONE;
}

/* How many of the run's first points the other has reported too. */
static uint32_t common_points(const struct core *core, const struct run *run,
                              const struct run *other)
{
    const struct run_gate *gates = &core->run_gates[run->first_gate];
    const struct run_gate *others = &core->run_gates[other->first_gate];
    uint32_t common = 0;
    while (common < run->gate_count && common < other->gate_count &&
           gates[common].gate_index == others[common].gate_index && others[common].reported)
        common++;
    return common;
}

/* The points of a run lie side by side, so its curve is one field of them, read in strides. */
enum { GATE_STRIDE = sizeof(struct run_gate) / sizeof(int64_t) };
_Static_assert(sizeof(struct run_gate) % sizeof(int64_t) == 0, "a curve is read in strides");

static size_t collect_curves(const struct core *core, uint32_t run_index)
{
    size_t count = 0;
    for (uint32_t r = 0; r < core->run_count; r++) {
        const struct run *other = &core->runs[r];
        if (r == run_index || other->gate_count == 0) continue;
        uint32_t common = common_points(core, &core->runs[run_index], other);
        if (common == 0) continue;
        core->scratch_curves[count++] =
            (struct gate_curve){ &core->run_gates[other->first_gate].best_micro, GATE_STRIDE,
                                 common, end_of(other) };
    }
    return count;
}

static int64_t incumbent_of(const struct core *core, uint32_t run_index)
{
    int64_t best_micro = LOSS_UNKNOWN;
    for (uint32_t r = 0; r < core->run_count; r++)
        if (r != run_index && core->runs[r].val_count > 0)
            best_micro = min_i64(best_micro, core->runs[r].val_best_micro);
    return best_micro;
}

/* Of the steps done in closed windows, those that were not done again: where the run stands over
 * all it did. */
static int32_t goodput_of(const struct run *run)
{
    if (run->windows_steps == 0) return UTIL_UNKNOWN;
    if (run->step >= run->windows_steps) return (int32_t)PPM;
    return (int32_t)((u128)run->step * PPM / run->windows_steps);
}

static struct gate_facts facts_of(const struct core *core, uint32_t run_index, uint32_t slot)
{
    const struct run *run = &core->runs[run_index];
    const struct run_gate *first = &core->run_gates[run->first_gate], *gate = first + slot;
    bool by_steps = core->gates[gate->gate_index].step > 0;
    return (struct gate_facts){
        .loss_micro = gate->loss_micro,
        .best_loss_micro = gate->best_micro,
        .sibling_losses_micro = core->scratch_values[0],
        .sibling_means_micro = core->scratch_values[1],
        .sibling_count = collect_siblings(core, run_index, gate->gate_index),
        .scratch = core->scratch_values[2],
        .curve_micro = &first->loss_micro,
        .curve_best_micro = &first->best_micro,
        .curve_steps = by_steps ? &first->step : NULL,
        .curve_stride = GATE_STRIDE,
        .curve_count = slot + 1,
        .steps_planned = run->steps,
        .curves = core->scratch_curves,
        .curves_count = collect_curves(core, run_index),
        .incumbent_micro = incumbent_of(core, run_index),
        .util_ppm = run->util_ppm,
        .goodput_ppm = goodput_of(run),
        .spent_micros = run->spent_micros,
        .tokens = run->tokens > INT64_MAX ? INT64_MAX : (int64_t)run->tokens,
        .eval_p50_ns = -1, /* no trainer reports it yet */
        .eval_p95_ns = -1,
        .inference_micros = -1,
    };
}

static void decide_gate(struct core *core, uint32_t run_index, uint32_t slot,
                        const struct output *output)
{
    const struct run_gate *gate = &run_gates_of(core, &core->runs[run_index])[slot];
    const struct gate_spec *spec = &core->gates[gate->gate_index];
    struct gate_facts facts = facts_of(core, run_index, slot);
    struct gate_verdict verdict = gate_judge(spec, &facts);
    bool hold = verdict.verdict == VERDICT_HOLD;
    struct record record = { .kind = RECORD_DECISION,
                             .as.decision = { .subject = SUBJECT_GATE,
                                              .run = run_index,
                                              .slot = slot,
                                              .tier = NO_INDEX,
                                              .verdict = verdict.verdict,
                                              .rule = verdict.rule,
                                              .owner = hold ? spec->owner_index : NO_INDEX,
                                              .request = hold ? core->request_count + 1 : 0,
                                              .asked_ns = gate->asked_ns,
                                              .observed_micro = verdict.observed_micro,
                                              .bound_micro = verdict.bound_micro,
                                              .rank = verdict.rank,
                                              .siblings = verdict.siblings } };
    core_emit(core, output, &record);
    const struct attempt *attempt = attempt_of(core, run_index);
    if (verdict.verdict == VERDICT_GO) {
        budget_release(core, run_index, output);
    } else if (attempt) {
        struct stop_order order = { .intent = hold ? INTENT_HOLD : INTENT_STOP,
                                    .reason = hold ? REASON_SIGNOFF : REASON_GATE,
                                    .pinned_slot = slot };
        attempt_stop(core, run_index, &order, output);
    }
}

void verdict_pending(struct core *core, uint32_t run_index, const struct output *output)
{
    const struct run *run = &core->runs[run_index];
    for (uint32_t slot = 0; slot < run->gate_count; slot++) {
        const struct run_gate *gate = &run_gates_of(core, run)[slot];
        if (gate->reported && gate->verdict == VERDICT_NONE)
            decide_gate(core, run_index, slot, output);
    }
}

bool loss_finite(int64_t loss_micro)
{
    return loss_micro != LOSS_UNKNOWN && loss_micro != LOSS_NONFINITE;
}

bool loss_sound(int64_t loss_micro)
{
    const int64_t limit = INT64_C(100000000000000000); /* sums over all gates stay in range */
    return !loss_finite(loss_micro) || (loss_micro <= limit && loss_micro >= -limit);
}

/* The running average of held-out losses at gates up to this one, and the best of them. Unknown
 * and non-finite losses leave both as they are; before any finite one both equal this loss. */
static void fold_loss(const struct run *run, int64_t loss_micro, struct record_gate *gate)
{
    bool finite = loss_finite(loss_micro);
    int64_t sum = run->val_sum_micro + (finite ? loss_micro : 0);
    int64_t count = (int64_t)run->val_count + (finite ? 1 : 0);
    gate->mean_micro = count > 0 ? div_floor(sum, count) : loss_micro;
    gate->best_micro = run->val_count > 0 ? (finite ? min_i64(loss_micro, run->val_best_micro)
                                                    : run->val_best_micro)
                                          : loss_micro;
}

void on_gate(struct core *core, const struct event *event, const struct output *output)
{
    uint32_t run_index = event->as.gate.run;
    if (!attempt_fence(core, event->as.gate.worker, run_index, event->as.gate.attempt,
                       event->as.gate.member))
        return;
    const struct run *run = &core->runs[run_index];
    uint32_t slot = core_find_gate(core, run_index, event->as.gate.gate);
    if (slot == NO_INDEX) {
        core_note(core, output, run_index, "its trainer reported a gate that it does not have");
        return;
    }
    if (run_gates_of(core, run)[slot].reported) return;
    if (slot != run_next_gate(core, run)) {
        core_note(core, output, run_index, "its trainer reported a gate before an earlier one");
        return;
    }
    struct text checkpoint = event->as.gate.checkpoint;
    if (checkpoint.len >= PATH_MAX_BYTES) checkpoint = (struct text){ "", 0 };
    int64_t loss_micro = event->as.gate.loss_micro;
    if (!loss_sound(loss_micro)) loss_micro = LOSS_NONFINITE;
    struct record record = { .kind = RECORD_GATE,
                             .as.gate = { .run = run_index,
                                          .attempt = run->attempts,
                                          .slot = slot,
                                          .step = event->as.gate.step,
                                          .tokens = event->as.gate.tokens,
                                          .loss_micro = loss_micro,
                                          .checkpoint = checkpoint } };
    fold_loss(run, loss_micro, &record.as.gate);
    core_emit(core, output, &record);
    decide_gate(core, run_index, slot, output);
}
