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

struct json_scan {
    const char *at, *end;
    bool failed;
};

struct json_scan json_scan_of(struct text text);

/* Which kind of value comes next; JSON_NOTHING at the end or at something that is none. */
enum json_kind json_scan_peek(struct json_scan *json);

/* Walks an object: json_scan_enter, then json_scan_next_key until it says false, reading or skipping one value
 * after each. A key that is longer than the room counts as "". False at the closing brace, or on an error:
 * see `failed`. */
bool json_scan_enter(struct json_scan *json);
bool json_scan_next_key(struct json_scan *json, bool first, char *key, size_t key_bytes);

/* Reads one value of its kind; on false nothing is read and the scanner has failed. A string that does not
 * fit, or holds a zero, fails. */
bool json_scan_string(struct json_scan *json, char *to, size_t to_bytes);
bool json_scan_number(struct json_scan *json, double *value);
bool json_scan_count(struct json_scan *json,
                     uint64_t *value); /* a whole number >= 0, below 2^63 */
bool json_scan_bool(struct json_scan *json, bool *value);

/* Skips any value. */
bool json_scan_skip(struct json_scan *json);

/* Whether nothing but blanks is left, and nothing failed. */
bool json_scan_at_end(struct json_scan *json);

#endif
