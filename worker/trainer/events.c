#include "worker/trainer/events.h"

#include "proto/base/log.h"
#include "proto/base/text.h"
#include "worker/trainer/events_protobuf.h"
#include "worker/trainer/json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A message of ours is below MESSAGE_BYTES: its longest part is a path. */
enum {
    OUTBOX_BYTES = 1 << 16,
    MESSAGE_BYTES = 4 * PATH_MAX,
    LENGTH_BYTES = 4,
    PATIENCE_MS = 3000
};

enum outlet { OUTLET_PROTOBUF, OUTLET_JSON, OUTLET_PEOPLE };

struct events {
    enum outlet outlet;
    const struct events_encoder *encoder; /* of OUTLET_PROTOBUF */
    int fd;                               /* -1: nobody listens any more */
    bool drops_logged;
    size_t outbox_bytes; /* waiting in outbox */
    char outbox[OUTBOX_BYTES];
};

/* ---- the outbox ---- */

static void give_up(struct events *events)
{
    log_line(LOG_LEVEL_WARN, "nobody reads the events any more: %s", strerror(errno));
    close(events->fd);
    events->fd = -1;
    events->outbox_bytes = 0;
}

/* Writes what the reader takes now. */
static void flush(struct events *events)
{
    size_t done = 0;
    while (events->fd >= 0 && done < events->outbox_bytes) {
        ssize_t n = write(events->fd, events->outbox + done, events->outbox_bytes - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno == EAGAIN || errno == EWOULDBLOCK)
            break;
        else if (errno != EINTR)
            give_up(events);
    }
    if (events->fd < 0) return;
    events->outbox_bytes -= done;
    memmove(events->outbox, events->outbox + done, events->outbox_bytes);
}

static int64_t now_ms(void)
{
    struct timespec now;
    check(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / NS_PER_MS;
}

/* Flushes until at most `left` bytes wait, for PATIENCE_MS at most. */
static void flush_patiently(struct events *events, size_t left)
{
    int64_t deadline_ms = now_ms() + PATIENCE_MS;
    flush(events);
    while (events->fd >= 0 && events->outbox_bytes > left) {
        int64_t wait_ms = deadline_ms - now_ms();
        if (wait_ms <= 0) return;
        struct pollfd ready = { .fd = events->fd, .events = POLLOUT };
        if (poll(&ready, 1, (int)wait_ms) > 0) flush(events);
    }
}

/* `important` waits in the outbox and, where that is full, for the reader. Whoever has seen an
 * earlier message in full sees this one in full or not at all. */
static void post(struct events *events, const void *message, size_t bytes, bool important)
{
    if (events->fd < 0) return;
    flush(events);
    if (!important && events->outbox_bytes > 0) return;
    if (events->outbox_bytes + bytes > OUTBOX_BYTES)
        flush_patiently(events, OUTBOX_BYTES - bytes);
    if (events->fd < 0) return;
    if (events->outbox_bytes + bytes > OUTBOX_BYTES) {
        if (!events->drops_logged)
            log_line(LOG_LEVEL_ERROR, "an event was lost: the agent does not read its pipe");
        events->drops_logged = true;
        return;
    }
    memcpy(events->outbox + events->outbox_bytes, message, bytes);
    events->outbox_bytes += bytes;
    flush(events);
}

/* ---- opening ---- */

/* N of "/dev/fd/N", or -1. */
static int inherited_fd(const char *path)
{
    struct text text = text_of(path), prefix = TEXT("/dev/fd/");
    uint64_t fd;
    if (!text_starts(text, prefix)) return -1;
    struct text number = { text.data + prefix.len, text.len - prefix.len };
    return text_to_u64(number, &fd) && fd <= INT_MAX ? (int)fd : -1;
}

/* A description of our own where the system can make one (pipes and files), so that making it
 * non-blocking concerns nobody else; otherwise (sockets) the inherited one. */
static enum err open_outlet(const char *path, int *fd, struct error *error)
{
    *fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd >= 0) return ERR_OK;
    int saved = errno, inherited = inherited_fd(path);
    if (inherited >= 0) *fd = fcntl(inherited, F_DUPFD_CLOEXEC, 3);
    if (*fd < 0) {
        errno = saved;
        return error_errno(error, "open the event outlet %s", path);
    }
    int flags = fcntl(*fd, F_GETFL);
    if (flags >= 0) (void)fcntl(*fd, F_SETFL, flags | O_NONBLOCK);
    return ERR_OK;
}

enum err events_open(const struct events_options *options, struct events **out,
                     struct error *error)
{
    *out = NULL;
    struct events *events = calloc(1, sizeof(*events));
    if (events == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for events");
    enum err rc = ERR_OK;
    struct text protobuf = text_of(options->protobuf_path), json = text_of(options->json_path);
    events->outlet = protobuf.len > 0 ? OUTLET_PROTOBUF
                     : json.len > 0   ? OUTLET_JSON
                                      : OUTLET_PEOPLE;
    events->encoder = events_protobuf();
    if (events->outlet == OUTLET_PROTOBUF && events->encoder == NULL)
        rc = error_set(error, ERR_UNSUPPORTED,
                       "this build knows no protobuf: use PENSTOCK_EVENTS in place of "
                       "PENSTOCK_FD");
    else if (events->outlet == OUTLET_PEOPLE)
        events->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3); /* -1: no stdout, no lines */
    else
        rc = open_outlet(protobuf.len > 0 ? protobuf.data : json.data, &events->fd, error);
    if (rc != ERR_OK) {
        free(events);
        return rc;
    }
    *out = events;
    return ERR_OK;
}

void events_close(struct events *events)
{
    if (events == NULL) return;
    int saved = errno;
    flush_patiently(events, 0);
    if (events->fd >= 0) close(events->fd);
    free(events);
    errno = saved;
}

/* ---- messages ---- */

/* A message of an encoder at `message` + LENGTH_BYTES; gets its length before it. */
static void post_message(struct events *events, uint8_t *message, size_t bytes, bool important)
{
    if (bytes == 0) {
        log_line(LOG_LEVEL_ERROR, "an event longer than %d bytes was not sent",
                 MESSAGE_BYTES - LENGTH_BYTES);
        return;
    }
    for (int i = 0; i < LENGTH_BYTES; i++)
        message[i] = (uint8_t)(bytes >> (8 * i));
    post(events, message, bytes + LENGTH_BYTES, important);
}

static void post_line(struct events *events, struct writer *writer, bool important)
{
    writer_string(writer, "\n");
    if (writer->full) {
        log_line(LOG_LEVEL_ERROR, "an event longer than %zu bytes was not sent",
                 writer->capacity_bytes);
        return;
    }
    post(events, writer->data, writer->len, important);
}

/* A number as Python's json reads and writes it. */
static void write_number(struct writer *writer, double value)
{
    if (isnan(value))
        writer_string(writer, "NaN");
    else if (isinf(value))
        writer_string(writer, value > 0 ? "Infinity" : "-Infinity");
    else
        writer_format(writer, "%.9g", value);
}

static void write_field(struct writer *writer, const char *key, double value)
{
    writer_format(writer, ",\"%s\":", key);
    write_number(writer, value);
}

void events_ready(struct events *events, const struct events_ready *ready)
{
    char line[MESSAGE_BYTES];
    struct writer writer = writer_of(line, sizeof(line));
    if (events->outlet == OUTLET_PROTOBUF) {
        uint8_t message[MESSAGE_BYTES];
        size_t bytes =
            events->encoder->ready(ready, message + LENGTH_BYTES, MESSAGE_BYTES - LENGTH_BYTES);
        post_message(events, message, bytes, true);
        return;
    }
    if (events->outlet == OUTLET_JSON) {
        writer_format(&writer, "{\"ready\":true,\"step\":%" PRIu64, ready->step);
        write_field(&writer, "flops_per_token", ready->flops_per_token);
        writer_format(&writer, ",\"parameters\":%" PRIu64 ",\"backend\":", ready->parameters);
        json_write_string(&writer, ready->backend);
        writer_string(&writer, ",\"detail\":");
        json_write_string(&writer, ready->detail);
        writer_string(&writer, "}");
    } else {
        writer_format(&writer, "ready at step %" PRIu64 ": %" PRIu64 " parameters on %s (%s)",
                      ready->step, ready->parameters, ready->backend, ready->detail);
    }
    post_line(events, &writer, true);
}

static void write_progress_json(struct writer *writer, const struct events_progress *p)
{
    writer_format(writer, "{\"step\":%" PRIu64, p->step);
    if (p->has_loss) write_field(writer, "loss", p->loss);
    writer_format(writer, ",\"tokens\":%" PRIu64, p->tokens);
    if (p->has_val_loss) write_field(writer, "val_loss", p->val_loss);
    write_field(writer, "grad_norm", p->grad_norm);
    write_field(writer, "learning_rate", p->learning_rate);
    writer_format(writer, ",\"busy_ns\":%" PRIu64 ",\"wait_ns\":%" PRIu64, p->busy_ns,
                  p->wait_ns);
    if (p->collectives > 0 || p->in_collective)
        writer_format(writer, ",\"collectives\":%" PRIu64 ",\"in_collective\":%s",
                      p->collectives, p->in_collective ? "true" : "false");
    writer_string(writer, "}");
}

static void write_progress_line(struct writer *writer, const struct events_progress *p)
{
    writer_format(writer, "step %" PRIu64, p->step);
    if (p->has_loss) writer_format(writer, " loss %.4f", p->loss);
    if (p->has_val_loss) writer_format(writer, " val_loss %.4f", p->val_loss);
    writer_format(writer, " lr %.3g norm %.3g tokens ", p->learning_rate, p->grad_norm);
    writer_grouped(writer, (int64_t)p->tokens);
}

void events_progress(struct events *events, const struct events_progress *progress,
                     bool must_arrive)
{
    char line[1024];
    struct writer writer = writer_of(line, sizeof(line));
    if (events->outlet == OUTLET_PROTOBUF) {
        uint8_t message[MESSAGE_BYTES];
        size_t bytes = events->encoder->progress(progress, message + LENGTH_BYTES,
                                                 MESSAGE_BYTES - LENGTH_BYTES);
        post_message(events, message, bytes, must_arrive);
        return;
    }
    if (events->outlet == OUTLET_JSON)
        write_progress_json(&writer, progress);
    else
        write_progress_line(&writer, progress);
    post_line(events, &writer, must_arrive);
}

void events_gate(struct events *events, const struct events_gate *gate)
{
    char line[MESSAGE_BYTES];
    struct writer writer = writer_of(line, sizeof(line));
    if (events->outlet == OUTLET_PROTOBUF) {
        uint8_t message[MESSAGE_BYTES];
        size_t bytes =
            events->encoder->gate(gate, message + LENGTH_BYTES, MESSAGE_BYTES - LENGTH_BYTES);
        post_message(events, message, bytes, true);
        return;
    }
    if (events->outlet == OUTLET_JSON) {
        writer_string(&writer, "{\"gate\":");
        json_write_string(&writer, gate->name);
        writer_format(&writer, ",\"step\":%" PRIu64 ",\"tokens\":%" PRIu64, gate->step,
                      gate->tokens);
        write_field(&writer, "val_loss", gate->val_loss);
        writer_string(&writer, ",\"checkpoint\":");
        json_write_string(&writer, gate->checkpoint);
        writer_string(&writer, "}");
    } else {
        writer_format(&writer, "gate %s at step %" PRIu64 ": val_loss %.4f, checkpoint %s",
                      gate->name, gate->step, gate->val_loss, gate->checkpoint);
    }
    post_line(events, &writer, true);
}

void events_checkpoint(struct events *events, uint64_t step, uint64_t tokens, const char *path)
{
    char line[MESSAGE_BYTES];
    struct writer writer = writer_of(line, sizeof(line));
    if (events->outlet == OUTLET_PROTOBUF) {
        uint8_t message[MESSAGE_BYTES];
        size_t bytes =
            events->encoder->checkpoint(&(struct events_checkpoint){ step, tokens, path },
                                        message + LENGTH_BYTES, MESSAGE_BYTES - LENGTH_BYTES);
        post_message(events, message, bytes, true);
        return;
    }
    if (events->outlet == OUTLET_JSON) {
        writer_string(&writer, "{\"checkpoint\":");
        json_write_string(&writer, path);
        writer_format(&writer, ",\"step\":%" PRIu64 ",\"tokens\":%" PRIu64 "}", step, tokens);
    } else {
        writer_format(&writer, "checkpoint at step %" PRIu64 ": %s", step, path);
    }
    post_line(events, &writer, true);
}

void events_failure(struct events *events, const char *text)
{
    char line[MESSAGE_BYTES];
    struct writer writer = writer_of(line, sizeof(line));
    if (events->outlet == OUTLET_PROTOBUF) {
        uint8_t message[MESSAGE_BYTES];
        size_t bytes = events->encoder->failure(text, message + LENGTH_BYTES,
                                                MESSAGE_BYTES - LENGTH_BYTES);
        post_message(events, message, bytes, true);
        return;
    }
    if (events->outlet == OUTLET_PEOPLE) return; /* stderr has it */
    writer_string(&writer, "{\"failure\":");
    json_write_string(&writer, text);
    writer_string(&writer, "}");
    post_line(events, &writer, true);
}

void events_comm_id(struct events *events, const struct comm_frame *id)
{
    char line[MESSAGE_BYTES];
    struct writer writer = writer_of(line, sizeof(line));
    if (events->outlet == OUTLET_PROTOBUF) {
        uint8_t message[MESSAGE_BYTES];
        size_t bytes =
            events->encoder->comm_id(id, message + LENGTH_BYTES, MESSAGE_BYTES - LENGTH_BYTES);
        post_message(events, message, bytes, true);
        return;
    }
    if (events->outlet == OUTLET_PEOPLE) return; /* nobody could pass it on */
    writer_string(&writer, "{\"comm_id\":\"");
    for (size_t i = 0; i < id->id_bytes; i++)
        writer_format(&writer, "%02x", id->id[i]);
    writer_format(&writer, "\",\"run\":%" PRIu32 ",\"attempt\":%" PRIu32 "}", id->run,
                  id->attempt);
    post_line(events, &writer, true);
}
