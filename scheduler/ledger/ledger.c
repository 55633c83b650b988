/* The writer. Reads from the bottom up: paths, opening, then append and commit, then the rest.
 */
#include "scheduler/ledger/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/ledger/lock.h"
#include "scheduler/ledger/scan.h"

enum { LEDGER_PATH_BYTES = 4096, BATCH_BYTES_START = 1 << 16 };

/* A place in the batch where one write ends and the next begins. */
struct batch_end {
    size_t batch_bytes; /* from the batch's start */
    uint32_t records;   /* from the batch's start */
    struct ledger_head head;
};

struct ledger {
    const struct ledger_io *io;
    char dir[LEDGER_PATH_BYTES];
    int fd, lock_fd;
    struct ledger_holder self; /* for the lock file */
    struct ledger_recovery recovery;
    struct record_codec *codec;

    struct ledger_head head; /* of what is committed */
    struct ledger_head tip;  /* of head and batch together */
    uint8_t *batch;          /* sealed frames */
    size_t batch_bytes, batch_capacity;
    uint32_t batch_records;
    struct batch_end *ends; /* full writes of the batch; what is after the last is one more */
    size_t end_count, end_capacity;

    struct error failed; /* code ERR_OK: not failed */
};

/* ---- paths ---- */

static enum err path_in(char path[LEDGER_PATH_BYTES], const char *dir, const char *name,
                        struct error *error)
{
    struct writer writer = writer_of(path, LEDGER_PATH_BYTES);
    writer_format(&writer, "%s/%s", dir, name);
    if (!writer.full) return ERR_OK;
    return error_set(error, ERR_INPUT, "the path of %s/%s is too long", dir, name);
}

static enum err folder_sync(const struct ledger_io *io, const char *dir, struct error *error)
{
    int fd = io_open(io, dir, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return error_errno(error, "open %s", dir);
    enum err rc = ERR_OK;
    if (io_sync(io, fd, false) != 0) rc = error_errno(error, "sync %s", dir);
    io->close(io->context, fd);
    return rc;
}

/* ---- opening ---- */

/* Makes a ledger that holds nothing but its mark. It has its name only when it is whole on
 * disk. */
static enum err ledger_make(struct ledger *ledger, const char *path, struct error *error)
{
    const struct ledger_io *io = ledger->io;
    char young[LEDGER_PATH_BYTES];
    enum err rc = path_in(young, ledger->dir, LEDGER_FILE ".new", error);
    if (rc != ERR_OK) return rc;
    ledger->fd = io_open(io, young, O_RDWR | O_CREAT | O_TRUNC);
    if (ledger->fd < 0) return error_errno(error, "create %s", young);
    if (!io_write_whole(io, ledger->fd, ledger_magic, LEDGER_MAGIC_BYTES, 0))
        rc = error_errno(error, "write %s", young);
    else if (io_sync(io, ledger->fd, false) != 0)
        rc = error_errno(error, "sync %s", young);
    else if (io->rename(io->context, young, path) != 0)
        rc = error_errno(error, "rename %s to %s", young, path);
    if (rc != ERR_OK) {
        int saved = errno;
        (void)io->unlink(io->context, young);
        errno = saved;
        return rc;
    }
    ledger->recovery.created = true;
    return folder_sync(io, ledger->dir, error);
}

static enum err ledger_find(struct ledger *ledger, const char *path,
                            const struct ledger_holder *before, struct error *error)
{
    ledger->fd = io_open(ledger->io, path, O_RDWR);
    if (ledger->fd >= 0) return ERR_OK;
    if (errno != ENOENT) return error_errno(error, "open %s", path);
    if (before->has_head && before->head_seq > 0)
        return error_set(
            error, ERR_DAMAGED,
            "%s is gone, but %" PRIu64
            " records were acknowledged; bring it back, or remove " LEDGER_LOCK_FILE
            " to begin anew",
            path, before->head_seq);
    return ledger_make(ledger, path, error);
}

/* Walks all frames. *met says whether the head that `before` acknowledged was found on the way.
 */
static enum err ledger_walk(struct ledger *ledger, const struct ledger_holder *before,
                            struct frame_scan *scan, bool *met, struct error *error)
{
    enum err rc = scan_begin(scan, ledger->io, ledger->fd, error);
    *met = !before->has_head;
    while (rc == ERR_OK) {
        if (before->has_head && scan->head.bytes == before->head_bytes)
            *met = scan->head.seq == before->head_seq &&
                   sha256_equal(&scan->head.chain, &before->head_chain);
        struct frame frame;
        struct envelope envelope;
        rc = scan_next(scan, &frame, &envelope, error);
        if (rc == ERR_OK && frame.bytes == 0) return ERR_OK;
    }
    return rc;
}

/* What was written but never acknowledged may stand in the page cache only, even after a sync
 * that failed: write it once more, so that the sync after it means something. */
static enum err rewrite_unacknowledged(struct ledger *ledger, int64_t from, struct error *error)
{
    uint8_t piece[4096];
    for (int64_t at = from; at < ledger->head.bytes;) {
        size_t bytes = (size_t)min_i64((int64_t)sizeof(piece), ledger->head.bytes - at);
        ssize_t got = io_read_whole(ledger->io, ledger->fd, piece, bytes, at);
        if (got != (ssize_t)bytes) return error_errno(error, "read ledger again");
        if (!io_write_whole(ledger->io, ledger->fd, piece, bytes, at))
            return error_errno(error, "write ledger again");
        at += (int64_t)bytes;
    }
    return ERR_OK;
}

/* Brings the file to a whole frame's end and onto the disk. */
static enum err ledger_settle(struct ledger *ledger, const struct ledger_holder *before,
                              int64_t tail_bytes, struct error *error)
{
    const struct ledger_io *io = ledger->io;
    enum err rc = ERR_OK;
    if (before->has_head &&
        (rc = rewrite_unacknowledged(ledger, before->head_bytes, error)) != ERR_OK)
        return rc;
    if (tail_bytes > 0) {
        if (io->ftruncate(io->context, ledger->fd, ledger->head.bytes) != 0)
            return error_errno(error, "cut the torn tail");
        ledger->recovery.cut_offset = ledger->head.bytes;
        ledger->recovery.cut_bytes = tail_bytes;
    }
    if (io_sync(io, ledger->fd, false) != 0) return error_errno(error, "sync ledger");
    return ERR_OK;
}

static enum err ledger_recover(struct ledger *ledger, const struct ledger_holder *before,
                               struct error *error)
{
    struct frame_scan scan;
    bool met;
    enum err rc = ledger_walk(ledger, before, &scan, &met, error);
    if (rc == ERR_OK && !met)
        rc = error_set(error, ERR_DAMAGED,
                       "record %" PRIu64 ", up to offset %" PRId64
                       ", was acknowledged and is not there: the ledger ends at record %" PRIu64
                       ", offset %" PRId64
                       "; bring back the longer one, or remove " LEDGER_LOCK_FILE
                       " to accept the loss",
                       before->head_seq, before->head_bytes, scan.head.seq, scan.head.bytes);
    if (rc == ERR_OK) {
        ledger->head = ledger->tip = scan.head;
        ledger->recovery.records = scan.head.seq;
        rc = ledger_settle(ledger, before, scan.tail_bytes, error);
    }
    scan_fini(&scan);
    return rc;
}

static void ledger_introduce(struct ledger *ledger, const struct ledger_options *options)
{
    ledger->self.pid = options->pid;
    ledger->self.started_ns = options->started_ns;
    (void)text_copy(ledger->self.host, sizeof(ledger->self.host), text_of(options->host));
    for (char *c = ledger->self.host; *c != 0; c++)
        if (*c <= ' ') *c = '_'; /* the lock file's values have no blanks */
}

enum err ledger_open(const char *dir, const struct ledger_options *options,
                     struct ledger **ledger, struct error *error)
{
    *ledger = NULL;
    struct ledger *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory");
    opened->io = options->io == NULL ? &ledger_io_posix : options->io;
    opened->fd = opened->lock_fd = -1;
    ledger_introduce(opened, options);

    char path[LEDGER_PATH_BYTES], lock_path[LEDGER_PATH_BYTES];
    struct ledger_holder before = { 0 };
    enum err rc = path_in(path, dir, LEDGER_FILE, error);
    if (rc == ERR_OK) rc = path_in(lock_path, dir, LEDGER_LOCK_FILE, error);
    if (rc != ERR_OK) goto out;
    (void)text_copy(opened->dir, sizeof(opened->dir), text_of(dir));
    if ((opened->codec = record_codec_create()) == NULL) {
        rc = error_set(error, ERR_NO_MEMORY, "out of memory");
        goto out;
    }
    rc = lock_take(lock_path, opened->io, options->lock_wait_ns, &opened->lock_fd, error);
    if (rc != ERR_OK) goto out;
    if ((rc = lock_read(opened->io, opened->lock_fd, &before, error)) != ERR_OK) goto out;
    if ((rc = ledger_find(opened, path, &before, error)) != ERR_OK) goto out;
    if ((rc = ledger_recover(opened, &before, error)) != ERR_OK) {
        (void)error_prefix(error, rc, "%s", path);
        goto out;
    }
    lock_write_head(opened->io, opened->lock_fd, &opened->head);
    lock_write_holder(opened->io, opened->lock_fd, &opened->self);
    *ledger = opened;
    return ERR_OK;
out:
    ledger_close(opened);
    return rc;
}

void ledger_close(struct ledger *ledger)
{
    if (ledger == NULL) return;
    int saved = errno;
    const struct ledger_io *io = ledger->io;
    if (ledger->fd >= 0) io->close(io->context, ledger->fd);
    if (ledger->lock_fd >= 0) io->close(io->context, ledger->lock_fd);
    record_codec_destroy(ledger->codec);
    free(ledger->batch);
    free(ledger->ends);
    free(ledger);
    errno = saved;
}

const struct ledger_recovery *ledger_recovered(const struct ledger *ledger)
{
    return &ledger->recovery;
}

/* ---- append ---- */

static enum err failed_before(const struct ledger *ledger, struct error *error)
{
    if (error != NULL) *error = ledger->failed;
    return ledger->failed.code;
}

static bool grow(void **array, size_t *capacity, size_t needed, size_t each_bytes)
{
    if (needed <= *capacity) return true;
    size_t more = *capacity == 0 ? 8 : *capacity;
    while (more < needed)
        more *= 2;
    void *grown = realloc(*array, more * each_bytes);
    if (grown == NULL) return false;
    *array = grown;
    *capacity = more;
    return true;
}

/* Makes room for a frame; when it would make the batch's last write too long, that write ends
 * before it. */
static enum err batch_room(struct ledger *ledger, size_t frame_bytes, struct error *error)
{
    void *batch = ledger->batch, *ends = ledger->ends;
    bool got =
        grow(&batch, &ledger->batch_capacity, ledger->batch_bytes + frame_bytes, 1) &&
        (ledger->batch = batch, true) &&
        grow(&ends, &ledger->end_capacity, ledger->end_count + 1, sizeof(struct batch_end)) &&
        (ledger->ends = ends, true);
    if (!got) return error_set(error, ERR_NO_MEMORY, "out of memory");
    size_t begun = ledger->end_count == 0 ? 0 : ledger->ends[ledger->end_count - 1].batch_bytes;
    if (ledger->batch_bytes - begun + frame_bytes > LEDGER_WRITE_BYTES_MAX)
        ledger->ends[ledger->end_count++] =
            (struct batch_end){ ledger->batch_bytes, ledger->batch_records, ledger->tip };
    return ERR_OK;
}

enum err ledger_append(struct ledger *ledger, const struct record *record, struct error *error)
{
    if (ledger->failed.code != ERR_OK) return failed_before(ledger, error);
    uint64_t epoch = ledger->tip.epoch;
    if (record->at_ns < ledger->tip.at_ns)
        return error_set(error, ERR_REFUSED, "a record from before the last one");
    if (record->kind == RECORD_EPOCH) {
        epoch = record->as.epoch.epoch;
        if (epoch <= ledger->tip.epoch)
            return error_set(error, ERR_REFUSED, "epoch %" PRIu64 " does not follow %" PRIu64,
                             epoch, ledger->tip.epoch);
    }
    struct text payload;
    enum err rc =
        record_encode(ledger->codec, record, ledger->tip.seq + 1, epoch, &payload, error);
    if (rc != ERR_OK) return rc;
    size_t frame_bytes = payload.len + FRAME_EXTRA_BYTES;
    if ((rc = batch_room(ledger, frame_bytes, error)) != ERR_OK) return rc;

    frame_seal(ledger->batch + ledger->batch_bytes, payload, &ledger->tip.chain);
    ledger->batch_bytes += frame_bytes;
    ledger->batch_records++;
    ledger->tip.seq++;
    ledger->tip.epoch = epoch;
    ledger->tip.at_ns = record->at_ns;
    ledger->tip.bytes += (int64_t)frame_bytes;
    return ERR_OK;
}

/* ---- commit ---- */

/* Ends this ledger. The state of the file is unknown from here on. */
static enum err give_up(struct ledger *ledger, enum err code, struct error *error)
{
    if (code == ERR_NO_SPACE) code = ERR_IO; /* there is no trying again */
    if (error != NULL) error->code = code;
    ledger->failed = (struct error){ .code = code };
    if (error != NULL) ledger->failed = *error;
    return code;
}

/* Is the file as this writer left it? Its end is the place that another writer would move. */
static enum err fence(const struct ledger *ledger, struct error *error)
{
    const struct ledger_io *io = ledger->io;
    int64_t bytes = 0;
    if (io->size(io->context, ledger->fd, &bytes) != 0)
        return error_errno(error, "look at ledger");
    uint8_t end[SHA256_BYTES];
    bool empty = ledger->head.seq == 0;
    size_t end_bytes = empty ? LEDGER_MAGIC_BYTES : SHA256_BYTES;
    const void *expected = empty ? (const void *)ledger_magic : ledger->head.chain.bytes;
    ssize_t got =
        io_read_whole(io, ledger->fd, end, end_bytes, ledger->head.bytes - (int64_t)end_bytes);
    if (got < 0) return error_errno(error, "read ledger");
    if (bytes == ledger->head.bytes && got == (ssize_t)end_bytes &&
        memcmp(end, expected, end_bytes) == 0)
        return ERR_OK;
    return error_set(error, ERR_REFUSED,
                     "the ledger is not as this process left it (%" PRId64 " bytes, %" PRId64
                     " expected): another process has written to it",
                     bytes, ledger->head.bytes);
}

/* Takes back what a full disk let us write; the file then ends with a whole frame again. */
static enum err write_back_out(struct ledger *ledger, struct error *error)
{
    const struct ledger_io *io = ledger->io;
    int saved = errno;
    if (io->ftruncate(io->context, ledger->fd, ledger->head.bytes) != 0)
        return give_up(ledger, error_errno(error, "take back a broken-off write"), error);
    errno = saved;
    return error_errno(error, "write ledger");
}

/* Writes the first bytes of the batch, up to `end`, and takes them out of it. */
static enum err commit_one(struct ledger *ledger, struct batch_end end, struct error *error)
{
    const struct ledger_io *io = ledger->io;
    enum err rc = fence(ledger, error);
    if (rc != ERR_OK) return give_up(ledger, rc, error);
    if (!io_write_whole(io, ledger->fd, ledger->batch, end.batch_bytes, ledger->head.bytes)) {
        if (errno == ENOSPC || errno == EDQUOT) return write_back_out(ledger, error);
        return give_up(ledger, error_errno(error, "write ledger"), error);
    }
    if (io_sync(io, ledger->fd, true) != 0)
        return give_up(ledger, error_errno(error, "sync ledger"), error);

    bool new_epoch = ledger->head.epoch != end.head.epoch;
    ledger->head = end.head;
    ledger->batch_bytes -= end.batch_bytes;
    ledger->batch_records -= end.records;
    memmove(ledger->batch, ledger->batch + end.batch_bytes, ledger->batch_bytes);
    lock_write_head(io, ledger->lock_fd, &ledger->head);
    if (new_epoch) {
        ledger->self.epoch = ledger->head.epoch;
        lock_write_holder(io, ledger->lock_fd, &ledger->self);
    }
    return ERR_OK;
}

/* The first write of the batch: up to the first end, or all of it. */
static struct batch_end first_write(struct ledger *ledger)
{
    if (ledger->end_count > 0) return ledger->ends[0];
    return (struct batch_end){ ledger->batch_bytes, ledger->batch_records, ledger->tip };
}

static void first_write_done(struct ledger *ledger, const struct batch_end *done)
{
    if (ledger->end_count == 0) return;
    ledger->end_count--;
    for (size_t i = 0; i < ledger->end_count; i++) {
        ledger->ends[i] = ledger->ends[i + 1];
        ledger->ends[i].batch_bytes -= done->batch_bytes;
        ledger->ends[i].records -= done->records;
    }
}

enum err ledger_commit(struct ledger *ledger, struct error *error)
{
    if (ledger->failed.code != ERR_OK) return failed_before(ledger, error);
    struct error local = { 0 };
    while (ledger->batch_records > 0) {
        struct batch_end end = first_write(ledger);
        enum err rc = commit_one(ledger, end, &local);
        if (rc != ERR_OK) {
            if (error != NULL) *error = local;
            return rc;
        }
        first_write_done(ledger, &end);
    }
    return ERR_OK;
}

uint32_t ledger_pending(const struct ledger *ledger)
{
    return ledger->batch_records;
}

struct ledger_head ledger_head(const struct ledger *ledger)
{
    return ledger->head;
}

/* ---- ballast ---- */

enum err ledger_ballast_release(struct ledger *ledger, struct error *error)
{
    char path[LEDGER_PATH_BYTES];
    enum err rc = path_in(path, ledger->dir, LEDGER_BALLAST_FILE, error);
    if (rc != ERR_OK) return rc;
    const struct ledger_io *io = ledger->io;
    if (io->unlink(io->context, path) != 0) {
        if (errno == ENOENT) return ERR_OK;
        return error_errno(error, "remove %s", path);
    }
    return folder_sync(io, ledger->dir, error); /* some file systems free the room only then */
}

/* Writes bytes that no file system can compress away. */
static enum err ballast_fill(const struct ledger_io *io, int fd, const char *path,
                             struct error *error)
{
    enum { PIECE_BYTES = 1 << 16, PIECE_WORDS = PIECE_BYTES / 8 };
    uint64_t *piece = malloc(PIECE_BYTES);
    if (piece == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory");
    enum err rc = ERR_OK;
    for (int64_t at = 0; at < LEDGER_BALLAST_BYTES && rc == ERR_OK; at += PIECE_BYTES) {
        for (uint64_t i = 0; i < PIECE_WORDS; i++)
            piece[i] = hash_mix((uint64_t)at, i);
        if (!io_write_whole(io, fd, piece, PIECE_BYTES, at))
            rc = error_errno(error, "write %s", path);
    }
    free(piece);
    if (rc == ERR_OK && io_sync(io, fd, false) != 0) rc = error_errno(error, "sync %s", path);
    return rc;
}

enum err ledger_ballast_restore(struct ledger *ledger, struct error *error)
{
    char path[LEDGER_PATH_BYTES];
    enum err rc = path_in(path, ledger->dir, LEDGER_BALLAST_FILE, error);
    if (rc != ERR_OK) return rc;
    const struct ledger_io *io = ledger->io;
    int fd = io_open(io, path, O_RDWR | O_CREAT);
    if (fd < 0) return error_errno(error, "create %s", path);
    int64_t bytes = 0;
    if (io->size(io->context, fd, &bytes) != 0)
        rc = error_errno(error, "look at %s", path);
    else if (bytes != LEDGER_BALLAST_BYTES)
        rc = ballast_fill(io, fd, path, error);
    io->close(io->context, fd);
    if (rc != ERR_OK) (void)io->unlink(io->context, path);
    return rc;
}
