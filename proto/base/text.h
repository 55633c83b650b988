/*
 * text.h - string views, and a bounded writer that remembers when it ran out of room.
 *
 * A struct text borrows its bytes and need not end in a zero. A struct writer fills storage of
 * the caller's; what it holds is always zero-terminated; once `full` is set it stays set, and
 * the text ends where it was cut.
 */
#ifndef PROTO_BASE_TEXT_H
#define PROTO_BASE_TEXT_H

#include "proto/base/defs.h"

#ifdef __cplusplus
extern "C" {
#endif

struct text {
    const char *data;
    size_t len;
};

#define TEXT(literal) ((struct text){ (literal), sizeof(literal) - 1 })

struct text text_of(const char *string); /* NULL gives the empty text */
bool text_equal(struct text a, struct text b);
bool text_is(struct text a, const char *string);
bool text_starts(struct text a, struct text prefix);
struct text text_trim(struct text a); /* without blanks, tabs, \r and \n at both ends */

/* Index of the first occurrence of `needle`, or SIZE_MAX. The empty needle is found at 0. */
size_t text_find(struct text haystack, struct text needle);

/* Copies into a fixed buffer and zero-terminates, always. False if it had to be cut. */
bool text_copy(char *to, size_t to_bytes, struct text from);

/* A whole decimal number, with an optional sign; nothing else around it. False on overflow. */
must_use bool text_to_i64(struct text a, int64_t *value);
must_use bool text_to_u64(struct text a, uint64_t *value);

/* A decimal fraction times `scale` (a power of ten), exactly: "0.25" with scale 1000000 gives
 * 250000. More digits than the scale holds, exponents and overflow are refused. */
must_use bool text_to_scaled(struct text a, int64_t scale, int64_t *value);

struct writer {
    char *data;
    size_t capacity_bytes; /* including the final zero; at least 1 */
    size_t len;
    bool full;
};

struct writer writer_of(char *data, size_t capacity_bytes);
void writer_text(struct writer *writer, struct text text);
void writer_string(struct writer *writer, const char *string);
void writer_format(struct writer *writer, const char *format, ...) printf_like(2, 3);

/* "1h 05m", "2m 03s", "4.2s", "350ms", "3d 04h": the two largest units that matter. */
void writer_duration(struct writer *writer, int64_t duration_ns);

/* "2026-11-24 10:48:55Z". `unix_ns` counts from 1970-01-01 UTC, and may be any int64. */
void writer_utc(struct writer *writer, int64_t unix_ns);

/* 12345678 as "12,345,678". */
void writer_grouped(struct writer *writer, int64_t value);

/* Ratio in ppm as a percentage with one decimal: 253000 gives "25.3 %"; UTIL_UNKNOWN "unknown".
 */
void writer_percent(struct writer *writer, int64_t ppm);

#ifdef __cplusplus
}
#endif

#endif
