#include "tests/kernels/cuda/twin.h"

#include <float.h>

static const struct kernels_options any = {
    .batch_rows = 1, .context = 1, .width = 1, .heads = 1, .vocab_count = 1
};

static const int64_t counts[] = { 0, 1, 2, 3, 7, 8, 9, 15, 31, 257, 2048, 4099 };

static void check_add(struct twins *t)
{
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        struct array *to = array_of_reals(t, counts[i], 1.0f, 0.0f);
        struct array *from = array_of_reals(t, counts[i], 1.0f, 0.5f);
        t->table->add(t->cpu, to->cpu, from->cpu, counts[i]);
        cuda_add(t->gpu, to->gpu, from->gpu, counts[i]);
        array_compare("sum", to, 1e-7);
    }
}

/* An array that begins elsewhere than the other has no vectors in common with it. */
static void check_add_askew(struct twins *t)
{
    enum { COUNT = 77 };
    struct array *to = array_of_reals(t, COUNT, 1.0f, 0.0f);
    struct array *from = array_of_reals(t, COUNT, 1.0f, 0.5f);
    unsigned char *second = (unsigned char *)from->gpu + kernels_real_bytes(t->type);
    t->table->add(t->cpu, to->cpu, from->cpu + 1, COUNT - 1);
    cuda_add(t->gpu, to->gpu, second, COUNT - 1);
    array_compare("sum", to, 1e-7);
}

static void check_round(struct twins *t)
{
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        struct array *from = array_of_floats(t, counts[i], 1.0f, 0.0f);
        struct array *to = array_of_reals(t, counts[i], 0.0f, NAN);
        t->table->round(t->cpu, to->cpu, from->cpu, counts[i]);
        cuda_round(t->gpu, to->gpu, from->gpu, counts[i]);
        array_compare("rounded", to, 0.0);
    }
}

static void check_scale(struct twins *t)
{
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        struct array *values = array_of_floats(t, counts[i], 1.0f, 0.0f);
        t->table->scale(t->cpu, values->cpu, 0.37f, counts[i]);
        cuda_scale(t->gpu, values->gpu, 0.37f, counts[i]);
        array_same("scaled", values, values->cpu);
    }
}

/* To nearest, ties to even, NaN and infinities as they are, overflow to infinity. */
static const struct {
    uint32_t from;
    uint16_t to;
} roundings[] = {
    { 0x00000000, 0x0000 }, { 0x80000000, 0x8000 }, /* both zeros */
    { 0x3f800000, 0x3f80 },                         /* one */
    { 0x3f808000, 0x3f80 }, { 0x3f818000, 0x3f82 }, /* ties: down, and up, to even */
    { 0x3f808001, 0x3f81 }, { 0x3f807fff, 0x3f80 }, /* just above and below a tie */
    { 0xbf818000, 0xbf82 }, { 0xbf808000, 0xbf80 }, /* with a sign */
    { 0x3fffffff, 0x4000 },                         /* carries into the exponent */
    { 0x7f7fffff, 0x7f80 }, { 0x7f7f7fff, 0x7f7f }, /* the largest: to infinity, and not */
    { 0x7f800000, 0x7f80 }, { 0xff800000, 0xff80 }, /* infinities */
    { 0x00000001, 0x0000 }, { 0x00018000, 0x0002 }, /* subnormals */
    { 0x00008000, 0x0000 }, { 0x007fffff, 0x0080 },
};
static const uint32_t nans[] = { 0x7fc00000, 0x7f800001, 0xff800001, 0x7f80ffff, 0xffffffff };

enum { ROUNDINGS = ARRAY_COUNT(roundings), NANS = ARRAY_COUNT(nans) };

static void bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    struct twins t;
    twins_open(&t, KERNELS_BF16, 0, &any);
    uint32_t from_bits[ROUNDINGS + NANS];
    uint16_t got[ROUNDINGS + NANS];
    for (size_t i = 0; i < ROUNDINGS + NANS; i++)
        from_bits[i] = i < ROUNDINGS ? roundings[i].from : nans[i - ROUNDINGS];
    struct array *from = array_of_floats(&t, ROUNDINGS + NANS, 0.0f, 0.0f);
    struct array *to = array_of_reals(&t, ROUNDINGS + NANS, 0.0f, 0.0f);
    cuda_device_upload(t.gpu, from->gpu, from_bits, sizeof(from_bits));
    cuda_round(t.gpu, to->gpu, from->gpu, ROUNDINGS + NANS);
    cuda_device_download(t.gpu, got, to->gpu, sizeof(got));
    for (size_t i = 0; i < ROUNDINGS; i++) {
        if (got[i] != roundings[i].to)
            fail_msg("%08x became %04x, not %04x", roundings[i].from, got[i], roundings[i].to);
    }
    for (size_t i = 0; i < NANS; i++) {
        if ((got[ROUNDINGS + i] & 0x7fff) <= 0x7f80)
            fail_msg("the NaN %08x became %04x", nans[i], got[ROUNDINGS + i]);
    }
    twins_close(&t);
}

static void check_nonfinite(struct twins *t)
{
    enum { COUNT = 40 };
    const float values[] = { NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX };
    struct array *to = array_of_reals(t, COUNT, 1.0f, 0.0f);
    struct array *from = array_of_reals(t, COUNT, 1.0f, 0.0f);
    struct array *floats = array_of_floats(t, COUNT, 1.0f, 0.0f);
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        array_set(from, (int64_t)(i * 7), values[i]);
        array_set(floats, (int64_t)(i * 7), values[i]);
    }
    t->table->add(t->cpu, to->cpu, from->cpu, COUNT);
    cuda_add(t->gpu, to->gpu, from->gpu, COUNT);
    array_compare("sum", to, 1e-7);
    t->table->scale(t->cpu, floats->cpu, 2.0f, COUNT);
    cuda_scale(t->gpu, floats->gpu, 2.0f, COUNT);
    array_compare("scaled", floats, 0.0);
}

static void add_equals_the_twin(void **state)
{
    (void)state;
    for_each_twins(&any, check_add);
    for_each_twins(&any, check_add_askew);
}

static void round_equals_the_twin(void **state)
{
    (void)state;
    for_each_twins(&any, check_round);
}

static void scale_equals_the_twin(void **state)
{
    (void)state;
    for_each_twins(&any, check_scale);
}

static void nonfinite_values_go_through(void **state)
{
    (void)state;
    for_each_twins(&any, check_nonfinite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add_equals_the_twin),
        cmocka_unit_test(round_equals_the_twin),
        cmocka_unit_test(scale_equals_the_twin),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(nonfinite_values_go_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
