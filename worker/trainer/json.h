/*
 * json.h - a strict reader for the JSON of a checkpoint's header, and string escaping for
 * events.
 *
 * Promises: reads RFC 8259 text from memory that need not end with a zero, never past its end;
 * the first mistake sticks, with its place, and everything after it is a no-op that gives empty
 * results, so that a caller may check once at the end of a part. Never: allocates, recurses
 * without bound, reads numbers that are not whole and below 2^64.
 */
#ifndef WORKER_TRAINER_JSON_H
#define WORKER_TRAINER_JSON_H

#include "proto/base/defs.h"
#include "proto/base/text.h"

struct json {
    const char *data;
    size_t bytes;
    size_t at;           /* of the next character */
    const char *mistake; /* NULL while all is well; static text */
};

struct json json_of(const char *data, size_t bytes);

/* Records a mistake at the current place, unless one is recorded already. */
void json_fail(struct json *json, const char *mistake);

/* Skips white space and says whether `c` comes next; json_take also moves past it, and
 * json_expect fails when it does not. */
bool json_peek(struct json *json, char c);
bool json_take(struct json *json, char c);
void json_expect(struct json *json, char c);

/* A string, decoded to zero-terminated UTF-8. A longer one than fits, an escaped zero, a lone
 * surrogate or a control character is a mistake. */
void json_string(struct json *json, char *to, size_t to_bytes);

/* A whole number, without sign, fraction or exponent. */
uint64_t json_u64(struct json *json);

/* Only white space may remain. */
void json_end(struct json *json);

/* Writes `text` as a JSON string, with quotes. Bytes below 0x20, quotes and backslashes are
 * escaped; others are copied. */
void json_write_string(struct writer *writer, const char *text);

#endif
