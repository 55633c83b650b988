/* What a broken-off write leaves is cut; everything else is refused. Damage to every byte and bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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

/* Opens the file as it stands, without the lock file's help; the first `whole` records must be
 * there, the rest must have been cut, and writing must go on. */
static void assert_cut_to(uint32_t whole)
{
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    size_t bytes = file->bytes, end = kit_frame_at(file, whole);
    disk_remove(&disk, LEDGER_LOCK_FILE);
    ledger = kit_open(&disk);
    const struct ledger_recovery *recovery = ledger_recovered(ledger);
    assert_int_equal(recovery->records, whole);
    assert_int_equal(recovery->cut_bytes, bytes - end);
    if (bytes > end) assert_int_equal(recovery->cut_offset, end);
    assert_int_equal(file->bytes, end);
    kit_append(ledger, whole + 1, whole + 2);
    kit_commit(ledger);
    ledger_close(ledger);
    ledger = NULL;
    assert_int_equal(kit_check_records(&disk), whole + 2);
}

static void assert_refused(void)
{
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    uint8_t *before = malloc(file->bytes);
    size_t bytes = file->bytes;
    memcpy(before, file->data, bytes);
    struct ledger *opened;
    error.text[0] = 0;
    assert_int_equal(kit_try_open(&disk, &opened, &error), ERR_DAMAGED);
    assert_null(opened);
    assert_non_null(strstr(error.text, "offset "));
    assert_int_equal(file->bytes, bytes); /* nothing was changed */
    assert_memory_equal(file->data, before, bytes);
    free(before);
}

/* ---- torn tails at every byte of the last three frames ---- */

enum { RECORDS = 6 };

/* A ledger of six records whose bytes from `cut` on are replaced by what `fill` makes. Returns how
 * many frames are still as they were: as a rule those before the cut. */
static uint32_t make_torn(size_t cut, size_t tail_bytes, uint8_t (*fill)(struct rng *))
{
    static uint8_t before[64 * 1024];
    disk_remove(&disk, LEDGER_FILE);
    disk_remove(&disk, LEDGER_LOCK_FILE);
    kit_make(&disk, RECORDS);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    size_t bytes = file->bytes, ends[RECORDS + 1];
    assert_true(bytes <= sizeof(before));
    memcpy(before, file->data, bytes);
    for (uint32_t i = 0; i <= RECORDS; i++)
        ends[i] = kit_frame_at(file, i);
    disk_resize(file, cut + tail_bytes);
    for (size_t i = cut; i < file->bytes; i++)
        file->data[i] = fill == NULL ? 0 : fill(&disk.rng);
    uint32_t whole = 0;
    while (whole < RECORDS && ends[whole + 1] <= file->bytes &&
           memcmp(before, file->data, ends[whole + 1]) == 0)
        whole++;
    assert_true(ends[whole] <= cut + 4); /* more than that is not the same by chance */
    return whole;
}

static uint8_t random_byte(struct rng *rng)
{
    return (uint8_t)rng_u64(rng);
}

static uint8_t stale_byte(struct rng *rng)
{
    static uint32_t at;
    (void)rng;
    return (uint8_t) "an older file's bytes, "[at++ % 23];
}

static void tear_everywhere(uint8_t (*fill)(struct rng *), bool keep_size)
{
    kit_make(&disk, RECORDS);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    size_t begin = kit_frame_at(file, RECORDS - 3), end = file->bytes;
    assert_true(end - begin > 300);
    for (size_t cut = begin; cut < end; cut++) {
        uint32_t whole = make_torn(cut, keep_size ? end - cut : 0, fill);
        assert_cut_to(whole);
    }
}

static void test_incomplete_tails_are_cut(void **state)
{
    (void)state;
    tear_everywhere(NULL, false);
}

static void test_zeroed_tails_are_cut(void **state)
{
    (void)state;
    tear_everywhere(NULL, true);
}

static void test_garbage_tails_are_cut(void **state)
{
    (void)state;
    tear_everywhere(random_byte, true);
}

static void test_stale_tails_are_cut(void **state)
{
    (void)state;
    tear_everywhere(stale_byte, true);
}

static void test_longer_tails_are_cut(void **state)
{
    (void)state;
    static const size_t sizes[] = { 1,   3,   4,   7,    8,     39,      40,
                                    511, 512, 513, 4096, 70000, 1 << 20, 4 << 20 };
    kit_make(&disk, RECORDS);
    size_t end = disk_find(&disk, LEDGER_FILE)->bytes;
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        (void)make_torn(end, sizes[i], NULL);
        assert_cut_to(RECORDS);
        if (sizes[i] > 1 << 20) continue; /* see test_long_garbage_is_judged_in_time */
        (void)make_torn(end, sizes[i], random_byte);
        assert_cut_to(RECORDS);
    }
    (void)make_torn(end, (4 << 20) + 1, NULL); /* more than one write ever is */
    assert_refused();
}

/* Bytes of which every place could begin a frame: the answer may be no, but it comes. */
static void test_long_garbage_is_judged_in_time(void **state)
{
    (void)state;
    static uint8_t tail[4 << 20];
    for (size_t i = 0; i < sizeof(tail); i++)
        tail[i] = i % 4 == 2 ? 0x08 : 0x00;
    assert_false(tail_is_torn(tail, sizeof(tail), 8));
    memset(tail, 0, sizeof(tail));
    assert_true(tail_is_torn(tail, sizeof(tail), 8));
}

/* ---- a batch of many frames whose sectors reached the disk in any order ---- */

static void test_lost_sectors_of_the_last_batch_are_cut(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 3000; round++) {
        disk_fini(&disk);
        disk_init(&disk, round);
        kit_make(&disk, 4);
        ledger = kit_open(&disk);
        kit_append(ledger, 5, 30);
        disk_plan(&disk, 3, DISK_CRASH, 0); /* size, read, write, and now the sync */
        disk.fault_call++;
        assert_int_equal(ledger_commit(ledger, &error), ERR_IO);
        ledger_close(ledger);
        ledger = NULL;
        disk_restart(&disk, true);
        ledger = kit_open(&disk);
        uint64_t records = ledger_recovered(ledger)->records;
        assert_true(records >= 4 && records <= 30);
        kit_append(ledger, (uint32_t)records + 1, 33);
        kit_commit(ledger);
        ledger_close(ledger);
        ledger = NULL;
        assert_int_equal(kit_check_records(&disk), 33);
    }
}

/* A frame in the middle that a lost sector does not explain is damage, however near the end. */
static void test_a_bad_frame_before_good_ones_is_refused(void **state)
{
    (void)state;
    kit_make(&disk, 12);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    for (uint32_t lock = 0; lock < 2; lock++) {
        for (uint32_t index = 0; index < 11; index++) {
            size_t at = kit_frame_at(file, index), next = kit_frame_at(file, index + 1);
            for (size_t i = at; i < next; i += 1 + (next - at) / 37) {
                uint8_t before = file->data[i];
                file->data[i] = (uint8_t)~before;
                assert_refused();
                file->data[i] = before;
            }
        }
        disk_remove(&disk, LEDGER_LOCK_FILE);
    }
    ledger = kit_open(&disk);
    assert_int_equal(ledger_recovered(ledger)->records, 12);
}

/* The last frame, complete and once acknowledged, is damage when the lock file knows of it. */
static void test_a_bad_last_frame_that_was_acknowledged_is_refused(void **state)
{
    (void)state;
    kit_make(&disk, 3);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    for (size_t i = kit_frame_at(file, 2); i < file->bytes; i++) {
        file->data[i] ^= 0x04;
        assert_refused();
        file->data[i] ^= 0x04;
    }
}

static void test_the_mark_is_refused_when_damaged(void **state)
{
    (void)state;
    kit_make(&disk, 3);
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    for (size_t bit = 0; bit < 64; bit++) {
        file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_refused();
        file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* ---- every bit of a ledger of 64 KiB ---- */

struct place {
    size_t at;
    struct sha256 before; /* chain up to there */
};

static void test_every_bit_counts(void **state)
{
    (void)state;
    static struct place places[4000];
    ledger = kit_open(&disk);
    while (ledger_head(ledger).bytes < 64 * 1024) {
        uint32_t next = (uint32_t)ledger_head(ledger).seq + 1;
        kit_append(ledger, next, next);
        kit_commit(ledger);
    }
    ledger_close(ledger);
    ledger = NULL;
    struct disk_file *file = disk_find(&disk, LEDGER_FILE);
    size_t count = 0;
    struct sha256 chain = { { 0 } };
    for (size_t at = LEDGER_MAGIC_BYTES; at < file->bytes;) {
        struct frame frame;
        assert_int_equal(frame_parse(file->data + at, file->bytes - at, &chain, &frame),
                         FRAME_WHOLE);
        assert_true(count < ARRAY_COUNT(places));
        places[count++] = (struct place){ at, chain };
        chain = frame.chain;
        at += frame.bytes;
    }
    assert_true(count > 50);
    uint64_t flips = 0;
    for (size_t k = 0; k < count; k++) {
        size_t at = places[k].at, end = k + 1 < count ? places[k + 1].at : file->bytes;
        for (size_t bit = at * 8; bit < end * 8; bit++, flips++) {
            file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            struct frame frame;
            enum frame_status status =
                frame_parse(file->data + at, file->bytes - at, &places[k].before, &frame);
            assert_true(status != FRAME_WHOLE);
            bool torn = tail_is_torn(file->data + at, file->bytes - at, (int64_t)at);
            if (torn && k + 1 < count)
                fail_msg("bit %zu of frame %zu taken for a torn tail", bit - at * 8, k);
            file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
    assert_true(flips >= 8 * (64 * 1024 - 8));
    for (size_t bit = 0; bit < file->bytes * 8; bit += 4999) { /* and through the front door */
        file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_refused();
        file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

/* ---- frames, one by one ---- */

static void test_frames_at_their_limits(void **state)
{
    (void)state;
    static uint8_t bytes[FRAME_BYTES_WHOLE_MAX];
    static char payload[FRAME_BYTES_MAX];
    static const size_t sizes[] = { 1, 2, 127, 128, 65535, FRAME_BYTES_MAX };
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct sha256 zero = { { 0 } }, chain = { { 0 } };
        struct frame frame;
        frame_seal(bytes, (struct text){ payload, sizes[i] }, &chain);
        size_t whole = sizes[i] + FRAME_EXTRA_BYTES;
        assert_int_equal(frame_parse(bytes, whole, &zero, &frame), FRAME_WHOLE);
        assert_int_equal(frame.bytes, whole);
        assert_int_equal(frame.payload.len, sizes[i]);
        assert_true(sha256_equal(&frame.chain, &chain));
        assert_int_equal(frame_parse(bytes, whole - 1, &zero, &frame), FRAME_SHORT);
        assert_int_equal(frame.bytes, whole);
        assert_int_equal(frame_parse(bytes, 3, &zero, &frame), FRAME_SHORT);
        assert_int_equal(frame.bytes, 0);
        zero.bytes[31] = 1;
        assert_int_equal(frame_parse(bytes, whole, &zero, &frame), FRAME_BAD);
    }
    static const uint8_t none[8] = { 0 }, large[8] = { 1, 0, 0x10, 0 };
    struct sha256 zero = { { 0 } };
    struct frame frame;
    assert_int_equal(frame_parse(none, 8, &zero, &frame), FRAME_BAD);
    assert_int_equal(frame_parse(large, 8, &zero, &frame), FRAME_BAD);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_incomplete_tails_are_cut),
        TEST(test_zeroed_tails_are_cut),
        TEST(test_garbage_tails_are_cut),
        TEST(test_stale_tails_are_cut),
        TEST(test_longer_tails_are_cut),
        TEST(test_long_garbage_is_judged_in_time),
        TEST(test_lost_sectors_of_the_last_batch_are_cut),
        TEST(test_a_bad_frame_before_good_ones_is_refused),
        TEST(test_a_bad_last_frame_that_was_acknowledged_is_refused),
        TEST(test_the_mark_is_refused_when_damaged),
        TEST(test_every_bit_counts),
        TEST(test_frames_at_their_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
