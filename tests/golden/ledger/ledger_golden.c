/*
 * ledger_golden [--update-golden] - samples of the ledger's format, kept for ever.
 *
 * Without the flag: every sample must be read, cut or refused today as it was when it was written,
 * and what is valid must be written again to the very same bytes. With it, samples that are not
 * there yet are made; one that is there is never overwritten, because released formats stay.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scheduler/ledger/frame.h"
#include "scheduler/ledger/record.h"
#include "scheduler/ledger/verify.h"
#include "tests/unit/ledger/kit.h"
#include "tests/unit/ledger/life.h"

enum { SAMPLE_BYTES_MAX = 1 << 20 };

static struct disk disk;
static struct error error;

static struct disk_file *ledger_file(void)
{
    return disk_find(&disk, LEDGER_FILE);
}

/* ---- making ---- */

static void make_empty(void)
{
    ledger_close(kit_open(&disk));
}

static void make_every_kind(void)
{
    kit_make(&disk, 60);
}

static void make_campaign(void)
{
    static struct life life;
    life_begin(&life, "d", &disk.io);
    life_run(&life, 40);
    life_restart(&life);
    life_run(&life, 2000);
    life_end(&life);
}

static void make_incomplete(void)
{
    kit_make(&disk, 12);
    disk_resize(ledger_file(), ledger_file()->bytes - 11);
}

static void zero_from(size_t at, size_t bytes)
{
    memset(ledger_file()->data + at, 0, bytes);
}

static void make_zeros(void)
{
    kit_make(&disk, 12);
    size_t at = kit_frame_at(ledger_file(), 10) + 5;
    zero_from(at, ledger_file()->bytes - at);
}

static void make_garbage(void)
{
    kit_make(&disk, 12);
    struct rng rng = rng_of(12);
    for (size_t i = kit_frame_at(ledger_file(), 11); i < ledger_file()->bytes; i++)
        ledger_file()->data[i] = (uint8_t)rng_u64(&rng);
}

/* A whole sector of the last batch is missing, good frames behind it. */
static void make_lost_sector(void)
{
    kit_make(&disk, 30);
    size_t at = kit_frame_at(ledger_file(), 8);
    zero_from((at / LEDGER_SECTOR_BYTES + 1) * LEDGER_SECTOR_BYTES, LEDGER_SECTOR_BYTES);
}

static void flip(uint32_t index, size_t in_frame)
{
    kit_make(&disk, 12);
    ledger_file()->data[kit_frame_at(ledger_file(), index) + in_frame] ^= 0x40;
}

static void make_bad_mark(void)
{
    kit_make(&disk, 12);
    ledger_file()->data[3] ^= 0x40;
}

static void make_bad_length(void)
{
    flip(5, 0);
}

static void make_bad_crc(void)
{
    flip(5, 6);
}

static void make_bad_payload(void)
{
    flip(5, 30);
}

static void make_bad_chain(void)
{
    kit_make(&disk, 12);
    ledger_file()->data[kit_frame_at(ledger_file(), 6) - 1] ^= 0x40;
}

/* Appends a frame that is whole, whatever its payload says. */
static void add_frame(struct text payload, const struct sha256 *before)
{
    struct sha256 chain = *before;
    struct disk_file *file = ledger_file();
    size_t at = file->bytes;
    disk_resize(file, at + payload.len + FRAME_EXTRA_BYTES);
    frame_seal(file->data + at, payload, &chain);
}

static struct sha256 chain_of_last(void)
{
    struct sha256 chain;
    memcpy(chain.bytes, ledger_file()->data + ledger_file()->bytes - SHA256_BYTES,
           SHA256_BYTES);
    return chain;
}

static void add_record(uint64_t seq, uint64_t epoch, int64_t at_ns)
{
    static struct sample sample;
    static struct record record;
    struct record_codec *codec = record_codec_create();
    struct text payload;
    kit_record(&sample, 5, &record);
    record.at_ns = at_ns;
    assert_int_equal(record_encode(codec, &record, seq, epoch, &payload, NULL), ERR_OK);
    struct sha256 chain = chain_of_last();
    add_frame(payload, &chain);
    record_codec_destroy(codec);
}

static void make_bad_seq(void)
{
    kit_make(&disk, 4);
    add_record(6, 1, 9 * NS_PER_S);
}

static void make_bad_time(void)
{
    kit_make(&disk, 4);
    add_record(5, 1, 4 * NS_PER_S - 1);
}

static void make_bad_epoch(void)
{
    kit_make(&disk, 4);
    add_record(5, 2, 9 * NS_PER_S);
}

static void make_unknown_kind(void)
{
    kit_make(&disk, 4);
    struct sha256 chain = chain_of_last();
    add_frame(TEXT("\x08\x05\x10\x80\xA0\xBE\x81\x95\x01\x18\x01\xF2\x07\x00"), &chain);
}

static void make_not_canonical(void)
{
    kit_make(&disk, 4);
    struct sha256 chain = chain_of_last();
    add_frame(TEXT("\x08\x05\x10\x80\xA0\xBE\x81\x95\x01\x18\x01\xCA\x01\x05\x12\x01x\x08\x02"),
              &chain);
}

/* ---- the samples ---- */

static const struct golden {
    const char *name;
    void (*make)(void);
    enum err reads;   /* what reading to the end gives */
    uint32_t records; /* before that */
    bool torn;        /* a tail is cut by the writer */
    const char *says;
    enum err verifies;
} samples[] = {
    { "valid-empty", make_empty, ERR_OK, 0, false, "", ERR_OK },
    { "valid-every-kind", make_every_kind, ERR_OK, 60, false, "", ERR_DAMAGED },
    { "valid-campaign", make_campaign, ERR_OK, 0, false, "", ERR_OK },
    { "torn-incomplete", make_incomplete, ERR_OK, 11, true, "", ERR_DAMAGED },
    { "torn-zeros", make_zeros, ERR_OK, 10, true, "", ERR_DAMAGED },
    { "torn-garbage", make_garbage, ERR_OK, 11, true, "", ERR_DAMAGED },
    { "torn-lost-sector", make_lost_sector, ERR_OK, 0, true, "", ERR_DAMAGED },
    { "damaged-mark", make_bad_mark, ERR_DAMAGED, 0, false, "not a Penstock ledger",
      ERR_DAMAGED },
    { "damaged-length", make_bad_length, ERR_DAMAGED, 5, false, "damaged frame", ERR_DAMAGED },
    { "damaged-crc", make_bad_crc, ERR_DAMAGED, 5, false, "damaged frame", ERR_DAMAGED },
    { "damaged-payload", make_bad_payload, ERR_DAMAGED, 5, false, "damaged frame",
      ERR_DAMAGED },
    { "damaged-chain", make_bad_chain, ERR_DAMAGED, 5, false, "damaged frame", ERR_DAMAGED },
    { "refused-seq", make_bad_seq, ERR_DAMAGED, 4, false, "number does not follow",
      ERR_DAMAGED },
    { "refused-time", make_bad_time, ERR_DAMAGED, 4, false, "time falls", ERR_DAMAGED },
    { "refused-epoch", make_bad_epoch, ERR_DAMAGED, 4, false, "epoch does not follow",
      ERR_DAMAGED },
    { "refused-kind", make_unknown_kind, ERR_DAMAGED, 4, false, "known kind", ERR_DAMAGED },
    { "refused-encoding", make_not_canonical, ERR_DAMAGED, 4, false, "not canonical",
      ERR_DAMAGED },
};

static FILE *open_sample(const struct golden *golden, const char *mode)
{
    char path[128];
    struct writer writer = writer_of(path, sizeof(path));
    writer_format(&writer, "tests/golden/ledger/%s.pnk", golden->name);
    return fopen(path, mode);
}

static int update(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(samples); i++) {
        FILE *file = open_sample(&samples[i], "rbe");
        if (file != NULL) {
            fclose(file);
            continue;
        }
        disk_init(&disk, 1);
        samples[i].make();
        file = open_sample(&samples[i], "wbe");
        struct disk_file *made = ledger_file();
        if (file == NULL || fwrite(made->data, 1, made->bytes, file) != made->bytes ||
            fclose(file) != 0)
            return 1;
        disk_fini(&disk);
        printf("made %s\n", samples[i].name);
    }
    return 0;
}

/* ---- checking ---- */

static void load(const struct golden *golden)
{
    static uint8_t bytes[SAMPLE_BYTES_MAX];
    FILE *file = open_sample(golden, "rbe");
    if (file == NULL) fail_msg("%s is missing: run with --update-golden", golden->name);
    size_t size = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    disk_init(&disk, 1);
    make_empty();
    disk_remove(&disk, LEDGER_LOCK_FILE);
    disk_resize(ledger_file(), size);
    memcpy(ledger_file()->data, bytes, size);
}

/* Reads all; appends what is read to `copy` when it is not NULL. */
static enum err read_all(struct ledger *copy, uint32_t *records)
{
    struct ledger_reader *reader;
    const struct ledger_entry *entry;
    *records = 0;
    enum err rc = ledger_reader_open("d/" LEDGER_FILE, &disk.io, &reader, &error);
    if (rc != ERR_OK) return rc;
    while ((rc = ledger_read(reader, &entry, &error)) == ERR_OK && entry != NULL) {
        ++*records;
        if (copy != NULL) assert_int_equal(ledger_append(copy, &entry->record, NULL), ERR_OK);
    }
    ledger_reader_close(reader);
    return rc;
}

/* Written again by today's writer, it has the same bytes. */
static void assert_same_bytes(void)
{
    static struct disk other;
    uint32_t records;
    disk_init(&other, 2);
    struct ledger *copy = kit_open(&other);
    assert_int_equal(read_all(copy, &records), ERR_OK);
    kit_commit(copy);
    ledger_close(copy);
    struct disk_file *again = disk_find(&other, LEDGER_FILE);
    assert_int_equal(again->bytes, ledger_file()->bytes);
    assert_memory_equal(again->data, ledger_file()->data, again->bytes);
    disk_fini(&other);
}

static void check_sample(const struct golden *golden)
{
    uint32_t records;
    struct verify_report report;
    load(golden);
    print_message("%s\n", golden->name);
    error.text[0] = 0;
    assert_int_equal(read_all(NULL, &records), golden->reads);
    assert_non_null(strstr(error.text, golden->says));
    if (golden->records > 0) assert_int_equal(records, golden->records);
    if (golden->reads == ERR_OK && !golden->torn) assert_same_bytes();
    assert_int_equal(ledger_verify("d", &disk.io, &report, &error), golden->verifies);

    struct ledger *ledger;
    enum err opened = kit_try_open(&disk, &ledger, &error);
    bool body_only =
        golden->make == make_not_canonical; /* open looks at frames, not into them */
    assert_int_equal(opened, body_only ? ERR_OK : golden->reads);
    if (opened == ERR_OK) {
        assert_int_equal(ledger_recovered(ledger)->cut_bytes > 0, golden->torn);
        ledger_close(ledger);
    }
    disk_fini(&disk);
}

static void test_samples(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(samples); i++)
        check_sample(&samples[i]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_samples) };
    if (argc > 1 && strcmp(argv[1], "--update-golden") == 0) return update();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
