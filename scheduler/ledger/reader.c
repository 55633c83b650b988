/* Reading a ledger: the frames of scan.c, decoded. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#include "scheduler/ledger/scan.h"

struct ledger_reader {
    const struct ledger_io *io;
    int fd;
    struct frame_scan scan;
    struct record_codec *codec;
    struct ledger_entry entry;
    struct error failed; /* code ERR_OK: not failed */
};

enum err ledger_reader_open(const char *path, const struct ledger_io *io,
                            struct ledger_reader **reader, struct error *error)
{
    *reader = NULL;
    struct ledger_reader *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory");
    enum err rc = ERR_OK;
    opened->io = io == NULL ? &ledger_io_posix : io;
    opened->codec = record_codec_create();
    opened->fd = io_open(opened->io, path, O_RDONLY);
    if (opened->fd < 0 && errno == ENOENT)
        rc = error_set(error, ERR_NOT_FOUND, "%s: there is no ledger here", path);
    else if (opened->fd < 0)
        rc = error_errno(error, "open %s", path);
    else if (opened->codec == NULL)
        rc = error_set(error, ERR_NO_MEMORY, "out of memory");
    else if ((rc = scan_begin(&opened->scan, opened->io, opened->fd, error)) != ERR_OK)
        (void)error_prefix(error, rc, "%s", path);
    if (rc == ERR_OK)
        *reader = opened;
    else
        ledger_reader_close(opened);
    return rc;
}

void ledger_reader_close(struct ledger_reader *reader)
{
    if (reader == NULL) return;
    int saved = errno;
    scan_fini(&reader->scan);
    record_codec_destroy(reader->codec);
    if (reader->fd >= 0) reader->io->close(reader->io->context, reader->fd);
    free(reader);
    errno = saved;
}

/* An EPOCH record carries its own epoch in its envelope; nothing else changes it. */
static enum err epoch_check(const struct ledger_entry *entry, struct error *error)
{
    if (entry->record.kind != RECORD_EPOCH) return ERR_OK;
    if (entry->record.as.epoch.epoch == entry->epoch) return ERR_OK;
    return error_set(error, ERR_DAMAGED, "epoch: it stands in a record of another epoch");
}

static enum err read_one(struct ledger_reader *reader, bool *more, struct error *error)
{
    struct frame frame;
    struct envelope envelope;
    enum err rc = scan_next(&reader->scan, &frame, &envelope, error);
    *more = rc == ERR_OK && frame.bytes > 0;
    if (!*more) return rc;

    struct ledger_entry *entry = &reader->entry;
    rc = record_decode(reader->codec, frame.payload, &entry->record, &envelope, error);
    entry->seq = envelope.seq;
    entry->epoch = envelope.epoch;
    entry->frame_bytes = (int64_t)frame.bytes;
    entry->offset = reader->scan.head.bytes - entry->frame_bytes;
    entry->chain = frame.chain;
    if (rc == ERR_OK) rc = epoch_check(entry, error);
    if (rc == ERR_OK) return ERR_OK;
    return error_prefix(error, rc, "offset %" PRId64 ", record %" PRIu64, entry->offset,
                        reader->scan.head.seq);
}

enum err ledger_read(struct ledger_reader *reader, const struct ledger_entry **entry,
                     struct error *error)
{
    *entry = NULL;
    bool more = false;
    struct error local = { 0 };
    if (reader->failed.code == ERR_OK) {
        enum err rc = read_one(reader, &more, &local);
        if (rc == ERR_OK) {
            if (more) *entry = &reader->entry;
            return ERR_OK;
        }
        reader->failed = local;
    }
    if (error != NULL) *error = reader->failed;
    return reader->failed.code;
}

struct ledger_head ledger_reader_head(const struct ledger_reader *reader)
{
    return reader->scan.head;
}

int64_t ledger_reader_tail_bytes(const struct ledger_reader *reader)
{
    return reader->scan.tail_bytes;
}
