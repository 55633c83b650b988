/*
 * defs.h - the words that every file shares: attributes, checks, limits, integer helpers.
 *
 * check() states a property that only a bug can break. It stays on in release builds, prints
 * file, line and the failed expression, and aborts. It must have no side effects. Also compiles
 * as C++17, because CUDA sources see it.
 */
#ifndef PROTO_BASE_DEFS_H
#define PROTO_BASE_DEFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define must_use __attribute__((warn_unused_result))
#define printf_like(format_index, first) __attribute__((format(printf, format_index, first)))
#define never_returns __attribute__((noreturn))

/* Prints "FILE:LINE: check failed: TEXT" on stderr and aborts. Never returns. */
never_returns void check_failed(const char *file, int line, const char *text);

#define check(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))
#define unreachable(what) check_failed(__FILE__, __LINE__, "unreachable: " what)

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Limits. A full table is a refusal with a reason, never a crash. */
enum {
    NAME_MAX_BYTES = 64,       /* a run's, gate's, owner's, host's name, with its final zero */
    PATH_MAX_BYTES = 160,      /* a path relative to the state directory, with its final zero */
    GATES_PER_RUN_MAX = 24,    /* gate points that one run passes */
    RULES_PER_GATE_MAX = 4,    /* rules that one gate combines */
    TIERS_MAX = 8,             /* approval tiers of a campaign */
    OWNERS_MAX = 16,           /* named owners of a campaign */
    OWNER_KEYS_MAX = 4,        /* public keys of one owner */
    CLASSES_MAX = 8,           /* device classes with a price */
    RUNBOOK_ROWS_MAX = 32,     /* runbook rows of a campaign */
    RUNBOOK_STEPS_MAX = 4,     /* ordered actions of one runbook row */
    TENANTS_MAX = 256,         /* teams of a campaign */
    GANG_MAX = 1024,           /* members of one gang */
    FRAME_BYTES_MAX = 1 << 20, /* payload of one ledger frame or wire message */
    STDERR_TAIL_BYTES = 2048,  /* what a failure record keeps of a trainer's stderr */
    RAS_TEXT_BYTES = 4096      /* and of what NCCL's RAS says, with its final zero */
};

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MIN (60 * NS_PER_S)
#define NS_PER_HOUR (3600 * NS_PER_S)
#define PPM INT64_C(1000000)
#define TIME_NEVER INT64_MAX

/* Losses travel as millionths of a nat, so that core and ledger hold no floating point. */
#define LOSS_UNKNOWN INT64_MAX         /* nothing was reported */
#define LOSS_NONFINITE (INT64_MAX - 1) /* NaN or infinity was reported */
#define UTIL_UNKNOWN (-1)              /* utilization in ppm, when nobody could measure it */

/* Quotient rounded towards minus infinity, and towards plus infinity. The divisor is positive.
 */
static inline int64_t div_floor(int64_t a, int64_t b)
{
    return a / b - (a % b < 0 ? 1 : 0);
}

static inline int64_t div_ceil(int64_t a, int64_t b)
{
    return a / b + (a % b > 0 ? 1 : 0);
}

static inline int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* a + b, held at INT64_MAX instead of overflowing. Both are >= 0. Used for deadlines. */
static inline int64_t add_saturated(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

#ifdef __cplusplus
}
#endif

#endif
