/*
 * fixture.h - campaigns for the report's tests, made of hand-written records that a real core applies.
 */
#ifndef TESTS_UNIT_REPORT_FIXTURE_H
#define TESTS_UNIT_REPORT_FIXTURE_H

#include "scheduler/report/report.h"

struct fixture {
    struct core *core;
    struct model model;
    int64_t now_ns; /* of the next record */
    uint64_t seq;
    void (*also)(void *context, const struct record *record, uint64_t seq); /* may be NULL */
    void *context;
};

/* 2026-11-24 10:00:00Z */
#define FIXTURE_START INT64_C(1795514400000000000)

/* Names may be replaced by hostile ones. NULL: the usual ones. */
struct fixture_names {
    const char *campaign, *run, *owner, *gate, *reason, *output;
};

void fixture_begin(struct fixture *fixture, const struct model_options *options,
                   uint32_t runs_max);

/* Applies the record at fixture->now_ns; the test fails when the core refuses it. */
void fixture_emit(struct fixture *fixture, struct record *record);

/* A whole small campaign with everything that a report can show: GO, NO-GO and HOLD, an answered and an
 * open question, a gang of two, a restart, a guardrail's park, windows without utilization, a crash of the
 * coordinator, a member charged in full, a failed run and a queued one. model_finish is called. */
/* The same, with room for more records before fixture_finish. */
void fixture_campaign_open(struct fixture *fixture, const struct fixture_names *names);
void fixture_campaign(struct fixture *fixture, const struct fixture_names *names);

/* One run that is stopped at its first gate before any telemetry window closes. */
void fixture_short(struct fixture *fixture);

/* `count` runs that each do a little: for size. */
void fixture_many(struct fixture *fixture, uint32_t count);

void fixture_finish(struct fixture *fixture, int64_t torn_bytes);
void fixture_end(struct fixture *fixture);

/* The rendered report in memory of malloc; the caller frees it. */
char *fixture_render(const struct model *model, enum report_format format, size_t *bytes);

#endif
