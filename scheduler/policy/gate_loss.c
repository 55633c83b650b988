/* gate_loss.c - losses compared, sorted and averaged, for all gate rules. */
#include "scheduler/policy/gate.h"

bool gate_finite(int64_t loss_micro)
{
    return loss_micro != LOSS_UNKNOWN && loss_micro != LOSS_NONFINITE;
}

int64_t gate_margin(const struct gate_rule_spec *rule)
{
    int64_t sd = rule->seed_sd_micro;
    int64_t noise = sd > INT64_MAX / GATE_NOISE_SDS ? INT64_MAX : sd * GATE_NOISE_SDS;
    return max_i64(rule->margin_micro, noise);
}

bool gate_worse_by(int64_t loss_micro, int64_t bound_micro, int64_t margin_micro)
{
    if (bound_micro > 0 && margin_micro > INT64_MAX - bound_micro) return false;
    return loss_micro > bound_micro + margin_micro;
}

struct opinion gate_of_loss(int64_t loss_micro)
{
    struct opinion opinion = { .observed_micro = loss_micro, .bound_micro = LOSS_UNKNOWN };
    if (loss_micro == LOSS_UNKNOWN) opinion.verdict = VERDICT_HOLD;
    if (loss_micro == LOSS_NONFINITE) opinion.verdict = VERDICT_NO_GO;
    return opinion;
}

size_t gate_keep_known(const int64_t *values, size_t count, int64_t *known)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (values[i] != LOSS_UNKNOWN) known[kept++] = values[i];
    return kept;
}

static void sift_down(int64_t *heap, size_t count, size_t at)
{
    int64_t value = heap[at];
    for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && heap[child + 1] > heap[child]) child++;
        if (heap[child] <= value) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = value;
}

void gate_sort(int64_t *values, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift_down(values, count, i);
    for (size_t last = count; last-- > 1;) {
        int64_t largest = values[0];
        values[0] = values[last];
        values[last] = largest;
        sift_down(values, last, 0);
    }
}

int64_t gate_median(const int64_t *sorted, size_t count)
{
    int64_t low = sorted[(count - 1) / 2], high = sorted[count / 2];
    if (high == LOSS_NONFINITE) return LOSS_NONFINITE;
    return div_floor(low, 2) + div_floor(high, 2) + (low & high & 1);
}

/* Eight normal numbers span 2.8 standard deviations on average, twenty 3.7: half the range is an
 * upper estimate that does not lean on the shape of the middle. */
int64_t gate_seed_sd(int64_t *losses_micro, size_t count)
{
    size_t known = 0;
    for (size_t i = 0; i < count; i++)
        if (gate_finite(losses_micro[i])) losses_micro[known++] = losses_micro[i];
    if (known < 8) return 0;
    gate_sort(losses_micro, known);
    i128 half = ((i128)losses_micro[known - 1] - losses_micro[0] + 1) / 2;
    return half > LOSS_NONFINITE - 1 ? LOSS_NONFINITE - 1 : (int64_t)(half > 1 ? half : 1);
}
