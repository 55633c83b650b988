/* Seeded campaigns with every fault that the world knows. Argument: FIRST_SEED COUNT (default 1
 * 300). On failure the last line on stderr names the seed; run the program with that seed and
 * count 1. */

#include "tests/sim/scenario.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t seed_now; /* for whoever must repeat a failure */

static void on_abort(int signal_number)
{
    (void)signal_number;
    fprintf(stderr, "repeat it with: faults_test %llu 1\n", (unsigned long long)seed_now);
}

struct watched {
    struct shadow shadow;
    uint64_t events;
};

static void watch(void *context, const struct core *core, const struct event *event)
{
    struct watched *watched = (struct watched *)context;
    (void)event;
    watched->events++;
    shadow_compare(&watched->shadow, core);
}

static void record(void *context, const struct record *record)
{
    shadow_record(&((struct watched *)context)->shadow, record);
}

static void cut(void *context, uint64_t count)
{
    shadow_cut(&((struct watched *)context)->shadow, count);
}

struct totals {
    uint64_t events, records, finished, stopped, failed, open, lives, unfinished;
};

static void run_seed(uint64_t seed, struct totals *totals)
{
    struct rng rng = rng_of(seed);
    struct campaign campaign;
    struct watched watched = { 0 };
    struct sim_result result;
    struct error error;
    scenario_campaign(&campaign, &rng, 12);
    struct sim_options options = sim_defaults();
    options.seed = seed;
    options.workers = 1 + (uint32_t)rng_below(&rng, 8);
    options.slots_per_host = 1 + (uint32_t)rng_below(&rng, 4);
    options.steps_per_second = 2.0;
    options.speed_spread = 0.3;
    options.loss_spread = 0.2;
    options.owner_delay_ns = 90 * NS_PER_S;
    options.owner_go_share = 0.7;
    options.horizon_ns = 12 * NS_PER_HOUR;
    options.faults = (struct sim_faults){ .crash_per_hour = 6 * (double)rng_float(&rng),
                                          .hang_per_hour = 3 * (double)rng_float(&rng),
                                          .worker_loss_per_hour = seed % 3 == 0 ? 0.5 : 0.0,
                                          .coordinator_per_hour = 12 * (double)rng_float(&rng),
                                          .late_share = 0.02,
                                          .double_share = 0.05,
                                          .nonfinite_share = 0.1 };
    options.watch = watch;
    options.record = record;
    options.cut = cut;
    options.context = &watched;
    shadow_init(&watched.shadow, &campaign, options.workers);
    enum err rc = sim_run(&campaign, &options, &result, &error);
    if (rc != ERR_OK) fprintf(stderr, "%s\n", error.text);
    check(rc == ERR_OK);
    totals->events += result.events;
    totals->records += result.records;
    totals->finished += result.finished;
    totals->stopped += result.stopped;
    totals->failed += result.failed;
    totals->open += result.open;
    totals->lives += result.lives;
    totals->unfinished += result.exit_status == -1;
    shadow_fini(&watched.shadow);
    scenario_fini(&campaign);
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 300;
    struct totals totals = { 0 };
    signal(SIGABRT, on_abort);
    for (uint64_t seed = first; seed < first + count; seed++) {
        seed_now = seed;
        run_seed(seed, &totals);
    }
    printf("%llu seeds: %llu events, %llu records, %llu lives; runs: %llu finished, %llu "
           "stopped, %llu failed, %llu open; %llu campaigns reached the horizon\n",
           (unsigned long long)count, (unsigned long long)totals.events,
           (unsigned long long)totals.records, (unsigned long long)totals.lives,
           (unsigned long long)totals.finished, (unsigned long long)totals.stopped,
           (unsigned long long)totals.failed, (unsigned long long)totals.open,
           (unsigned long long)totals.unfinished);
    /* A test in which nothing happens would prove nothing. */
    check(count < 100 || (totals.finished > 100 && totals.stopped > 50 && totals.failed > 20 &&
                          totals.lives > count && totals.events > 100000));
    return 0;
}
