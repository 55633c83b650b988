#include "tests/unit/ledger/kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum err kit_try_open(struct disk *disk, struct ledger **ledger, struct error *error)
{
    struct ledger_options options = { .io = &disk->io,
                                      .host = "node 7",
                                      .pid = 4242,
                                      .started_ns = INT64_C(1795517335) * NS_PER_S };
    return ledger_open("d", &options, ledger, error);
}

struct ledger *kit_open(struct disk *disk)
{
    struct ledger *ledger;
    struct error error;
    if (kit_try_open(disk, &ledger, &error) != ERR_OK) fail_msg("%s", error.text);
    return ledger;
}

void kit_record(struct sample *sample, uint32_t n, struct record *record)
{
    *sample = sample_of(n);
    enum record_kind kind = (enum record_kind)((n * 7 + RECORD_LEASE) % RECORD_KIND_COUNT);
    if (kind == RECORD_EPOCH || kind == RECORD_CAMPAIGN) kind = RECORD_WINDOW;
    if (n == 1) kind = RECORD_EPOCH;
    sample_record(sample, kind, record);
    record->at_ns = (int64_t)n * NS_PER_S;
    if (n == 1) record->as.epoch.epoch = 1;
}

static struct sample sample;
static struct record record;

enum err kit_try_append(struct ledger *ledger, uint32_t n)
{
    kit_record(&sample, n, &record);
    return ledger_append(ledger, &record, NULL);
}

void kit_append(struct ledger *ledger, uint32_t first, uint32_t last)
{
    for (uint32_t n = first; n <= last; n++)
        assert_int_equal(kit_try_append(ledger, n), ERR_OK);
}

void kit_commit(struct ledger *ledger)
{
    struct error error = { 0 };
    if (ledger_commit(ledger, &error) != ERR_OK) fail_msg("%s", error.text);
}

void kit_make(struct disk *disk, uint32_t n)
{
    struct ledger *ledger = kit_open(disk);
    kit_append(ledger, 1, n);
    kit_commit(ledger);
    ledger_close(ledger);
    disk_flush(disk);
}

uint32_t kit_check_records(struct disk *disk)
{
    static struct record expected;
    struct ledger_reader *reader;
    const struct ledger_entry *entry;
    struct error error = { 0 };
    uint32_t n = 0;
    if (ledger_reader_open("d/" LEDGER_FILE, &disk->io, &reader, &error) != ERR_OK)
        fail_msg("%s", error.text);
    for (;;) {
        if (ledger_read(reader, &entry, &error) != ERR_OK) fail_msg("%s", error.text);
        if (entry == NULL) break;
        kit_record(&sample, ++n, &expected);
        assert_int_equal(entry->seq, n);
        assert_int_equal(entry->epoch, 1);
        assert_true(sample_same(&expected, &entry->record));
    }
    ledger_reader_close(reader);
    return n;
}

size_t kit_frame_at(const struct disk_file *file, uint32_t index)
{
    size_t at = 8;
    for (uint32_t i = 0; i < index && at < file->bytes; i++) {
        const uint8_t *f = file->data + at;
        at += 40 + ((size_t)f[0] | (size_t)f[1] << 8 | (size_t)f[2] << 16 | (size_t)f[3] << 24);
    }
    return at;
}
