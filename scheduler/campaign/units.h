/*
 * units.h - how durations, shares and names are written in a campaign file, and back.
 *
 * All exact: a value that cannot be held exactly is refused, and what is written reads back as
 * the same number.
 */
#ifndef SCHEDULER_CAMPAIGN_UNITS_H
#define SCHEDULER_CAMPAIGN_UNITS_H

#include "proto/base/defs.h"
#include "proto/base/text.h"

/* "500ms", "90s", "1.5h", "1h 30m", "2d": numbers with the units d, h, m, s, ms, falling; whole
 * milliseconds. >= 0. "0" needs no unit. */
must_use bool duration_parse(struct text text, int64_t *duration_ns);
void duration_write(struct writer *writer, int64_t duration_ns);

/* "20%", "0.1 %": at most four decimals, >= 0; in millionths. */
must_use bool share_parse(struct text text, int64_t *ppm);
void share_write(struct writer *writer, int64_t ppm);

/* value / scale with as many decimals as it takes: 2600000 with scale 1000000 gives "2.6". */
void scaled_write(struct writer *writer, int64_t value, int64_t scale);

/* A number that a C program's strtod reads as a finite one and that is written without blanks,
 * hex or words: "1e-3", "0.9", "12". *value is for range checks; the text is what is passed on.
 */
must_use bool real_parse(struct text text, double *value);

/* Letters, digits and . _ - only, not starting with '-' or '.', at most NAME_MAX_BYTES - 1 of
 * them. */
bool name_valid(struct text text);

#endif
