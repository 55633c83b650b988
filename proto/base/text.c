#include "proto/base/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct text text_of(const char *string)
{
    return (struct text){ string ? string : "", string ? strlen(string) : 0 };
}

bool text_equal(struct text a, struct text b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool text_is(struct text a, const char *string)
{
    return text_equal(a, text_of(string));
}

bool text_starts(struct text a, struct text prefix)
{
    return a.len >= prefix.len && text_equal((struct text){ a.data, prefix.len }, prefix);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct text text_trim(struct text a)
{
    while (a.len > 0 && is_blank(a.data[0])) {
        a.data++;
        a.len--;
    }
    while (a.len > 0 && is_blank(a.data[a.len - 1]))
        a.len--;
    return a;
}

size_t text_find(struct text haystack, struct text needle)
{
    if (needle.len == 0) return 0; /* also in an empty haystack, which may have no bytes */
    for (size_t i = 0; i + needle.len <= haystack.len; i++)
        if (text_equal((struct text){ haystack.data + i, needle.len }, needle)) return i;
    return SIZE_MAX;
}

bool text_copy(char *to, size_t to_bytes, struct text from)
{
    check(to_bytes > 0);
    size_t n = from.len < to_bytes ? from.len : to_bytes - 1;
    if (n > 0) memcpy(to, from.data, n);
    to[n] = '\0';
    return n == from.len;
}

/* Appends one decimal digit to *value; false when that would overflow. */
static bool push_digit(uint64_t *value, char c)
{
    unsigned digit = (unsigned)(c - '0');
    if (digit > 9 || *value > (UINT64_MAX - digit) / 10) return false;
    *value = *value * 10 + digit;
    return true;
}

bool text_to_u64(struct text a, uint64_t *value)
{
    uint64_t sum = 0;
    if (a.len == 0) return false;
    for (size_t i = 0; i < a.len; i++)
        if (!push_digit(&sum, a.data[i])) return false;
    *value = sum;
    return true;
}

static bool apply_sign(uint64_t magnitude, bool negative, int64_t *value)
{
    if (magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0)) return false;
    *value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

static bool take_sign(struct text *a)
{
    bool negative = a->len > 0 && a->data[0] == '-';
    if (a->len > 0 && (negative || a->data[0] == '+')) {
        a->data++;
        a->len--;
    }
    return negative;
}

bool text_to_i64(struct text a, int64_t *value)
{
    bool negative = take_sign(&a);
    uint64_t magnitude;
    return text_to_u64(a, &magnitude) && apply_sign(magnitude, negative, value);
}

bool text_to_scaled(struct text a, int64_t scale, int64_t *value)
{
    bool negative = take_sign(&a);
    uint64_t sum = 0;
    size_t i = 0, digits = 0;
    for (; i < a.len && a.data[i] != '.'; i++, digits++)
        if (!push_digit(&sum, a.data[i])) return false;
    if (i < a.len) i++; /* the point */
    for (; i < a.len; i++, digits++) {
        if (scale == 1) {
            if (a.data[i] != '0') return false;
            continue;
        }
        if (!push_digit(&sum, a.data[i])) return false;
        scale /= 10;
    }
    if (digits == 0) return false;
    for (; scale > 1; scale /= 10)
        if (!push_digit(&sum, '0')) return false;
    return apply_sign(sum, negative, value);
}

struct writer writer_of(char *data, size_t capacity_bytes)
{
    check(capacity_bytes > 0);
    data[0] = '\0';
    return (struct writer){ .data = data, .capacity_bytes = capacity_bytes };
}

void writer_text(struct writer *writer, struct text text)
{
    size_t room = writer->capacity_bytes - 1 - writer->len;
    size_t n = text.len < room ? text.len : room;
    if (n > 0) memcpy(writer->data + writer->len, text.data, n);
    writer->len += n;
    writer->data[writer->len] = '\0';
    if (n < text.len) writer->full = true;
}

void writer_string(struct writer *writer, const char *string)
{
    writer_text(writer, text_of(string));
}

void writer_format(struct writer *writer, const char *format, ...)
{
    size_t room = writer->capacity_bytes - writer->len;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(writer->data + writer->len, room, format, args);
    va_end(args);
    if (n < 0) { /* an argument that cannot be printed: as if it were cut */
        writer->data[writer->len] = '\0';
        writer->full = true;
    } else if ((size_t)n >= room) {
        writer->len = writer->capacity_bytes - 1;
        writer->full = true;
    } else {
        writer->len += (size_t)n;
    }
}

void writer_duration(struct writer *writer, int64_t duration_ns)
{
    if (duration_ns < 0) {
        writer_string(writer, "-");
        duration_ns = duration_ns == INT64_MIN ? INT64_MAX : -duration_ns;
    }
    int64_t s = duration_ns / NS_PER_S;
    if (duration_ns < NS_PER_S)
        writer_format(writer, "%" PRId64 "ms", duration_ns / NS_PER_MS);
    else if (s < 60)
        writer_format(writer, "%" PRId64 ".%" PRId64 "s", s,
                      duration_ns / (100 * NS_PER_MS) % 10);
    else if (s < 3600)
        writer_format(writer, "%" PRId64 "m %02" PRId64 "s", s / 60, s % 60);
    else if (s < 86400)
        writer_format(writer, "%" PRId64 "h %02" PRId64 "m", s / 3600, s / 60 % 60);
    else
        writer_format(writer, "%" PRId64 "d %02" PRId64 "h", s / 86400, s / 3600 % 24);
}

/* Days since 1970-01-01 to a proleptic Gregorian date. The year is counted from March, so that
 * the leap day is its last, in eras of 400 years (146,097 days). */
static void civil_from_days(int64_t days, int64_t *year, int64_t *month, int64_t *day)
{
    int64_t z = days + 719468;
    int64_t era = div_floor(z, 146097);
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t march_month = (5 * day_of_year + 2) / 153;
    *day = day_of_year - (153 * march_month + 2) / 5 + 1;
    *month = march_month < 10 ? march_month + 3 : march_month - 9;
    *year = year_of_era + era * 400 + (*month <= 2 ? 1 : 0);
}

void writer_utc(struct writer *writer, int64_t unix_ns)
{
    int64_t s = div_floor(unix_ns, NS_PER_S);
    int64_t days = div_floor(s, 86400), rest = s - days * 86400;
    int64_t year, month, day;
    civil_from_days(days, &year, &month, &day);
    writer_format(writer,
                  "%04" PRId64 "-%02" PRId64 "-%02" PRId64 " %02" PRId64 ":%02" PRId64
                  ":%02" PRId64 "Z",
                  year, month, day, rest / 3600, rest / 60 % 60, rest % 60);
}

void writer_grouped(struct writer *writer, int64_t value)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%" PRId64, value);
    for (int i = 0; i < n; i++) {
        if (i > 0 && digits[i - 1] != '-' && (n - i) % 3 == 0) writer_string(writer, ",");
        writer_text(writer, (struct text){ digits + i, 1 });
    }
}

void writer_percent(struct writer *writer, int64_t ppm)
{
    if (ppm < 0) {
        writer_string(writer, "unknown");
        return;
    }
    int64_t tenths = ppm / 1000 + (ppm % 1000 >= 500 ? 1 : 0);
    writer_format(writer, "%" PRId64 ".%" PRId64 " %%", tenths / 10, tenths % 10);
}
