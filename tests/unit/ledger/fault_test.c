/* Every call to the file system fails once, in every way; the process dies at every call, with and
 * without a power cut. What was acknowledged is never lost, and nothing altered is accepted. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/ledger/kit.h"

static struct disk disk;
static struct error error;

/* How far a workload came. */
struct progress {
    uint32_t acknowledged; /* records whose commit returned ERR_OK */
    uint32_t appended;
    enum err failed;    /* the first failure; ERR_OK: it ran through */
    bool refused_after; /* after a failed commit that was final, all later calls failed too */
};

static bool came_through(struct progress *progress, enum err rc)
{
    if (rc != ERR_OK && progress->failed == ERR_OK) progress->failed = rc;
    return rc == ERR_OK;
}

/* After a failure that ended the ledger, nothing may succeed. After a full disk, everything may. */
static void try_again(struct progress *progress, struct ledger *ledger, enum err rc)
{
    struct ledger_head head = ledger_head(ledger);
    enum err again = ledger_commit(ledger, &error);
    if (rc == ERR_NO_SPACE) {
        if (again == ERR_OK) progress->acknowledged = progress->appended;
        return;
    }
    assert_int_equal(again, rc);
    assert_int_not_equal(kit_try_append(ledger, progress->appended + 1), ERR_OK);
    assert_int_equal(ledger_head(ledger).seq, head.seq);
    progress->refused_after = true;
}

/* Opens, appends n records in groups, commits each, with the ballast on the way, and closes. */
static struct progress work(uint32_t from, uint32_t groups)
{
    struct progress progress = { .acknowledged = from, .appended = from };
    struct ledger *ledger;
    if (!came_through(&progress, kit_try_open(&disk, &ledger, &error))) return progress;
    for (uint32_t group = 0; group < groups; group++) {
        for (uint32_t i = 0; i <= group % 3; i++)
            if (kit_try_append(ledger, progress.appended + 1) == ERR_OK) progress.appended++;
        enum err rc = ledger_commit(ledger, &error);
        if (!came_through(&progress, rc)) {
            try_again(&progress, ledger, rc);
            break;
        }
        progress.acknowledged = progress.appended;
        if (group == 1) (void)came_through(&progress, ledger_ballast_restore(ledger, &error));
        if (group == 2) (void)came_through(&progress, ledger_ballast_release(ledger, &error));
    }
    assert_true(ledger_head(ledger).seq >= progress.acknowledged);
    ledger_close(ledger);
    return progress;
}

/* After any accident the ledger opens, holds all that was acknowledged and nothing strange, and
 * takes more. */
static void assert_recovers(const struct progress *progress)
{
    struct progress after = { 0 };
    struct ledger *ledger = kit_open(&disk);
    uint32_t found = (uint32_t)ledger_recovered(ledger)->records;
    ledger_close(ledger);
    if (found < progress->acknowledged || found > progress->appended)
        fail_msg("%u records found; %u were acknowledged, %u appended", found,
                 progress->acknowledged, progress->appended);
    after = work(found, 4);
    assert_int_equal(after.failed, ERR_OK);
    assert_int_equal(kit_check_records(&disk), after.appended);
}

static uint32_t fail_every_call(enum disk_fault fault, int fault_errno, bool power_cut,
                                uint64_t seed)
{
    for (uint32_t n = 1;; n++) {
        disk_init(&disk, seed * 1000 + n);
        disk_plan(&disk, n, fault, fault_errno);
        struct progress progress = work(0, 7);
        bool hit = disk.calls >= n;
        if (!hit) assert_int_equal(progress.failed, ERR_OK);
        disk_restart(&disk, power_cut);
        assert_recovers(&progress);
        disk_fini(&disk);
        if (!hit) return n - 1;
    }
}

static void test_input_output_errors(void **state)
{
    (void)state;
    uint32_t calls = fail_every_call(DISK_FAIL, EIO, false, 1);
    assert_true(calls > 40);
    assert_int_equal(fail_every_call(DISK_FAIL, EIO, true, 2), calls);
    assert_int_equal(fail_every_call(DISK_FAIL, EROFS, false, 3), calls);
}

static void test_full_disks(void **state)
{
    (void)state;
    (void)fail_every_call(DISK_FAIL, ENOSPC, false, 4);
    (void)fail_every_call(DISK_FAIL, EDQUOT, true, 5);
}

/* Interrupted and short calls are nobody's failure. */
static void test_interruptions(void **state)
{
    (void)state;
    for (uint32_t n = 1;; n++) {
        disk_init(&disk, n);
        disk_plan(&disk, n, DISK_SHORT, 0);
        struct progress progress = work(0, 7);
        bool hit = disk.calls >= n;
        disk_restart(&disk, false);
        assert_recovers(&progress);
        disk_fini(&disk);
        if (!hit) break;
        if (progress.failed != ERR_OK && progress.failed != ERR_IO)
            fail_msg("call %u: %s", n, error.text);
    }
}

static void test_a_failed_sync_is_final(void **state)
{
    (void)state;
    for (int e = 0; e < 2; e++) {
        disk_init(&disk, 9);
        struct ledger *ledger = kit_open(&disk);
        kit_append(ledger, 1, 3);
        disk_plan(&disk, 4, DISK_FAIL, e == 0 ? EIO : ENOSPC); /* size, read, write, sync */
        uint32_t syncs = disk.data_syncs;
        assert_int_equal(ledger_commit(ledger, &error), ERR_IO); /* no room is no excuse here */
        assert_int_equal(ledger_commit(ledger, &error), ERR_IO);
        assert_int_equal(disk.data_syncs, syncs); /* it was not tried again */
        assert_int_equal(ledger_head(ledger).seq, 0);
        ledger_close(ledger);
        disk_fini(&disk);
    }
}

/* After a failed sync the pages may be clean and yet not on disk: the next life must write what was
 * never acknowledged once more before it trusts it. */
static void test_unacknowledged_records_are_written_again(void **state)
{
    (void)state;
    disk_init(&disk, 10);
    struct ledger *ledger = kit_open(&disk);
    kit_append(ledger, 1, 3);
    kit_commit(ledger);
    kit_append(ledger, 4, 9);
    disk_plan(&disk, 4, DISK_FAIL, EIO);
    assert_int_equal(ledger_commit(ledger, &error), ERR_IO);
    ledger_close(ledger);
    disk_restart(&disk, false);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    uint32_t writes = disk.writes;
    ledger = kit_open(&disk);
    assert_int_equal(ledger_recovered(ledger)->records, 9);
    assert_true(disk.writes > writes + 2); /* more than the lock file's two lines */
    assert_int_equal(file->synced_bytes, file->bytes);
    ledger_close(ledger);
    disk_fini(&disk);
}

static void test_full_disk_at_every_byte(void **state)
{
    (void)state;
    disk_init(&disk, 11);
    kit_make(&disk, 2);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    size_t start = file->bytes;
    struct ledger *ledger = kit_open(&disk);
    kit_append(ledger, 3, 6);
    for (int64_t room = 0;; room++) {
        disk.room_bytes = room;
        enum err rc = ledger_commit(ledger, &error);
        if (rc == ERR_OK) break;
        assert_int_equal(rc, ERR_NO_SPACE);
        assert_int_equal(file->bytes, start);
        assert_int_equal(ledger_pending(ledger), 4);
    }
    ledger_close(ledger);
    assert_int_equal(kit_check_records(&disk), 6);
    disk_fini(&disk);
}

/* A quota is a full disk, too: the batch is kept, and goes through when there is room. */
static void test_no_room_by_disk_or_quota(void **state)
{
    (void)state;
    static const int codes[] = { ENOSPC, EDQUOT };
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++) {
        disk_init(&disk, 12);
        struct ledger *ledger = kit_open(&disk);
        kit_append(ledger, 1, 3);
        disk_plan(&disk, 3, DISK_FAIL, codes[i]); /* size, read, write */
        assert_int_equal(ledger_commit(ledger, &error), ERR_NO_SPACE);
        assert_int_equal(error.sys_errno, codes[i]);
        assert_int_equal(ledger_pending(ledger), 3);
        kit_commit(ledger);
        ledger_close(ledger);
        assert_int_equal(kit_check_records(&disk), 3);
        disk_fini(&disk);
    }
}

/* ---- crashes ---- */

static void test_a_crash_at_every_call(void **state)
{
    (void)state;
    uint32_t crashes = 0;
    for (uint64_t seed = 0; seed < 32; seed++)
        crashes += fail_every_call(DISK_CRASH, 0, seed % 4 != 0, 100 + seed);
    assert_true(crashes > 2000);
}

/* The second crash comes while the first one is recovered from, at every call of it. */
static void test_a_crash_during_recovery(void **state)
{
    (void)state;
    uint32_t crashes = 0;
    for (uint32_t first = 1; first < 90; first += 4) {
        for (uint32_t second = 1; second < 30; second++) {
            disk_init(&disk, first * 1000 + second);
            disk_plan(&disk, first, DISK_CRASH, 0);
            struct progress progress = work(0, 7);
            disk_restart(&disk, true);
            disk_plan(&disk, second, DISK_CRASH, 0);
            struct ledger *ledger;
            if (kit_try_open(&disk, &ledger, &error) == ERR_OK) ledger_close(ledger);
            disk_restart(&disk, true);
            assert_recovers(&progress);
            disk_fini(&disk);
            crashes++;
        }
    }
    assert_true(crashes > 600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_input_output_errors),
        cmocka_unit_test(test_full_disks),
        cmocka_unit_test(test_interruptions),
        cmocka_unit_test(test_a_failed_sync_is_final),
        cmocka_unit_test(test_unacknowledged_records_are_written_again),
        cmocka_unit_test(test_full_disk_at_every_byte),
        cmocka_unit_test(test_no_room_by_disk_or_quota),
        cmocka_unit_test(test_a_crash_at_every_call),
        cmocka_unit_test(test_a_crash_during_recovery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
