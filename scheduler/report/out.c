#include "scheduler/report/out.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "proto/base/money.h"

int64_t scale_floor(int64_t a, int64_t b, int64_t c)
{
    check(a >= 0);
    check(b >= 0);
    check(c > 0);
    i128 q = (i128)a * b / c;
    return q > INT64_MAX ? INT64_MAX : (int64_t)q;
}

int64_t scale_ceil(int64_t a, int64_t b, int64_t c)
{
    check(a >= 0);
    check(b >= 0);
    check(c > 0);
    i128 product = (i128)a * b;
    i128 q = product / c + (product % c != 0 ? 1 : 0);
    return q > INT64_MAX ? INT64_MAX : (int64_t)q;
}

/* ---- figures ------------------------------------------------------------------------- */

struct currency currency_of(const char *name, int64_t budget_micros)
{
    struct currency currency = { .digits = budget_micros >= 100 * MICROS_PER_UNIT ? 2
                                           : budget_micros >= MICROS_PER_UNIT     ? 4
                                                                                  : 6 };
    text_copy(currency.name, sizeof currency.name, text_of(name));
    return currency;
}

/* Decimal places of `value` millionths, rounded half away from zero to `digits` places. */
static void write_rounded(struct writer *writer, int64_t value, int digits, const char *plus)
{
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    uint64_t step = 1;
    for (int i = digits; i < 6; i++)
        step *= 10;
    magnitude = magnitude / step + (step > 1 && magnitude % step >= step / 2 ? 1 : 0);
    uint64_t unit = 1000000 / step;
    const char *sign = value < 0 && magnitude > 0 ? "-" : plus;
    writer_string(writer, sign);
    writer_grouped(writer, (int64_t)(magnitude / unit));
    if (digits > 0) writer_format(writer, ".%0*" PRIu64, digits, magnitude % unit);
}

#define WORD_BEGIN                                                                             \
    struct word word;                                                                          \
    struct writer writer = writer_of(word.text, sizeof word.text)

struct word word_amount(int64_t micros, const struct currency *currency)
{
    WORD_BEGIN;
    write_rounded(&writer, micros, currency->digits, "");
    return word;
}

struct word word_money(int64_t micros, const struct currency *currency)
{
    WORD_BEGIN;
    write_rounded(&writer, micros, currency->digits, "");
    if (currency->name[0]) writer_format(&writer, " %s", currency->name);
    return word;
}

struct word word_exact(int64_t micros, const char *currency)
{
    WORD_BEGIN;
    money_write(&writer, micros, currency);
    return word;
}

struct word word_duration(int64_t duration_ns)
{
    WORD_BEGIN;
    if (duration_ns == TIME_NEVER)
        writer_string(&writer, "never");
    else
        writer_duration(&writer, duration_ns);
    return word;
}

struct word word_utc(int64_t unix_ns)
{
    WORD_BEGIN;
    writer_utc(&writer, unix_ns);
    return word;
}

/* A piece of "YYYY-MM-DD HH:MM:SSZ". */
static struct word utc_piece(int64_t unix_ns, size_t start, size_t count)
{
    struct word utc = word_utc(unix_ns);
    size_t len = strlen(utc.text);
    struct word word = { { 0 } };
    if (len >= 20) {
        /* Counted from the end: a year may have more than four digits. */
        struct text piece = { utc.text + (len - 20) + start, count };
        text_copy(word.text, sizeof word.text, piece);
    }
    return word;
}

struct word word_minute(int64_t unix_ns)
{
    return utc_piece(unix_ns, 5, 11);
}

struct word word_clock(int64_t unix_ns)
{
    return utc_piece(unix_ns, 11, 8);
}

struct word word_rfc3339(int64_t unix_ns)
{
    struct word utc = word_utc(unix_ns);
    size_t len = strlen(utc.text);
    WORD_BEGIN;
    if (len < 20) return word;
    writer_text(&writer, (struct text){ utc.text, len - 10 });
    writer_string(&writer, "T");
    writer_text(&writer, (struct text){ utc.text + len - 9, 8 });
    int64_t rest = unix_ns - div_floor(unix_ns, NS_PER_S) * NS_PER_S;
    writer_format(&writer, ".%09" PRId64 "Z", rest);
    return word;
}

struct word word_percent(int64_t ppm)
{
    WORD_BEGIN;
    writer_percent(&writer, ppm);
    return word;
}

struct word word_count(uint64_t value)
{
    WORD_BEGIN;
    writer_grouped(&writer, value > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)value);
    return word;
}

struct word word_short(uint64_t value)
{
    static const struct {
        uint64_t from;
        const char *unit;
    } scales[] = {
        { 1000000000000, "T" }, { 1000000000, "G" }, { 1000000, "M" }, { 10000, "k" }
    };
    WORD_BEGIN;
    for (size_t i = 0; i < ARRAY_COUNT(scales); i++) {
        if (value < scales[i].from) continue;
        uint64_t unit = scales[i].from == 10000 ? 1000 : scales[i].from;
        writer_format(&writer, "%" PRIu64 ".%" PRIu64 " %s", value / unit,
                      value % unit * 10 / unit, scales[i].unit);
        return word;
    }
    writer_format(&writer, "%" PRIu64, value);
    return word;
}

struct word word_loss(int64_t loss_micro)
{
    WORD_BEGIN;
    if (loss_micro == LOSS_UNKNOWN)
        writer_string(&writer, "unknown");
    else if (loss_micro == LOSS_NONFINITE)
        writer_string(&writer, "not finite");
    else
        write_rounded(&writer, loss_micro, 4, "");
    return word;
}

struct word word_signed_loss(int64_t difference_micro)
{
    WORD_BEGIN;
    write_rounded(&writer, difference_micro, 4, "+");
    return word;
}

struct word word_plural(uint64_t count, const char *one, const char *many)
{
    WORD_BEGIN;
    writer_string(&writer, word_count(count).text);
    writer_format(&writer, " %s", count == 1 ? one : many);
    return word;
}

/* ---- characters ---------------------------------------------------------------------- */

enum { RUNE_BAD = 0xFFFD };

uint32_t text_next_rune(struct text *text)
{
    const unsigned char *s = (const unsigned char *)text->data;
    check(text->len > 0);
    size_t need = s[0] < 0x80 ? 0 : s[0] >= 0xF0 ? 3 : s[0] >= 0xE0 ? 2 : 1;
    uint32_t rune = need == 0 ? s[0] : s[0] & (0x3FU >> need);
    bool bad = (s[0] >= 0x80 && s[0] < 0xC2) || s[0] > 0xF4 || need >= text->len;
    for (size_t i = 1; !bad && i <= need; i++) {
        bad = (s[i] & 0xC0) != 0x80;
        rune = rune << 6 | (s[i] & 0x3FU);
    }
    static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
    bad = bad || rune < least[need] || rune > 0x10FFFF || (rune >= 0xD800 && rune <= 0xDFFF);
    size_t used = bad ? 1 : need + 1;
    text->data += used;
    text->len -= used;
    return bad ? RUNE_BAD : rune;
}

static size_t rune_encode(uint32_t rune, char bytes[4])
{
    if (rune < 0x80) {
        bytes[0] = (char)rune;
        return 1;
    }
    size_t count = rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
    for (size_t i = count - 1; i > 0; i--) {
        bytes[i] = (char)(0x80 | (rune & 0x3F));
        rune >>= 6;
    }
    bytes[0] = (char)((0xF00U >> count & 0xF0U) | rune);
    return count;
}

/* Controls, and the marks that turn the direction of text around: what is read would not be
 * what is there. */
static bool rune_is_hostile(uint32_t rune)
{
    return rune < 0x20 || (rune >= 0x7F && rune < 0xA0) || (rune >= 0x200E && rune <= 0x200F) ||
           (rune >= 0x2028 && rune <= 0x202E) || (rune >= 0x2066 && rune <= 0x2069) ||
           rune == 0x061C || rune == 0xFEFF;
}

/* What is shown for a character: blanks for tabs and line ends, a mark for what is hostile. */
static uint32_t rune_shown(uint32_t rune)
{
    if (rune == '\n' || rune == '\t' || rune == '\r') return ' ';
    return rune_is_hostile(rune) ? RUNE_BAD : rune;
}

static void out_rune(FILE *to, uint32_t rune)
{
    char bytes[4];
    fwrite(bytes, 1, rune_encode(rune, bytes), to);
}

size_t text_columns(struct text text)
{
    size_t columns = 0;
    for (; text.len > 0; columns++)
        text_next_rune(&text);
    return columns;
}

void out_plain(FILE *to, struct text text)
{
    while (text.len > 0)
        out_rune(to, rune_shown(text_next_rune(&text)));
}

void out_html(FILE *to, struct text text)
{
    while (text.len > 0) {
        uint32_t rune = text_next_rune(&text);
        switch (rune) {
        case '<': fputs("&lt;", to); break;
        case '>': fputs("&gt;", to); break;
        case '&': fputs("&amp;", to); break;
        case '"': fputs("&quot;", to); break;
        case '\'': fputs("&#39;", to); break;
        case '\n': fputc('\n', to); break;
        default: out_rune(to, rune_shown(rune)); break;
        }
    }
}

/* Everything that Markdown (or the HTML inside it) gives a meaning is escaped with a backslash.
 */
void out_markdown(FILE *to, struct text text)
{
    while (text.len > 0) {
        uint32_t rune = rune_shown(text_next_rune(&text));
        if (rune == '<')
            fputs("&lt;", to);
        else if (rune == '>')
            fputs("&gt;", to);
        else if (rune == '&')
            fputs("&amp;", to);
        else {
            if (rune < 0x80 && strchr("\\`*_{}[]#|~!", (int)rune)) fputc('\\', to);
            out_rune(to, rune);
        }
    }
}

void out_json(FILE *to, struct text text)
{
    fputc('"', to);
    while (text.len > 0) {
        uint32_t rune = text_next_rune(&text);
        if (rune == '"' || rune == '\\') {
            fputc('\\', to);
            fputc((int)rune, to);
        } else if (rune == '\n') {
            fputs("\\n", to);
        } else if (rune == '\t') {
            fputs("\\t", to);
        } else if (rune_is_hostile(rune)) {
            fprintf(to, "\\u%04" PRIx32, rune); /* exact for programs, harmless for terminals */
        } else {
            out_rune(to, rune);
        }
    }
    fputc('"', to);
}

static bool is_shell_safe(struct text text)
{
    static const char safe[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@%+=,-";
    if (text.len == 0 || text.data[0] == '-') return false;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] == '\0' || !strchr(safe, text.data[i])) return false;
    return true;
}

void writer_shell(struct writer *writer, struct text text)
{
    if (is_shell_safe(text)) {
        writer_text(writer, text);
        return;
    }
    writer_string(writer, "'");
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\'')
            writer_string(writer, "'\\''");
        else
            writer_text(writer, (struct text){ text.data + i, 1 });
    }
    writer_string(writer, "'");
}

/* A cell that begins with =, +, - or @ would be run as a formula by spreadsheets: it gets an
 * apostrophe in front, unless it is a plain number. */
static bool looks_like_formula(struct text text)
{
    if (text.len == 0 || !strchr("=+-@", text.data[0])) return false;
    int64_t number;
    return !text_to_scaled(text, 1000000000, &number);
}

void out_csv(FILE *to, struct text text)
{
    bool quoted = text.len == 0 ? false : looks_like_formula(text);
    for (size_t i = 0; i < text.len && !quoted; i++)
        quoted = text.data[i] == ',' || text.data[i] == '"' || text.data[i] == '\n' ||
                 text.data[i] == '\r';
    if (quoted) fputc('"', to);
    if (looks_like_formula(text)) fputc('\'', to);
    while (text.len > 0) {
        uint32_t rune = text_next_rune(&text);
        if (rune == '"') fputc('"', to);
        bool plain = rune == '\n' || rune == '\t' || !rune_is_hostile(rune);
        out_rune(to, plain ? rune : RUNE_BAD);
    }
    if (quoted) fputc('"', to);
}

/* ---- columns ------------------------------------------------------------------------- */

static void out_blanks(FILE *to, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fputc(' ', to);
}

/* At most `columns` characters; a longer text loses its end to "…". */
static void out_cut(FILE *to, struct text text, size_t columns)
{
    bool cut = text_columns(text) > columns;
    for (size_t i = 0; text.len > 0 && i + (cut ? 1 : 0) < columns; i++)
        out_rune(to, rune_shown(text_next_rune(&text)));
    if (cut && columns > 0) out_rune(to, 0x2026);
}

void out_cell(FILE *to, struct text text, size_t columns)
{
    size_t width = text_columns(text);
    out_cut(to, text, columns);
    if (width < columns) out_blanks(to, columns - width);
}

void out_cell_right(FILE *to, struct text text, size_t columns)
{
    size_t width = text_columns(text);
    if (width < columns) out_blanks(to, columns - width);
    out_cut(to, text, columns);
}

/* Writes words; the first line begins in column `column`, the others at the indent. */
static void out_words(FILE *to, struct text text, size_t column, size_t indent, size_t columns)
{
    bool fresh = true; /* nothing on this line yet */
    text = text_trim(text);
    while (text.len > 0) {
        size_t bytes = 0;
        while (bytes < text.len && text.data[bytes] != ' ' && text.data[bytes] != '\n')
            bytes++;
        struct text word = { text.data, bytes };
        size_t width = text_columns(word);
        if (!fresh && column + 1 + width > columns) {
            fputc('\n', to);
            column = 0;
            fresh = true;
        }
        if (!fresh && bytes > 0) {
            fputc(' ', to);
            column++;
        }
        if (fresh && column < indent) {
            out_blanks(to, indent - column);
            column = indent;
        }
        out_plain(to, word);
        column += width;
        fresh = fresh && bytes == 0;
        size_t skip = bytes < text.len ? bytes + 1 : bytes;
        text.data += skip;
        text.len -= skip;
    }
    fputc('\n', to);
}

void out_wrapped(FILE *to, struct text text, size_t indent, size_t columns)
{
    out_words(to, text, 0, indent, columns);
}

void out_item(FILE *to, const char *lead, struct text text, size_t columns)
{
    size_t indent = strlen(lead);
    fputs(lead, to);
    out_words(to, text, indent, indent, columns);
}

/* ---- ends ---------------------------------------------------------------------------- */

enum err out_check(FILE *to, const char *name, struct error *error)
{
    errno = 0;
    if (fflush(to) == 0 && !ferror(to)) return ERR_OK;
    if (errno == 0) errno = EIO; /* lost earlier: the stream remembers only that */
    return error_errno(error, "write %s", name);
}

enum err out_close(FILE *take_to, const char *name, struct error *error)
{
    enum err rc = out_check(take_to, name, error);
    if (fclose(take_to) != 0 && rc == ERR_OK) rc = error_errno(error, "write %s", name);
    return rc;
}
