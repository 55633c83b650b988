#include "scheduler/ledger/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "scheduler/ledger/scan.h"

enum { LINE_BYTES = 192, CRC_DIGITS = 8, LOCK_POLL_NS = 50 * 1000 * 1000 };

/* ---- lines ---- */

static uint32_t crc_of(struct text text)
{
    return crc32c(0, text.data, text.len);
}

/* Ends the line with its checksum, fills it up with blanks, and writes it at its place. */
static void line_write(const struct ledger_io *io, int fd, int index, struct writer *writer)
{
    writer_string(writer, " crc=");
    uint32_t crc = crc_of((struct text){ writer->data, writer->len });
    writer_format(writer, "%08" PRIx32, crc);
    if (writer->full || writer->len > LINE_BYTES - 1) return;
    char line[LINE_BYTES];
    memset(line, ' ', sizeof(line));
    memcpy(line, writer->data, writer->len);
    line[LINE_BYTES - 1] = '\n';
    (void)io_write_whole(io, fd, line, sizeof(line), (int64_t)index * LINE_BYTES);
}

/* The line without its checksum, or the empty text when it does not match. */
static struct text line_checked(struct text line)
{
    size_t at = text_find(line, TEXT(" crc="));
    if (at == SIZE_MAX) return (struct text){ "", 0 };
    struct text body = { line.data, at + sizeof(" crc=") - 1 };
    char digits[CRC_DIGITS + 1];
    struct writer writer = writer_of(digits, sizeof(digits));
    writer_format(&writer, "%08" PRIx32, crc_of(body));
    struct text given = { line.data + body.len, line.len - body.len };
    if (!text_equal(text_trim(given), text_of(digits))) return (struct text){ "", 0 };
    return body;
}

/* The value of "key=" in a line: up to the next blank. */
static struct text value_of(struct text line, struct text key)
{
    size_t at = text_find(line, key);
    if (at == SIZE_MAX) return (struct text){ "", 0 };
    struct text value = { line.data + at + key.len, 0 };
    while (at + key.len + value.len < line.len && value.data[value.len] != ' ')
        value.len++;
    return value;
}

static bool number_of(struct text line, struct text key, uint64_t *value)
{
    return text_to_u64(value_of(line, key), value);
}

static void head_parse(struct text line, struct ledger_holder *holder)
{
    uint64_t bytes, seq;
    struct sha256 chain;
    if (!number_of(line, TEXT("committed="), &bytes) || bytes > INT64_MAX) return;
    if (!number_of(line, TEXT(" seq="), &seq)) return;
    if (!sha256_from_hex(value_of(line, TEXT(" chain=")), &chain)) return;
    holder->has_head = true;
    holder->head_bytes = (int64_t)bytes;
    holder->head_seq = seq;
    holder->head_chain = chain;
}

static void holder_parse(struct text line, struct ledger_holder *holder)
{
    uint64_t pid, started_ns, epoch;
    if (!number_of(line, TEXT(" pid="), &pid) || pid > UINT32_MAX) return;
    if (!number_of(line, TEXT(" started="), &started_ns) || started_ns > INT64_MAX) return;
    if (!number_of(line, TEXT(" epoch="), &epoch)) return;
    holder->pid = (uint32_t)pid;
    holder->started_ns = (int64_t)started_ns;
    holder->epoch = epoch;
    (void)text_copy(holder->host, sizeof(holder->host), value_of(line, TEXT("holder=")));
}

enum err lock_read(const struct ledger_io *io, int fd, struct ledger_holder *holder,
                   struct error *error)
{
    char lines[2 * LINE_BYTES];
    ssize_t got = io_read_whole(io, fd, lines, sizeof(lines), 0);
    if (got < 0) return error_errno(error, "read " LEDGER_LOCK_FILE);
    bool locked = holder->locked;
    *holder = (struct ledger_holder){ .locked = locked };
    if (got >= LINE_BYTES) head_parse(line_checked((struct text){ lines, LINE_BYTES }), holder);
    if (got >= 2 * LINE_BYTES)
        holder_parse(line_checked((struct text){ lines + LINE_BYTES, LINE_BYTES }), holder);
    return ERR_OK;
}

void lock_write_head(const struct ledger_io *io, int fd, const struct ledger_head *head)
{
    char text[2 * LINE_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    struct writer writer = writer_of(text, sizeof(text));
    sha256_hex(&head->chain, hex);
    writer_format(&writer, "committed=%" PRId64 " seq=%" PRIu64 " chain=%s", head->bytes,
                  head->seq, hex);
    line_write(io, fd, 0, &writer);
}

void lock_write_holder(const struct ledger_io *io, int fd, const struct ledger_holder *holder)
{
    char text[2 * LINE_BYTES];
    struct writer writer = writer_of(text, sizeof(text));
    writer_format(&writer, "holder=%s pid=%" PRIu32 " started=%" PRId64 " epoch=%" PRIu64,
                  holder->host, holder->pid, holder->started_ns, holder->epoch);
    line_write(io, fd, 1, &writer);
}

/* ---- the lock ---- */

static enum err held_error(const struct ledger_io *io, int fd, const char *path,
                           struct error *error)
{
    struct ledger_holder holder = { 0 };
    enum err rc = lock_read(io, fd, &holder, error);
    if (rc != ERR_OK || holder.pid == 0)
        return error_set(error, ERR_LOCKED, "%s is held by another process", path);
    char text[64];
    struct writer since = writer_of(text, sizeof(text));
    writer_utc(&since, holder.started_ns);
    return error_set(error, ERR_LOCKED,
                     "%s is held by process %" PRIu32 " on %s, since %s, epoch %" PRIu64, path,
                     holder.pid, holder.host, since.data, holder.epoch);
}

/* Locks without waiting longer than wait_ns. errno EAGAIN: somebody has it. */
static int lock_within(const struct ledger_io *io, int fd, int64_t wait_ns)
{
    for (;;) {
        int rc = io->lock(io->context, fd);
        if (rc == 0) return 0;
        if (errno == EINTR) continue;
        if (errno != EAGAIN || wait_ns <= 0) return -1;
        struct timespec pause = { .tv_nsec = LOCK_POLL_NS };
        (void)nanosleep(&pause, NULL);
        wait_ns -= LOCK_POLL_NS;
    }
}

enum err lock_take(const char *path, const struct ledger_io *io, int64_t wait_ns, int *fd,
                   struct error *error)
{
    int opened = io_open(io, path, O_RDWR | O_CREAT);
    if (opened < 0) return error_errno(error, "open %s", path);
    if (lock_within(io, opened, wait_ns) == 0) {
        *fd = opened;
        return ERR_OK;
    }
    enum err rc = errno == EAGAIN
                      ? held_error(io, opened, path, error)
                      : error_errno(error,
                                    "lock %s (the state directory must be on a file system "
                                    "with file locks; Lustre has them with -o flock)",
                                    path);
    io->close(io->context, opened);
    return rc;
}

enum err ledger_holder(const char *dir, const struct ledger_io *io,
                       struct ledger_holder *holder, struct error *error)
{
    *holder = (struct ledger_holder){ 0 };
    if (io == NULL) io = &ledger_io_posix;
    char path[4096];
    struct writer writer = writer_of(path, sizeof(path));
    writer_format(&writer, "%s/" LEDGER_LOCK_FILE, dir);
    if (writer.full) return error_set(error, ERR_INPUT, "the path of %s is too long", dir);
    int fd = io_open(io, path, O_RDONLY);
    if (fd < 0 && errno == ENOENT) return ERR_OK;
    if (fd < 0) return error_errno(error, "open %s", path);
    int locked = io->locked(io->context, fd);
    enum err rc = locked < 0 ? error_errno(error, "look at the lock of %s", path)
                             : lock_read(io, fd, holder, error);
    holder->locked = rc == ERR_OK && locked == 1;
    io->close(io->context, fd);
    return rc;
}
