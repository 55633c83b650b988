/*
 * device.h - what an agent counts about a GPU, and a coordinator judges by: one list for both.
 *
 * A SUM grows while it is watched, and two looks are subtracted; a LAST is as it stands. Each kind of figure
 * comes with the time over which it was known (energy_ns for energy_mj, and so on), so that "unknown" and
 * "zero" stay two things: a figure whose time does not grow is not known.
 */
#ifndef PROTO_BASE_DEVICE_H
#define PROTO_BASE_DEVICE_H

#include "proto/base/defs.h"

#ifdef __cplusplus
extern "C" {
#endif

/* clang-format off */
#define DEVICE_FIGURES(X)                                                                             \
    X(watched_ns, SUM)       /* time over which anything was known */                                 \
    X(energy_mj, SUM)        /* of the whole board */                                                 \
    X(energy_ns, SUM)                                                                                 \
    X(sm_ns, SUM)            /* time x share of multiprocessors with a warp (GPM) */                  \
    X(tensor_ns, SUM)        /* ... in which tensor pipes worked */                                   \
    X(fp32_ns, SUM)          /* ... in which fp32 pipes worked */                                     \
    X(gpm_ns, SUM)                                                                                    \
    X(busy_ns, SUM)          /* time in which any kernel ran: a hung collective counts as busy */     \
    X(util_ns, SUM)                                                                                   \
    X(mega_cycles, SUM)      /* of the SM clock */                                                    \
    X(clock_ns, SUM)                                                                                  \
    X(capped_ns, SUM)        /* time with clocks held down by a power limit */                        \
    X(hot_ns, SUM)           /* ... by heat */                                                        \
    X(reason_ns, SUM)                                                                                 \
    X(xid_count, SUM)        /* error reports of the driver */                                        \
    X(ecc_count, SUM)        /* uncorrected memory errors */                                          \
    X(power_limit_mw, LAST)  /* enforced now; 0 = unknown, as below */                                \
    X(power_default_mw, LAST)/* that the board comes with */                                          \
    X(clock_max_mhz, LAST)                                                                            \
    X(reasons, LAST)         /* NVML's bits for why clocks are not at their maximum */                \
    X(xid, LAST)             /* of the newest report */                                               \
    X(lost, LAST)            /* 1: the device fell off the bus, or needs a reset */
/* clang-format on */

struct device_figures {
#define X(name, kind) int64_t name;
    DEVICE_FIGURES(X)
#undef X
};

enum { DEVICE_FIGURE_COUNT = sizeof(struct device_figures) / sizeof(int64_t) };

/* What happened between two looks. A sum that fell gives 0: its counter was reset. */
static inline struct device_figures device_since(const struct device_figures *now,
                                                 const struct device_figures *before)
{
    struct device_figures since;
#define DEVICE_SUM(name) since.name = now->name > before->name ? now->name - before->name : 0;
#define DEVICE_LAST(name) since.name = now->name;
#define X(name, kind) DEVICE_##kind(name)
    DEVICE_FIGURES(X)
#undef X
#undef DEVICE_LAST
#undef DEVICE_SUM
    return since;
}

/* The other way: what stands after `since` happened. Sums are held at INT64_MAX. */
static inline struct device_figures device_after(const struct device_figures *before,
                                                 const struct device_figures *since)
{
    struct device_figures after;
#define DEVICE_SUM(name)                                                                       \
    after.name = add_saturated(max_i64(0, before->name), max_i64(0, since->name));
#define DEVICE_LAST(name) after.name = since->name;
#define X(name, kind) DEVICE_##kind(name)
    DEVICE_FIGURES(X)
#undef X
#undef DEVICE_LAST
#undef DEVICE_SUM
    return after;
}

#ifdef __cplusplus
}
#endif

#endif
