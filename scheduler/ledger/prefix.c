#include "scheduler/ledger/prefix.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#include "scheduler/ledger/scan.h"

enum { POINT_EVERY = 256 };

void prefix_note(struct prefix *prefix, const struct ledger_head *head)
{
    uint64_t last = prefix->count > 0 ? prefix->points[prefix->count - 1].seq : 0;
    if (head->seq < last + POINT_EVERY) return;
    if (prefix->count == prefix->room) {
        size_t room = 2 * prefix->room + 64;
        struct ledger_head *grown = realloc(prefix->points, room * sizeof *grown);
        if (grown == NULL) return;
        prefix->points = grown;
        prefix->room = room;
    }
    prefix->points[prefix->count++] = *head;
}

void prefix_fini(struct prefix *prefix)
{
    free(prefix->points);
    *prefix = (struct prefix){ 0 };
}

/* The last kept head at or before `seq`; the ledger's beginning when there is none. */
static struct ledger_head point_before(const struct prefix *prefix, uint64_t seq)
{
    size_t low = 0, high = prefix->count; /* points before `low` are not after seq */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (prefix->points[middle].seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? prefix->points[low - 1]
                   : (struct ledger_head){ .bytes = LEDGER_MAGIC_BYTES };
}

static enum err read_up_to(struct frame_scan *scan, uint64_t seq, struct error *error)
{
    struct frame frame;
    struct envelope envelope;
    while (scan->head.seq < seq) {
        enum err rc = scan_next(scan, &frame, &envelope, error);
        if (rc != ERR_OK) return rc;
        if (frame.bytes == 0)
            return error_set(
                error, ERR_REFUSED,
                "it was decided on record %" PRIu64 ", which this ledger does not have", seq);
    }
    return ERR_OK;
}

enum err prefix_check(const struct prefix *prefix, const char *dir, const struct ledger_io *io,
                      uint64_t seq, const struct sha256 *chain, struct error *error)
{
    char path[4096];
    struct writer writer = writer_of(path, sizeof path);
    struct frame_scan scan = { 0 };
    if (io == NULL) io = &ledger_io_posix;
    writer_format(&writer, "%s/" LEDGER_FILE, dir);
    if (writer.full) return error_set(error, ERR_INPUT, "the path of %s is too long", dir);
    int fd = io_open(io, path, O_RDONLY);
    if (fd < 0) return error_errno(error, "open %s", path);
    enum err rc = scan_begin(&scan, io, fd, error);
    if (rc == ERR_OK) {
        scan.head = point_before(prefix, seq);
        scan.window_at = scan.head.bytes;
        rc = read_up_to(&scan, seq, error);
    }
    if (rc == ERR_OK && !sha256_equal(&scan.head.chain, chain))
        rc = error_set(error, ERR_REFUSED,
                       "it was decided on another ledger: record %" PRIu64
                       " has another chain there",
                       seq);
    scan_fini(&scan);
    io->close(io->context, fd);
    return rc;
}
