#include "worker/trainer/ckpt_header.h"

#include "proto/base/hash.h"
#include "worker/trainer/json.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT_NAME "penstock-checkpoint-1"

enum { RNG_DIGITS = 64, BYTES_PER_ENTRY_MIN = 40, ALIGN_BYTES = 8 };

static const char *const array_prefixes[CKPT_ARRAYS] = { "", "optim.m.", "optim.v." };

/* Every whole number of the metadata. All are required. */
struct numbers {
    uint64_t step, tokens, seed, members, data_tokens, epoch, window;
    uint64_t layers, width, heads, context, vocab;
};

struct number_row {
    const char *key;
    size_t offset;
    uint64_t max;
};

static const struct number_row number_rows[] = {
    { "step", offsetof(struct numbers, step), INT64_MAX },
    { "tokens", offsetof(struct numbers, tokens), INT64_MAX },
    { "seed", offsetof(struct numbers, seed), UINT64_MAX },
    { "members", offsetof(struct numbers, members), GANG_MAX },
    { "data.tokens", offsetof(struct numbers, data_tokens), INT64_MAX },
    { "data.epoch", offsetof(struct numbers, epoch), INT64_MAX },
    { "data.window", offsetof(struct numbers, window), INT64_MAX },
    { "model.layers", offsetof(struct numbers, layers), GPT_LAYERS_MAX },
    { "model.width", offsetof(struct numbers, width), GPT_WIDTH_MAX },
    { "model.heads", offsetof(struct numbers, heads), GPT_WIDTH_MAX },
    { "model.context", offsetof(struct numbers, context), GPT_CONTEXT_MAX },
    { "model.vocab", offsetof(struct numbers, vocab), GPT_VOCAB_MAX },
};

enum { STRING_BYTES = 128 };

enum text_key { TEXT_HEADER_CRC, TEXT_DATA_CRC, TEXT_FORMAT, TEXT_GATE, TEXT_RNG, TEXT_COUNT };

static const char *const text_keys[TEXT_COUNT] = {
    [TEXT_HEADER_CRC] = "header_crc32c",
    [TEXT_DATA_CRC] = "data_crc32c",
    [TEXT_FORMAT] = "format",
    [TEXT_GATE] = "gate",
    [TEXT_RNG] = "data.rng",
};

static uint64_t *number_at(struct numbers *numbers, size_t offset)
{
    return (uint64_t *)(void *)((char *)numbers + offset);
}

/* ---- building ---- */

static void write_pair(struct writer *writer, const char *key, const char *value)
{
    writer_string(writer, ",");
    json_write_string(writer, key);
    writer_string(writer, ":");
    json_write_string(writer, value);
}

static struct numbers numbers_of(const struct gpt_config *config,
                                 const struct ckpt_state *state)
{
    return (struct numbers){ .step = state->step,
                             .tokens = state->tokens,
                             .seed = state->seed,
                             .members = state->members,
                             .data_tokens = state->data_tokens,
                             .epoch = state->cursor.epoch,
                             .window = state->cursor.window,
                             .layers = (uint64_t)config->layers,
                             .width = (uint64_t)config->width,
                             .heads = (uint64_t)config->heads,
                             .context = (uint64_t)config->context,
                             .vocab = (uint64_t)config->vocab_count };
}

static void write_metadata(struct ckpt_draft *draft, struct writer *writer,
                           const struct ckpt_arrays *arrays, const struct ckpt_state *state,
                           const struct ckpt_note *notes, size_t note_count)
{
    writer_string(writer, "{\"__metadata__\":{\"header_crc32c\":\"");
    draft->header_crc_at = writer->len;
    writer_string(writer, "00000000\",\"data_crc32c\":\"");
    draft->data_crc_at = writer->len;
    writer_string(writer, "00000000\"");
    write_pair(writer, text_keys[TEXT_FORMAT], FORMAT_NAME);
    struct numbers numbers = numbers_of(arrays->config, state);
    for (size_t i = 0; i < ARRAY_COUNT(number_rows); i++) {
        char value[24];
        struct writer digits = writer_of(value, sizeof(value));
        writer_format(&digits, "%" PRIu64, *number_at(&numbers, number_rows[i].offset));
        write_pair(writer, number_rows[i].key, value);
    }
    char rng[RNG_DIGITS + 1];
    struct writer digits = writer_of(rng, sizeof(rng));
    for (int i = 0; i < 4; i++)
        writer_format(&digits, "%016" PRIx64, state->cursor.rng.state[i]);
    write_pair(writer, text_keys[TEXT_RNG], rng);
    write_pair(writer, text_keys[TEXT_GATE], state->gate);
    for (size_t i = 0; i < note_count; i++) {
        char key[CKPT_NOTE_BYTES + 8];
        struct writer name = writer_of(key, sizeof(key));
        writer_format(&name, "train.%s", notes[i].key);
        write_pair(writer, key, notes[i].value);
    }
    writer_string(writer, "}");
}

static void write_entries(struct ckpt_draft *draft, struct writer *writer,
                          const struct ckpt_arrays *arrays)
{
    uint64_t at = 0;
    for (int array = 0; array < CKPT_ARRAYS; array++)
        for (int i = 0; i < arrays->tensor_count; i++) {
            const struct gpt_tensor *tensor = arrays->tensors[i];
            uint64_t end = at + (uint64_t)tensor->count * sizeof(float);
            writer_format(writer, ",\"%s%s\":{\"dtype\":\"F32\",\"shape\":[%" PRId64,
                          array_prefixes[array], tensor->name, tensor->shape[0]);
            if (tensor->dims == 2) writer_format(writer, ",%" PRId64, tensor->shape[1]);
            writer_format(writer, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at, end);
            at = end;
        }
    draft->data_bytes = at;
}

enum err ckpt_draft_make(struct ckpt_draft *draft, const struct ckpt_arrays *arrays,
                         const struct ckpt_state *state, const struct ckpt_note *notes,
                         size_t note_count, struct error *error)
{
    size_t entries = (size_t)arrays->tensor_count * CKPT_ARRAYS;
    size_t room = 4096 + note_count * 128 + entries * (CKPT_NAME_BYTES + 160);
    if (room > CKPT_HEADER_BYTES_MAX) room = CKPT_HEADER_BYTES_MAX;
    char *text = malloc(room);
    if (text == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for a checkpoint");
    struct writer writer = writer_of(text, room);
    write_metadata(draft, &writer, arrays, state, notes, note_count);
    write_entries(draft, &writer, arrays);
    writer_string(&writer, "}");
    while ((CKPT_LENGTH_BYTES + writer.len) % ALIGN_BYTES != 0 && !writer.full)
        writer_string(&writer, " ");
    check(!writer.full);
    draft->text = text;
    draft->bytes = writer.len;
    return ERR_OK;
}

static void put_hex(char *to, uint32_t value)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = CKPT_CHECKSUM_DIGITS; i-- > 0; value >>= 4)
        to[i] = digits[value & 15];
}

void ckpt_draft_seal(struct ckpt_draft *draft, uint32_t data_crc)
{
    put_hex(draft->text + draft->data_crc_at, data_crc);
    put_hex(draft->text + draft->header_crc_at, crc32c(0, draft->text, draft->bytes));
}

/* ---- parsing ---- */

struct parse {
    struct json json;
    struct numbers numbers;
    bool number_seen[ARRAY_COUNT(number_rows)];
    bool text_seen[TEXT_COUNT];
    bool metadata_seen;
    char texts[TEXT_COUNT][STRING_BYTES];
    size_t header_crc_at;
    struct ckpt_entry *entries;
    size_t entry_count, entry_capacity;
};

static void mark_seen(struct parse *parse, bool *seen)
{
    if (*seen) json_fail(&parse->json, "a key stands here twice");
    *seen = true;
}

static void parse_number(struct parse *parse, size_t row)
{
    char value[STRING_BYTES];
    uint64_t *number = number_at(&parse->numbers, number_rows[row].offset);
    json_string(&parse->json, value, sizeof(value));
    bool padded = value[0] == '0' && value[1] != '\0';
    if (padded || !text_to_u64(text_of(value), number) || *number > number_rows[row].max)
        json_fail(&parse->json, "a number of the metadata is out of range");
    mark_seen(parse, &parse->number_seen[row]);
}

static void parse_text(struct parse *parse, enum text_key key)
{
    if (key == TEXT_HEADER_CRC && json_peek(&parse->json, '"'))
        parse->header_crc_at = parse->json.at + 1;
    json_string(&parse->json, parse->texts[key], STRING_BYTES);
    mark_seen(parse, &parse->text_seen[key]);
}

static void parse_metadata_value(struct parse *parse, const char *key)
{
    char ignored[1024];
    for (size_t i = 0; i < ARRAY_COUNT(number_rows); i++)
        if (strcmp(key, number_rows[i].key) == 0) {
            parse_number(parse, i);
            return;
        }
    for (int i = 0; i < TEXT_COUNT; i++)
        if (strcmp(key, text_keys[i]) == 0) {
            parse_text(parse, (enum text_key)i);
            return;
        }
    json_string(&parse->json, ignored, sizeof(ignored));
}

static void parse_metadata(struct parse *parse)
{
    char key[STRING_BYTES];
    struct json *json = &parse->json;
    mark_seen(parse, &parse->metadata_seen);
    json_expect(json, '{');
    if (json_take(json, '}')) return;
    do {
        json_string(json, key, sizeof(key));
        json_expect(json, ':');
        parse_metadata_value(parse, key);
    } while (json_take(json, ','));
    json_expect(json, '}');
}

static void parse_shape(struct json *json, struct ckpt_entry *entry)
{
    json_expect(json, '[');
    do {
        if (entry->dims == 2) {
            json_fail(json, "a tensor has more than two dimensions");
            return;
        }
        entry->shape[entry->dims++] = json_u64(json);
    } while (json_take(json, ','));
    json_expect(json, ']');
}

static void parse_offsets(struct json *json, struct ckpt_entry *entry)
{
    json_expect(json, '[');
    entry->begin = json_u64(json);
    json_expect(json, ',');
    entry->end = json_u64(json);
    json_expect(json, ']');
}

/* The three members of a tensor's object, each once, in any order. */
static void parse_entry(struct parse *parse, struct ckpt_entry *entry)
{
    struct json *json = &parse->json;
    bool dtype = false, shape = false, offsets = false;
    entry->shape[0] = entry->shape[1] = 1;
    json_expect(json, '{');
    do {
        char key[STRING_BYTES], type[STRING_BYTES];
        json_string(json, key, sizeof(key));
        json_expect(json, ':');
        if (strcmp(key, "dtype") == 0) {
            mark_seen(parse, &dtype);
            json_string(json, type, sizeof(type));
            if (strcmp(type, "F32") != 0) json_fail(json, "a tensor is not of type F32");
        } else if (strcmp(key, "shape") == 0) {
            mark_seen(parse, &shape);
            parse_shape(json, entry);
        } else if (strcmp(key, "data_offsets") == 0) {
            mark_seen(parse, &offsets);
            parse_offsets(json, entry);
        } else {
            json_fail(json, "a tensor has an unknown key");
        }
    } while (json_take(json, ','));
    json_expect(json, '}');
    if (!dtype || !shape || !offsets) json_fail(json, "a tensor lacks dtype, shape or offsets");
}

static void parse_top(struct parse *parse)
{
    struct json *json = &parse->json;
    if (json->bytes == 0 || json->data[0] != '{')
        json_fail(json, "a header must begin with a brace");
    json_expect(json, '{');
    do {
        struct ckpt_entry entry = { .dims = 0 };
        json_string(json, entry.name, sizeof(entry.name));
        json_expect(json, ':');
        if (strcmp(entry.name, "__metadata__") == 0) {
            parse_metadata(parse);
            continue;
        }
        parse_entry(parse, &entry);
        if (parse->entry_count == parse->entry_capacity)
            json_fail(json, "there are too many tensors");
        if (json->mistake == NULL) parse->entries[parse->entry_count++] = entry;
    } while (json_take(json, ','));
    json_expect(json, '}');
    json_end(json);
}

static bool hex_value(const char *digits, size_t count, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < count; i++) {
        char c = digits[i];
        uint64_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (uint64_t)(c - 'a') + 10;
        else
            return false;
        *value = *value << 4 | digit;
    }
    return true;
}

static enum err check_complete(const struct parse *parse, struct error *error)
{
    for (size_t i = 0; i < ARRAY_COUNT(number_rows); i++)
        if (!parse->number_seen[i])
            return error_set(error, ERR_DAMAGED, "the metadata lacks \"%s\"",
                             number_rows[i].key);
    for (int i = 0; i < TEXT_COUNT; i++)
        if (!parse->text_seen[i])
            return error_set(error, ERR_DAMAGED, "the metadata lacks \"%s\"", text_keys[i]);
    if (strcmp(parse->texts[TEXT_FORMAT], FORMAT_NAME) != 0)
        return error_set(error, ERR_DAMAGED, "its format is \"%.40s\", not \"%s\"",
                         parse->texts[TEXT_FORMAT], FORMAT_NAME);
    return ERR_OK;
}

/* The header's checksum is that of its text with the checksum's own digits as zeros. */
static enum err check_header_crc(const struct parse *parse, struct error *error)
{
    uint64_t stored;
    const char *text = parse->json.data;
    size_t at = parse->header_crc_at, after = at + CKPT_CHECKSUM_DIGITS;
    const char *value = parse->texts[TEXT_HEADER_CRC];
    /* An escaped digit would stand elsewhere than the value says. */
    bool plain = strlen(value) == CKPT_CHECKSUM_DIGITS && after <= parse->json.bytes &&
                 memcmp(text + at, value, CKPT_CHECKSUM_DIGITS) == 0;
    if (!plain || !hex_value(value, CKPT_CHECKSUM_DIGITS, &stored))
        return error_set(error, ERR_DAMAGED, "the header's checksum is malformed");
    uint32_t crc = crc32c(0, text, at);
    crc = crc32c(crc, "00000000", CKPT_CHECKSUM_DIGITS);
    crc = crc32c(crc, text + after, parse->json.bytes - after);
    if (crc != stored)
        return error_set(error, ERR_DAMAGED,
                         "the header's checksum is %08" PRIx32 ", and %08" PRIx64
                         " was written",
                         crc, stored);
    return ERR_OK;
}

static int by_begin(const void *a, const void *b)
{
    const struct ckpt_entry *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static int by_name(const void *a, const void *b)
{
    const struct ckpt_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Every tensor has the size of its shape, and together they are the data. Leaves the entries
 * sorted by name. */
static enum err check_entries(struct parse *parse, uint64_t data_bytes, struct error *error)
{
    struct ckpt_entry *entries = parse->entries;
    size_t count = parse->entry_count;
    uint64_t at = 0;
    qsort(entries, count, sizeof(*entries), by_begin);
    for (size_t i = 0; i < count; i++) {
        const struct ckpt_entry *entry = &entries[i];
        if (entry->begin != at || entry->end <= at || entry->end > data_bytes)
            return error_set(error, ERR_DAMAGED,
                             "tensor %s lies at [%" PRIu64 ", %" PRIu64 "), where byte %" PRIu64
                             " of %" PRIu64 " comes next",
                             entry->name, entry->begin, entry->end, at, data_bytes);
        uint64_t floats = (entry->end - at) / sizeof(float);
        if ((entry->end - at) % sizeof(float) != 0 || entry->shape[0] == 0 ||
            entry->shape[1] == 0 || floats / entry->shape[0] != entry->shape[1] ||
            floats % entry->shape[0] != 0)
            return error_set(error, ERR_DAMAGED,
                             "tensor %s does not have the size of its shape", entry->name);
        at = entry->end;
    }
    if (at != data_bytes)
        return error_set(error, ERR_DAMAGED,
                         "the tensors end at byte %" PRIu64 ", and the data at %" PRIu64, at,
                         data_bytes);
    qsort(entries, count, sizeof(*entries), by_name);
    for (size_t i = 1; i < count; i++)
        if (strcmp(entries[i - 1].name, entries[i].name) == 0)
            return error_set(error, ERR_DAMAGED, "tensor %s stands there twice",
                             entries[i].name);
    return ERR_OK;
}

static enum err take_rng(const struct parse *parse, struct rng *rng, struct error *error)
{
    const char *digits = parse->texts[TEXT_RNG];
    bool good = strlen(digits) == RNG_DIGITS;
    uint64_t any = 0;
    for (int i = 0; good && i < 4; i++) {
        good = hex_value(digits + 16 * i, 16, &rng->state[i]);
        any |= rng->state[i];
    }
    /* All zeros is the one state that the generator never leaves. */
    if (!good || any == 0)
        return error_set(error, ERR_DAMAGED, "the generator's state is malformed");
    return ERR_OK;
}

static enum err take_metadata(const struct parse *parse, struct ckpt_header *header,
                              struct error *error)
{
    const struct numbers *n = &parse->numbers;
    uint64_t data_crc;
    if (strlen(parse->texts[TEXT_DATA_CRC]) != CKPT_CHECKSUM_DIGITS ||
        !hex_value(parse->texts[TEXT_DATA_CRC], CKPT_CHECKSUM_DIGITS, &data_crc))
        return error_set(error, ERR_DAMAGED, "the data's checksum is malformed");
    enum err rc = take_rng(parse, &header->state.cursor.rng, error);
    if (rc != ERR_OK) return rc;
    struct ckpt_state *state = &header->state;
    if (!text_copy(state->gate, sizeof(state->gate), text_of(parse->texts[TEXT_GATE])))
        return error_set(error, ERR_DAMAGED, "the gate's name is too long");
    state->step = n->step;
    state->tokens = n->tokens;
    state->seed = n->seed;
    state->members = n->members;
    state->data_tokens = n->data_tokens;
    state->cursor.epoch = n->epoch;
    state->cursor.window = n->window;
    header->config = (struct gpt_config){ .layers = (int)n->layers,
                                          .width = (int)n->width,
                                          .heads = (int)n->heads,
                                          .context = (int)n->context,
                                          .vocab_count = (int)n->vocab };
    header->data_crc = (uint32_t)data_crc;
    return ERR_OK;
}

static enum err parse_all(struct parse *parse, struct ckpt_header *header, uint64_t data_bytes,
                          struct error *error)
{
    enum err rc;
    parse_top(parse);
    if (parse->json.mistake != NULL)
        return error_set(error, ERR_DAMAGED, "byte %zu of its header: %s", parse->json.at,
                         parse->json.mistake);
    if ((rc = check_complete(parse, error)) != ERR_OK) return rc;
    if ((rc = check_header_crc(parse, error)) != ERR_OK) return rc;
    if ((rc = check_entries(parse, data_bytes, error)) != ERR_OK) return rc;
    return take_metadata(parse, header, error);
}

enum err ckpt_header_parse(struct ckpt_header *header, const char *text, size_t bytes,
                           uint64_t data_bytes, struct error *error)
{
    struct ckpt_header parsed = { .entry_count = 0 };
    struct parse *parse = calloc(1, sizeof(*parse));
    if (parse == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for a checkpoint");
    parse->json = json_of(text, bytes);
    parse->entry_capacity = bytes / BYTES_PER_ENTRY_MIN + 1;
    parse->entries = calloc(parse->entry_capacity, sizeof(*parse->entries));
    enum err rc;
    if (parse->entries == NULL)
        rc = error_set(error, ERR_NO_MEMORY, "no memory for a checkpoint's header");
    else
        rc = parse_all(parse, &parsed, data_bytes, error);
    if (rc == ERR_OK) {
        parsed.entries = parse->entries;
        parsed.entry_count = parse->entry_count;
        *header = parsed;
    } else {
        free(parse->entries);
    }
    free(parse);
    return rc;
}

void ckpt_header_fini(struct ckpt_header *header)
{
    free(header->entries);
    *header = (struct ckpt_header){ .entry_count = 0 };
}

const struct ckpt_entry *ckpt_header_find(const struct ckpt_header *header,
                                          const struct gpt_tensor *tensor, int array)
{
    struct ckpt_entry wanted;
    struct writer name = writer_of(wanted.name, sizeof(wanted.name));
    writer_format(&name, "%s%s", array_prefixes[array], tensor->name);
    if (name.full || header->entry_count == 0) return NULL;
    return bsearch(&wanted, header->entries, header->entry_count, sizeof(*header->entries),
                   by_name);
}
