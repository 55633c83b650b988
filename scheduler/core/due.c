/* A binary heap of runs by deadline, with each run's place kept, so that a change costs log n.
 */

#include "scheduler/core/internal.h"

/* When every trainer of the attempt is dead, whatever anybody says. While some agent still answers for
 * one, its word is waited for a little longer. */
static int64_t death_of(const struct core *core, const struct attempt *attempt)
{
    int64_t death_ns = add_saturated(attempt->lease_end_ns, budget_margin_ns(core));
    for (uint32_t i = 0; i < attempt->member_count; i++)
        if (core->members[attempt->first_member + i].state <= MEMBER_RUNNING)
            return add_saturated(death_ns, 2 * core->campaign.heartbeat_ns);
    return death_ns;
}

static int64_t deadline_of(const struct core *core, const struct run *run)
{
    if (run->state == RUN_STATE_PARKED) return run->park_until_ns;
    int64_t due_ns = request_due_ns(core, &run->request);
    if (run->attempt_slot == NO_INDEX) return due_ns;
    return min_i64(due_ns, death_of(core, &core->attempts[run->attempt_slot]));
}

static void heap_set(struct core *core, uint32_t at, uint32_t run)
{
    core->due_heap[at] = run;
    core->due_at[run] = at;
}

static bool earlier(const struct core *core, uint32_t a, uint32_t b)
{
    if (core->due_ns[a] != core->due_ns[b]) return core->due_ns[a] < core->due_ns[b];
    return a < b;
}

static void heap_sift(struct core *core, uint32_t at)
{
    uint32_t run = core->due_heap[at];
    while (at > 0 && earlier(core, run, core->due_heap[(at - 1) / 2])) {
        heap_set(core, at, core->due_heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= core->due_count) break;
        if (child + 1 < core->due_count &&
            earlier(core, core->due_heap[child + 1], core->due_heap[child]))
            child++;
        if (!earlier(core, core->due_heap[child], run)) break;
        heap_set(core, at, core->due_heap[child]);
        at = child;
    }
    heap_set(core, at, run);
}

void due_update(struct core *core, uint32_t run)
{
    int64_t deadline_ns = deadline_of(core, &core->runs[run]);
    uint32_t at = core->due_at[run];
    core->due_ns[run] = deadline_ns;
    if (deadline_ns == TIME_NEVER && at == NO_INDEX) return;
    if (deadline_ns == TIME_NEVER) {
        core->due_at[run] = NO_INDEX;
        uint32_t last = core->due_heap[--core->due_count];
        if (last == run) return;
        heap_set(core, at, last);
        heap_sift(core, at);
        return;
    }
    if (at == NO_INDEX) {
        at = core->due_count++;
        heap_set(core, at, run);
    }
    heap_sift(core, at);
}

int64_t core_due_ns(const struct core *core)
{
    if (core->closed || core->epoch == 0) return TIME_NEVER;
    int64_t due_ns = core->due_count > 0 ? core->due_ns[core->due_heap[0]] : TIME_NEVER;
    int64_t listened_ns = core->opened_ns + CORE_LISTEN_NS;
    due_ns = min_i64(due_ns, request_due_ns(core, &core->budget.request));
    if (core_joining(core)) due_ns = min_i64(due_ns, core->opened_ns + CORE_JOIN_NS);
    return core->now_ns < listened_ns ? min_i64(due_ns, listened_ns) : due_ns;
}

/* The deadline of whoever has not ended has passed: it is dead, and is charged in full. */
static void charge_silent_members(struct core *core, uint32_t run, const struct output *output)
{
    struct attempt *attempt = attempt_of(core, run);
    if (attempt->intent == INTENT_NONE) {
        struct failure failure = { .incident = INCIDENT_LEASE_EXPIRED,
                                   .member = NO_INDEX,
                                   .exit_code = -1,
                                   .detail = TEXT("nobody asked for its next lease") };
        attempt_fail(core, run, &failure, output);
    }
    for (uint32_t i = 0; i < attempt->member_count; i++) {
        if (core->members[attempt->first_member + i].state == MEMBER_ENDED) continue;
        const struct run *r = &core->runs[run];
        struct record record = { .kind = RECORD_MEMBER_ENDED,
                                 .as.member_ended = { .run = run,
                                                      .attempt = attempt->number,
                                                      .member = i,
                                                      .ending = ENDING_CHARGED,
                                                      .exit_code = -1,
                                                      .step = r->step,
                                                      .tokens = r->tokens,
                                                      .loss_micro = r->loss_micro } };
        core_emit(core, output, &record);
    }
    attempt_end_if_over(core, run, output);
}

void due_handle(struct core *core, const struct output *output)
{
    while (request_due_ns(core, &core->budget.request) <= core->now_ns)
        request_overdue(core, NO_INDEX, output);
    while (core->due_count > 0 && core->due_ns[core->due_heap[0]] <= core->now_ns) {
        uint32_t run = core->due_heap[0];
        if (core->runs[run].state == RUN_STATE_PARKED) {
            struct record record = { .kind = RECORD_RUN_STATE,
                                     .as.run_state = { .run = run,
                                                       .state = RUN_STATE_QUEUED,
                                                       .reason = REASON_RELEASED } };
            core_emit(core, output, &record);
        } else if (request_due_ns(core, &core->runs[run].request) <= core->now_ns) {
            request_overdue(core, run, output);
        } else {
            charge_silent_members(core, run, output);
        }
    }
}
