#include "worker/agent/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 32, NUMBER_BYTES_MAX = 64 };

struct json_scan json_scan_of(struct text text)
{
    return (struct json_scan){ .at = text.data, .end = text.data + text.len };
}

static bool fail(struct json_scan *json)
{
    json->failed = true;
    return false;
}

static void skip_blanks(struct json_scan *json)
{
    while (json->at < json->end && strchr(" \t\r\n", *json->at) && *json->at)
        json->at++;
}

static bool take(struct json_scan *json, const char *word)
{
    size_t n = strlen(word);
    skip_blanks(json);
    if (json->failed || (size_t)(json->end - json->at) < n || memcmp(json->at, word, n) != 0)
        return false;
    json->at += n;
    return true;
}

enum json_kind json_scan_peek(struct json_scan *json)
{
    skip_blanks(json);
    if (json->failed || json->at == json->end) return JSON_NOTHING;
    switch (*json->at) {
    case '{': return JSON_OBJECT;
    case '[': return JSON_ARRAY;
    case '"': return JSON_STRING;
    case 't':
    case 'f': return JSON_BOOL;
    case 'n': return JSON_NULL;
    default: break;
    }
    return strchr("-0123456789NI", *json->at) && *json->at ? JSON_NUMBER : JSON_NOTHING;
}

bool json_scan_enter(struct json_scan *json)
{
    return take(json, "{") || fail(json);
}

/* ---- strings ---- */

static bool hex4(struct json_scan *json, uint32_t *value)
{
    *value = 0;
    if (json->end - json->at < 4) return false;
    for (int i = 0; i < 4; i++) {
        char c = *json->at++;
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16) return false;
        *value = *value << 4 | digit;
    }
    return true;
}

static size_t put_utf8(uint32_t point, char out[4])
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    size_t n = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; point >>= 6)
        out[i] = (char)(0x80 | (point & 0x3F));
    out[0] = (char)((0xF00U >> n & 0xF0) | point);
    return n;
}

/* \uXXXX, and its second half when it is a surrogate. */
static size_t unicode(struct json_scan *json, char out[4])
{
    uint32_t high, low;
    if (!hex4(json, &high) || high == 0) return 0;
    if (high < 0xD800 || high > 0xDFFF) return put_utf8(high, out);
    if (high > 0xDBFF || json->end - json->at < 6 || json->at[0] != '\\' || json->at[1] != 'u')
        return 0;
    json->at += 2;
    if (!hex4(json, &low) || low < 0xDC00 || low > 0xDFFF) return 0;
    return put_utf8(0x10000 + ((high - 0xD800) << 10 | (low - 0xDC00)), out);
}

/* The bytes of one character of a string; 0 on an error. */
static size_t character(struct json_scan *json, char out[4])
{
    static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    char c = *json->at++;
    if ((unsigned char)c < 0x20) return 0;
    out[0] = c;
    if (c != '\\') return 1;
    if (json->at == json->end) return 0;
    c = *json->at++;
    if (c == 'u') return unicode(json, out);
    for (size_t i = 0; i + 1 < sizeof escapes; i += 2)
        if (escapes[i] == c) {
            out[0] = escapes[i + 1];
            return 1;
        }
    return 0;
}

/* With to == NULL only skips. *fits says whether all of it had room. */
static bool string(struct json_scan *json, char *to, size_t to_bytes, bool *fits)
{
    size_t n = 0;
    *fits = true;
    if (!take(json, "\"")) return fail(json);
    while (json->at < json->end && *json->at != '"') {
        char bytes[4] = { 0 };
        size_t count = character(json, bytes);
        if (count == 0) return fail(json);
        if (!to) continue;
        if (n + count >= to_bytes) *fits = false;
        if (*fits) memcpy(to + n, bytes, count);
        if (*fits) n += count;
    }
    if (json->at == json->end) return fail(json);
    json->at++;
    if (to) to[n] = '\0';
    return true;
}

bool json_scan_string(struct json_scan *json, char *to, size_t to_bytes)
{
    bool fits;
    return string(json, to, to_bytes, &fits) && (fits || fail(json));
}

bool json_scan_next_key(struct json_scan *json, bool first, char *key, size_t key_bytes)
{
    bool fits;
    if (take(json, "}")) return false;
    if (!first && !take(json, ",")) return fail(json);
    if (!string(json, key, key_bytes, &fits) || !take(json, ":")) return fail(json);
    if (!fits) key[0] = '\0';
    return true;
}

/* ---- other values ---- */

/* Copies a number's characters, so that strtod sees a terminated string of what JSON allows. */
static bool number_text(struct json_scan *json, char text[NUMBER_BYTES_MAX])
{
    size_t n = 0;
    skip_blanks(json);
    while (json->at < json->end && *json->at && strchr("+-.0123456789eE", *json->at)) {
        if (n + 1 == NUMBER_BYTES_MAX) return false;
        text[n++] = *json->at++;
    }
    text[n] = '\0';
    const char *digits = text[0] == '-' ? text + 1 : text;
    return digits[0] >= '0' && digits[0] <= '9';
}

bool json_scan_number(struct json_scan *json, double *value)
{
    char text[NUMBER_BYTES_MAX], *end = NULL;
    if (take(json, "NaN"))
        *value = (double)NAN;
    else if (take(json, "Infinity"))
        *value = (double)INFINITY;
    else if (take(json, "-Infinity"))
        *value = -(double)INFINITY;
    else {
        if (json->failed || !number_text(json, text)) return fail(json);
        *value = strtod(text, &end);
        if (*end) return fail(json);
    }
    return true;
}

bool json_scan_count(struct json_scan *json, uint64_t *value)
{
    struct json_scan before = *json;
    char text[NUMBER_BYTES_MAX];
    if (!json->failed && number_text(json, text) && text_to_u64(text_of(text), value))
        return *value <= INT64_MAX || fail(json);
    /* 1e3 and 100.0 are whole numbers too. */
    double number;
    *json = before;
    if (!json_scan_number(json, &number)) return false;
    if (!(number >= 0 && number < 9007199254740992.0 && floor(number) == number))
        return fail(json);
    *value = (uint64_t)number;
    return true;
}

bool json_scan_bool(struct json_scan *json, bool *value)
{
    *value = take(json, "true");
    return *value || take(json, "false") || fail(json);
}

static bool skip_value(struct json_scan *json, int depth);

static bool skip_members(struct json_scan *json, int depth, bool object)
{
    const char *close = object ? "}" : "]";
    json->at++;
    if (take(json, close)) return true;
    do {
        bool fits;
        if (object && (!string(json, NULL, 0, &fits) || !take(json, ":"))) return fail(json);
        if (!skip_value(json, depth + 1)) return false;
    } while (take(json, ","));
    return take(json, close) || fail(json);
}

static bool skip_value(struct json_scan *json, int depth)
{
    bool flag, fits;
    double number;
    if (depth > DEPTH_MAX) return fail(json);
    switch (json_scan_peek(json)) {
    case JSON_OBJECT: return skip_members(json, depth, true);
    case JSON_ARRAY: return skip_members(json, depth, false);
    case JSON_STRING: return string(json, NULL, 0, &fits);
    case JSON_NUMBER: return json_scan_number(json, &number);
    case JSON_BOOL: return json_scan_bool(json, &flag);
    case JSON_NULL: return take(json, "null") || fail(json);
    case JSON_NOTHING: break;
    }
    return fail(json);
}

bool json_scan_skip(struct json_scan *json)
{
    return skip_value(json, 0);
}

bool json_scan_at_end(struct json_scan *json)
{
    skip_blanks(json);
    return !json->failed && json->at == json->end;
}
