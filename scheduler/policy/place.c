#include "scheduler/policy/policy.h"

typedef int (*place_fn)(const struct place_facts *a, const struct place_facts *b);

static int compare_i64(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int by_order(const struct place_facts *a, const struct place_facts *b)
{
    return compare_i64(a->order, b->order);
}

static int by_tenant_spend(const struct place_facts *a, const struct place_facts *b)
{
    return compare_i64(a->tenant_spent_micros, b->tenant_spent_micros);
}

/* TIME_NEVER is the largest time: runs of which nothing is known come last. */
static int by_remaining_time(const struct place_facts *a, const struct place_facts *b)
{
    return compare_i64(a->remaining_ns, b->remaining_ns);
}

static const place_fn policies[PLACE_POLICY_COUNT] = {
    [PLACE_FIFO] = by_order,
    [PLACE_FAIR] = by_tenant_spend,
    [PLACE_SHORTEST] = by_remaining_time,
};

int place_compare(enum place_policy policy, const struct place_facts *a,
                  const struct place_facts *b)
{
    check((unsigned)policy < PLACE_POLICY_COUNT);
    int order = compare_i64(b->priority, a->priority);
    if (order == 0) order = policies[policy](a, b);
    return order == 0 ? by_order(a, b) : order;
}

const char *place_policy_name(enum place_policy policy)
{
    static const char *const names[PLACE_POLICY_COUNT] = {
#define X(id, name) [PLACE_##id] = name,
        PLACE_POLICIES(X)
#undef X
    };
    return (unsigned)policy < PLACE_POLICY_COUNT ? names[policy] : "unknown";
}
