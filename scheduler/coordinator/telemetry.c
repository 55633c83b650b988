/* telemetry.c - see telemetry.h. */
#include "scheduler/coordinator/telemetry.h"

#include <stdlib.h>
#include <string.h>

#define RATE_SPAN_NS                                                                           \
    (5 * NS_PER_S) /* the rate is taken over at least this long, where there is */

enum err telemetry_board_init(struct telemetry_board *board, uint32_t run_count,
                              struct error *error)
{
    struct run_figures *runs = calloc((size_t)run_count + 1, sizeof *runs);
    if (runs == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory for telemetry");
    for (uint32_t i = 0; i < run_count; i++)
        runs[i].loss_micro = runs[i].val_loss_micro = LOSS_UNKNOWN;
    *board = (struct telemetry_board){ .run_count = run_count, .runs = runs };
    return ERR_OK;
}

void telemetry_board_fini(struct telemetry_board *board)
{
    free(board->runs);
    memset(board, 0, sizeof *board);
}

/* Tokens per second since the base; the base moves up once it is old enough. */
static void measure_rate(struct run_figures *figures)
{
    int64_t span_ns = figures->at_ns - figures->base_ns;
    if (span_ns <= 0 || figures->tokens < figures->base_tokens) return;
    figures->tokens_per_s =
        (double)(figures->tokens - figures->base_tokens) * 1e9 / (double)span_ns;
    if (span_ns < RATE_SPAN_NS) return;
    figures->base_ns = figures->at_ns;
    figures->base_tokens = figures->tokens;
}

bool telemetry_board_put(struct telemetry_board *board, uint32_t run, uint32_t attempt,
                         int64_t now_ns, const struct telemetry *telemetry,
                         const struct telemetry_extra *extra)
{
    check(run < board->run_count);
    struct run_figures *figures = &board->runs[run];
    bool fresh = attempt != figures->attempt;
    if (!telemetry->ready && telemetry->tokens == 0) return false;
    bool moved = fresh || telemetry->step != figures->step;
    if (fresh) {
        figures->attempt = attempt;
        figures->tokens_per_s = 0;
        figures->base_ns = now_ns;
        figures->base_tokens = telemetry->tokens;
    }
    figures->at_ns = now_ns;
    figures->step = telemetry->step;
    figures->tokens = telemetry->tokens;
    if (telemetry->loss_micro != LOSS_UNKNOWN) figures->loss_micro = telemetry->loss_micro;
    if (telemetry->val_loss_micro != LOSS_UNKNOWN)
        figures->val_loss_micro = telemetry->val_loss_micro;
    figures->learning_rate = extra->learning_rate;
    figures->grad_norm = extra->grad_norm;
    measure_rate(figures);
    return moved;
}

const struct run_figures *telemetry_board_get(const struct telemetry_board *board, uint32_t run)
{
    check(run < board->run_count);
    return &board->runs[run];
}
