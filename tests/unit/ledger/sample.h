/*
 * sample.h - random records that the format accepts, every field set by hand from record.h, and
 * an equality of records that knows nothing of the tables in scheduler/ledger/shape.c.
 */
#ifndef TESTS_UNIT_LEDGER_SAMPLE_H
#define TESTS_UNIT_LEDGER_SAMPLE_H

#include "proto/base/rng.h"
#include "scheduler/core/record.h"

enum { SAMPLE_TEXTS = 8, SAMPLE_TEXT_BYTES = 4096, SAMPLE_GATES = 12 };

/* Holds what the last record made with it borrows. */
struct sample {
    struct rng rng;
    char texts[SAMPLE_TEXTS][SAMPLE_TEXT_BYTES];
    uint32_t text_count;
    struct gate_spec gates[SAMPLE_GATES];
    uint32_t workers[GANG_MAX];
};

struct sample sample_of(uint64_t seed);

/* A record of this kind, valid until the next call. Bytes that no field covers are zero.
 * Numbers are often at the ends of their ranges. at_ns is 0 or more. */
void sample_record(struct sample *sample, enum record_kind kind, struct record *record);

/* Equal in every field, texts and arrays by content. Both records' padding is zero. */
bool sample_same(const struct record *a, const struct record *b);

#endif
