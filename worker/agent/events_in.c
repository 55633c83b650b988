#include "worker/agent/events_in.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/text.h"
#include "proto/trainer.pb-c.h"
#include "proto/wire/codec.h"
#include "worker/agent/json.h"

enum {
    LENGTH_BYTES = 4,
    BUFFER_FIRST_BYTES = 4096,                          /* grows with what a trainer says, */
    BUFFER_BYTES = 2 * (EVENT_BYTES_MAX + LENGTH_BYTES) /* to this */
};

/* ---- what both encodings have in common ---- */

static double sane(double value)
{
    return isfinite(value) && value > 0 ? value : 0;
}

/* Texts go into log lines and messages: one line, valid UTF-8. */
static void make_line(char *text)
{
    codec_make_utf8(text);
    for (char *c = text; *c; c++)
        if (*c == '\n' || *c == '\t') *c = ' ';
}

static enum err check_event(struct trainer_event *event, struct error *error)
{
    bool at_checkpoint = event->kind == TRAINER_GATE || event->kind == TRAINER_CHECKPOINT;
    make_line(event->text);
    event->grad_norm = sane(event->grad_norm);
    event->learning_rate = sane(event->learning_rate);
    event->flops_per_token = sane(event->flops_per_token);
    if (event->step > INT64_MAX || event->tokens > INT64_MAX || event->busy_ns > INT64_MAX ||
        event->wait_ns > INT64_MAX || event->collectives > INT64_MAX)
        return error_set(error, ERR_INPUT, "a number is too large");
    if (at_checkpoint && !event->has_step)
        return error_set(error, ERR_INPUT, "a gate or checkpoint without \"step\"");
    if (event->kind == TRAINER_GATE && !event->gate[0])
        return error_set(error, ERR_INPUT, "a gate without a name");
    if (event->kind == TRAINER_CHECKPOINT && !event->path[0])
        return error_set(error, ERR_INPUT, "a checkpoint without a path");
    const char *words[] = { event->gate, event->path };
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        size_t n = strlen(words[i]);
        bool plain = codec_is_utf8(words[i], n);
        for (size_t k = 0; plain && k < n; k++)
            plain = (unsigned char)words[i][k] >= 0x20 && words[i][k] != 0x7F;
        if (!plain) return error_set(error, ERR_INPUT, "a name or path is not plain UTF-8");
    }
    return ERR_OK;
}

/* ---- JSON ---- */

enum key_kind { KEY_COUNT, KEY_NUMBER, KEY_STRING };

struct key {
    const char *name;
    enum key_kind kind;
    size_t offset, bytes;
    size_t has_offset; /* of the bool that says it was there; SIZE_MAX: none */
};

#define AT(member) offsetof(struct trainer_event, member)
#define ROOM(member) sizeof(((struct trainer_event *)NULL)->member)

/* clang-format off */
static const struct key keys[] = {
    { "step", KEY_COUNT, AT(step), 0, AT(has_step) },
    { "tokens", KEY_COUNT, AT(tokens), 0, AT(has_tokens) },
    { "busy_ns", KEY_COUNT, AT(busy_ns), 0, SIZE_MAX },
    { "wait_ns", KEY_COUNT, AT(wait_ns), 0, SIZE_MAX },
    { "collectives", KEY_COUNT, AT(collectives), 0, SIZE_MAX },
    { "loss", KEY_NUMBER, AT(loss), 0, AT(has_loss) },
    { "val_loss", KEY_NUMBER, AT(val_loss), 0, AT(has_val_loss) },
    { "grad_norm", KEY_NUMBER, AT(grad_norm), 0, SIZE_MAX },
    { "learning_rate", KEY_NUMBER, AT(learning_rate), 0, SIZE_MAX },
    { "flops_per_token", KEY_NUMBER, AT(flops_per_token), 0, SIZE_MAX },
    { "gate", KEY_STRING, AT(gate), ROOM(gate), SIZE_MAX },
    { "checkpoint", KEY_STRING, AT(path), ROOM(path), SIZE_MAX },
};
/* clang-format on */

/* What a line held besides the keys of the table. */
struct line {
    bool ready, has_failure, has_comm_id;
    uint64_t run, attempt;
    char backend[NAME_MAX_BYTES], detail[EVENT_TEXT_BYTES / 2], failure[EVENT_TEXT_BYTES];
};

/* Texts for people are cut, not refused. */
static bool read_cut(struct json_scan *json, char *to, size_t to_bytes)
{
    char whole[EVENT_PATH_BYTES];
    if (!json_scan_string(json, whole, sizeof whole)) return false;
    text_copy(to, to_bytes, text_of(whole));
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A gang's id, two lower-case digits a byte. */
static bool read_hex(struct json_scan *json, struct trainer_event *event)
{
    char text[2 * COMM_ID_BYTES_MAX + 1];
    if (!json_scan_string(json, text, sizeof text)) return false;
    size_t digits = strlen(text);
    if (digits == 0 || digits % 2 != 0) return false;
    for (size_t i = 0; i < digits; i += 2) {
        int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);
        if (high < 0 || low < 0) return false;
        event->id[i / 2] = (uint8_t)(high << 4 | low);
    }
    event->id_bytes = digits / 2;
    return true;
}

static bool read_key(struct json_scan *json, const struct key *key, struct trainer_event *event)
{
    char *to = (char *)event + key->offset;
    double number;
    uint64_t count;
    if (json_scan_peek(json) == JSON_NULL)
        return json_scan_skip(json); /* as if it were not there */
    switch (key->kind) {
    case KEY_COUNT:
        if (!json_scan_count(json, &count)) return false;
        memcpy(to, &count, sizeof count);
        break;
    case KEY_NUMBER:
        if (!json_scan_number(json, &number)) return false;
        memcpy(to, &number, sizeof number);
        break;
    case KEY_STRING:
        if (!json_scan_string(json, to, key->bytes)) return false;
        break;
    }
    if (key->has_offset != SIZE_MAX) *((bool *)event + key->has_offset) = true;
    return true;
}

static bool read_value(struct json_scan *json, const char *name, struct trainer_event *event,
                       struct line *line)
{
    enum json_kind kind = json_scan_peek(json);
    if (strcmp(name, "ready") == 0 && kind == JSON_BOOL)
        return json_scan_bool(json, &line->ready);
    if (strcmp(name, "in_collective") == 0 && kind == JSON_BOOL)
        return json_scan_bool(json, &event->in_collective);
    if (strcmp(name, "backend") == 0 && kind == JSON_STRING)
        return read_cut(json, line->backend, sizeof line->backend);
    if (strcmp(name, "detail") == 0 && kind == JSON_STRING)
        return read_cut(json, line->detail, sizeof line->detail);
    if (strcmp(name, "run") == 0 && kind == JSON_NUMBER)
        return json_scan_count(json, &line->run);
    if (strcmp(name, "attempt") == 0 && kind == JSON_NUMBER)
        return json_scan_count(json, &line->attempt);
    if (strcmp(name, "comm_id") == 0 && kind == JSON_STRING) {
        line->has_comm_id = true;
        return read_hex(json, event);
    }
    if (strcmp(name, "failure") == 0 && kind == JSON_STRING) {
        line->has_failure = true;
        return read_cut(json, line->failure, sizeof line->failure);
    }
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++)
        if (strcmp(name, keys[i].name) == 0) return read_key(json, &keys[i], event);
    return json_scan_skip(json);
}

static enum err classify(struct trainer_event *event, const struct line *line)
{
    if (line->has_failure) {
        event->kind = TRAINER_FAILURE;
        text_copy(event->text, sizeof event->text, text_of(line->failure));
    } else if (line->has_comm_id) {
        event->kind = TRAINER_COMM_ID;
        if (line->run > UINT32_MAX || line->attempt < 1 || line->attempt > UINT32_MAX)
            return ERR_INPUT;
        event->run = (uint32_t)line->run;
        event->attempt = (uint32_t)line->attempt;
    } else if (line->ready) {
        event->kind = TRAINER_READY;
        snprintf(event->text, sizeof event->text, "%s %s", line->backend, line->detail);
    } else if (event->gate[0]) {
        event->kind = TRAINER_GATE;
    } else if (event->path[0]) {
        event->kind = TRAINER_CHECKPOINT;
    } else if (event->has_step || event->has_tokens) {
        event->kind = TRAINER_PROGRESS;
    } else {
        return ERR_NOT_FOUND;
    }
    return ERR_OK;
}

enum err events_parse_json(const char *bytes, size_t n, struct trainer_event *event,
                           struct error *error)
{
    struct json_scan json = json_scan_of((struct text){ bytes, n });
    struct line line = { 0 };
    char key[64];
    memset(event, 0, sizeof *event);
    if (json_scan_enter(&json))
        for (bool first = true; json_scan_next_key(&json, first, key, sizeof key);
             first = false)
            if (!read_value(&json, key, event, &line)) break;
    if (!json_scan_at_end(&json))
        return error_set(error, ERR_INPUT, "not a JSON object at byte %td", json.at - bytes);
    enum err rc = classify(event, &line);
    if (rc == ERR_INPUT)
        return error_set(error, ERR_INPUT, "a comm_id without its \"run\" and \"attempt\"");
    return rc == ERR_OK ? check_event(event, error) : rc;
}

/* ---- protobuf ---- */

static bool copy_string(char *to, size_t to_bytes, const char *from)
{
    return text_copy(to, to_bytes, text_of(from));
}

static void fill_progress(struct trainer_event *event,
                          const Penstock__Trainer__Progress *progress)
{
    event->kind = TRAINER_PROGRESS;
    event->has_step = event->has_tokens = true;
    event->step = progress->step;
    event->tokens = progress->tokens;
    event->has_loss = progress->has_loss;
    event->loss = progress->loss;
    event->has_val_loss = progress->has_val_loss;
    event->val_loss = progress->val_loss;
    event->grad_norm = progress->grad_norm;
    event->learning_rate = progress->learning_rate;
    event->busy_ns = progress->busy_ns;
    event->wait_ns = progress->wait_ns;
    event->collectives = progress->collectives;
    event->in_collective = progress->in_collective;
}

static bool fill_gate(struct trainer_event *event, const Penstock__Trainer__Gate *gate)
{
    event->kind = TRAINER_GATE;
    event->has_step = event->has_tokens = true;
    event->step = gate->step;
    event->tokens = gate->tokens;
    event->has_val_loss = gate->has_val_loss;
    event->val_loss = gate->val_loss;
    return copy_string(event->gate, sizeof event->gate, gate->gate) &&
           copy_string(event->path, sizeof event->path, gate->checkpoint);
}

static bool fill_comm_id(struct trainer_event *event, const Penstock__Trainer__CommId *id)
{
    event->kind = TRAINER_COMM_ID;
    event->run = id->run;
    event->attempt = id->attempt;
    event->id_bytes = id->id.len;
    if (id->attempt < 1 || id->id.len < 1 || id->id.len > sizeof event->id) return false;
    memcpy(event->id, id->id.data, id->id.len);
    return true;
}

static bool fill(struct trainer_event *event, const Penstock__Trainer__Event *message)
{
    switch (message->body_case) {
    case PENSTOCK__TRAINER__EVENT__BODY_READY:
        event->kind = TRAINER_READY;
        event->has_step = true;
        event->step = message->ready->step;
        event->flops_per_token = message->ready->flops_per_token;
        snprintf(event->text, sizeof event->text, "%.60s %.400s", message->ready->backend,
                 message->ready->detail);
        return true;
    case PENSTOCK__TRAINER__EVENT__BODY_PROGRESS:
        fill_progress(event, message->progress);
        return true;
    case PENSTOCK__TRAINER__EVENT__BODY_GATE: return fill_gate(event, message->gate);
    case PENSTOCK__TRAINER__EVENT__BODY_CHECKPOINT:
        event->kind = TRAINER_CHECKPOINT;
        event->has_step = event->has_tokens = true;
        event->step = message->checkpoint->step;
        event->tokens = message->checkpoint->tokens;
        return copy_string(event->path, sizeof event->path, message->checkpoint->path);
    case PENSTOCK__TRAINER__EVENT__BODY_FAILURE:
        event->kind = TRAINER_FAILURE;
        copy_string(event->text, sizeof event->text, message->failure->text);
        return true;
    case PENSTOCK__TRAINER__EVENT__BODY_COMM_ID: return fill_comm_id(event, message->comm_id);
    case PENSTOCK__TRAINER__EVENT__BODY__NOT_SET:
    case _PENSTOCK__TRAINER__EVENT__BODY__CASE_IS_INT_SIZE: break;
    }
    return false;
}

enum err events_parse_protobuf(const uint8_t *bytes, size_t n, struct trainer_event *event,
                               struct error *error)
{
    memset(event, 0, sizeof *event);
    Penstock__Trainer__Event *message = penstock__trainer__event__unpack(NULL, n, bytes);
    if (!message) return error_set(error, ERR_INPUT, "%zu bytes that are no Event", n);
    bool filled = fill(event, message);
    penstock__trainer__event__free_unpacked(message, NULL);
    if (!filled) return error_set(error, ERR_INPUT, "an Event that is empty or too long");
    return check_event(event, error);
}

/* ---- the pipe ---- */

enum err events_in_init(struct events_in *in, int take_fd, enum events_encoding encoding,
                        struct error *error)
{
    uint8_t *buffer = malloc(BUFFER_FIRST_BYTES);
    *in = (struct events_in){ .fd = -1 };
    /* A pipe's reading end has no other flag that could be lost. */
    if (!buffer || fcntl(take_fd, F_SETFL, O_NONBLOCK) != 0) {
        free(buffer);
        close(take_fd);
        return error_set(error, ERR_NO_MEMORY, "no room for a trainer's events");
    }
    *in = (struct events_in){
        .fd = take_fd, .encoding = encoding, .buffer = buffer, .capacity = BUFFER_FIRST_BYTES
    };
    return ERR_OK;
}

void events_in_fini(struct events_in *in)
{
    int kept_errno = errno;
    if (in->buffer && in->fd >= 0) close(in->fd);
    free(in->buffer);
    *in = (struct events_in){ .fd = -1 };
    errno = kept_errno;
}

static size_t unread(const struct events_in *in)
{
    return in->end - in->start;
}

/* Room behind what is unread. */
static void make_room(struct events_in *in)
{
    if (in->start > 0) {
        memmove(in->buffer, in->buffer + in->start, unread(in));
        in->end -= in->start;
        in->start = 0;
    }
    if (in->end < in->capacity) return;
    size_t capacity = in->capacity < BUFFER_BYTES / 2 ? 2 * in->capacity : BUFFER_BYTES;
    check(capacity > in->capacity);
    uint8_t *grown = realloc(in->buffer, capacity);
    check(grown != NULL);
    in->buffer = grown;
    in->capacity = capacity;
}

/* Reads more. False when there is nothing (yet, or ever: then fd is -1). */
static bool fetch(struct events_in *in)
{
    if (in->fd < 0) return false;
    make_room(in);
    ssize_t got = read(in->fd, in->buffer + in->end, in->capacity - in->end);
    if (got > 0) {
        in->end += (size_t)got;
        return true;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    close(in->fd);
    in->fd = -1;
    return false;
}

static enum err malformed(struct events_in *in, enum err rc, struct error *error)
{
    if (rc == ERR_INPUT) {
        in->malformed_count++;
        error_prefix(error, rc, "event skipped");
    }
    return rc;
}

/* One whole line, if it is there: *line and *n. A line that is too long is skipped to its end. */
static enum err next_line(struct events_in *in, const char **line, size_t *n,
                          struct error *error)
{
    const uint8_t *from = in->buffer + in->start;
    const uint8_t *newline = unread(in) > 0 ? memchr(from, '\n', unread(in)) : NULL;
    bool last = !newline && in->fd < 0 && unread(in) > 0; /* a last line without its newline */
    size_t bytes = newline ? (size_t)(newline - from) : unread(in);
    if (!newline && !last) {
        if (bytes <= EVENT_BYTES_MAX) return ERR_NOT_FOUND;
        in->start = in->end;
        if (in->skipping_line) return ERR_NOT_FOUND;
        in->skipping_line = true;
        return malformed(
            in, error_set(error, ERR_INPUT, "a line longer than %d bytes", EVENT_BYTES_MAX),
            error);
    }
    in->start += bytes + (newline ? 1 : 0);
    bool skipped = in->skipping_line;
    in->skipping_line = false;
    *line = (const char *)from;
    *n = skipped ? 0 : bytes;
    if (*n > EVENT_BYTES_MAX)
        return malformed(
            in, error_set(error, ERR_INPUT, "a line longer than %d bytes", EVENT_BYTES_MAX),
            error);
    return ERR_OK;
}

static enum err next_json(struct events_in *in, struct trainer_event *event,
                          struct error *error)
{
    for (;;) {
        const char *line = NULL;
        size_t n = 0;
        enum err rc = next_line(in, &line, &n, error);
        if (rc != ERR_OK) return rc;
        if (text_trim((struct text){ line, n }).len == 0) continue;
        rc = events_parse_json(line, n, event, error);
        if (rc != ERR_NOT_FOUND) return malformed(in, rc, error);
    }
}

static enum err next_protobuf(struct events_in *in, struct trainer_event *event,
                              struct error *error)
{
    if (in->skip_bytes > 0) {
        size_t step = unread(in) < in->skip_bytes ? unread(in) : (size_t)in->skip_bytes;
        in->start += step;
        in->skip_bytes -= step;
    }
    if (unread(in) < LENGTH_BYTES) return ERR_NOT_FOUND;
    const uint8_t *at = in->buffer + in->start;
    uint32_t n =
        (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    if (n > EVENT_BYTES_MAX) {
        in->start += LENGTH_BYTES;
        in->skip_bytes = n;
        return malformed(in, error_set(error, ERR_INPUT, "a message of %u bytes", n), error);
    }
    if (unread(in) < LENGTH_BYTES + n) return ERR_NOT_FOUND;
    in->start += LENGTH_BYTES + n;
    return malformed(in, events_parse_protobuf(at + LENGTH_BYTES, n, event, error), error);
}

enum err events_in_next(struct events_in *in, struct trainer_event *event, struct error *error)
{
    if (!in->buffer) return ERR_CLOSED;
    for (;;) {
        enum err rc = in->encoding == EVENTS_JSON ? next_json(in, event, error)
                                                  : next_protobuf(in, event, error);
        if (rc != ERR_NOT_FOUND) return rc;
        if (fetch(in)) continue;
        if (in->fd >= 0) return ERR_NOT_FOUND;
        /* The end: a last line may have become whole by it; half a message never will. */
        if (in->encoding == EVENTS_JSON && unread(in) > 0) continue;
        return ERR_CLOSED;
    }
}
