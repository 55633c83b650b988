#include "scheduler/ledger/replay.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#include "scheduler/ledger/scan.h"

/* More workers than any campaign has; a ledger that asks for more was not written by us. */
enum { WORKERS_EVER_MAX = 1 << 20 };

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static enum err too_large(const char *what, struct error *error)
{
    return error_set(error, ERR_DAMAGED, "more %s than a campaign can have", what);
}

/* Adds what one record needs. */
static enum err count_record(const struct record *record, struct core_limits *limits,
                             struct error *error)
{
    uint32_t workers = 0;
    if (record->kind == RECORD_CAMPAIGN)
        limits->gates_max = max_u32(limits->gates_max, record->as.campaign.gate_count);
    if (record->kind == RECORD_RUN) {
        uint32_t gates = record->as.run.gate_count;
        if (limits->runs_max >= NO_INDEX / 2 || limits->run_gates_max > NO_INDEX / 2 - gates)
            return too_large("runs", error);
        limits->runs_max++;
        limits->run_gates_max += gates;
    }
    if (record->kind == RECORD_EPOCH) workers = record->as.epoch.workers;
    if (record->kind == RECORD_WORKER) workers = record->as.worker.worker;
    if (workers > WORKERS_EVER_MAX) return too_large("workers", error);
    limits->workers_max = max_u32(limits->workers_max, workers + 1);
    return ERR_OK;
}

static bool is_counted(enum record_kind kind)
{
    return kind == RECORD_CAMPAIGN || kind == RECORD_RUN || kind == RECORD_EPOCH ||
           kind == RECORD_WORKER;
}

/* On failure the scan's head is the end of what was good. */
static enum err count_frames(struct frame_scan *scan, struct record_codec *codec,
                             struct core_limits *limits, struct error *error)
{
    struct record *record = malloc(sizeof(*record));
    if (record == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory");
    enum err rc = ERR_OK;
    while (rc == ERR_OK) {
        struct frame frame;
        struct envelope envelope;
        const struct ledger_head good = scan->head;
        rc = scan_next(scan, &frame, &envelope, error);
        if (rc != ERR_OK || frame.bytes == 0) break;
        if (!is_counted(envelope.kind)) continue;
        rc = record_decode(codec, frame.payload, record, &envelope, error);
        if (rc == ERR_OK) rc = count_record(record, limits, error);
        if (rc == ERR_OK) continue;
        (void)error_prefix(error, rc, "offset %" PRId64 ", record %" PRIu64, good.bytes,
                           scan->head.seq);
        scan->head = good;
    }
    free(record);
    return rc;
}

/* The first pass: how much room is needed, and how far to go. */
static enum err count_pass(const char *path, const struct ledger_io *io,
                           struct replay_summary *summary, struct error *error)
{
    int fd = io_open(io, path, O_RDONLY);
    if (fd < 0 && errno == ENOENT)
        return error_set(error, ERR_NOT_FOUND, "%s: there is no ledger here", path);
    if (fd < 0) return error_errno(error, "open %s", path);
    struct frame_scan scan = { 0 };
    struct record_codec *codec = record_codec_create();
    enum err rc = ERR_OK;
    if (codec == NULL)
        rc = error_set(error, ERR_NO_MEMORY, "out of memory");
    else
        rc = scan_begin(&scan, io, fd, error);
    if (rc == ERR_OK) rc = count_frames(&scan, codec, &summary->limits, error);
    summary->head = scan.head;
    summary->tail_bytes = scan.tail_bytes;
    scan_fini(&scan);
    record_codec_destroy(codec);
    io->close(io->context, fd);
    return rc;
}

static enum err apply_entry(const struct ledger_entry *entry,
                            const struct replay_options *options, struct core *core,
                            struct error *error)
{
    enum err rc = core_apply(core, &entry->record, error);
    if (rc == ERR_OK && options->visit != NULL)
        rc = options->visit(options->context, entry, core, error);
    if (rc == ERR_OK) return ERR_OK;
    return error_prefix(error, rc, "offset %" PRId64 ", record %" PRIu64, entry->offset,
                        entry->seq);
}

/* The second pass: applies the records that the first one saw. On failure summary->head is the end
 * of what was good. */
static enum err apply_pass(const char *path, const struct replay_options *options,
                           struct core *core, struct replay_summary *summary,
                           struct error *error)
{
    struct ledger_reader *reader;
    uint64_t last_seq = summary->head.seq;
    enum err rc = ledger_reader_open(path, options->io, &reader, error);
    if (rc != ERR_OK) return rc;
    struct ledger_head good = ledger_reader_head(reader);
    while (rc == ERR_OK && good.seq < last_seq) {
        const struct ledger_entry *entry;
        rc = ledger_read(reader, &entry, error);
        if (rc == ERR_OK && entry == NULL)
            rc = error_set(error, ERR_DAMAGED,
                           "offset %" PRId64 ": the ledger was cut while it was read",
                           good.bytes);
        else if (rc == ERR_OK)
            rc = apply_entry(entry, options, core, error);
        if (rc == ERR_OK) good = ledger_reader_head(reader);
    }
    summary->head = good;
    ledger_reader_close(reader);
    return rc;
}

static struct core_limits limits_max(struct core_limits a, struct core_limits b)
{
    return (struct core_limits){
        .runs_max = max_u32(1, max_u32(a.runs_max, b.runs_max)),
        .workers_max = max_u32(1, max_u32(a.workers_max, b.workers_max)),
        .gates_max = max_u32(a.gates_max, b.gates_max),
        .run_gates_max = max_u32(a.run_gates_max, b.run_gates_max),
    };
}

enum err replay_run(const char *dir, const struct replay_options *options, struct core **core,
                    struct replay_summary *summary, struct error *error)
{
    static const struct replay_options none = { 0 };
    struct replay_options with = options == NULL ? none : *options;
    struct error local = { 0 };
    if (error == NULL) error = &local;
    if (with.io == NULL) with.io = &ledger_io_posix;
    *core = NULL;
    *summary = (struct replay_summary){ .head.bytes = LEDGER_MAGIC_BYTES };

    char path[4096];
    struct writer writer = writer_of(path, sizeof(path));
    writer_format(&writer, "%s/" LEDGER_FILE, dir);
    if (writer.full) return error_set(error, ERR_INPUT, "the path of %s is too long", dir);
    enum err rc = count_pass(path, with.io, summary, error);
    struct core *made = NULL;
    if (rc == ERR_OK) {
        summary->limits = limits_max(summary->limits, with.minimum);
        made = core_create(&summary->limits);
        if (made == NULL)
            rc = error_set(error, ERR_NO_MEMORY, "no memory for %" PRIu32 " runs",
                           summary->limits.runs_max);
        else
            rc = apply_pass(path, &with, made, summary, error);
        if (rc != ERR_OK) core_destroy(made);
    }
    if (rc == ERR_OK)
        *core = made;
    else if (rc != ERR_NOT_FOUND)
        (void)error_prefix(error, rc, "%s", path);
    return rc;
}
