#include "scheduler/campaign/units.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static const struct unit {
    const char *name;
    int64_t ns;
} units[] = { { "d", 24 * NS_PER_HOUR },
              { "h", NS_PER_HOUR },
              { "m", NS_PER_MIN },
              { "s", NS_PER_S },
              { "ms", NS_PER_MS } };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static struct text take_while(struct text *rest, bool (*wanted)(char))
{
    struct text taken = { rest->data, 0 };
    while (taken.len < rest->len && wanted(rest->data[taken.len]))
        taken.len++;
    rest->data += taken.len;
    rest->len -= taken.len;
    return taken;
}

static bool is_number_part(char c)
{
    return is_digit(c) || c == '.';
}

static bool is_small_letter(char c)
{
    return c >= 'a' && c <= 'z';
}

static const struct unit *unit_named(struct text name)
{
    for (size_t i = 0; i < ARRAY_COUNT(units); i++)
        if (text_is(name, units[i].name)) return &units[i];
    return NULL;
}

/* number x unit, exactly: the number's fraction is scaled by the largest power of ten that
 * divides the unit's milliseconds evenly enough, so it is read in millionths and must come out
 * even. */
static bool part_ns(struct text number, const struct unit *unit, int64_t *ns)
{
    int64_t millionths;
    if (!is_digit(number.data[0]) || !text_to_scaled(number, 1000000, &millionths))
        return false;
    int64_t whole = millionths / 1000000, rest = millionths % 1000000;
    if (whole > INT64_MAX / unit->ns) return false;
    int64_t fraction = rest * (unit->ns / NS_PER_MS);
    if (fraction % 1000000 != 0) return false;
    *ns = add_saturated(whole * unit->ns, fraction / 1000000 * NS_PER_MS);
    return *ns != INT64_MAX;
}

bool duration_parse(struct text text, int64_t *duration_ns)
{
    struct text rest = text_trim(text);
    int64_t sum = 0, last_unit_ns = INT64_MAX;
    if (text_is(rest, "0")) {
        *duration_ns = 0;
        return true;
    }
    if (rest.len == 0) return false;
    while (rest.len > 0) {
        struct text number = take_while(&rest, is_number_part);
        rest = text_trim(rest);
        const struct unit *unit = unit_named(take_while(&rest, is_small_letter));
        rest = text_trim(rest);
        int64_t part;
        if (number.len == 0 || !unit || unit->ns >= last_unit_ns ||
            !part_ns(number, unit, &part))
            return false;
        last_unit_ns = unit->ns;
        sum = add_saturated(sum, part);
    }
    if (sum == INT64_MAX) return false;
    *duration_ns = sum;
    return true;
}

void duration_write(struct writer *writer, int64_t duration_ns)
{
    if (duration_ns == 0) {
        writer_string(writer, "0s");
        return;
    }
    size_t i = 0;
    while (i + 1 < ARRAY_COUNT(units) && duration_ns % units[i].ns != 0)
        i++;
    writer_format(writer, "%" PRId64 "%s", duration_ns / units[i].ns, units[i].name);
}

bool share_parse(struct text text, int64_t *ppm)
{
    struct text number = text_trim(text);
    if (number.len < 2 || number.data[number.len - 1] != '%') return false;
    number.len--;
    number = text_trim(number);
    return number.len > 0 && is_digit(number.data[0]) && text_to_scaled(number, PPM / 100, ppm);
}

void share_write(struct writer *writer, int64_t ppm)
{
    scaled_write(writer, ppm, PPM / 100);
    writer_string(writer, "%");
}

void scaled_write(struct writer *writer, int64_t value, int64_t scale)
{
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    uint64_t rest = magnitude % (uint64_t)scale;
    writer_format(writer, "%s%" PRIu64, value < 0 ? "-" : "", magnitude / (uint64_t)scale);
    if (rest == 0) return;
    writer_string(writer, ".");
    for (uint64_t place = (uint64_t)scale / 10; rest > 0; place /= 10) {
        writer_format(writer, "%" PRIu64, rest / place);
        rest %= place;
    }
}

static bool is_real_part(char c)
{
    return is_number_part(c) || c == '+' || c == '-' || c == 'e' || c == 'E';
}

bool real_parse(struct text text, double *value)
{
    char copy[64], *end;
    struct text rest = text;
    if (text.len == 0 || text.len >= sizeof copy) return false;
    take_while(&rest, is_real_part);
    if (rest.len > 0 || !text_copy(copy, sizeof copy, text)) return false;
    *value = strtod(copy, &end);
    return *end == '\0' && isfinite(*value);
}

static bool is_name_part(char c)
{
    return is_digit(c) || is_small_letter(c) || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '-';
}

bool name_valid(struct text text)
{
    struct text rest = text;
    if (text.len == 0 || text.len >= NAME_MAX_BYTES) return false;
    if (text.data[0] == '-' || text.data[0] == '.') return false;
    take_while(&rest, is_name_part);
    return rest.len == 0;
}
