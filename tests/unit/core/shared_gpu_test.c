/* Gangs on hosts whose slots share GPUs: whatever comes, goes and ends, no two members of a gang are on one
 * GPU, and a gang that fits the free GPUs is placed. Judged by the ids, with code of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/rng.h"
#include "scheduler/core/internal.h"

enum { WORKERS = 13, RUNS = 40, EVENTS = 400, SEEDS = 60 };
#define T0 (INT64_C(1700000000) * NS_PER_S)

struct world {
    struct core *core;
    struct rng rng;
    int64_t now_ns;
    uint64_t placed;
};

static void keep_record(void *context, const struct record *record)
{
    struct world *world = context;
    if (record->kind == RECORD_PLACED) world->placed++;
}

static void keep_action(void *context, const struct action *action)
{
    (void)context;
    (void)action;
}

static void step(struct world *world, struct event event)
{
    struct output output = { world, keep_record, keep_action };
    event.now_ns = world->now_ns;
    core_step(world->core, &event, &output);
    core_check(world->core);
}

static uint32_t pick(struct world *world, uint32_t count)
{
    return (uint32_t)rng_below(&world->rng, count);
}

static void hello(struct world *world, uint32_t worker)
{
    char host[16], pci[NAME_MAX_BYTES] = "";
    snprintf(host, sizeof host, "h%u", pick(world, 2));
    if (pick(world, 4) > 0) snprintf(pci, sizeof pci, "00000000:%02x:00.0", pick(world, 3));
    step(world, (struct event){ .kind = EVENT_HELLO,
                                .as.hello = { .worker = worker,
                                              .host = text_of(host),
                                              .pci_bus_id = text_of(pci),
                                              .class_index = pick(world, 8) == 0,
                                              .threads = 1 } });
}

static void end_run(struct world *world, uint32_t run)
{
    const struct attempt *attempt = core_attempt(world->core, run);
    if (attempt == NULL) return;
    uint32_t first = attempt->first_member, count = attempt->member_count,
             number = attempt->number;
    for (uint32_t i = 0; i < count; i++)
        step(world, (struct event){
                        .kind = EVENT_EXITED,
                        .as.exited = { .worker = core_member(world->core, first + i)->worker,
                                       .run = run,
                                       .attempt = number,
                                       .member = i,
                                       .ending = ENDING_OWN,
                                       .telemetry = { .loss_micro = LOSS_UNKNOWN,
                                                      .val_loss_micro = LOSS_UNKNOWN,
                                                      .cpu_ns = -1 } } });
}

static void create(struct world *world, uint64_t seed)
{
    struct core_limits limits = { RUNS, WORKERS, WORKERS, RUNS };
    struct campaign_spec spec = { .name = "shared",
                                  .currency = "USD",
                                  .budget_micros = INT64_C(1000000000000),
                                  .tier_count = 1,
                                  .tiers = { { INT64_C(1000000000000), NO_INDEX } },
                                  .owner_count = 1,
                                  .owners = { { .name = "ada" } },
                                  .class_count = 2,
                                  .classes = { { "a", 1000 }, { "b", 2000 } },
                                  .backfill = seed % 2 == 0,
                                  .heartbeat_ns = NS_PER_S,
                                  .lease_ns = 3600 * NS_PER_S,
                                  .stop_grace_ns = NS_PER_S,
                                  .worker_timeout_ns = 10 * NS_PER_S,
                                  .guard_count = 1,
                                  .guards = { { .window_ns = NS_PER_MIN } } };
    *world = (struct world){ .core = core_create(&limits), .now_ns = T0 };
    assert_non_null(world->core);
    world->rng = rng_of(seed);
    step(world, (struct event){ .kind = EVENT_CAMPAIGN, .as.campaign = &spec });
}

static void begin_life(struct world *world, uint64_t seed)
{
    /* One that never comes keeps every third life joining: nothing is lent then. */
    uint32_t workers = seed % 3 == 0 ? WORKERS : WORKERS - 1;
    step(world,
         (struct event){ .kind = EVENT_EPOCH, .as.epoch = { .epoch = 1, .workers = workers } });
}

static void submit(struct world *world)
{
    struct run_spec run = { .ranks = 1 + pick(world, 4),
                            .class_index = pick(world, 3) ? NO_INDEX : pick(world, 2),
                            .budget_micros = 1000000,
                            .first_tranche_micros = 1000000 };
    snprintf(run.name, sizeof run.name, "r%u", core_run_count(world->core));
    step(world, (struct event){ .kind = EVENT_SUBMIT, .as.submit = &run });
}

/* ---- what must hold ---- */

static bool same_gpu(const struct worker *a, const struct worker *b)
{
    return a->pci_bus_id[0] && a->host == b->host &&
           strcmp(a->pci_bus_id, b->pci_bus_id) == 0 && a->class_index == b->class_index;
}

static void no_gang_is_twice_on_a_gpu(const struct world *world)
{
    for (uint32_t run = 0; run < core_run_count(world->core); run++) {
        const struct attempt *attempt = core_attempt(world->core, run);
        for (uint32_t i = 0; attempt && i < attempt->member_count; i++)
            for (uint32_t k = 0; k < i; k++) {
                const struct member *a = core_member(world->core, attempt->first_member + i);
                const struct member *b = core_member(world->core, attempt->first_member + k);
                if (a->state > MEMBER_RUNNING || b->state > MEMBER_RUNNING) continue;
                assert_false(same_gpu(core_worker(world->core, a->worker),
                                      core_worker(world->core, b->worker)));
            }
    }
}

/* GPUs, and slots without one, that have an idle slot of the class. */
static uint32_t free_devices(const struct world *world, uint32_t class_index)
{
    uint32_t count = 0;
    for (uint32_t w = 1; w < WORKERS; w++) {
        const struct worker *self = core_worker(world->core, w);
        bool counts =
            self->present && self->run == NO_INDEX && self->class_index == class_index;
        for (uint32_t v = 1; counts && v < w; v++) {
            const struct worker *other = core_worker(world->core, v);
            counts = !(other->present && other->run == NO_INDEX && same_gpu(self, other));
        }
        count += counts;
    }
    return count;
}

static bool may_use(const struct run *run, uint32_t class_index)
{
    return run->class_index == NO_INDEX || run->class_index == class_index;
}

/* With nobody before it in the queue, a run that fits is not left waiting. */
static void the_first_in_line_is_placed(const struct world *world)
{
    for (uint32_t r = 0; r < core_run_count(world->core); r++) {
        const struct run *run = core_run(world->core, r);
        if (run->state != RUN_STATE_QUEUED) continue;
        for (uint32_t c = 0; c < 2; c++)
            assert_false(may_use(run, c) && free_devices(world, c) >= run->ranks);
        return;
    }
}

static void whatever_comes_no_gang_shares_a_gpu(void **state)
{
    (void)state;
    uint64_t placed = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world world;
        create(&world, seed);
        for (uint32_t i = 0; i < 4; i++)
            submit(&world);
        begin_life(&world, seed);
        for (uint32_t w = 1; w < WORKERS; w++)
            hello(&world, w);
        for (uint32_t i = 0; i < EVENTS && !world.core->closed; i++) {
            uint32_t worker = 1 + pick(&world, WORKERS - 1), what = pick(&world, 8);
            world.now_ns += NS_PER_MS;
            if (!core_worker(world.core, worker)->present)
                hello(&world, worker);
            else if (what == 0)
                step(&world, (struct event){ .kind = EVENT_WORKER_LOST,
                                             .as.worker_lost = { worker, TEXT("test") } });
            else if (what < 4 && core_run_count(world.core) < RUNS)
                submit(&world);
            else if (core_run_count(world.core) > 0)
                end_run(&world, pick(&world, core_run_count(world.core)));
            no_gang_is_twice_on_a_gpu(&world);
            the_first_in_line_is_placed(&world);
        }
        placed += world.placed;
        core_destroy(world.core);
    }
    if (placed <= 10 * SEEDS) fail_msg("only %d gangs were placed", (int)placed);
}

/* A ledger that says so is refused, whoever wrote it. */
static void a_record_that_places_so_is_refused(void **state)
{
    (void)state;
    struct world world;
    struct error error;
    create(&world, 1);
    static const char *const ids[] = { "00000000:01:00.0", "00000000:01:00.0",
                                       "00000000:02:00.0" };
    struct run_spec run = { .name = "pair",
                            .ranks = 2,
                            .class_index = 1, /* nobody is of that class: it waits */
                            .budget_micros = 1000000,
                            .first_tranche_micros = 1000000 };
    step(&world, (struct event){ .kind = EVENT_SUBMIT, .as.submit = &run });
    begin_life(&world, 3);
    for (uint32_t w = 1; w <= 3; w++)
        step(&world, (struct event){ .kind = EVENT_HELLO,
                                     .as.hello = { .worker = w,
                                                   .host = TEXT("h"),
                                                   .pci_bus_id = text_of(ids[w - 1]),
                                                   .threads = 1 } });
    uint32_t workers[] = { 2, 1 };
    struct record record = { .kind = RECORD_PLACED,
                             .at_ns = world.now_ns,
                             .as.placed = { .attempt = 1,
                                            .member_count = 2,
                                            .workers = workers,
                                            .lease_end_ns = world.now_ns + NS_PER_S } };
    assert_int_equal(core_apply(world.core, &record, &error), ERR_DAMAGED);
    assert_non_null(strstr(error.text, "two members of a gang on one GPU"));
    workers[1] = 3;
    assert_int_equal(core_apply(world.core, &record, &error), ERR_OK);
    core_check(world.core);
    core_destroy(world.core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_comes_no_gang_shares_a_gpu),
        cmocka_unit_test(a_record_that_places_so_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
