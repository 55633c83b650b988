#include "worker/trainer/json.h"

#include <string.h>

struct json json_of(const char *data, size_t bytes)
{
    return (struct json){ .data = data, .bytes = bytes };
}

void json_fail(struct json *json, const char *mistake)
{
    if (json->mistake == NULL) json->mistake = mistake;
}

static void skip_blanks(struct json *json)
{
    while (json->at < json->bytes && memchr(" \t\r\n", json->data[json->at], 4) != NULL)
        json->at++;
}

bool json_peek(struct json *json, char c)
{
    if (json->mistake != NULL) return false;
    skip_blanks(json);
    return json->at < json->bytes && json->data[json->at] == c;
}

bool json_take(struct json *json, char c)
{
    if (!json_peek(json, c)) return false;
    json->at++;
    return true;
}

void json_expect(struct json *json, char c)
{
    if (json_take(json, c)) return;
    switch (c) {
    case '{': json_fail(json, "an object must begin here"); return;
    case '}': json_fail(json, "a comma or a closing brace must stand here"); return;
    case '[': json_fail(json, "a list must begin here"); return;
    case ']': json_fail(json, "a comma or a closing bracket must stand here"); return;
    case '"': json_fail(json, "a string must begin here"); return;
    default: json_fail(json, "a colon or comma must stand here"); return;
    }
}

/* Four hexadecimal digits. */
static uint32_t take_hex4(struct json *json)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = json->at < json->bytes ? json->data[json->at++] : '\0';
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uint32_t)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            value = value << 4 | (uint32_t)(c - 'A' + 10);
        else
            json_fail(json, "an escape needs four hexadecimal digits");
    }
    return value;
}

/* The code point of an escape \uXXXX whose \u was read, joining a surrogate pair. */
static uint32_t take_code_point(struct json *json)
{
    uint32_t high = take_hex4(json);
    if (high < 0xD800 || high > 0xDFFF) {
        if (high == 0) json_fail(json, "a string must not hold a zero");
        return high;
    }
    bool pair = high <= 0xDBFF && json->bytes - json->at >= 2 && json->data[json->at] == '\\' &&
                json->data[json->at + 1] == 'u';
    if (!pair) {
        json_fail(json, "a lone surrogate is no character");
        return 0;
    }
    json->at += 2;
    uint32_t low = take_hex4(json);
    if (low < 0xDC00 || low > 0xDFFF) json_fail(json, "a lone surrogate is no character");
    return 0x10000 + ((high - 0xD800) << 10) + (low & 0x3FF);
}

static void put_utf8(struct writer *to, uint32_t code)
{
    char bytes[4];
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = { 0, 0, 0xC0, 0xE0, 0xF0 };
    for (size_t i = len; i-- > 1; code >>= 6)
        bytes[i] = (char)(0x80 | (code & 0x3F));
    bytes[0] = (char)(leads[len] | code);
    writer_text(to, (struct text){ bytes, len });
}

static void take_escape(struct json *json, struct writer *to)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char c = json->at < json->bytes ? json->data[json->at++] : '\0';
    const char *name = c != '\0' ? strchr(names, c) : NULL;
    if (name != NULL)
        writer_text(to, (struct text){ values + (name - names), 1 });
    else if (c == 'u')
        put_utf8(to, take_code_point(json));
    else
        json_fail(json, "this escape does not exist");
}

void json_string(struct json *json, char *to, size_t to_bytes)
{
    struct writer writer = writer_of(to, to_bytes);
    json_expect(json, '"');
    while (json->mistake == NULL) {
        if (json->at >= json->bytes) {
            json_fail(json, "a string does not end");
            break;
        }
        char c = json->data[json->at++];
        if (c == '"') break;
        if (c == '\\')
            take_escape(json, &writer);
        else if ((unsigned char)c < 0x20)
            json_fail(json, "a string holds a control character");
        else
            writer_text(&writer, (struct text){ &c, 1 });
        if (writer.full) json_fail(json, "a string is too long");
    }
    if (json->mistake != NULL) to[0] = '\0';
}

uint64_t json_u64(struct json *json)
{
    uint64_t value = 0;
    if (json->mistake != NULL) return 0;
    skip_blanks(json);
    size_t from = json->at;
    while (json->at < json->bytes && json->data[json->at] >= '0' && json->data[json->at] <= '9')
        json->at++;
    struct text digits = { json->data + from, json->at - from };
    if (digits.len > 1 && digits.data[0] == '0')
        json_fail(json, "a number begins with a zero");
    else if (!text_to_u64(digits, &value))
        json_fail(json, "a whole number below 2^64 must stand here");
    else if (json->at < json->bytes && memchr(".eE", json->data[json->at], 3) != NULL)
        json_fail(json, "a number is not whole");
    return json->mistake == NULL ? value : 0;
}

void json_end(struct json *json)
{
    skip_blanks(json);
    if (json->at < json->bytes) json_fail(json, "nothing may follow here");
}

void json_write_string(struct writer *writer, const char *text)
{
    writer_string(writer, "\"");
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            writer_format(writer, "\\%c", c);
        else if (c < 0x20)
            writer_format(writer, "\\u%04x", c);
        else
            writer_text(writer, (struct text){ p, 1 });
    }
    writer_string(writer, "\"");
}
