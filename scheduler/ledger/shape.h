/*
 * shape.h - how each kind of record looks in C and on disk, as tables.
 *
 * One row says where a value stands in the core's struct and in the generated message, and
 * which values are allowed. record.c walks the rows to translate both ways and to validate;
 * nothing else knows about a single field. A new field is one row here and one line in
 * proto/ledger.proto.
 */
#ifndef SCHEDULER_LEDGER_SHAPE_H
#define SCHEDULER_LEDGER_SHAPE_H

#include "proto/ledger.pb-c.h"
#include "scheduler/core/record.h"

enum field_type {
    FIELD_U32,
    FIELD_U64, /* any value */
    FIELD_I32,
    FIELD_I64,
    FIELD_BOOL,
    FIELD_ENUM,
    FIELD_NAME,   /* char[N] in C; min and max are its length in bytes, without the zero */
    FIELD_TEXT,   /* struct text that state depends on: refused when it is not as said */
    FIELD_FREE,   /* struct text for people: cut, and made UTF-8, when it is not as said */
    FIELD_BYTES,  /* struct text of any bytes */
    FIELD_HASH,   /* struct sha256 */
    FIELD_ONE,    /* a struct; always present */
    FIELD_ONE_IF, /* a struct that is left out when all of it is zero, and was not there once */
    FIELD_LIST,   /* a fixed array of structs with a count; min and max are of the count */
    FIELD_LIST_FAR, /* a pointer to an array of structs, with a count */
    FIELD_U32S_FAR, /* a pointer to an array of uint32_t, with a count; every one in 1.. */
    FIELD_I64S /* a fixed array of int64_t, all of it; min is of each value, max the count */
};

struct shape;

struct field {
    const char *name;
    enum field_type type;
    uint16_t record_at, record_bytes; /* in the C struct */
    uint16_t count_at;                /* of the list's count in the C struct */
    uint16_t message_at;              /* in the generated message */
    uint16_t number_at;               /* of the list's n_ member in the generated message */
    int64_t min, max;
    const struct shape *shape; /* of ONE, LIST, LIST_FAR */
};

struct shape {
    const char *name;
    const ProtobufCMessageDescriptor *descriptor;
    size_t record_bytes;
    const struct field *fields;
    size_t field_count;
    const char *(*rule)(
        const void *record); /* what is wrong between fields, or NULL; may be NULL */
};

/* One row per kind: its member of the oneof. */
struct record_shape {
    Penstock__Ledger__Record__BodyCase body_case; /* = its field number */
    const struct shape *shape;
};

extern const struct record_shape record_shapes[RECORD_KIND_COUNT];

#endif
