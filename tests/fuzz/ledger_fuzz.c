/* Any bytes as a record, and as a ledger: either is refused, or what was read is all there is to it.
 * A ledger goes in twice: as it is, and with every checksum and chain made right, or nothing would
 * get past them. */
#include "proto/base/defs.h"
#include "scheduler/ledger/frame.h"
#include "scheduler/ledger/record.h"
#include "scheduler/ledger/verify.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/ledger/disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct record record;

/* What decodes, encodes to the same bytes. */
static void try_record(struct text payload)
{
    struct record_codec *codec = record_codec_create(), *other = record_codec_create();
    struct envelope envelope, peeked;
    struct error error = { .code = ERR_OK };
    check(codec != NULL);
    check(other != NULL);
    if (record_decode(codec, payload, &record, &envelope, &error) == ERR_OK) {
        struct text again;
        check(record_encode(other, &record, envelope.seq, envelope.epoch, &again, NULL) ==
              ERR_OK);
        check(text_equal(again, payload));
        check(record_peek(payload, &peeked, NULL) == ERR_OK);
        check(peeked.seq == envelope.seq);
        check(peeked.kind == envelope.kind);
    } else {
        check(error.code == ERR_DAMAGED);
        check(error.text[0] != '\0');
    }
    record_codec_destroy(codec);
    record_codec_destroy(other);
}

/* Reads to the end; the head of what was read. */
static enum err read_all(struct disk *disk, struct ledger_head *head)
{
    struct ledger_reader *reader;
    const struct ledger_entry *entry;
    struct error error;
    enum err rc = ledger_reader_open("d/" LEDGER_FILE, &disk->io, &reader, &error);
    if (rc != ERR_OK) return rc;
    do
        rc = ledger_read(reader, &entry, &error);
    while (rc == ERR_OK && entry != NULL);
    *head = ledger_reader_head(reader);
    ledger_reader_close(reader);
    return rc;
}

/* The writer cuts to where the reader ended, or refuses; what it refuses it leaves alone. */
static void try_writer(struct disk *disk, enum err readable, const struct ledger_head *head)
{
    struct ledger_options options = { .io = &disk->io };
    struct ledger *ledger;
    struct disk_file *file = disk_find(disk, LEDGER_FILE);
    size_t before = file->bytes;
    if (ledger_open("d", &options, &ledger, NULL) != ERR_OK) {
        check(readable != ERR_OK);
        check(file->bytes == before);
        return;
    }
    if (readable == ERR_OK) {
        struct ledger_head ours = ledger_head(ledger);
        check(ours.seq == head->seq);
        check(ours.bytes == head->bytes);
        check(sha256_equal(&ours.chain, &head->chain));
        check(file->bytes == (size_t)head->bytes);
        memset(&record, 0, sizeof(record));
        record.kind = RECORD_SPACE;
        record.at_ns = ours.at_ns;
        check(ledger_append(ledger, &record, NULL) == ERR_OK);
        check(ledger_commit(ledger, NULL) == ERR_OK);
    }
    ledger_close(ledger);
}

static void try_ledger(const uint8_t *data, size_t size)
{
    static struct disk disk;
    struct ledger_head head = { 0 };
    struct verify_report report;
    struct error error = { .code = ERR_OK };
    disk_init(&disk, 1);
    int fd = disk.io.open(&disk, LEDGER_FILE, O_CREAT, 0644);
    check(fd >= 0);
    check(disk.io.pwrite(&disk, fd, data, size, 0) == (ssize_t)size);
    check(disk.io.close(&disk, fd) == 0);
    enum err readable = read_all(&disk, &head);
    enum err believed = ledger_verify("d", &disk.io, &report, &error);
    if (readable != ERR_OK) check(believed != ERR_OK);
    if (believed == ERR_OK) check(report.head.seq == head.seq);
    if (believed != ERR_OK) check(error.text[0] != '\0');
    try_writer(&disk, readable, &head);
    disk_fini(&disk);
}

/* Seals every frame anew, as far as the lengths make sense. */
static void try_repaired(const uint8_t *data, size_t size)
{
    if (size < LEDGER_MAGIC_BYTES) return;
    uint8_t *copy = malloc(size);
    check(copy != NULL);
    memcpy(copy, data, size);
    memcpy(copy, ledger_magic, LEDGER_MAGIC_BYTES);
    struct sha256 chain = { { 0 } };
    size_t at = LEDGER_MAGIC_BYTES;
    while (size - at > FRAME_EXTRA_BYTES) {
        const uint8_t *frame = data + at;
        size_t length = (size_t)frame[0] | (size_t)frame[1] << 8 | (size_t)frame[2] << 16;
        if (length == 0 || length > size - at - FRAME_EXTRA_BYTES || frame[3] != 0) break;
        struct text payload = { (const char *)frame + FRAME_HEAD_BYTES, length };
        try_record(payload);
        frame_seal(copy + at, payload, &chain);
        at += length + FRAME_EXTRA_BYTES;
    }
    try_ledger(copy, size);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_record((struct text){ (const char *)data, size });
    try_ledger(data, size);
    try_repaired(data, size);
    return 0;
}

/* The first frames of the golden samples, small enough to be quick. */
size_t fuzz_example(unsigned index, uint8_t *to, size_t capacity)
{
    static const struct {
        const char *path;
        size_t bytes_max;
    } examples[] = {
        { "tests/golden/ledger/valid-campaign.pnk", 4000 },
        { "tests/golden/ledger/valid-every-kind.pnk", 2500 },
        { "tests/golden/ledger/damaged-crc.pnk", 2000 },
        { "tests/golden/ledger/refused-kind.pnk", 2000 },
    };
    if (index >= ARRAY_COUNT(examples)) return 0;
    FILE *file = fopen(examples[index].path, "rbe");
    check(file != NULL); /* ctest runs in the source folder */
    size_t wanted = examples[index].bytes_max < capacity ? examples[index].bytes_max : capacity;
    size_t size = fread(to, 1, wanted, file);
    fclose(file);
    return size;
}
