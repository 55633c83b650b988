/*
 * json.h - a scanner for one JSON value that somebody else wrote: no tree, no allocation, bounded depth.
 *
 * Beyond RFC 8259 it takes NaN, Infinity and -Infinity, as Python's json module writes them. A scanner
 * that met an error stays in error: every further call fails.
 */
#ifndef WORKER_AGENT_JSON_H
#define WORKER_AGENT_JSON_H

#include "proto/base/text.h"

enum json_kind {
    JSON_NOTHING,
    JSON_OBJECT,
    JSON_ARRAY,
    JSON_STRING,
    JSON_NUMBER,
    JSON_BOOL,
    JSON_NULL
};

struct json {
    const char *at, *end;
    bool failed;
};

struct json json_of(struct text text);

/* Which kind of value comes next; JSON_NOTHING at the end or at something that is none. */
enum json_kind json_peek(struct json *json);

/* Walks an object: json_enter, then json_next_key until it says false, reading or skipping one value
 * after each. A key that is longer than the room counts as "". False at the closing brace, or on an error:
 * see `failed`. */
bool json_enter(struct json *json);
bool json_next_key(struct json *json, bool first, char *key, size_t key_bytes);

/* Reads one value of its kind; on false nothing is read and the scanner has failed. A string that does not
 * fit, or holds a zero, fails. */
bool json_string(struct json *json, char *to, size_t to_bytes);
bool json_number(struct json *json, double *value);
bool json_count(struct json *json, uint64_t *value); /* a whole number >= 0, below 2^63 */
bool json_bool(struct json *json, bool *value);

/* Skips any value. */
bool json_skip(struct json *json);

/* Whether nothing but blanks is left, and nothing failed. */
bool json_at_end(struct json *json);

#endif
