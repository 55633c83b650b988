#include "scheduler/campaign/fields.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/money.h"
#include "scheduler/campaign/units.h"

enum { KEY_NAME_BYTES = 256, WORD_MAX_BYTES = 40, LIST_BYTES = 320 };

enum err reader_fail(const struct reader *reader, uint32_t line, const char *key,
                     const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_set(reader->error, ERR_INPUT, "%s:%u: %s%s%s", reader->file, line, key,
              key[0] ? ": " : "", text);
    error_flatten(reader->error);
    return ERR_INPUT;
}

/* ---- words --------------------------------------------------------------------------- */

/* Edits (insert, delete, replace, swap of neighbours) from a to b; both are short. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t rows[3][WORD_MAX_BYTES + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b_len; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            if (last[j] + 1 < best) best = last[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b_len];
}

const char *nearest_word(const char *word, const char *const *words, size_t count)
{
    const char *nearest = NULL;
    size_t len = strlen(word), best = len / 2 + 1;
    if (len > WORD_MAX_BYTES) return NULL;
    if (best > 4) best = 4;
    for (size_t i = 0; i < count; i++) {
        size_t words_len = strlen(words[i]);
        if (words_len > WORD_MAX_BYTES) continue;
        size_t d = distance(word, len, words[i], words_len);
        if (d >= best) continue;
        best = d;
        nearest = words[i];
    }
    return nearest;
}

static void list_words(char *list, const char *const *words, size_t count)
{
    struct writer writer = writer_of(list, LIST_BYTES);
    for (size_t i = 0; i < count; i++)
        writer_format(&writer, "%s%s", i == 0 ? "" : ", ", words[i]);
}

enum err unknown_key(const struct reader *reader, uint32_t line, const char *key,
                     const char *const *known, size_t count)
{
    const char *last = strrchr(key, '.');
    const char *nearest = nearest_word(last ? last + 1 : key, known, count);
    char list[LIST_BYTES];
    if (nearest)
        return reader_fail(reader, line, key, "unknown key; did you mean `%s`?", nearest);
    list_words(list, known, count);
    return reader_fail(reader, line, key, "unknown key; known here are: %s", list);
}

enum err expect_kind(const struct reader *reader, const char *key, const struct entry *entry,
                     enum node_kind kind)
{
    const struct node *node = entry->value;
    if (node->kind == kind) return ERR_OK;
    const char *found = node_kind_name(node->kind);
    if (node->kind == NODE_SCALAR && node->text.len == 0) found = "nothing";
    return reader_fail(reader, entry->line, key, "is %s, but must be %s%s", found,
                       node_kind_name(kind),
                       kind == NODE_MAP    ? "; write `key: value` lines under it"
                       : kind == NODE_LIST ? "; write [a, b] or `- item` lines under it"
                                           : "; write it on the same line");
}

enum err word_read(const struct reader *reader, const char *key, const struct entry *entry,
                   const char *const *words, size_t count, uint32_t *index)
{
    enum err rc = expect_kind(reader, key, entry, NODE_SCALAR);
    if (rc != ERR_OK) return rc;
    for (size_t i = 0; i < count; i++) {
        if (!text_is(entry->value->text, words[i])) continue;
        *index = (uint32_t)i;
        return ERR_OK;
    }
    char list[LIST_BYTES];
    list_words(list, words, count);
    return reader_fail(reader, entry->line, key, "`%.60s` is not known; write one of: %s",
                       entry->value->text.data, list);
}

/* ---- one value ----------------------------------------------------------------------- */

static void write_value(struct writer *writer, const struct field *row, int64_t value,
                        const char *currency)
{
    switch (row->kind) {
    case FIELD_DURATION: duration_write(writer, value); return;
    case FIELD_SHARE: share_write(writer, value); return;
    case FIELD_LOSS: scaled_write(writer, value, 1000000); return;
    case FIELD_MONEY: money_write(writer, value, currency); return;
    case FIELD_COUNT:
    case FIELD_STEPS:
    case FIELD_NUMBER: writer_format(writer, "%" PRId64, value); return;
    case FIELD_BOOL: writer_string(writer, value ? "true" : "false"); return;
    case FIELD_ENTRY:
    case FIELD_NAME: break;
    }
    unreachable("field kind");
}

/* What a value of this kind looks like. */
static const char *example_of(enum field_kind kind)
{
    switch (kind) {
    case FIELD_DURATION:
        return "is not a duration; write a number with ms, s, m, h or d, as 90s";
    case FIELD_SHARE: return "is not a percentage; write it as 20%";
    case FIELD_LOSS: return "is not a number with at most 6 decimals; write it as 2.6";
    case FIELD_MONEY: return "is not an amount; write it as 1.20 with at most 6 decimals and";
    case FIELD_COUNT:
    case FIELD_STEPS:
    case FIELD_NUMBER: return "is not a whole number; write it with digits only, as 40";
    case FIELD_BOOL: return "is neither true nor false; write one of these";
    case FIELD_NAME:
        return "is not a name; use 1 to 63 letters, digits and . _ -, not starting with . or -";
    case FIELD_ENTRY: break;
    }
    unreachable("field kind");
}

static bool parse_value(const struct field *row, const char *currency, struct text text,
                        int64_t *value)
{
    switch (row->kind) {
    case FIELD_DURATION: return duration_parse(text, value);
    case FIELD_SHARE: return share_parse(text, value);
    case FIELD_LOSS: return text_to_scaled(text, 1000000, value);
    case FIELD_MONEY: return money_parse(text, text_of(currency), value);
    case FIELD_COUNT:
    case FIELD_STEPS:
    case FIELD_NUMBER: return text_to_i64(text, value);
    case FIELD_BOOL: *value = text_is(text, "true"); return *value || text_is(text, "false");
    case FIELD_ENTRY:
    case FIELD_NAME: break;
    }
    unreachable("field kind");
}

/* Fields are written and read through memcpy: the table knows their type, the compiler does
 * not. */
static void store(const struct field *row, void *base, int64_t value)
{
    void *to = (char *)base + row->offset;
    uint32_t count = (uint32_t)value;
    uint64_t steps = (uint64_t)value;
    int32_t number = (int32_t)value;
    bool flag = value != 0;
    switch (row->kind) {
    case FIELD_BOOL: memcpy(to, &flag, sizeof flag); return;
    case FIELD_COUNT: memcpy(to, &count, sizeof count); return;
    case FIELD_STEPS: memcpy(to, &steps, sizeof steps); return;
    case FIELD_NUMBER:
    case FIELD_SHARE: memcpy(to, &number, sizeof number); return;
    case FIELD_DURATION:
    case FIELD_LOSS:
    case FIELD_MONEY: memcpy(to, &value, sizeof value); return;
    case FIELD_ENTRY:
    case FIELD_NAME: break;
    }
    unreachable("field kind");
}

static int64_t load(const struct field *row, const void *base)
{
    const void *from = (const char *)base + row->offset;
    uint32_t count;
    uint64_t steps;
    int32_t number;
    int64_t value;
    bool flag;
    switch (row->kind) {
    case FIELD_BOOL: memcpy(&flag, from, sizeof flag); return flag;
    case FIELD_COUNT: memcpy(&count, from, sizeof count); return count;
    case FIELD_STEPS: memcpy(&steps, from, sizeof steps); return (int64_t)steps;
    case FIELD_NUMBER:
    case FIELD_SHARE: memcpy(&number, from, sizeof number); return number;
    case FIELD_DURATION:
    case FIELD_LOSS:
    case FIELD_MONEY: memcpy(&value, from, sizeof value); return value;
    case FIELD_ENTRY:
    case FIELD_NAME: break;
    }
    unreachable("field kind");
}

static enum err read_name(const struct reader *reader, const char *key, struct text text,
                          uint32_t line, char *to)
{
    if (!name_valid(text))
        return reader_fail(reader, line, key, "`%.80s` %s", text.data, example_of(FIELD_NAME));
    check(text_copy(to, NAME_MAX_BYTES, text));
    return ERR_OK;
}

static enum err bad_value(const struct reader *reader, const struct field *row, const char *key,
                          const struct node *node, uint32_t line)
{
    if (node->text.len == 0)
        return reader_fail(reader, line, key, "has no value; write one, or take the key out");
    return reader_fail(reader, line, key, "`%.60s` %s%s%s%s", node->text.data,
                       example_of(row->kind), row->kind == FIELD_MONEY ? " the currency " : "",
                       row->kind == FIELD_MONEY ? reader->currency : "",
                       row->never ? ", or `never`" : "");
}

enum err field_read(const struct reader *reader, const struct field *row, const char *key,
                    const struct node *node, uint32_t line, void *base)
{
    struct entry entry = { .line = line, .value = node };
    int64_t value;
    enum err rc = expect_kind(reader, key, &entry, NODE_SCALAR);
    if (rc != ERR_OK) return rc;
    if (row->kind == FIELD_NAME)
        return read_name(reader, key, node->text, line, (char *)base + row->offset);
    if (row->never && text_is(node->text, "never")) {
        store(row, base, 0);
        return ERR_OK;
    }
    if (!parse_value(row, reader->currency, node->text, &value))
        return bad_value(reader, row, key, node, line);
    if (value < row->low || value > row->high) {
        char range[160];
        struct writer writer = writer_of(range, sizeof range);
        write_value(&writer, row, row->low, reader->currency);
        writer_string(&writer, " and ");
        write_value(&writer, row, row->high, reader->currency);
        return reader_fail(reader, line, key,
                           "`%.60s` is out of range; write a value between %s%s",
                           node->text.data, range, row->never ? ", or `never`" : "");
    }
    store(row, base, value);
    return ERR_OK;
}

/* ---- maps ---------------------------------------------------------------------------- */

static const struct field *row_named(const struct fields *fields, struct text key)
{
    for (size_t i = 0; i < fields->count; i++)
        if (text_is(key, fields->rows[i].key)) return &fields->rows[i];
    return NULL;
}

static enum err unknown_field(const struct reader *reader, const struct fields *fields,
                              const char *key, uint32_t line)
{
    enum { ROWS_MAX = 40 };
    const char *known[ROWS_MAX];
    check(fields->count <= ROWS_MAX);
    for (size_t i = 0; i < fields->count; i++)
        known[i] = fields->rows[i].key;
    return unknown_key(reader, line, key, known, fields->count);
}

enum err fields_read(const struct reader *reader, const struct fields *fields,
                     const struct entry *entry, void *base)
{
    char key[KEY_NAME_BYTES];
    struct writer section = writer_of(key, sizeof key);
    writer_string(&section, fields->section);
    if (section.len > 0) key[section.len - 1] = '\0'; /* without its final point */
    enum err rc = expect_kind(reader, key, entry, NODE_MAP);
    if (rc != ERR_OK) return rc;
    for (struct entry *e = entry->value->first; e; e = e->next) {
        snprintf(key, sizeof key, "%s%s", fields->section, e->key.data);
        const struct field *row = row_named(fields, e->key);
        if (!row) return unknown_field(reader, fields, key, e->line);
        if (row->kind == FIELD_ENTRY)
            memcpy((char *)base + row->offset, &e, sizeof e);
        else
            rc = field_read(reader, row, key, e->value, e->line, base);
        if (rc != ERR_OK) return rc;
    }
    for (size_t i = 0; i < fields->count; i++) {
        if (!fields->rows[i].required || tree_find(entry->value, fields->rows[i].key)) continue;
        snprintf(key, sizeof key, "%s%s", fields->section, fields->rows[i].key);
        return reader_fail(reader, entry->line, key, "is missing; add it here");
    }
    return ERR_OK;
}

void fields_write(struct writer *writer, const struct fields *fields, const void *base,
                  unsigned indent, const char *currency)
{
    for (size_t i = 0; i < fields->count; i++) {
        const struct field *row = &fields->rows[i];
        if (row->kind == FIELD_ENTRY) continue;
        writer_format(writer, "%*s%s: ", (int)indent, "", row->key);
        if (row->kind == FIELD_NAME) {
            writer_string(writer, (const char *)base + row->offset);
        } else {
            int64_t value = load(row, base);
            if (row->never && value == 0)
                writer_string(writer, "never");
            else
                write_value(writer, row, value, currency);
        }
        writer_string(writer, "\n");
    }
}
