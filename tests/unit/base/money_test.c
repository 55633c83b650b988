/* Money: exact to the micro-unit, rounded up once, in 128 bits; parsing and printing without
 * loss. */
#include "proto/base/money.h"
#include "proto/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void costs(void **state)
{
    (void)state;
    const struct {
        int64_t slots, held_ns, rate, cost;
    } cases[] = {
        { 1, NS_PER_HOUR, 2500000, 2500000 },
        { 8, NS_PER_HOUR, 2500000, 20000000 },
        { 1, NS_PER_HOUR / 2, 2500001, 1250001 }, /* half a micro-unit is charged whole */
        { 1, 1, 1, 1 },                           /* and the smallest part of one too */
        { 1, NS_PER_HOUR, 1, 1 },
        { 1, NS_PER_HOUR + 1, 1, 2 },
        { 3, NS_PER_HOUR / 3, 7, 7 }, /* the sum of slots is rounded, not each */
        { 0, NS_PER_HOUR, 7, 0 },
        { 5, 0, 7, 0 },
        { 5, NS_PER_HOUR, 0, 0 },
        { 1, INT64_MAX, NS_PER_HOUR, INT64_MAX },     /* just fits */
        { 1, INT64_MAX, NS_PER_HOUR + 1, INT64_MAX }, /* and just not */
        { 1, NS_PER_HOUR, INT64_MAX, INT64_MAX },
        { 2, NS_PER_HOUR, INT64_MAX, INT64_MAX },
        { INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX }, /* more than 128 bits */
        { INT64_MAX, 1, NS_PER_HOUR, INT64_MAX },
        { 1024, 365 * 24 * NS_PER_HOUR, 5000000, INT64_C(44851200000000) },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int64_t got = money_cost_micros(cases[i].slots, cases[i].held_ns, cases[i].rate);
        if (got != cases[i].cost) fail_msg("case %zu: %lld", i, (long long)got);
    }
}

static void affords(void **state)
{
    (void)state;
    assert_true(money_affords_ns(0, 1, 0) == TIME_NEVER);
    assert_true(money_affords_ns(INT64_MAX, 1, 0) == TIME_NEVER);
    assert_int_equal(money_affords_ns(0, 1, 1), 0);
    assert_int_equal(money_affords_ns(2500000, 1, 2500000), NS_PER_HOUR);
    assert_int_equal(money_affords_ns(2500000, 2, 2500000), NS_PER_HOUR / 2);
    assert_int_equal(money_affords_ns(1, INT64_MAX, INT64_MAX), 0);
    assert_true(money_affords_ns(INT64_MAX, 1, 1) == INT64_MAX);
}

/* A number whose size, not only whose value, is random: edges come up as often as middles. */
static int64_t random_size(struct rng *rng, unsigned bits_max)
{
    return (int64_t)(rng_u64(rng) >> (64 - 1 - rng_below(rng, bits_max)));
}

/* What is afforded costs no more than the amount, and one nanosecond more would. */
static void affords_is_the_inverse_of_cost(void **state)
{
    (void)state;
    struct rng rng = rng_of(20261124);
    int judged = 0;
    for (int i = 0; i < 200000; i++) {
        int64_t amount = random_size(&rng, 62), slots = 1 + random_size(&rng, 12),
                rate = 1 + random_size(&rng, 40);
        int64_t ns = money_affords_ns(amount, slots, rate);
        assert_true(ns >= 0);
        assert_true(money_cost_micros(slots, ns, rate) <= amount);
        if (ns == INT64_MAX) continue;
        assert_true(money_cost_micros(slots, ns + 1, rate) > amount);
        judged++;
    }
    assert_true(judged > 50000);
}

/* Cost never falls with any argument, and is never below the sum of its parts, nor more than a
 * micro-unit a part above. */
static void cost_is_monotone_and_rounds_up_once(void **state)
{
    (void)state;
    struct rng rng = rng_of(7);
    for (int i = 0; i < 100000; i++) {
        int64_t slots = random_size(&rng, 10), a = random_size(&rng, 45),
                b = random_size(&rng, 45), rate = random_size(&rng, 30);
        int64_t whole = money_cost_micros(slots, a + b, rate);
        int64_t parts = money_cost_micros(slots, a, rate) + money_cost_micros(slots, b, rate);
        assert_true(whole <= parts);
        assert_true(parts <= whole + 1);
        assert_true(money_cost_micros(slots + 1, a, rate) >= money_cost_micros(slots, a, rate));
        assert_true(money_cost_micros(slots, a, rate + 1) >= money_cost_micros(slots, a, rate));
    }
}

static void parse(void **state)
{
    (void)state;
    const struct {
        const char *text, *currency;
        bool ok;
        int64_t micros;
    } cases[] = {
        { "12.50 USD", "USD", true, 12500000 },
        { "12.50", "USD", true, 12500000 },
        { "  12.50   USD  ", "USD", true, 12500000 },
        { "0", "EUR", true, 0 },
        { "-0", "EUR", true, 0 },
        { "0.000001 EUR", "EUR", true, 1 },
        { "9223372036854.775807", "USD", true, INT64_MAX },
        { "1000", "", true, 1000000000 },
        { "12.50 EUR", "USD", false, 0 },
        { "12.50 usd", "USD", false, 0 },
        { "12.50 USD USD", "USD", false, 0 },
        { "12.50 US", "USD", false, 0 },
        { "12.50USD", "USD", false, 0 },
        { "USD 12.50", "USD", false, 0 },
        { "USD", "USD", false, 0 },
        { "12.50 USD", "", false, 0 },
        { "-0.01", "USD", false, 0 },
        { "0.0000001", "USD", false, 0 },
        { "9223372036854.775808", "USD", false, 0 },
        { "1,000.00", "USD", false, 0 },
        { "1e3", "USD", false, 0 },
        { "", "USD", false, 0 },
        { " ", "USD", false, 0 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int64_t micros = -77;
        bool ok = money_parse(text_of(cases[i].text), text_of(cases[i].currency), &micros);
        if (ok != cases[i].ok || micros != (ok ? cases[i].micros : -77))
            fail_msg("'%s' in %s: %d, %lld", cases[i].text, cases[i].currency, ok,
                     (long long)micros);
    }
}

static void print(void **state)
{
    (void)state;
    const struct {
        int64_t micros;
        const char *currency, *text;
    } cases[] = {
        { 12500000, "USD", "12.50 USD" },
        { 0, "EUR", "0.00 EUR" },
        { 1, "EUR", "0.000001 EUR" },
        { 10, "EUR", "0.00001 EUR" },
        { 1230000, "EUR", "1.23 EUR" },
        { 1234000, "EUR", "1.234 EUR" },
        { 5000000, "", "5.00" },
        { 5000000, NULL, "5.00" },
        { -1, "USD", "-0.000001 USD" },
        { INT64_MAX, "USD", "9223372036854.775807 USD" },
        { INT64_MIN, "USD", "-9223372036854.775808 USD" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char room[48];
        struct writer writer = writer_of(room, sizeof room);
        money_write(&writer, cases[i].micros, cases[i].currency);
        assert_string_equal(room, cases[i].text);
    }
}

static void what_is_printed_reads_back(void **state)
{
    (void)state;
    struct rng rng = rng_of(3);
    for (int i = 0; i < 20000; i++) {
        int64_t micros = random_size(&rng, 62), back = -1;
        char room[48];
        struct writer writer = writer_of(room, sizeof room);
        money_write(&writer, micros, "USD");
        assert_false(writer.full);
        assert_true(money_parse(text_of(room), TEXT("USD"), &back));
        assert_true(back == micros);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(costs),
        cmocka_unit_test(affords),
        cmocka_unit_test(affords_is_the_inverse_of_cost),
        cmocka_unit_test(cost_is_monotone_and_rounds_up_once),
        cmocka_unit_test(parse),
        cmocka_unit_test(print),
        cmocka_unit_test(what_is_printed_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
