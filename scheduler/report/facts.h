/*
 * facts.h - the model as plain tables for programs: one definition of each table's columns and
 * rows, from which JSON, CSV, SQLite and OpenMetrics are all written. docs/formats/report.md
 * says what each column means.
 *
 * A column's kind says its unit and how it is named: money `x` is x_micros (int) and, in JSON,
 * x (text with the currency); a time `x` is x_ns and x (RFC 3339); a duration `x` is x_ns; a
 * loss `x` is x_micro and, in JSON, x (text); a share `x` is x_ppm. What is unknown is null.
 */
#ifndef SCHEDULER_REPORT_FACTS_H
#define SCHEDULER_REPORT_FACTS_H

#include "scheduler/report/model.h"

enum field_kind {
    FIELD_INT,
    FIELD_COUNT, /* unsigned 64 bits */
    FIELD_TEXT,
    FIELD_BOOL,
    FIELD_MONEY,    /* micro-units; negative: unknown */
    FIELD_TIME,     /* unix ns; 0: not yet */
    FIELD_DURATION, /* ns; negative: unknown */
    FIELD_LOSS,     /* micro-nats */
    FIELD_PPM       /* negative: unknown */
};

struct field {
    const char *name;
    enum field_kind kind;
};

struct value {
    bool is_null;
    int64_t number;
    uint64_t count;   /* FIELD_COUNT */
    const char *text; /* FIELD_TEXT */
};

enum { FIELDS_MAX = 40 };

struct facts_sink {
    void *context;
    /* One row: as many values as the table has fields. False ends the table early. */
    bool (*row)(void *context, const struct value *values);
};

struct facts_table {
    const char *name; /* "runs" */
    const struct field *fields;
    uint32_t field_count;
    void (*rows)(const struct model *model, const struct facts_sink *sink);
    bool in_report; /* part of the JSON report; the others are only exported */
    bool is_single; /* exactly one row */
};

/* All tables, in the order in which they are written. */
extern const struct facts_table facts_tables[];
extern const uint32_t facts_table_count;

/* The table of that name, or NULL. */
const struct facts_table *facts_find(struct text name);

/* Suffix of the column that holds a field's number: "_micros", "_ns", "_micro", "_ppm" or "".
 */
const char *field_suffix(enum field_kind kind);

#endif
