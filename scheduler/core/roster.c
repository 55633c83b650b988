#include "scheduler/core/internal.h"

#include <string.h>

/* ---- hosts ------------------------------------------------------------------------------- */

uint32_t roster_host(struct core *core, struct text name)
{
    for (uint32_t host = 0; host < core->host_count; host++)
        if (text_is(name, core->hosts[host])) return host;
    if (core->host_count == core->hosts_max) return NO_INDEX;
    text_copy(core->hosts[core->host_count], NAME_MAX_BYTES, name);
    return core->host_count++;
}

/* ---- member blocks ----------------------------------------------------------------------- */

/* Blocks have 2^k members. A freed block heads the list of its size; its first member's
 * `worker` then names the next free block. Blocks come from that list, else from the unused top
 * of the pool, else from splitting a larger free block. The order depends on the records alone.
 */

static uint32_t block_size_of(uint32_t count)
{
    uint32_t k = 0;
    while ((UINT32_C(1) << k) < count)
        k++;
    check(k < MEMBER_BLOCK_SIZES);
    return k;
}

static uint32_t larger_free_block(const struct core *core, uint32_t k)
{
    while (k < MEMBER_BLOCK_SIZES && core->free_blocks[k] == NO_INDEX)
        k++;
    return k;
}

static void push_block(struct core *core, uint32_t k, uint32_t first)
{
    core->members[first].worker = core->free_blocks[k];
    core->free_blocks[k] = first;
}

static uint32_t pop_block(struct core *core, uint32_t k)
{
    uint32_t first = core->free_blocks[k];
    core->free_blocks[k] = core->members[first].worker;
    return first;
}

bool roster_has_members(const struct core *core, uint32_t count)
{
    uint32_t k = block_size_of(count);
    return core->free_blocks[k] != NO_INDEX ||
           core->members_top + (UINT32_C(1) << k) <= core->members_max ||
           larger_free_block(core, k) < MEMBER_BLOCK_SIZES;
}

uint32_t roster_take_members(struct core *core, uint32_t count)
{
    uint32_t k = block_size_of(count);
    if (core->free_blocks[k] != NO_INDEX) return pop_block(core, k);
    if (core->members_top + (UINT32_C(1) << k) <= core->members_max) {
        uint32_t first = core->members_top;
        core->members_top += UINT32_C(1) << k;
        return first;
    }
    uint32_t larger = larger_free_block(core, k);
    if (larger == MEMBER_BLOCK_SIZES) return NO_INDEX;
    uint32_t first = pop_block(core, larger);
    while (larger > k) {
        larger--;
        push_block(core, larger, first + (UINT32_C(1) << larger));
    }
    return first;
}

void roster_return_members(struct core *core, uint32_t first, uint32_t count)
{
    push_block(core, block_size_of(count), first);
}

/* ---- workers ----------------------------------------------------------------------------- */

void roster_probe(const struct core *core, uint32_t worker, const struct output *output)
{
    uint32_t host = core->workers[worker].host;
    for (uint32_t a = 0; a < core->attempts_max; a++) {
        const struct attempt *attempt = &core->attempts[a];
        if (attempt->run == NO_INDEX) continue;
        for (uint32_t i = 0; i < attempt->member_count; i++) {
            const struct member *member = &core->members[attempt->first_member + i];
            if (member->state != MEMBER_LOST || member->host != host) continue;
            core_act(output, &(struct action){ .kind = ACTION_PROBE,
                                               .worker = worker,
                                               .run = attempt->run,
                                               .attempt = attempt->number,
                                               .member = i });
        }
    }
}

void on_hello(struct core *core, const struct event *event, const struct output *output)
{
    const struct record_worker *hello = &event->as.hello;
    if (hello->worker == 0 || hello->worker >= core->limits.workers_max ||
        hello->class_index >= core->campaign.class_count ||
        core->workers[hello->worker].present) {
        core_note(core, output, NO_INDEX, "a worker's hello was refused");
        return;
    }
    struct record record = { .kind = RECORD_WORKER, .as.worker = *hello };
    core_emit(core, output, &record);
    roster_probe(core, hello->worker, output);
}

void on_worker_lost(struct core *core, const struct event *event, const struct output *output)
{
    uint32_t worker = event->as.worker_lost.worker;
    if (worker >= core->limits.workers_max || !core->workers[worker].present) return;
    uint32_t run = core->workers[worker].run;
    struct record record = { .kind = RECORD_WORKER_LOST,
                             .as.worker_lost = event->as.worker_lost };
    core_emit(core, output, &record);
    if (run == NO_INDEX) return;
    const struct attempt *attempt = attempt_of(core, run);
    if (!attempt || attempt->intent != INTENT_NONE) return;
    struct failure failure = { .incident = INCIDENT_LOST_WORKER,
                               .member = NO_INDEX,
                               .exit_code = -1,
                               .detail = event->as.worker_lost.cause };
    attempt_fail(core, run, &failure, output);
}
