/* Reads from the bottom up: scratch memory, texts, validation, to the message, from the
 * message, and the public functions last. */
#include "scheduler/ledger/record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/ledger/shape.h"

/* ---- scratch memory: taken piece by piece, given back all at once ---- */

enum { BLOCK_BYTES = 1 << 16, PIECE_ALIGN = 16 };

struct block {
    struct block *next;
    size_t used_bytes, size_bytes;
    _Alignas(PIECE_ALIGN) uint8_t bytes[];
};

struct record_codec {
    struct block *blocks; /* the newest first; the oldest is kept for ever */
    uint8_t *payload;
    size_t payload_capacity;
    ProtobufCAllocator allocator;
};

static struct block *block_add(struct record_codec *codec, size_t bytes)
{
    size_t size_bytes = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
    struct block *block = malloc(sizeof(*block) + size_bytes);
    if (block == NULL) return NULL;
    block->next = codec->blocks;
    block->used_bytes = 0;
    block->size_bytes = size_bytes;
    codec->blocks = block;
    return block;
}

static void *scratch_take(void *context, size_t bytes)
{
    struct record_codec *codec = context;
    struct block *block = codec->blocks;
    bytes = (bytes + PIECE_ALIGN - 1) & ~(size_t)(PIECE_ALIGN - 1);
    if (block->size_bytes - block->used_bytes < bytes) block = block_add(codec, bytes);
    if (block == NULL) return NULL;
    void *piece = block->bytes + block->used_bytes;
    block->used_bytes += bytes;
    return piece;
}

static void scratch_leave(void *context, void *piece)
{
    (void)context;
    (void)piece;
}

static void scratch_reset(struct record_codec *codec)
{
    while (codec->blocks->next != NULL) {
        struct block *newest = codec->blocks;
        codec->blocks = newest->next;
        free(newest);
    }
    codec->blocks->used_bytes = 0;
}

struct record_codec *record_codec_create(void)
{
    struct record_codec *codec = calloc(1, sizeof(*codec));
    if (codec == NULL) return NULL;
    if (block_add(codec, BLOCK_BYTES) == NULL) {
        free(codec);
        return NULL;
    }
    codec->allocator = (ProtobufCAllocator){ scratch_take, scratch_leave, codec };
    return codec;
}

void record_codec_destroy(struct record_codec *codec)
{
    if (codec == NULL) return;
    scratch_reset(codec);
    free(codec->blocks);
    free(codec->payload);
    free(codec);
}

/* ---- texts ---- */

/* Length of the well-formed UTF-8 character at `bytes` (Unicode 15, table 3-7), 0 if there is
 * none or it is the zero character. */
static size_t utf8_length(const uint8_t *bytes, size_t available)
{
    uint8_t first = bytes[0];
    if (first == 0) return 0;
    if (first < 0x80) return 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (available < length) return 0;
    uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (bytes[1] < low || bytes[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if (bytes[i] < 0x80 || bytes[i] > 0xBF) return 0;
    return length;
}

bool text_is_utf8(struct text text)
{
    const uint8_t *bytes = (const uint8_t *)text.data;
    for (size_t i = 0; i < text.len;) {
        size_t length = utf8_length(bytes + i, text.len - i);
        if (length == 0) return false;
        i += length;
    }
    return true;
}

/* Writes the text, cut at a whole character, with '?' for what is not UTF-8, and a final zero.
 */
static void text_clean(char *to, size_t len_max, struct text from)
{
    const uint8_t *bytes = (const uint8_t *)from.data;
    size_t len = 0;
    for (size_t i = 0; i < from.len;) {
        size_t length = utf8_length(bytes + i, from.len - i);
        size_t needed = length == 0 ? 1 : length;
        if (len + needed > len_max) break;
        if (length == 0)
            to[len] = '?';
        else
            memcpy(to + len, bytes + i, length);
        len += needed;
        i += needed;
    }
    to[len] = 0;
}

/* ---- loads and stores of members ---- */

static const void *member_of(const void *record, size_t at)
{
    return (const char *)record + at;
}

static void *member_in(void *record, size_t at)
{
    return (char *)record + at;
}

static uint32_t load_u32(const void *record, size_t at)
{
    uint32_t value;
    memcpy(&value, member_of(record, at), sizeof(value));
    return value;
}

static int64_t load_i64(const void *record, size_t at)
{
    int64_t value;
    memcpy(&value, member_of(record, at), sizeof(value));
    return value;
}

static size_t load_size(const void *message, size_t at)
{
    size_t value;
    memcpy(&value, member_of(message, at), sizeof(value));
    return value;
}

static struct text load_text(const void *record, size_t at)
{
    struct text value;
    memcpy(&value, member_of(record, at), sizeof(value));
    return value;
}

static void *load_pointer(const void *record, size_t at)
{
    void *value;
    memcpy(&value, member_of(record, at), sizeof(value));
    return value;
}

static void store(void *record, size_t at, const void *value, size_t bytes)
{
    memcpy(member_in(record, at), value, bytes);
}

static void store_pointer(void *record, size_t at, void *value)
{
    store(record, at, &value, sizeof(value));
}

/* ---- validation of the C struct ---- */

static enum err field_error(const struct shape *shape, const struct field *field,
                            const char *what, struct error *error)
{
    return error_set(error, ERR_INPUT, "%s: %s %s", shape->name, field->name, what);
}

static enum err range_check(const struct shape *shape, const struct field *field, int64_t value,
                            struct error *error)
{
    if (value >= field->min && value <= field->max) return ERR_OK;
    return error_set(error, ERR_INPUT,
                     "%s: %s is %" PRId64 "; %" PRId64 " to %" PRId64 " is allowed",
                     shape->name, field->name, value, field->min, field->max);
}

static enum err text_check(const struct shape *shape, const struct field *field,
                           struct text text, struct error *error)
{
    if (text.len < (size_t)field->min) return field_error(shape, field, "is empty", error);
    if (text.len > (size_t)field->max) return field_error(shape, field, "is too long", error);
    if (!text_is_utf8(text)) return field_error(shape, field, "is not UTF-8", error);
    return ERR_OK;
}

static enum err name_check(const struct shape *shape, const struct field *field,
                           const char *name, struct error *error)
{
    const char *end = memchr(name, 0, field->record_bytes);
    if (end == NULL) return field_error(shape, field, "has no end", error);
    return text_check(shape, field, (struct text){ name, (size_t)(end - name) }, error);
}

static enum err numbers_check(const struct shape *shape, const struct field *field,
                              const void *record, struct error *error)
{
    for (int64_t i = 0; i < field->max; i++)
        if (load_i64(record, field->record_at + (size_t)i * sizeof(int64_t)) < field->min)
            return field_error(shape, field, "is negative", error);
    return ERR_OK;
}

static enum err indices_check(const struct shape *shape, const struct field *field,
                              const void *record, struct error *error)
{
    uint32_t count = load_u32(record, field->count_at);
    const uint32_t *indices = load_pointer(record, field->record_at);
    for (uint32_t i = 0; i < count; i++)
        if (indices[i] == 0 || indices[i] == NO_INDEX)
            return field_error(shape, field, "holds a number that is none", error);
    return ERR_OK;
}

static enum err record_check(const struct shape *shape, const void *record,
                             struct error *error);

static enum err structs_check(const struct field *field, const void *first, uint32_t count,
                              struct error *error)
{
    for (uint32_t i = 0; i < count; i++) {
        enum err rc =
            record_check(field->shape, member_of(first, i * field->shape->record_bytes), error);
        if (rc != ERR_OK) return rc;
    }
    return ERR_OK;
}

static enum err field_check(const struct shape *shape, const struct field *field,
                            const void *record, struct error *error)
{
    const void *member = member_of(record, field->record_at);
    enum err rc = ERR_OK;
    switch (field->type) {
    case FIELD_U64:
    case FIELD_BOOL:
    case FIELD_FREE:
    case FIELD_HASH: return ERR_OK;
    case FIELD_U32:
    case FIELD_ENUM:
        return range_check(shape, field, load_u32(record, field->record_at), error);
    case FIELD_I32:
        return range_check(shape, field, (int32_t)load_u32(record, field->record_at), error);
    case FIELD_I64: return range_check(shape, field, load_i64(record, field->record_at), error);
    case FIELD_I64S: return numbers_check(shape, field, record, error);
    case FIELD_NAME: return name_check(shape, field, member, error);
    case FIELD_TEXT:
        return text_check(shape, field, load_text(record, field->record_at), error);
    case FIELD_BYTES:
        if (load_text(record, field->record_at).len <= (size_t)field->max) return ERR_OK;
        return field_error(shape, field, "is too long", error);
    case FIELD_ONE:
    case FIELD_ONE_IF: return record_check(field->shape, member, error);
    case FIELD_LIST:
    case FIELD_LIST_FAR:
    case FIELD_U32S_FAR: break;
    }
    uint32_t count = load_u32(record, field->count_at);
    if ((rc = range_check(shape, field, count, error)) != ERR_OK) return rc;
    if (field->type == FIELD_U32S_FAR) return indices_check(shape, field, record, error);
    if (field->type == FIELD_LIST_FAR) member = load_pointer(record, field->record_at);
    return structs_check(field, member, count, error);
}

static enum err record_check(const struct shape *shape, const void *record, struct error *error)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        enum err rc = field_check(shape, &shape->fields[i], record, error);
        if (rc != ERR_OK) return rc;
    }
    const char *broken = shape->rule == NULL ? NULL : shape->rule(record);
    return broken == NULL ? ERR_OK : error_set(error, ERR_INPUT, "%s: %s", shape->name, broken);
}

/* ---- from the C struct, checked, to the message ----
 * The message borrows from the record; only memory can run out here. */

static void *to_message(struct record_codec *codec, const struct shape *shape,
                        const void *record);

static bool text_to_message(struct record_codec *codec, const struct field *field,
                            struct text text, void *message)
{
    char *string = scratch_take(
        codec, (text.len < (size_t)field->max ? text.len : (size_t)field->max) + 1);
    if (string == NULL) return false;
    text_clean(string, (size_t)field->max, text);
    store_pointer(message, field->message_at, string);
    return true;
}

static void bytes_to_message(const struct field *field, const void *data, size_t len,
                             void *message)
{
    ProtobufCBinaryData bytes = { .len = len };
    memcpy(&bytes.data, &data, sizeof(data)); /* protobuf-c has no const; it only reads */
    store(message, field->message_at, &bytes, sizeof(bytes));
}

static bool list_to_message(struct record_codec *codec, const struct field *field,
                            const void *record, void *message)
{
    size_t count = load_u32(record, field->count_at);
    const void *first = field->type == FIELD_LIST_FAR ? load_pointer(record, field->record_at)
                                                      : member_of(record, field->record_at);
    void **list = scratch_take(codec, count * sizeof(*list));
    if (list == NULL) return false;
    for (size_t i = 0; i < count; i++) {
        list[i] =
            to_message(codec, field->shape, member_of(first, i * field->shape->record_bytes));
        if (list[i] == NULL) return false;
    }
    store(message, field->number_at, &count, sizeof(count));
    store_pointer(message, field->message_at, list);
    return true;
}

static bool all_zero(const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != 0) return false;
    return true;
}

static bool field_to_message(struct record_codec *codec, const struct field *field,
                             const void *record, void *message)
{
    const void *member = member_of(record, field->record_at);
    switch (field->type) {
    case FIELD_U32:
    case FIELD_I32:
    case FIELD_ENUM:
    case FIELD_U64:
    case FIELD_I64: store(message, field->message_at, member, field->record_bytes); return true;
    case FIELD_BOOL: {
        bool flag;
        memcpy(&flag, member, sizeof(flag));
        protobuf_c_boolean value = flag;
        store(message, field->message_at, &value, sizeof(value));
        return true;
    }
    case FIELD_NAME: return text_to_message(codec, field, text_of(member), message);
    case FIELD_TEXT:
    case FIELD_FREE:
        return text_to_message(codec, field, load_text(record, field->record_at), message);
    case FIELD_BYTES: {
        struct text bytes = load_text(record, field->record_at);
        bytes_to_message(field, bytes.data, bytes.len, message);
        return true;
    }
    case FIELD_HASH: bytes_to_message(field, member, SHA256_BYTES, message); return true;
    case FIELD_ONE_IF:
    case FIELD_ONE: {
        if (field->type == FIELD_ONE_IF && all_zero(member, field->record_bytes)) return true;
        void *one = to_message(codec, field->shape, member);
        store_pointer(message, field->message_at, one);
        return one != NULL;
    }
    case FIELD_LIST:
    case FIELD_LIST_FAR: return list_to_message(codec, field, record, message);
    case FIELD_U32S_FAR: {
        size_t count = load_u32(record, field->count_at);
        store(message, field->number_at, &count, sizeof(count));
        store_pointer(message, field->message_at, load_pointer(record, field->record_at));
        return true;
    }
    case FIELD_I64S: {
        size_t count = (size_t)field->max;
        store(message, field->number_at, &count, sizeof(count));
        store(message, field->message_at, &member, sizeof(member));
        return true;
    }
    }
    unreachable("field type");
}

static void *to_message(struct record_codec *codec, const struct shape *shape,
                        const void *record)
{
    void *message = scratch_take(codec, shape->descriptor->sizeof_message);
    if (message == NULL) return NULL;
    shape->descriptor->message_init(message);
    for (size_t i = 0; i < shape->field_count; i++)
        if (!field_to_message(codec, &shape->fields[i], record, message)) return NULL;
    return message;
}

/* ---- from the message to the C struct ----
 * Makes sure only that everything fits; record_check and the comparison of bytes do the rest.
 */

static enum err from_message(struct record_codec *codec, const struct shape *shape,
                             const void *message, void *record, struct error *error);

static enum err list_from_message(struct record_codec *codec, const struct shape *shape,
                                  const struct field *field, const void *message, void *record,
                                  struct error *error)
{
    size_t count = load_size(message, field->number_at);
    if (count > (size_t)field->max) return field_error(shape, field, "has too many", error);
    const void *const *list = load_pointer(message, field->message_at);
    size_t each_bytes = field->shape->record_bytes;
    char *first = member_in(record, field->record_at);
    if (field->type == FIELD_LIST_FAR) {
        first = scratch_take(codec, count * each_bytes);
        if (first == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory");
        memset(first, 0, count * each_bytes);
        store_pointer(record, field->record_at, first);
    }
    uint32_t count32 = (uint32_t)count;
    store(record, field->count_at, &count32, sizeof(count32));
    for (size_t i = 0; i < count; i++) {
        enum err rc = from_message(codec, field->shape, list[i], first + i * each_bytes, error);
        if (rc != ERR_OK) return rc;
    }
    return ERR_OK;
}

static enum err numbers_from_message(const struct shape *shape, const struct field *field,
                                     const void *message, void *record, struct error *error)
{
    size_t count = load_size(message, field->number_at);
    void *numbers = load_pointer(message, field->message_at);
    if (field->type == FIELD_I64S) {
        if (count != (size_t)field->max)
            return field_error(shape, field, "has another count", error);
        store(record, field->record_at, numbers, count * sizeof(int64_t));
        return ERR_OK;
    }
    if (count > (size_t)field->max) return field_error(shape, field, "has too many", error);
    uint32_t count32 = (uint32_t)count;
    store(record, field->count_at, &count32, sizeof(count32));
    store_pointer(record, field->record_at, numbers);
    return ERR_OK;
}

static enum err bytes_from_message(const struct shape *shape, const struct field *field,
                                   const void *message, void *record, struct error *error)
{
    ProtobufCBinaryData bytes;
    memcpy(&bytes, member_of(message, field->message_at), sizeof(bytes));
    if (field->type == FIELD_HASH) {
        if (bytes.len != SHA256_BYTES) return field_error(shape, field, "is no SHA-256", error);
        store(record, field->record_at, bytes.data, SHA256_BYTES);
        return ERR_OK;
    }
    struct text text = { bytes.len == 0 ? "" : (const char *)bytes.data, bytes.len };
    store(record, field->record_at, &text, sizeof(text));
    return ERR_OK;
}

static enum err field_from_message(struct record_codec *codec, const struct shape *shape,
                                   const struct field *field, const void *message, void *record,
                                   struct error *error)
{
    switch (field->type) {
    case FIELD_U32:
    case FIELD_I32:
    case FIELD_ENUM:
    case FIELD_U64:
    case FIELD_I64:
        store(record, field->record_at, member_of(message, field->message_at),
              field->record_bytes);
        return ERR_OK;
    case FIELD_BOOL: {
        bool flag = load_u32(message, field->message_at) != 0;
        store(record, field->record_at, &flag, sizeof(flag));
        return ERR_OK;
    }
    case FIELD_NAME: {
        struct text name = text_of(load_pointer(message, field->message_at));
        if (text_copy(member_in(record, field->record_at), field->record_bytes, name))
            return ERR_OK;
        return field_error(shape, field, "is too long", error);
    }
    case FIELD_TEXT:
    case FIELD_FREE: {
        struct text text = text_of(load_pointer(message, field->message_at));
        store(record, field->record_at, &text, sizeof(text));
        return ERR_OK;
    }
    case FIELD_HASH:
    case FIELD_BYTES: return bytes_from_message(shape, field, message, record, error);
    case FIELD_ONE_IF:
    case FIELD_ONE: {
        const void *one = load_pointer(message, field->message_at);
        if (one == NULL && field->type == FIELD_ONE_IF)
            return ERR_OK; /* the record is zeroed */
        if (one == NULL) return field_error(shape, field, "is missing", error);
        return from_message(codec, field->shape, one, member_in(record, field->record_at),
                            error);
    }
    case FIELD_LIST:
    case FIELD_LIST_FAR: return list_from_message(codec, shape, field, message, record, error);
    case FIELD_I64S:
    case FIELD_U32S_FAR: return numbers_from_message(shape, field, message, record, error);
    }
    unreachable("field type");
}

static enum err from_message(struct record_codec *codec, const struct shape *shape,
                             const void *message, void *record, struct error *error)
{
    const ProtobufCMessage *base = message;
    if (base->n_unknown_fields > 0)
        return error_set(error, ERR_INPUT, "%s: has a field that this version does not know",
                         shape->name);
    for (size_t i = 0; i < shape->field_count; i++) {
        enum err rc =
            field_from_message(codec, shape, &shape->fields[i], message, record, error);
        if (rc != ERR_OK) return rc;
    }
    return ERR_OK;
}

/* ---- whole records ---- */

static enum err pack(struct record_codec *codec, const struct record *record, uint64_t seq,
                     uint64_t epoch, struct text *payload, struct error *error)
{
    check((unsigned)record->kind < RECORD_KIND_COUNT);
    const struct record_shape *of_kind = &record_shapes[record->kind];
    if (record->at_ns < 0)
        return error_set(error, ERR_INPUT, "%s: its time is negative", of_kind->shape->name);
    enum err rc = record_check(of_kind->shape, &record->as, error);
    if (rc != ERR_OK) return rc;

    Penstock__Ledger__Record message = PENSTOCK__LEDGER__RECORD__INIT;
    message.seq = seq;
    message.epoch = epoch;
    message.at_ns = record->at_ns;
    message.body_case = of_kind->body_case;
    message.campaign = to_message(codec, of_kind->shape, &record->as); /* any of the union */
    if (message.campaign == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory");

    size_t bytes = protobuf_c_message_get_packed_size(&message.base);
    if (bytes > FRAME_BYTES_MAX)
        return error_set(error, ERR_FULL, "%s: %zu bytes are more than a record may have (%d)",
                         of_kind->shape->name, bytes, FRAME_BYTES_MAX);
    if (bytes > codec->payload_capacity) {
        size_t capacity = bytes < 4096 ? 4096 : 2 * bytes;
        uint8_t *grown = realloc(codec->payload, capacity);
        if (grown == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory");
        codec->payload = grown;
        codec->payload_capacity = capacity;
    }
    protobuf_c_message_pack(&message.base, codec->payload);
    *payload = (struct text){ (const char *)codec->payload, bytes };
    return ERR_OK;
}

enum err record_encode(struct record_codec *codec, const struct record *record, uint64_t seq,
                       uint64_t epoch, struct text *payload, struct error *error)
{
    scratch_reset(codec);
    return pack(codec, record, seq, epoch, payload, error);
}

static bool kind_of_body(Penstock__Ledger__Record__BodyCase body_case, enum record_kind *kind)
{
    for (size_t i = 0; i < RECORD_KIND_COUNT; i++) {
        if (record_shapes[i].body_case != body_case) continue;
        *kind = (enum record_kind)i;
        return true;
    }
    return false;
}

/* Makes ERR_DAMAGED of what is wrong with bytes that were read; keeps ERR_NO_MEMORY. */
static enum err damaged(enum err rc, struct error *error)
{
    if (rc == ERR_NO_MEMORY) return rc;
    if (error != NULL) error->code = ERR_DAMAGED;
    return ERR_DAMAGED;
}

enum err record_decode(struct record_codec *codec, struct text payload, struct record *record,
                       struct envelope *envelope, struct error *error)
{
    scratch_reset(codec);
    const Penstock__Ledger__Record *message = penstock__ledger__record__unpack(
        &codec->allocator, payload.len, (const uint8_t *)payload.data);
    if (message == NULL) return error_set(error, ERR_DAMAGED, "no record: not a message");
    if (message->base.n_unknown_fields > 0)
        return error_set(
            error, ERR_DAMAGED,
            "a record of a kind, or with a field, that this version does not know");
    enum record_kind kind;
    if (!kind_of_body(message->body_case, &kind))
        return error_set(error, ERR_DAMAGED, "no record: it has no body");

    const struct shape *shape = record_shapes[kind].shape;
    record->kind = kind;
    record->at_ns = message->at_ns;
    memset(&record->as, 0, shape->record_bytes);
    enum err rc = from_message(codec, shape, message->campaign, &record->as, error);
    if (rc != ERR_OK) return damaged(rc, error);

    struct text again;
    rc = pack(codec, record, message->seq, message->epoch, &again, error);
    if (rc != ERR_OK) return damaged(rc, error);
    if (!text_equal(again, payload))
        return error_set(error, ERR_DAMAGED, "%s: its encoding is not canonical", shape->name);
    *envelope = (struct envelope){ message->seq, message->epoch, message->at_ns, kind };
    return ERR_OK;
}

/* Reads a varint; false when it does not end in time. */
static bool take_varint(struct text *bytes, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && bytes->len > 0; shift += 7) {
        uint8_t byte = (uint8_t)*bytes->data;
        bytes->data++;
        bytes->len--;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

enum err record_peek(struct text payload, struct envelope *envelope, struct error *error)
{
    uint64_t head[4] = { 0 }; /* by field number: seq, at_ns, epoch */
    uint64_t tag = 0;
    while (take_varint(&payload, &tag) && (tag & 7) == 0 && tag >> 3 >= 1 && tag >> 3 <= 3)
        if (!take_varint(&payload, &head[tag >> 3])) break;
    enum record_kind kind;
    if ((tag & 7) != 2 ||
        !kind_of_body((Penstock__Ledger__Record__BodyCase)(uint32_t)(tag >> 3), &kind))
        return error_set(error, ERR_DAMAGED, "no record: it has no body of a known kind");
    *envelope = (struct envelope){ head[1], head[3], (int64_t)head[2], kind };
    return ERR_OK;
}
