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

/* ---- what the device says ---------------------------------------------------------------- */

enum {
    REPORT_MIN_PPM = 100000, /* below that a report is too small to be refuted */
    REPORT_FACTOR = 4,       /* reported over done: more is no matter of formulas */
    IDLE_POWER_PPM = 200000, /* of the board's own limit: idle, or waiting in a collective */
    WORK_POWER_PPM = 400000,
    WORK_PIPES_PPM = 50000,
    BUSY_PPM = 950000,
    SLOWED_PPM = 500000 /* share of the window with clocks held down */
};

static int32_t share(int64_t part_ns, int64_t known_ns, int64_t held_ns)
{
    if (known_ns <= 0 || known_ns < held_ns / 2) return -1;
    int32_t ppm = ratio_ppm((u128)part_ns, (u128)known_ns, 1);
    return ppm > PPM ? (int32_t)PPM : ppm;
}

static int64_t rate(int64_t amount, int64_t known_ns, int64_t held_ns)
{
    if (known_ns <= 0 || known_ns < held_ns / 2) return -1;
    u128 per_s = (u128)amount * (u128)NS_PER_S / (u128)known_ns;
    return per_s > INT64_MAX ? INT64_MAX : (int64_t)per_s;
}

struct util_evidence util_evidence(const struct device_figures *device, int64_t held_ns)
{
    return (struct util_evidence){
        .sm_ppm = share(device->sm_ns, device->gpm_ns, held_ns),
        .tensor_ppm = share(device->tensor_ns, device->gpm_ns, held_ns),
        .fp32_ppm = share(device->fp32_ns, device->gpm_ns, held_ns),
        .busy_ppm = share(device->busy_ns, device->util_ns, held_ns),
        .capped_ppm = share(device->capped_ns, device->reason_ns, held_ns),
        .hot_ppm = share(device->hot_ns, device->reason_ns, held_ns),
        .power_mw = rate(device->energy_mj, device->energy_ns, held_ns),
        .clock_mhz = rate(device->mega_cycles, device->clock_ns, held_ns),
    };
}

/* A window and what is known of its device: -1 is unknown. */
struct view {
    const struct util_facts *facts;
    struct util_evidence seen;
    int32_t pipes_ppm; /* tensor and fp32 pipes at work */
    int32_t power_ppm; /* of the limit that the board comes with */
};

static struct view view_of(const struct util_facts *facts)
{
    const struct device_figures *device = &facts->device;
    struct view view = { .facts = facts,
                         .seen = util_evidence(device, facts->held_ns),
                         .pipes_ppm = -1,
                         .power_ppm = -1 };
    int64_t limit_mw =
        device->power_default_mw > 0 ? device->power_default_mw : device->power_limit_mw;
    if (view.seen.tensor_ppm >= 0) {
        int32_t sum = view.seen.tensor_ppm + view.seen.fp32_ppm;
        view.pipes_ppm = sum > PPM ? (int32_t)PPM : sum;
    }
    if (view.seen.power_mw >= 0 && limit_mw > 0)
        view.power_ppm = ratio_ppm((u128)view.seen.power_mw, (u128)limit_mw, 1);
    return view;
}

/* Busy, without a step, and nothing that tells of work: a kernel that waits for a peer looks like that. */
static bool is_hung(const struct view *view)
{
    if (view->seen.busy_ppm < BUSY_PPM || view->facts->steps > 0) return false;
    if (view->pipes_ppm >= 0) return view->pipes_ppm < WORK_PIPES_PPM;
    return view->power_ppm < WORK_POWER_PPM;
}

static uint32_t flags_of(const struct view *view)
{
    const struct device_figures *device = &view->facts->device;
    uint32_t flags = 0;
    if (is_hung(view)) flags |= UTIL_FLAG_BIT(HANG);
    if (view->seen.capped_ppm >= SLOWED_PPM) flags |= UTIL_FLAG_BIT(POWER_CAPPED);
    if (view->seen.hot_ppm >= SLOWED_PPM) flags |= UTIL_FLAG_BIT(HOT);
    if (device->xid_count > 0) flags |= UTIL_FLAG_BIT(XID);
    if (device->ecc_count > 0) flags |= UTIL_FLAG_BIT(ECC);
    if (device->lost > 0) flags |= UTIL_FLAG_BIT(LOST);
    return flags;
}

/* Takes the device's word where it refutes the trainer's, and says by what a report was checked. */
static void cross_check(const struct view *view, struct util_measure *measure)
{
    bool large = measure->util_ppm >= REPORT_MIN_PPM;
    if (view->pipes_ppm >= 0) {
        measure->rung = UTIL_RUNG_MFU_GPM;
        if (!large || measure->util_ppm / REPORT_FACTOR <= view->pipes_ppm) return;
        measure->rung = UTIL_RUNG_GPM;
        measure->util_ppm = view->pipes_ppm;
    } else if (view->power_ppm >= 0) {
        measure->rung = UTIL_RUNG_MFU_ENERGY;
        if (!large || view->power_ppm >= IDLE_POWER_PPM) return;
        measure->rung = UTIL_RUNG_ENERGY;
        measure->util_ppm = 0;
    } else {
        return;
    }
    measure->flags |= UTIL_FLAG_BIT(FALSE_REPORT);
}

static int32_t at_full_clocks(const struct view *view, const struct util_measure *measure)
{
    const uint32_t slowed = UTIL_FLAG_BIT(POWER_CAPPED) | UTIL_FLAG_BIT(HOT);
    int64_t now_mhz = view->seen.clock_mhz, max_mhz = view->facts->device.clock_max_mhz;
    if (!(measure->flags & slowed) || measure->util_ppm <= 0) return measure->util_ppm;
    if (now_mhz <= 0 || now_mhz >= max_mhz) return measure->util_ppm;
    u128 ppm = (u128)measure->util_ppm * (u128)max_mhz / (u128)now_mhz;
    return ppm > INT32_MAX ? INT32_MAX : (int32_t)ppm;
}

/* ---- the ladder -------------------------------------------------------------------------- */

static bool has_pipes(const struct util_facts *facts)
{
    return view_of(facts).pipes_ppm >= 0;
}

static int32_t of_pipes(const struct util_facts *facts)
{
    return view_of(facts).pipes_ppm;
}

/* Best rung first. */
static const struct {
    enum util_rung rung;
    bool (*has_data)(const struct util_facts *facts);
    int32_t (*util_ppm)(const struct util_facts *facts);
} ladder[] = {
    { UTIL_RUNG_MFU, has_flops, of_flops },
    { UTIL_RUNG_GPM, has_pipes, of_pipes },
    { UTIL_RUNG_CPU_TIME, has_cpu_time, of_cpu_time },
};

struct util_measure util_measure(const struct util_facts *facts)
{
    struct util_measure measure = { .util_ppm = UTIL_UNKNOWN,
                                    .fair_ppm = UTIL_UNKNOWN,
                                    .rung = UTIL_RUNG_UNKNOWN };
    if (facts->held_ns <= 0) return measure;
    struct view view = view_of(facts);
    measure.flags = flags_of(&view);
    for (size_t i = 0; i < ARRAY_COUNT(ladder) && measure.rung == UTIL_RUNG_UNKNOWN; i++) {
        if (!ladder[i].has_data(facts)) continue;
        measure.rung = ladder[i].rung;
        measure.util_ppm = ladder[i].util_ppm(facts);
    }
    if (measure.rung == UTIL_RUNG_MFU) cross_check(&view, &measure);
    measure.fair_ppm = at_full_clocks(&view, &measure);
    return measure;
}

const char *util_flag_name(enum util_flag flag)
{
    static const char *const names[UTIL_FLAG_COUNT] = {
#define X(id, name) [UTIL_FLAG_##id] = name,
        UTIL_FLAGS(X)
#undef X
    };
    return (unsigned)flag < UTIL_FLAG_COUNT ? names[flag] : "unknown";
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
