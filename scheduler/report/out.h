/*
 * out.h - how the report's files put text on a stream: figures as people read them, and hostile
 * text made harmless.
 *
 * Names, reasons, log tails and paths come from campaign files, trainers and owners. Every
 * out_* function below writes them so that they stay text: in HTML and Markdown no mark-up is
 * left, in JSON only valid strings come out, on a terminal no control or direction-changing
 * character survives. Bytes that are no UTF-8 become U+FFFD. The functions write to a FILE and
 * do not report failures one by one: the stream remembers them, and out_close or out_check asks
 * it once.
 */
#ifndef SCHEDULER_REPORT_OUT_H
#define SCHEDULER_REPORT_OUT_H

#include <stdio.h>

#include "proto/base/error.h"
#include "proto/base/text.h"

/* A short text by value, so that it can be an argument: printf("%s", word_money(...).text). */
struct word {
    char text[96];
};

/* How a campaign's money is shown: rounded to `digits` decimals, half away from zero. */
struct currency {
    char name[16];
    int digits;
};

/* Decimals that suit amounts around `budget_micros`: 2 from 100 units up, 4 from 1 unit up,
 * else 6. */
struct currency currency_of(const char *name, int64_t budget_micros);

struct word word_money(int64_t micros, const struct currency *currency);  /* "12.35 USD" */
struct word word_amount(int64_t micros, const struct currency *currency); /* "12.35" */
struct word word_exact(int64_t micros, const char *currency); /* all decimals there are */
struct word word_duration(int64_t duration_ns);
struct word word_utc(int64_t unix_ns);     /* "2026-11-24 10:48:55Z" */
struct word word_minute(int64_t unix_ns);  /* "11-24 10:48" */
struct word word_clock(int64_t unix_ns);   /* "10:48:55" */
struct word word_rfc3339(int64_t unix_ns); /* "2026-11-24T10:48:55.123456789Z" */
struct word word_percent(int64_t ppm);
struct word word_count(uint64_t value);                 /* "12,345,678" */
struct word word_short(uint64_t value);                 /* "12.3 M" */
struct word word_loss(int64_t loss_micro);              /* "2.3103", "unknown", "not finite" */
struct word word_signed_loss(int64_t difference_micro); /* "+0.0100" */

/* "1 run", "2 runs". */
struct word word_plural(uint64_t count, const char *one, const char *many);

/* Takes the next character off *text: its code point, or 0xFFFD for bytes that are no UTF-8.
 * The text must not be empty. */
uint32_t text_next_rune(struct text *text);

/* How many columns of a terminal the text takes when written with out_plain (one a character).
 */
size_t text_columns(struct text text);

void out_plain(FILE *to, struct text text); /* one line for a terminal */
void out_html(FILE *to, struct text text);  /* element content or a quoted attribute's value */
void out_markdown(FILE *to, struct text text); /* one line of prose or a table cell */
void out_json(FILE *to, struct text text);     /* with the quotes */
void out_csv(FILE *to, struct text text);      /* RFC 4180, quoted where needed */

/* A word of a shell command that people copy from here: in quotes when it holds anything special. What it
 * holds stays as it is; a terminal is protected by out_plain. */
void writer_shell(struct writer *writer, struct text text);

/* As out_plain, cut or padded to exactly `columns` columns; a cut text ends in "…". */
void out_cell(FILE *to, struct text text, size_t columns);
void out_cell_right(FILE *to, struct text text, size_t columns);

/* out_plain, broken at blanks so that no line is wider than `columns`: every line at an indent, or the
 * first one after `lead` (printable ASCII) and the others below its end. */
void out_wrapped(FILE *to, struct text text, size_t indent, size_t columns);
void out_item(FILE *to, const char *lead, struct text text, size_t columns);

/* Flushes, and says whether anything written so far was lost. */
must_use enum err out_check(FILE *to, const char *name, struct error *error);

/* As out_check, and closes the stream in any case. */
must_use enum err out_close(FILE *take_to, const char *name, struct error *error);

/* 128 bits, for sums of products; __extension__ makes -Wpedantic accept the compiler's type. */
__extension__ typedef __int128 i128;

/* floor(a * b / c) and ceil(a * b / c) with the product in 128 bits; INT64_MAX when it does not
 * fit. All arguments are >= 0, c is > 0. */
int64_t scale_floor(int64_t a, int64_t b, int64_t c);
int64_t scale_ceil(int64_t a, int64_t b, int64_t c);

#endif
