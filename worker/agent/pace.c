#include "worker/agent/pace.h"

#include <stdlib.h>
#include <string.h>

void pace_init(struct pace *pace)
{
    *pace = (struct pace){ .last_ns = TIME_NEVER };
}

void pace_life(struct pace *pace, int64_t now_ns)
{
    pace->last_ns = now_ns;
}

void pace_step(struct pace *pace, int64_t now_ns)
{
    if (pace->stepped) {
        pace->intervals_ns[pace->next] = max_i64(0, now_ns - pace->last_step_ns);
        pace->next = (pace->next + 1) % PACE_WINDOW;
        if (pace->count < PACE_WINDOW) pace->count++;
    }
    pace->stepped = true;
    pace->last_step_ns = now_ns;
    pace->last_ns = now_ns;
}

static int by_size(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static int64_t median(const struct pace *pace)
{
    int64_t sorted[PACE_WINDOW];
    if (pace->count == 0) return 0;
    memcpy(sorted, pace->intervals_ns, pace->count * sizeof sorted[0]);
    qsort(sorted, pace->count, sizeof sorted[0], by_size);
    return sorted[pace->count / 2];
}

int64_t pace_deadline_ns(const struct pace *pace, int64_t min_ns, uint32_t factor)
{
    if (pace->last_ns == TIME_NEVER || min_ns == 0) return TIME_NEVER;
    int64_t typical_ns = median(pace);
    int64_t limit_ns = factor > 0 && typical_ns > INT64_MAX / (int64_t)factor
                           ? INT64_MAX
                           : typical_ns * (int64_t)factor;
    return add_saturated(pace->last_ns, max_i64(min_ns, limit_ns));
}
