/* roster.c - hosts, workers, and the pool that gang members live in. */

#include "scheduler/core/internal.h"

#include <string.h>

/* ---- hosts --------------------------------------------------------------------------- */

static bool host_in_use(const struct core *core, uint32_t host)
{
    for (uint32_t w = 0; w < core->limits.workers_max; w++)
        if (core->workers[w].present && core->workers[w].host == host) return true;
    for (uint32_t a = 0; a < core->attempts_max; a++) {
        const struct attempt *attempt = &core->attempts[a];
        for (uint32_t i = 0; attempt->run != NO_INDEX && i < attempt->member_count; i++)
            if (core->members[attempt->first_member + i].host == host) return true;
    }
    return false;
}

uint32_t roster_host(struct core *core, struct text name)
{
    for (uint32_t host = 0; host < core->host_count; host++)
        if (text_is(name, core->hosts[host])) return host;
    uint32_t host = core->host_count;
    if (host == core->hosts_max) { /* many lives on many hosts: forget one that nothing names */
        host = 0;
        while (host < core->hosts_max && host_in_use(core, host))
            host++;
        if (host == core->hosts_max) return NO_INDEX;
    } else {
        core->host_count++;
    }
    text_copy(core->hosts[host], NAME_MAX_BYTES, name);
    return host;
}

/* ---- member blocks ------------------------------------------------------------------- */

/* A buddy system (Knuth, TAOCP 1, section 2.5): blocks of 2^k members begin at multiples of 2^k; the
 * block that ends where its buddy begins is joined with it when both are free. A free block's first
 * member links its list: `worker` is the next free block of its size, `host` the one before. What is
 * taken depends on the records alone. */

static uint32_t block_size_of(uint32_t count)
{
    uint32_t k = 0;
    while ((UINT32_C(1) << k) < count)
        k++;
    check(k < MEMBER_BLOCK_SIZES);
    return k;
}

static void push_block(struct core *core, uint32_t k, uint32_t first)
{
    uint32_t next = core->free_blocks[k];
    core->members[first].worker = next;
    core->members[first].host = NO_INDEX;
    if (next != NO_INDEX) core->members[next].host = first;
    core->free_blocks[k] = first;
    core->free_sizes[first] = (uint8_t)(k + 1);
}

static void unlink_block(struct core *core, uint32_t k, uint32_t first)
{
    uint32_t next = core->members[first].worker, before = core->members[first].host;
    if (next != NO_INDEX) core->members[next].host = before;
    if (before != NO_INDEX)
        core->members[before].worker = next;
    else
        core->free_blocks[k] = next;
    core->free_sizes[first] = 0;
}

void roster_start(struct core *core)
{
    for (uint32_t k = 0; k < MEMBER_BLOCK_SIZES; k++)
        core->free_blocks[k] = NO_INDEX;
    for (uint32_t first = core->members_max; first > 0; first -= GANG_MAX)
        push_block(core, MEMBER_BLOCK_SIZES - 1, first - GANG_MAX);
}

/* The smallest size from k on that has a free block; MEMBER_BLOCK_SIZES when none has. */
static uint32_t free_size_from(const struct core *core, uint32_t k)
{
    while (k < MEMBER_BLOCK_SIZES && core->free_blocks[k] == NO_INDEX)
        k++;
    return k;
}

bool roster_has_members(const struct core *core, uint32_t count)
{
    return free_size_from(core, block_size_of(count)) < MEMBER_BLOCK_SIZES;
}

uint32_t roster_take_members(struct core *core, uint32_t count)
{
    uint32_t k = block_size_of(count), size = free_size_from(core, k);
    if (size == MEMBER_BLOCK_SIZES) return NO_INDEX;
    uint32_t first = core->free_blocks[size];
    unlink_block(core, size, first);
    while (size > k) {
        size--;
        push_block(core, size, first + (UINT32_C(1) << size));
    }
    return first;
}

void roster_return_members(struct core *core, uint32_t first, uint32_t count)
{
    uint32_t k = block_size_of(count);
    for (; k < MEMBER_BLOCK_SIZES - 1; k++) {
        uint32_t buddy = first ^ (UINT32_C(1) << k);
        if (core->free_sizes[buddy] != k + 1) break;
        unlink_block(core, k, buddy);
        if (buddy < first) first = buddy;
    }
    push_block(core, k, first);
}

/* ---- GPUs that slots share ------------------------------------------------------------- */

static bool on_one_gpu(const struct worker *a, const struct worker *b)
{
    return a->host == b->host && a->class_index == b->class_index && a->pci_bus_id[0] &&
           strcmp(a->pci_bus_id, b->pci_bus_id) == 0;
}

void roster_join_device(struct core *core, uint32_t worker)
{
    struct worker *workers = core->workers;
    workers[worker].device = worker;
    for (uint32_t w = 1; w < core->limits.workers_max; w++) {
        if (w == worker || !workers[w].present || !on_one_gpu(&workers[w], &workers[worker]))
            continue;
        if (w < worker) {
            workers[worker].device = workers[w].device;
            return;
        }
        workers[w].device = worker;
    }
}

void roster_leave_device(struct core *core, uint32_t worker)
{
    struct worker *workers = core->workers;
    uint32_t next = NO_INDEX;
    if (workers[worker].device != worker) return;
    for (uint32_t w = worker + 1; w < core->limits.workers_max; w++) {
        if (!workers[w].present || workers[w].device != worker) continue;
        if (next == NO_INDEX) next = w;
        workers[w].device = next;
    }
}

/* ---- workers ------------------------------------------------------------------------- */

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
