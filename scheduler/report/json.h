/*
 * json.h - a small JSON writer: nesting, commas and indentation; values are escaped and valid
 * whatever comes in. It writes to a FILE and reports nothing: the stream remembers failures.
 *
 * A key is given with every member of an object, and is NULL for elements of an array.
 */
#ifndef SCHEDULER_REPORT_JSON_H
#define SCHEDULER_REPORT_JSON_H

#include "scheduler/report/facts.h"

enum { JSON_DEPTH_MAX = 16 };

struct json {
    FILE *to;
    uint32_t depth;
    bool has_member[JSON_DEPTH_MAX];
    bool on_one_line; /* from here on */
};

void json_begin(struct json *json, const char *key, char bracket); /* '{' or '[' */
void json_end(struct json *json, char bracket);                    /* '}' or ']' */
void json_text(struct json *json, const char *key, struct text text);
void json_string(struct json *json, const char *key, const char *string); /* NULL: null */
void json_int(struct json *json, const char *key, int64_t value);
void json_count(struct json *json, const char *key, uint64_t value);
void json_bool(struct json *json, const char *key, bool value);
void json_null(struct json *json, const char *key);

/* A row of a table as the members of an object. */
void json_fields(struct json *json, const struct facts_table *table, const struct value *values,
                 const char *currency);

/* One record as an object: seq, at, kind, and everything it says. */
void json_record(struct json *json, uint64_t seq, const struct record *record);

#endif
