/*
 * The rules of form are read off the message descriptors: every string is UTF-8 and bounded,
 * every 64-bit count fits an int64, every double is finite. What differs from that stands in
 * the table `limits`; what relates several fields is a function per body. Read from the bottom
 * up.
 */
#include "proto/wire/codec.h"

#include "proto/wire/comm_frame.h"
#include "proto/wire/frame.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum text_kind { LINE, LINES, RAW }; /* no control characters; newlines and tabs; any */

struct limit {
    const char *message, *field;
    size_t bytes_min, bytes_max; /* of strings and bytes: without the final zero */
    enum text_kind kind;
};

enum { NAME_BYTES = NAME_MAX_BYTES - 1, PATH_BYTES = PATH_MAX_BYTES - 1, LINE_BYTES = 1023 };

/* clang-format off */
static const struct limit limits[] = {
    { "Hello", "host", 1, NAME_BYTES, LINE },
    { "Hello", "boot_id", 0, NAME_BYTES, LINE },
    { "Hello", "device_class", 1, NAME_BYTES, LINE },
    { "Hello", "device", 0, 255, LINE },
    { "Hello", "peak_source", 0, NAME_BYTES, LINE },
    { "Hello", "backend", 1, NAME_BYTES, LINE },
    { "Hello", "backend_reason", 0, 511, LINE },
    { "Hello", "version", 1, NAME_BYTES, LINE },
    { "Hello", "pci_bus_id", 0, NAME_BYTES, LINE },
    { "Hello", "visible_device", 0, NAME_BYTES, LINE },
    { "Gpu", "name", 0, NAME_BYTES, LINE },
    { "Gpu", "device_class", 1, NAME_BYTES, LINE },
    { "Gpu", "pci_bus_id", 0, NAME_BYTES, LINE },
    { "Gpu", "driver", 0, NAME_BYTES, LINE },
    { "GateReached", "gate", 1, NAME_BYTES, LINE },
    { "GateReached", "checkpoint", 0, PATH_BYTES, LINE },
    { "CheckpointWritten", "path", 1, PATH_BYTES, LINE },
    { "MemberExited", "stderr_tail", 0, STDERR_TAIL_BYTES, LINES },
    { "MemberExited", "detail", 0, LINE_BYTES, LINE },
    { "MemberExited", "ras", 0, RAS_TEXT_BYTES - 1, LINES },
    { "MemberExited", "checkpoint", 0, PATH_BYTES, LINE },
    { "ProbeResult", "checkpoint", 0, PATH_BYTES, LINE },
    { "CommId", "id", 1, COMM_ID_BYTES_MAX, RAW },
    { "Welcome", "state_dir", 0, 4095, LINE },
    { "Launch", "run_name", 1, NAME_BYTES, LINE },
    { "Launch", "resume", 0, PATH_BYTES, LINE },
    { "Launch", "master_host", 0, 255, LINE },
    { "GatePoint", "name", 1, NAME_BYTES, LINE },
    { "LocalMember", "visible_device", 0, NAME_BYTES, LINE },
    { "Spec", "argv", 0, CODEC_STRING_BYTES_MAX, RAW },
    { "Spec", "directory", 0, 4095, LINE },
    { "EnvVar", "name", 1, 255, LINE },
    { "EnvVar", "value", 0, CODEC_STRING_BYTES_MAX, RAW },
    { "Probe", "run_name", 1, NAME_BYTES, LINE },
};
/* clang-format on */

static bool is_same(const char *a, const char *b)
{
    return a[0] == b[0] && strcmp(a, b) == 0;
}

static struct limit limit_of(const ProtobufCMessageDescriptor *message, const char *field)
{
    for (size_t i = 0; i < ARRAY_COUNT(limits); i++)
        if (is_same(limits[i].message, message->short_name) && is_same(limits[i].field, field))
            return limits[i];
    return (struct limit){ message->short_name, field, 0, LINE_BYTES, LINE };
}

/* ---- text ---- */

/* Length of the UTF-8 sequence at s, or 0 when it is none. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (n == 0) return 0;
    if (s[0] < 0x80) return 1;
    size_t len = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4 || len > n) return 0;
    uint32_t point = s[0] & (0xFFU >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
        point = point << 6 | (s[i] & 0x3F);
    }
    bool surrogate = point >= 0xD800 && point <= 0xDFFF;
    return point < least[len] || point > 0x10FFFF || surrogate ? 0 : len;
}

bool codec_is_utf8(const char *bytes, size_t n)
{
    const unsigned char *s = (const unsigned char *)bytes;
    for (size_t i = 0, len; i < n; i += len)
        if ((len = utf8_length(s + i, n - i)) == 0) return false;
    return true;
}

static bool is_control(unsigned char c, enum text_kind kind)
{
    if (kind == RAW || (kind == LINES && (c == '\n' || c == '\t'))) return false;
    return c < 0x20 || c == 0x7F;
}

void codec_make_utf8(char *string)
{
    unsigned char *s = (unsigned char *)string;
    size_t n = strlen(string);
    for (size_t i = 0; i < n;) {
        size_t len = utf8_length(s + i, n - i);
        if (len == 0 || is_control(s[i], LINES)) {
            s[i] = '?';
            len = 1;
        }
        i += len;
    }
}

int64_t codec_loss_micro(double loss, bool *nonfinite)
{
    *nonfinite = !(fabs(loss) <= 1e12);
    return *nonfinite ? 0 : (int64_t)llround(loss * 1e6);
}

/* ---- one field ---- */

static enum err bad(struct error *error, const char *message, const char *field,
                    const char *why)
{
    return error_set(error, ERR_INPUT, "%s.%s %s", message, field, why);
}

static enum err check_length(const struct limit *limit, size_t n, struct error *error)
{
    if (n >= limit->bytes_min && n <= limit->bytes_max) return ERR_OK;
    return error_set(error, ERR_INPUT, "%s.%s has %zu bytes; %zu to %zu are allowed",
                     limit->message, limit->field, n, limit->bytes_min, limit->bytes_max);
}

static enum err check_string(const struct limit *limit, const char *string, struct error *error)
{
    size_t n = string ? strlen(string) : 0;
    enum err rc = check_length(limit, n, error);
    if (rc != ERR_OK || n == 0) return rc;
    if (!codec_is_utf8(string, n))
        return bad(error, limit->message, limit->field, "is not UTF-8");
    for (size_t i = 0; i < n; i++)
        if (is_control((unsigned char)string[i], limit->kind))
            return bad(error, limit->message, limit->field, "holds a control character");
    return ERR_OK;
}

static enum err check_message(const ProtobufCMessage *message, int depth, struct error *error);

static enum err check_enum(const ProtobufCMessageDescriptor *message,
                           const ProtobufCFieldDescriptor *field, int value,
                           struct error *error)
{
    if (value != 0 && protobuf_c_enum_descriptor_get_value(field->descriptor, value))
        return ERR_OK;
    return bad(error, message->short_name, field->name, "is not a known value");
}

/* Checks the one value at `at`. */
static enum err check_value(const ProtobufCMessageDescriptor *message,
                            const ProtobufCFieldDescriptor *field, const void *at, int depth,
                            struct error *error)
{
    struct limit limit = limit_of(message, field->name);
    switch ((int)field->type) {
    case PROTOBUF_C_TYPE_STRING: return check_string(&limit, *(char *const *)at, error);
    case PROTOBUF_C_TYPE_BYTES:
        return check_length(&limit, ((const ProtobufCBinaryData *)at)->len, error);
    case PROTOBUF_C_TYPE_DOUBLE:
        if (isfinite(*(const double *)at) && *(const double *)at >= 0) return ERR_OK;
        return bad(error, message->short_name, field->name, "is not a finite number >= 0");
    case PROTOBUF_C_TYPE_UINT64:
        if (*(const uint64_t *)at <= INT64_MAX) return ERR_OK;
        return bad(error, message->short_name, field->name, "is too large");
    case PROTOBUF_C_TYPE_ENUM: return check_enum(message, field, *(const int *)at, error);
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *inner = *(ProtobufCMessage *const *)at;
        if (!inner) return ERR_OK; /* whether it must be there: the body's own check */
        return check_message(inner, depth + 1, error);
    }
    default: return ERR_OK;
    }
}

static size_t size_in_array(const ProtobufCFieldDescriptor *field)
{
    switch ((int)field->type) {
    case PROTOBUF_C_TYPE_STRING: return sizeof(char *);
    case PROTOBUF_C_TYPE_MESSAGE: return sizeof(ProtobufCMessage *);
    case PROTOBUF_C_TYPE_UINT32: return sizeof(uint32_t);
    default: unreachable("array type");
    }
}

static enum err check_repeated(const ProtobufCMessage *message,
                               const ProtobufCFieldDescriptor *field, int depth,
                               struct error *error)
{
    const char *base = (const char *)message;
    size_t count = *(const size_t *)(base + field->quantifier_offset);
    const char *items = *(char *const *)(base + field->offset);
    if (count > CODEC_ARGS_MAX)
        return bad(error, message->descriptor->short_name, field->name, "has too many entries");
    for (size_t i = 0; i < count; i++) {
        enum err rc = check_value(message->descriptor, field, items + i * size_in_array(field),
                                  depth, error);
        if (rc != ERR_OK) return rc;
    }
    return ERR_OK;
}

static enum err check_message(const ProtobufCMessage *message, int depth, struct error *error)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    check(depth < 8);
    /* Both ends are of one version, so a field that only the other knows is damage; and what the library
     * keeps of it does not always pack into what was read. */
    if (message->n_unknown_fields > 0)
        return bad(error, descriptor->short_name, "?", "holds a field that is not in it");
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        const char *base = (const char *)message;
        if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF &&
            *(const uint32_t *)(base + field->quantifier_offset) != field->id)
            continue;
        enum err rc = field->label == PROTOBUF_C_LABEL_REPEATED
                          ? check_repeated(message, field, depth, error)
                          : check_value(descriptor, field, base + field->offset, depth, error);
        if (rc != ERR_OK) return rc;
    }
    return ERR_OK;
}

/* ---- what relates several fields ---- */

static enum err check_ids(const char *body, uint32_t run, uint32_t attempt, uint32_t member,
                          struct error *error)
{
    if (run == UINT32_MAX) return bad(error, body, "run", "is no run");
    if (attempt == 0) return bad(error, body, "attempt", "is 0");
    if (member >= GANG_MAX) return bad(error, body, "member", "is beyond the largest gang");
    return ERR_OK;
}

static enum err check_hello(const Penstock__Wire__Hello *hello, struct error *error)
{
    if (hello->worker == 0) return bad(error, "Hello", "worker", "is 0, the coordinator's");
    if (hello->threads == 0) return bad(error, "Hello", "threads", "is 0");
    return ERR_OK;
}

static enum err check_heartbeat(const Penstock__Wire__Heartbeat *beat, struct error *error)
{
    if (beat->sequence == 0) return bad(error, "Heartbeat", "sequence", "is 0");
    if (beat->attempt == 0) return ERR_OK;
    if (!beat->telemetry) return bad(error, "Heartbeat", "telemetry", "is missing");
    return check_ids("Heartbeat", beat->run, beat->attempt, beat->member, error);
}

static enum err check_gang(const Penstock__Wire__Launch *launch, struct error *error)
{
    if (launch->n_gang < 1 || launch->n_gang > GANG_MAX)
        return bad(error, "Launch", "gang", "has a size that is not allowed");
    if (launch->member >= launch->n_gang)
        return bad(error, "Launch", "member", "is not in the gang");
    for (size_t i = 0; i < launch->n_gang; i++) {
        if (launch->gang[i] == 0) return bad(error, "Launch", "gang", "holds the coordinator");
        for (size_t k = 0; k < i; k++)
            if (launch->gang[k] == launch->gang[i])
                return bad(error, "Launch", "gang", "holds a worker twice");
    }
    return ERR_OK;
}

static enum err check_spec(const Penstock__Wire__Spec *spec, struct error *error)
{
    if (!spec) return bad(error, "Launch", "spec", "is missing");
    if (spec->n_argv == 0 || !spec->argv[0] || !spec->argv[0][0])
        return bad(error, "Spec", "argv", "names no program");
    for (size_t i = 0; i < spec->n_env; i++)
        if (strchr(spec->env[i]->name, '=')) return bad(error, "EnvVar", "name", "holds a '='");
    if (spec->stop_grace_ns == 0) return bad(error, "Spec", "stop_grace_ns", "is 0");
    return ERR_OK;
}

/* A name becomes a folder of the state directory, so it must not lead anywhere else. */
static enum err check_run_name(const char *body, const char *name, struct error *error)
{
    if (name[0] == '.' || strchr(name, '/'))
        return bad(error, body, "run_name", "is not the name of a folder");
    return ERR_OK;
}

static enum err check_launch(const Penstock__Wire__Launch *launch, struct error *error)
{
    enum err rc = check_ids("Launch", launch->run, launch->attempt, launch->member, error);
    if (rc == ERR_OK) rc = check_gang(launch, error);
    if (rc == ERR_OK) rc = check_spec(launch->spec, error);
    if (rc == ERR_OK) rc = check_run_name("Launch", launch->run_name, error);
    if (rc == ERR_OK &&
        launch->local_rank >= (launch->local_world_size ? launch->local_world_size : 1))
        rc = bad(error, "Launch", "local_rank", "is not below local_world_size");
    if (rc == ERR_OK && launch->n_local > 0 && launch->n_local != launch->local_world_size)
        rc = bad(error, "Launch", "local", "does not list local_world_size members");
    if (rc == ERR_OK && launch->master_port > 65535)
        rc = bad(error, "Launch", "master_port", "is not a port");
    if (rc == ERR_OK && launch->lease_ns == 0) rc = bad(error, "Launch", "lease_ns", "is 0");
    return rc;
}

static enum err check_probe(const Penstock__Wire__Probe *probe, struct error *error)
{
    enum err rc = check_ids("Probe", probe->run, probe->attempt, probe->member, error);
    return rc == ERR_OK ? check_run_name("Probe", probe->run_name, error) : rc;
}

static enum err check_to_coordinator(const Penstock__Wire__ToCoordinator *m,
                                     struct error *error)
{
    switch (m->body_case) {
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO: return check_hello(m->hello, error);
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_HEARTBEAT:
        return check_heartbeat(m->heartbeat, error);
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_STARTED:
        return check_ids("MemberStarted", m->started->run, m->started->attempt,
                         m->started->member, error);
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_GATE:
        return check_ids("GateReached", m->gate->run, m->gate->attempt, m->gate->member, error);
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_CHECKPOINT:
        return check_ids("CheckpointWritten", m->checkpoint->run, m->checkpoint->attempt,
                         m->checkpoint->member, error);
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_EXITED:
        return check_ids("MemberExited", m->exited->run, m->exited->attempt, m->exited->member,
                         error);
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_PROBE:
        return check_ids("ProbeResult", m->probe->run, m->probe->attempt, m->probe->member,
                         error);
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_COMM_ID:
        return check_ids("CommId", m->comm_id->run, m->comm_id->attempt, 0, error);
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_GOODBYE: return ERR_OK;
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY__NOT_SET:
    case _PENSTOCK__WIRE__TO_COORDINATOR__BODY__CASE_IS_INT_SIZE: break;
    }
    return error_set(error, ERR_INPUT, "a message to the coordinator without a known body");
}

static enum err check_to_agent(const Penstock__Wire__ToAgent *m, struct error *error)
{
    switch (m->body_case) {
    case PENSTOCK__WIRE__TO_AGENT__BODY_WELCOME:
        if (m->welcome->refusal && m->welcome->refusal[0]) return ERR_OK;
        if (!m->welcome->state_dir || m->welcome->state_dir[0] != '/')
            return bad(error, "Welcome", "state_dir", "is not an absolute path");
        if (m->welcome->heartbeat_ns == 0) return bad(error, "Welcome", "heartbeat_ns", "is 0");
        return ERR_OK;
    case PENSTOCK__WIRE__TO_AGENT__BODY_LAUNCH: return check_launch(m->launch, error);
    case PENSTOCK__WIRE__TO_AGENT__BODY_GRANT:
        return check_ids("Grant", m->grant->run, m->grant->attempt, 0, error);
    case PENSTOCK__WIRE__TO_AGENT__BODY_STOP:
        return check_ids("Stop", m->stop->run, m->stop->attempt, 0, error);
    case PENSTOCK__WIRE__TO_AGENT__BODY_PROBE: return check_probe(m->probe, error);
    case PENSTOCK__WIRE__TO_AGENT__BODY_COMM_ID:
        return check_ids("CommId", m->comm_id->run, m->comm_id->attempt, 0, error);
    case PENSTOCK__WIRE__TO_AGENT__BODY_SHUTDOWN: return ERR_OK;
    case PENSTOCK__WIRE__TO_AGENT__BODY__NOT_SET:
    case _PENSTOCK__WIRE__TO_AGENT__BODY__CASE_IS_INT_SIZE: break;
    }
    return error_set(error, ERR_INPUT, "a message to an agent without a known body");
}

/* ---- frames ---- */

static enum err pack(const ProtobufCMessage *message, enum frame_direction direction,
                     uint8_t *frame, size_t capacity_bytes, size_t *frame_bytes,
                     struct error *error)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    if (bytes > FRAME_BYTES_MAX)
        return error_set(error, ERR_INPUT, "a message of %zu bytes; %d are allowed", bytes,
                         FRAME_BYTES_MAX);
    if (FRAME_HEADER_BYTES + bytes > capacity_bytes)
        return error_set(error, ERR_FULL, "a message of %zu bytes does not fit %zu", bytes,
                         capacity_bytes);
    protobuf_c_message_pack(message, frame + FRAME_HEADER_BYTES);
    wire_seal(frame, direction, bytes);
    *frame_bytes = FRAME_HEADER_BYTES + bytes;
    return ERR_OK;
}

enum err codec_pack_to_coordinator(const Penstock__Wire__ToCoordinator *message, uint8_t *frame,
                                   size_t capacity_bytes, size_t *frame_bytes,
                                   struct error *error)
{
    enum err rc = check_message(&message->base, 0, error);
    if (rc == ERR_OK) rc = check_to_coordinator(message, error);
    if (rc != ERR_OK) return rc;
    return pack(&message->base, FRAME_TO_COORDINATOR, frame, capacity_bytes, frame_bytes,
                error);
}

enum err codec_pack_to_agent(const Penstock__Wire__ToAgent *message, uint8_t *frame,
                             size_t capacity_bytes, size_t *frame_bytes, struct error *error)
{
    enum err rc = check_message(&message->base, 0, error);
    if (rc == ERR_OK) rc = check_to_agent(message, error);
    if (rc != ERR_OK) return rc;
    return pack(&message->base, FRAME_TO_AGENT, frame, capacity_bytes, frame_bytes, error);
}

enum err codec_send_to_coordinator(struct link *link,
                                   const Penstock__Wire__ToCoordinator *message,
                                   struct error *error)
{
    size_t capacity = FRAME_HEADER_BYTES + protobuf_c_message_get_packed_size(&message->base);
    uint8_t *frame = malloc(capacity);
    if (!frame) return error_set(error, ERR_NO_MEMORY, "no memory for a message");
    size_t bytes = 0;
    enum err rc = codec_pack_to_coordinator(message, frame, capacity, &bytes, error);
    if (rc == ERR_OK) rc = link_send(link, 0, frame, bytes, error);
    free(frame);
    return rc;
}

enum err codec_send_to_agent(struct link *link, uint32_t agent,
                             const Penstock__Wire__ToAgent *message, struct error *error)
{
    size_t capacity = FRAME_HEADER_BYTES + protobuf_c_message_get_packed_size(&message->base);
    uint8_t *frame = malloc(capacity);
    if (!frame) return error_set(error, ERR_NO_MEMORY, "no memory for a message");
    size_t bytes = 0;
    enum err rc = codec_pack_to_agent(message, frame, capacity, &bytes, error);
    if (rc == ERR_OK) rc = link_send(link, agent, frame, bytes, error);
    free(frame);
    return rc;
}

enum err codec_read_to_coordinator(const void *frame, size_t frame_bytes,
                                   Penstock__Wire__ToCoordinator **message, struct error *error)
{
    const uint8_t *payload = NULL;
    size_t bytes = 0;
    *message = NULL;
    enum err rc = wire_open(frame, frame_bytes, FRAME_TO_COORDINATOR, &payload, &bytes, error);
    if (rc != ERR_OK) return rc;
    Penstock__Wire__ToCoordinator *read =
        penstock__wire__to_coordinator__unpack(NULL, bytes, payload);
    if (!read) return error_set(error, ERR_INPUT, "a message that is no ToCoordinator");
    rc = check_message(&read->base, 0, error);
    if (rc == ERR_OK) rc = check_to_coordinator(read, error);
    if (rc == ERR_OK) {
        *message = read;
        return ERR_OK;
    }
    penstock__wire__to_coordinator__free_unpacked(read, NULL);
    return rc;
}

enum err codec_read_to_agent(const void *frame, size_t frame_bytes,
                             Penstock__Wire__ToAgent **message, struct error *error)
{
    const uint8_t *payload = NULL;
    size_t bytes = 0;
    *message = NULL;
    enum err rc = wire_open(frame, frame_bytes, FRAME_TO_AGENT, &payload, &bytes, error);
    if (rc != ERR_OK) return rc;
    Penstock__Wire__ToAgent *read = penstock__wire__to_agent__unpack(NULL, bytes, payload);
    if (!read) return error_set(error, ERR_INPUT, "a message that is no ToAgent");
    rc = check_message(&read->base, 0, error);
    if (rc == ERR_OK) rc = check_to_agent(read, error);
    if (rc == ERR_OK) {
        *message = read;
        return ERR_OK;
    }
    penstock__wire__to_agent__free_unpacked(read, NULL);
    return rc;
}

void codec_free_to_coordinator(Penstock__Wire__ToCoordinator *message)
{
    if (message) penstock__wire__to_coordinator__free_unpacked(message, NULL);
}

void codec_free_to_agent(Penstock__Wire__ToAgent *message)
{
    if (message) penstock__wire__to_agent__free_unpacked(message, NULL);
}
