/* The writer and the reader on a disk in memory; faults and crashes are in fault_test.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "scheduler/ledger/frame.h"
#include "tests/unit/ledger/kit.h"

static struct disk disk;
static struct ledger *ledger;
static struct error error;

static int setup(void **state)
{
    (void)state;
    disk_init(&disk, 1);
    ledger = NULL;
    error = (struct error){ 0 };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ledger_close(ledger);
    disk_fini(&disk);
    return 0;
}

/* ---- writing and reading back ---- */

static void test_records_come_back(void **state)
{
    (void)state;
    ledger = kit_open(&disk);
    assert_true(ledger_recovered(ledger)->created);
    kit_append(ledger, 1, 40);
    assert_int_equal(ledger_pending(ledger), 40);
    assert_int_equal(ledger_head(ledger).seq, 0);
    kit_commit(ledger);
    assert_int_equal(ledger_pending(ledger), 0);
    struct ledger_head head = ledger_head(ledger);
    assert_int_equal(head.seq, 40);
    assert_int_equal(head.epoch, 1);
    ledger_close(ledger);

    ledger = kit_open(&disk);
    assert_false(ledger_recovered(ledger)->created);
    assert_int_equal(ledger_recovered(ledger)->records, 40);
    assert_int_equal(ledger_recovered(ledger)->cut_bytes, 0);
    struct ledger_head again = ledger_head(ledger);
    assert_true(again.seq == head.seq && again.epoch == head.epoch &&
                again.at_ns == head.at_ns);
    assert_true(again.bytes == head.bytes && sha256_equal(&again.chain, &head.chain));
    kit_append(ledger, 41, 60);
    kit_commit(ledger);
    assert_int_equal(kit_check_records(&disk), 60);
}

static void test_chain_is_as_documented(void **state)
{
    (void)state;
    kit_make(&disk, 3);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    assert_memory_equal(file->data, "PNKLEDG1", 8);
    size_t at = 8;
    struct sha256 chain = { { 0 } };
    for (int i = 0; i < 3; i++) {
        const uint8_t *f = file->data + at;
        size_t length =
            (size_t)f[0] | (size_t)f[1] << 8 | (size_t)f[2] << 16 | (size_t)f[3] << 24;
        uint32_t crc = crc32c(crc32c(0, f, 4), f + 8, length);
        assert_true(f[4] == (crc & 0xFF) && f[5] == (crc >> 8 & 0xFF));
        assert_true(f[6] == (crc >> 16 & 0xFF) && f[7] == crc >> 24);
        chain = sha256_of2((struct text){ (const char *)chain.bytes, SHA256_BYTES },
                           (struct text){ (const char *)f + 8, length });
        assert_memory_equal(f + 8 + length, chain.bytes, SHA256_BYTES);
        at += 8 + length + SHA256_BYTES;
    }
    assert_int_equal(at, file->bytes);
}

static void test_a_batch_is_one_write_and_one_sync(void **state)
{
    (void)state;
    ledger = kit_open(&disk);
    kit_append(ledger, 1, 64);
    uint32_t writes = disk.writes, syncs = disk.data_syncs;
    kit_commit(ledger);
    assert_int_equal(disk.data_syncs - syncs, 1);
    assert_int_equal(disk.writes - writes, 3); /* the batch, and two lines of the lock file */
    writes = disk.writes, syncs = disk.data_syncs;
    kit_commit(ledger); /* nothing to do */
    assert_int_equal(disk.writes, writes);
    assert_int_equal(disk.data_syncs, syncs);
}

static void test_a_large_batch_is_several_writes(void **state)
{
    (void)state;
    static char file_text[1000000];
    static struct record record;
    struct sample sample = sample_of(5);
    ledger = kit_open(&disk);
    for (int i = 0; i < 11; i++) {
        sample_record(&sample, RECORD_CAMPAIGN, &record);
        record.at_ns = i;
        record.as.campaign.file_text = (struct text){ file_text, sizeof(file_text) };
        assert_int_equal(ledger_append(ledger, &record, &error), ERR_OK);
    }
    uint32_t syncs = disk.data_syncs;
    kit_commit(ledger);
    assert_int_equal(disk.data_syncs - syncs, 3);
    assert_int_equal(ledger_head(ledger).seq, 11);
    ledger_close(ledger);
    ledger = kit_open(&disk);
    assert_int_equal(ledger_recovered(ledger)->records, 11);
}

static void test_append_refuses_what_does_not_follow(void **state)
{
    (void)state;
    static struct record record;
    struct sample sample = sample_of(6);
    ledger = kit_open(&disk);
    kit_append(ledger, 1, 5);
    sample_record(&sample, RECORD_NOTE, &record);
    record.at_ns = 1;
    assert_int_equal(ledger_append(ledger, &record, &error), ERR_REFUSED);
    sample_record(&sample, RECORD_EPOCH, &record);
    record.at_ns = INT64_MAX;
    record.as.epoch.epoch = 1;
    assert_int_equal(ledger_append(ledger, &record, &error), ERR_REFUSED);
    sample_record(&sample, RECORD_LEASE, &record);
    record.at_ns = INT64_MAX;
    record.as.lease.reserved_micros = -5;
    assert_int_equal(ledger_append(ledger, &record, &error), ERR_INPUT);
    assert_int_equal(ledger_pending(ledger), 5);
    kit_append(ledger, 6, 9); /* none of them left a trace */
    kit_commit(ledger);
    assert_int_equal(kit_check_records(&disk), 9);
}

static void test_reader_follows_a_writer(void **state)
{
    (void)state;
    ledger = kit_open(&disk);
    struct ledger_reader *reader;
    const struct ledger_entry *entry;
    assert_int_equal(ledger_reader_open("d/" LEDGER_FILE, &disk.io, &reader, &error), ERR_OK);
    for (uint32_t n = 0; n < 30; n++) {
        assert_int_equal(ledger_read(reader, &entry, &error), ERR_OK);
        assert_null(entry);
        kit_append(ledger, n + 1, n + 1);
        kit_commit(ledger);
        assert_int_equal(ledger_read(reader, &entry, &error), ERR_OK);
        assert_non_null(entry);
        assert_int_equal(entry->seq, n + 1);
        struct ledger_head head = ledger_head(ledger);
        assert_true(sha256_equal(&head.chain, &entry->chain));
        assert_int_equal(entry->offset + entry->frame_bytes, head.bytes);
    }
    ledger_reader_close(reader);
}

/* A reader that meets a write in the middle, at every byte of it, takes it for the end, and reads
 * on when the rest is there. */
static void test_reader_waits_for_an_unfinished_frame(void **state)
{
    (void)state;
    kit_make(&disk, 3);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    size_t whole = file->bytes, second = kit_frame_at(file, 2);
    for (size_t cut = second; cut < whole; cut++) {
        struct ledger_reader *reader;
        const struct ledger_entry *entry;
        file->bytes = cut;
        assert_int_equal(ledger_reader_open("d/" LEDGER_FILE, &disk.io, &reader, &error),
                         ERR_OK);
        assert_int_equal(ledger_read(reader, &entry, &error), ERR_OK);
        assert_int_equal(ledger_read(reader, &entry, &error), ERR_OK);
        assert_int_equal(ledger_read(reader, &entry, &error), ERR_OK);
        assert_null(entry);
        assert_int_equal(ledger_reader_tail_bytes(reader), cut - second);
        file->bytes = whole;
        assert_int_equal(ledger_read(reader, &entry, &error), ERR_OK);
        assert_non_null(entry);
        assert_int_equal(entry->seq, 3);
        assert_int_equal(ledger_reader_tail_bytes(reader), 0);
        ledger_reader_close(reader);
    }
}

static void test_reader_refuses_what_is_no_ledger(void **state)
{
    (void)state;
    struct ledger_reader *reader;
    assert_int_equal(ledger_reader_open("d/" LEDGER_FILE, &disk.io, &reader, &error),
                     ERR_NOT_FOUND);
    assert_null(reader);
    kit_make(&disk, 2);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    for (size_t i = 0; i < 8; i++) {
        file->data[i] ^= 0x20;
        assert_int_equal(ledger_reader_open("d/" LEDGER_FILE, &disk.io, &reader, &error),
                         ERR_DAMAGED);
        file->data[i] ^= 0x20;
    }
    for (file->bytes = 0; file->bytes < 8; file->bytes++)
        assert_int_equal(ledger_reader_open("d/" LEDGER_FILE, &disk.io, &reader, &error),
                         ERR_DAMAGED);
    ledger_reader_close(NULL);
}

/* ---- locks and fences ---- */

static void test_second_writer_is_told_who_the_first_is(void **state)
{
    (void)state;
    ledger = kit_open(&disk);
    kit_append(ledger, 1, 2);
    kit_commit(ledger);
    struct ledger *second;
    struct ledger_options options = { .io = &disk.io, .host = "other", .pid = 5 };
    assert_int_equal(ledger_open("d", &options, &second, &error), ERR_LOCKED);
    assert_null(second);
    assert_non_null(
        strstr(error.text, "process 4242 on node_7, since 2026-11-24 10:48:55Z, epoch 1"));
    options.lock_wait_ns = 120 * NS_PER_MS;
    assert_int_equal(ledger_open("d", &options, &second, &error), ERR_LOCKED);

    struct ledger_holder holder;
    assert_int_equal(ledger_holder("d", &disk.io, &holder, &error), ERR_OK);
    assert_true(holder.locked && holder.pid == 4242 && holder.epoch == 1);
    assert_true(holder.has_head && holder.head_seq == 2);
    ledger_close(ledger);
    assert_int_equal(ledger_holder("d", &disk.io, &holder, &error), ERR_OK);
    assert_false(holder.locked);
    ledger = kit_open(&disk);
}

static void test_holder_of_nothing(void **state)
{
    (void)state;
    struct ledger_holder holder;
    assert_int_equal(ledger_holder("d", &disk.io, &holder, &error), ERR_OK);
    assert_false(holder.locked || holder.has_head);
    kit_make(&disk, 2);
    struct disk_file *lock = disk_find(&disk, LEDGER_LOCK_FILE);
    for (size_t i = 0; i < lock->bytes; i++) { /* a line that is not whole says nothing */
        lock->data[i] ^= 1;
        assert_int_equal(ledger_holder("d", &disk.io, &holder, &error), ERR_OK);
        bool in_blanks = lock->data[i] == ('\n' ^ 1) || lock->data[i] == (' ' ^ 1);
        assert_true(in_blanks || !holder.has_head || holder.pid == 0);
        lock->data[i] ^= 1;
    }
}

static void test_another_writer_is_noticed(void **state)
{
    (void)state;
    ledger = kit_open(&disk);
    kit_append(ledger, 1, 2);
    kit_commit(ledger);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    disk_resize(file, file->bytes + 1);
    kit_append(ledger, 3, 3);
    assert_int_equal(ledger_commit(ledger, &error), ERR_REFUSED);
    disk_resize(file, file->bytes - 1);
    assert_int_equal(ledger_commit(ledger, &error), ERR_REFUSED); /* for good */
    assert_int_equal(kit_try_append(ledger, 4), ERR_REFUSED);
    ledger_close(ledger);

    ledger = kit_open(&disk);
    file->data[file->bytes - 1] ^= 1; /* as long, but another end */
    kit_append(ledger, 3, 3);
    assert_int_equal(ledger_commit(ledger, &error), ERR_REFUSED);
    file->data[file->bytes - 1] ^= 1;
    ledger_close(ledger);

    ledger = kit_open(&disk);
    kit_append(ledger, 3, 3);
    memset(file->name, 0, sizeof(file->name)); /* somebody removed it */
    assert_int_equal(ledger_commit(ledger, &error), ERR_IO);
}

/* ---- what was acknowledged ---- */

static void test_a_shorter_ledger_is_refused(void **state)
{
    (void)state;
    kit_make(&disk, 6);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    size_t whole = file->bytes;
    for (uint32_t n = 0; n < 6; n++) {
        for (size_t more = 0; more < 2; more++) {
            file->bytes = kit_frame_at(file, n) + more * 20; /* whole frames, or a torn one */
            size_t bytes = file->bytes;
            struct ledger *refused;
            assert_int_equal(kit_try_open(&disk, &refused, &error), ERR_DAMAGED);
            assert_non_null(strstr(error.text, "acknowledged"));
            assert_int_equal(file->bytes, bytes);
            file->bytes = whole;
        }
    }
    disk_remove(&disk, LEDGER_FILE);
    struct ledger *refused;
    assert_int_equal(kit_try_open(&disk, &refused, &error), ERR_DAMAGED);
    assert_non_null(strstr(error.text, "is gone"));
    disk_remove(&disk, LEDGER_LOCK_FILE);
    ledger = kit_open(&disk);
}

static void test_another_history_is_refused(void **state)
{
    (void)state;
    kit_make(&disk, 6);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    uint8_t *kept = malloc(file->bytes);
    size_t bytes = file->bytes;
    memcpy(kept, file->data, bytes);
    disk_remove(&disk, LEDGER_FILE);
    disk_remove(&disk, LEDGER_LOCK_FILE);
    ledger = kit_open(&disk); /* another campaign in the same place */
    kit_append(ledger, 2, 20);
    kit_commit(ledger);
    ledger_close(ledger);
    ledger = NULL;
    file = disk_find(&disk, LEDGER_FILE);
    disk_resize(file, bytes);
    memcpy(file->data, kept, bytes);
    struct ledger *refused;
    assert_int_equal(kit_try_open(&disk, &refused, &error), ERR_DAMAGED);
    free(kept);
}

/* ---- ballast ---- */

static void test_ballast(void **state)
{
    (void)state;
    ledger = kit_open(&disk);
    assert_int_equal(ledger_ballast_release(ledger, &error), ERR_OK); /* there is none */
    assert_int_equal(ledger_ballast_restore(ledger, &error), ERR_OK);
    assert_int_equal(disk_find(&disk, LEDGER_BALLAST_FILE)->bytes, LEDGER_BALLAST_BYTES);
    uint32_t writes = disk.writes;
    assert_int_equal(ledger_ballast_restore(ledger, &error), ERR_OK); /* it stands */
    assert_int_equal(disk.writes, writes);
    disk.room_bytes = 10;
    kit_append(ledger, 1, 3);
    struct ledger_head before = ledger_head(ledger);
    assert_int_equal(ledger_commit(ledger, &error), ERR_NO_SPACE);
    assert_int_equal(disk_find(&disk, LEDGER_FILE)->bytes, before.bytes);
    assert_int_equal(ledger_pending(ledger), 3);
    assert_int_equal(ledger_commit(ledger, &error), ERR_NO_SPACE); /* may be tried again */
    assert_int_equal(ledger_ballast_release(ledger, &error), ERR_OK);
    assert_null(disk_find(&disk, LEDGER_BALLAST_FILE));
    kit_append(ledger, 4, 4);
    kit_commit(ledger);
    disk.room_bytes = 1000;
    assert_int_equal(ledger_ballast_restore(ledger, &error), ERR_NO_SPACE);
    assert_null(disk_find(&disk, LEDGER_BALLAST_FILE));
    assert_int_equal(kit_check_records(&disk), 4);
}

/* ---- on the machine's own file system ---- */

static char *own_dir(void)
{
    static char dir[] = "/tmp/penstock-ledger-XXXXXX";
    memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
    assert_non_null(mkdtemp(dir));
    return dir;
}

static void remove_dir(const char *dir)
{
    static const char *const names[] = { LEDGER_FILE, LEDGER_LOCK_FILE, LEDGER_BALLAST_FILE };
    char path[200];
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        struct writer writer = writer_of(path, sizeof(path));
        writer_format(&writer, "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(dir), 0); /* nothing else was left */
}

static void test_two_processes(void **state)
{
    (void)state;
    const char *dir = own_dir();
    int ready[2], done[2];
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(done), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct ledger_options options = { .host = "child", .pid = 77 };
        struct ledger *held;
        char byte = 0;
        bool good = ledger_open(dir, &options, &held, NULL) == ERR_OK &&
                    write(ready[1], &byte, 1) == 1 && read(done[0], &byte, 1) == 1;
        _exit(good ? 0 : 1); /* dies with the lock held */
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    struct ledger_options options = { .host = "parent", .pid = 78 };
    assert_int_equal(ledger_open(dir, &options, &ledger, &error), ERR_LOCKED);
    assert_non_null(strstr(error.text, "process 77 on child"));
    assert_int_equal(write(done[1], &byte, 1), 1);
    options.lock_wait_ns = 10 * NS_PER_S;
    if (ledger_open(dir, &options, &ledger, &error) != ERR_OK) fail_msg("%s", error.text);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    kit_append(ledger, 1, 3);
    kit_commit(ledger);
    assert_int_equal(ledger_ballast_restore(ledger, &error), ERR_OK);
    char path[200];
    struct writer writer = writer_of(path, sizeof(path));
    writer_format(&writer, "%s/" LEDGER_BALLAST_FILE, dir);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true((int64_t)st.st_blocks * 512 >= LEDGER_BALLAST_BYTES); /* really allocated */
    ledger_close(ledger);
    ledger = NULL;
    close(ready[0]), close(ready[1]), close(done[0]), close(done[1]);
    remove_dir(dir);
}

static void test_bad_directories(void **state)
{
    (void)state;
    struct ledger_options options = { .host = NULL };
    assert_int_equal(ledger_open("/nonexistent/dir", &options, &ledger, &error), ERR_IO);
    assert_non_null(strstr(error.text, "/nonexistent/dir/ledger.lock: No such file"));
    assert_int_equal(ledger_open("/dev/null", &options, &ledger, &error), ERR_IO);
    static char name[5000];
    memset(name, 'd', sizeof(name) - 1);
    assert_int_equal(ledger_open(name, &options, &ledger, &error), ERR_INPUT);
    assert_null(ledger);
    struct ledger_holder holder;
    assert_int_equal(ledger_holder(name, NULL, &holder, &error), ERR_INPUT);
    /* /proc is read-only even for root. */
    assert_int_equal(ledger_open("/proc/self", &options, &ledger, &error), ERR_IO);
    if (geteuid() == 0) return;
    const char *dir = own_dir();
    assert_int_equal(chmod(dir, 0500), 0);
    assert_int_equal(ledger_open(dir, &options, &ledger, &error), ERR_IO);
    assert_non_null(strstr(error.text, "Permission denied"));
    remove_dir(dir);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_records_come_back),
        TEST(test_chain_is_as_documented),
        TEST(test_a_batch_is_one_write_and_one_sync),
        TEST(test_a_large_batch_is_several_writes),
        TEST(test_append_refuses_what_does_not_follow),
        TEST(test_reader_follows_a_writer),
        TEST(test_reader_waits_for_an_unfinished_frame),
        TEST(test_reader_refuses_what_is_no_ledger),
        TEST(test_second_writer_is_told_who_the_first_is),
        TEST(test_holder_of_nothing),
        TEST(test_another_writer_is_noticed),
        TEST(test_a_shorter_ledger_is_refused),
        TEST(test_another_history_is_refused),
        TEST(test_ballast),
        TEST(test_two_processes),
        TEST(test_bad_directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
