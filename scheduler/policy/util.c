#include "scheduler/policy/policy.h"

/* The compiler's 128-bit integer, spelled so that -Wpedantic accepts it. */
__extension__ typedef unsigned __int128 u128;

/* part / whole x scale as ppm, rounded down, at most INT32_MAX; scale <= 10^9, whole > 0.
 * When the scaled part would not fit into 128 bits, both lose their lowest bits; 78 bits of the
 * part are left then, and a result below the cap keeps at least 40 of the whole. */
static int32_t ratio_ppm(u128 part, u128 whole, uint64_t scale)
{
    u128 factor = (u128)scale * (u128)PPM;
    while (part > ~(u128)0 / factor) {
        part >>= 1;
        whole >>= 1;
    }
    if (whole == 0) return INT32_MAX;
    u128 ppm = part * factor / whole;
    return ppm > INT32_MAX ? INT32_MAX : (int32_t)ppm;
}

static bool has_flops(const struct util_facts *facts)
{
    return facts->flops_per_token > 0 && facts->peak_flops > 0;
}

static int32_t of_flops(const struct util_facts *facts)
{
    return ratio_ppm((u128)facts->tokens * facts->flops_per_token,
                     (u128)facts->peak_flops * (u128)facts->held_ns, (uint64_t)NS_PER_S);
}

static bool has_cpu_time(const struct util_facts *facts)
{
    return facts->on_cpu && facts->cpu_ns >= 0 && facts->threads > 0;
}

static int32_t of_cpu_time(const struct util_facts *facts)
{
    return ratio_ppm((u128)facts->cpu_ns, (u128)facts->held_ns * facts->threads, 1);
}

/* The ladder, best rung first. */
static const struct {
    enum util_rung rung;
    bool (*has_data)(const struct util_facts *facts);
    int32_t (*util_ppm)(const struct util_facts *facts);
} ladder[] = {
    { UTIL_RUNG_MFU, has_flops, of_flops },
    { UTIL_RUNG_CPU_TIME, has_cpu_time, of_cpu_time },
};

struct util_measure util_measure(const struct util_facts *facts)
{
    struct util_measure unknown = { .util_ppm = UTIL_UNKNOWN, .rung = UTIL_RUNG_UNKNOWN };
    if (facts->held_ns <= 0) return unknown;
    for (size_t i = 0; i < ARRAY_COUNT(ladder); i++)
        if (ladder[i].has_data(facts))
            return (struct util_measure){ ladder[i].util_ppm(facts), ladder[i].rung };
    return unknown;
}

const char *util_rung_name(enum util_rung rung)
{
    static const char *const names[UTIL_RUNG_COUNT] = {
#define X(id, name) [UTIL_RUNG_##id] = name,
        UTIL_RUNGS(X)
#undef X
    };
    return (unsigned)rung < UTIL_RUNG_COUNT ? names[rung] : "unknown";
}
