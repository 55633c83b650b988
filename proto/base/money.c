#include "proto/base/money.h"

#include <inttypes.h>

/* 128-bit product; an attribute-free spelling of the compiler's integer type, which -Wpedantic
 * accepts behind __extension__. */
__extension__ typedef unsigned __int128 u128;

static u128 multiply(u128 a, u128 b)
{
    return a * b;
}

int64_t money_cost_micros(int64_t slots, int64_t held_ns, int64_t rate_micros)
{
    check(slots >= 0);
    check(held_ns >= 0);
    check(rate_micros >= 0);
    if (slots == 0 || held_ns == 0 || rate_micros == 0) return 0;
    u128 slot_ns = (u128)slots * (u128)held_ns;
    if (slot_ns > ~(u128)0 / (u128)rate_micros) return INT64_MAX;
    u128 product = multiply(slot_ns, (u128)rate_micros);
    u128 cost = product / (u128)NS_PER_HOUR + (product % (u128)NS_PER_HOUR != 0 ? 1 : 0);
    return cost > (u128)INT64_MAX ? INT64_MAX : (int64_t)cost;
}

int64_t money_affords_ns(int64_t amount_micros, int64_t slots, int64_t rate_micros)
{
    check(slots >= 1);
    check(amount_micros >= 0);
    check(rate_micros >= 0);
    if (rate_micros == 0) return TIME_NEVER;
    u128 ns = (u128)amount_micros * (u128)NS_PER_HOUR / ((u128)slots * (u128)rate_micros);
    return ns > (u128)INT64_MAX ? INT64_MAX : (int64_t)ns;
}

bool money_parse(struct text text, struct text currency, int64_t *micros)
{
    struct text number = text_trim(text);
    size_t space = text_find(number, TEXT(" "));
    if (space != SIZE_MAX) {
        struct text unit = { number.data + space, number.len - space };
        if (!text_equal(text_trim(unit), currency)) return false;
        number.len = space;
    }
    int64_t value;
    if (!text_to_scaled(number, MICROS_PER_UNIT, &value) || value < 0) return false;
    *micros = value;
    return true;
}

void money_write(struct writer *writer, int64_t micros, const char *currency)
{
    uint64_t magnitude = micros < 0 ? 0 - (uint64_t)micros : (uint64_t)micros;
    uint64_t whole = magnitude / (uint64_t)MICROS_PER_UNIT;
    uint64_t rest = magnitude % (uint64_t)MICROS_PER_UNIT;
    int digits = 6;
    while (digits > 2 && rest % 10 == 0) {
        rest /= 10;
        digits--;
    }
    writer_format(writer, "%s%" PRIu64 ".%0*" PRIu64, micros < 0 ? "-" : "", whole, digits,
                  rest);
    if (currency && currency[0]) writer_format(writer, " %s", currency);
}
