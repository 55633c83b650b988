/* Replay and verify on ledgers that the real core wrote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "scheduler/ledger/replay.h"
#include "scheduler/ledger/verify.h"
#include "tests/unit/ledger/disk.h"
#include "tests/unit/ledger/kit.h"
#include "tests/unit/ledger/life.h"

static struct disk disk;
static struct life life;
static struct error error;
static struct verify_report report;

static int setup(void **state)
{
    (void)state;
    disk_init(&disk, 1);
    error = (struct error){ 0 };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    life_end(&life);
    disk_fini(&disk);
    return 0;
}

static void live(uint32_t restarts)
{
    life_begin(&life, "d", &disk.io);
    for (uint32_t i = 0; i < restarts; i++) {
        life_run(&life, 37);
        if (!life.done) life_restart(&life);
    }
    life_run(&life, 2000);
    assert_true(life.done);
}

struct compared {
    uint64_t seq;
};

static enum err compare(void *context, const struct ledger_entry *entry,
                        const struct core *core, struct error *why)
{
    struct compared *compared = context;
    (void)why;
    compared->seq++;
    assert_int_equal(entry->seq, compared->seq);
    assert_true(core_digest(core) == life.digests[entry->seq]);
    return ERR_OK;
}

/* Invariant 3: replaying any prefix gives the state that the live process had. */
static void test_every_prefix_replays_to_the_live_state(void **state)
{
    (void)state;
    for (uint32_t restarts = 0; restarts < 4; restarts++) {
        live(restarts);
        struct compared compared = { 0 };
        struct replay_options options = {
            .io = &disk.io, .minimum = life.limits, .visit = compare, .context = &compared
        };
        struct core *core;
        struct replay_summary summary;
        if (replay_run("d", &options, &core, &summary, &error) != ERR_OK)
            fail_msg("%s", error.text);
        assert_int_equal(compared.seq, life.last_seq);
        assert_true(core_digest(core) == core_digest(life.core));
        assert_int_equal(summary.head.seq, life.last_seq);
        assert_int_equal(summary.tail_bytes, 0);
        core_destroy(core);
        life_end(&life);
        disk_fini(&disk);
        disk_init(&disk, 1);
    }
}

/* The life has what the tests need: every kind of end, gates, a sign-off, tiers, incidents. */
static void test_the_life_is_eventful(void **state)
{
    (void)state;
    live(1);
    uint32_t kinds[RECORD_KIND_COUNT] = { 0 };
    struct ledger_reader *reader;
    const struct ledger_entry *entry;
    assert_int_equal(ledger_reader_open("d/" LEDGER_FILE, &disk.io, &reader, &error), ERR_OK);
    while (ledger_read(reader, &entry, &error) == ERR_OK && entry != NULL)
        kinds[entry->record.kind]++;
    ledger_reader_close(reader);
    assert_true(kinds[RECORD_PLACED] >= 7 && kinds[RECORD_LEASE] > 50);
    assert_true(kinds[RECORD_TRANCHE] > 8 && kinds[RECORD_INCIDENT] >= 1);
    assert_true(kinds[RECORD_DECISION] >= 6 && kinds[RECORD_WINDOW] > 10);
    assert_true(kinds[RECORD_EPOCH] == 2 && kinds[RECORD_CLOSED] == 1);
    uint32_t states[RUN_STATE_COUNT] = { 0 };
    for (uint32_t run = 0; run < LIFE_RUNS; run++)
        states[core_run(life.core, run)->state]++;
    assert_true(states[RUN_STATE_FINISHED] >= 2);
    assert_true(states[RUN_STATE_STOPPED] >= 2);
}

static void test_replay_counts_for_itself(void **state)
{
    (void)state;
    live(0);
    struct core *core;
    struct replay_summary summary;
    struct replay_options options = { .io = &disk.io };
    assert_int_equal(replay_run("d", &options, &core, &summary, NULL), ERR_OK);
    assert_int_equal(summary.limits.runs_max, LIFE_RUNS);
    assert_int_equal(summary.limits.workers_max, LIFE_WORKERS + 1);
    assert_int_equal(summary.limits.gates_max, 3);
    assert_int_equal(summary.limits.run_gates_max, 10);
    assert_int_equal(core_run_count(core), LIFE_RUNS);
    core_destroy(core);
    options.minimum = (struct core_limits){ 50, 60, 70, 80 };
    assert_int_equal(replay_run("d", &options, &core, &summary, NULL), ERR_OK);
    assert_int_equal(summary.limits.runs_max, 50);
    assert_int_equal(summary.limits.workers_max, 60);
    core_destroy(core);
}

static void test_nothing_to_replay(void **state)
{
    (void)state;
    struct core *core;
    struct replay_summary summary;
    struct replay_options options = { .io = &disk.io };
    assert_int_equal(replay_run("d", &options, &core, &summary, &error), ERR_NOT_FOUND);
    assert_null(core);
    assert_int_equal(replay_run("/nonexistent", NULL, &core, &summary, &error), ERR_NOT_FOUND);
    assert_int_equal(ledger_verify("d", &disk.io, &report, &error), ERR_NOT_FOUND);
    ledger_close(kit_open(&disk)); /* a ledger without a record is one */
    assert_int_equal(replay_run("d", &options, &core, &summary, &error), ERR_OK);
    assert_int_equal(core_run_count(core), 0);
    assert_int_equal(summary.head.bytes, 8);
    core_destroy(core);
    assert_int_equal(ledger_verify("d", &disk.io, &report, &error), ERR_OK);
}

static enum err give_up_at_ten(void *context, const struct ledger_entry *entry,
                               const struct core *core, struct error *why)
{
    (void)context;
    (void)core;
    return entry->seq == 10 ? error_set(why, ERR_REFUSED, "enough") : ERR_OK;
}

static void test_visitor_can_end_it(void **state)
{
    (void)state;
    live(0);
    struct core *core;
    struct replay_summary summary;
    struct replay_options options = { .io = &disk.io, .visit = give_up_at_ten };
    assert_int_equal(replay_run("d", &options, &core, &summary, &error), ERR_REFUSED);
    assert_null(core);
    assert_non_null(strstr(error.text, "record 10: enough"));
    assert_int_equal(summary.head.seq, 9);
}

/* ---- verify ---- */

static void test_verify_accepts_what_the_core_wrote(void **state)
{
    (void)state;
    for (uint32_t restarts = 0; restarts < 4; restarts++) {
        live(restarts);
        if (ledger_verify("d", &disk.io, &report, &error) != ERR_OK) fail_msg("%s", error.text);
        struct ledger_head head = ledger_head(life.ledger);
        assert_int_equal(report.head.seq, head.seq);
        assert_true(sha256_equal(&report.head.chain, &head.chain));
        assert_true(report.acknowledged);
        assert_int_equal(report.prefixes_checked, head.seq);
        const struct budget *budget = core_budget(life.core);
        assert_int_equal(report.totals.spent_micros, budget->spent_micros);
        assert_true(budget->spent_micros > 5 * MICROS_PER_UNIT);
        assert_int_equal(report.totals.reserved_micros, 0);
        assert_int_equal(report.totals.runs, LIFE_RUNS);
        assert_int_equal(report.bad_offset, -1);
        life_end(&life);
        disk_fini(&disk);
        disk_init(&disk, 1);
    }
}

static void test_verify_while_it_is_written(void **state)
{
    (void)state;
    life_begin(&life, "d", &disk.io);
    for (int i = 0; i < 40 && !life.done; i++) {
        life_run(&life, 3);
        assert_int_equal(ledger_verify("d", &disk.io, &report, &error), ERR_OK);
        assert_true(report.head.seq == life.last_seq);
    }
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    disk_resize(file, file->bytes + 17);
    assert_int_equal(ledger_verify("d", &disk.io, &report, &error), ERR_OK);
    assert_int_equal(report.tail_bytes, 17);
}

static void test_verify_names_the_first_bad_frame(void **state)
{
    (void)state;
    live(0);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    uint32_t count = (uint32_t)life.last_seq;
    for (uint32_t index = 0; index < count; index += 7) {
        size_t at = kit_frame_at(file, index);
        file->data[at + 20] ^= 0x10;
        assert_int_equal(ledger_verify("d", &disk.io, &report, &error), ERR_DAMAGED);
        if (index + 1 < count) {
            assert_int_equal(report.bad_offset, at);
            assert_int_equal(report.bad_seq, index + 1);
        }
        file->data[at + 20] ^= 0x10;
    }
    assert_int_equal(ledger_verify("d", &disk.io, &report, &error), ERR_OK);
}

static void test_verify_misses_what_was_acknowledged(void **state)
{
    (void)state;
    live(0);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    file->bytes = kit_frame_at(file, (uint32_t)life.last_seq - 3);
    assert_int_equal(ledger_verify("d", &disk.io, &report, &error), ERR_DAMAGED);
    assert_non_null(strstr(error.text, "acknowledged and is not there"));
    assert_int_equal(report.bad_offset, file->bytes);
    disk_remove(&disk, LEDGER_LOCK_FILE);
    assert_int_equal(ledger_verify("d", &disk.io, &report, &error), ERR_OK);
    assert_false(report.acknowledged);
}

/* Frames that are whole, of records that cannot follow each other: only replay can tell. */
static void test_verify_refuses_records_that_cannot_follow(void **state)
{
    (void)state;
    kit_make(&disk, 9);
    assert_int_equal(ledger_verify("d", &disk.io, &report, &error), ERR_DAMAGED);
    assert_int_equal(report.bad_seq, 1); /* an epoch without a campaign */
    assert_int_equal(report.bad_offset, 8);
    assert_non_null(strstr(error.text, "offset 8, record 1: "));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_every_prefix_replays_to_the_live_state),
        TEST(test_the_life_is_eventful),
        TEST(test_replay_counts_for_itself),
        TEST(test_nothing_to_replay),
        TEST(test_visitor_can_end_it),
        TEST(test_verify_accepts_what_the_core_wrote),
        TEST(test_verify_while_it_is_written),
        TEST(test_verify_names_the_first_bad_frame),
        TEST(test_verify_misses_what_was_acknowledged),
        TEST(test_verify_refuses_records_that_cannot_follow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
