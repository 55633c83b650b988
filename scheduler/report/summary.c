/*
 * summary.c - the lines around the tables: the money at a glance, the period, the policy in
 * words, the chain's head.
 */

#include <inttypes.h>
#include <string.h>

#include "scheduler/report/tables.h"

/* ---- money --------------------------------------------------------------------------- */

/* "finished 9.00 · stopped 2.10", of the parts that are not zero. */
static const char *spent_parts(const struct model *model, struct arena *arena)
{
    const struct model_money *money = &model->money;
    const struct {
        const char *name;
        int64_t micros;
    } parts[] = {
        { "finished runs", money->finished_micros },
        { "stopped runs", money->stopped_micros },
        { "failed runs", money->failed_micros },
        { "runs still open", money->open_micros },
    };
    const char *text = "";
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        if (parts[i].micros > 0)
            text = arena_format(arena, "%s%s%s %s", text, text[0] ? " · " : "", parts[i].name,
                                word_amount(parts[i].micros, &model->currency).text);
    return text;
}

static const char *share_of(struct arena *arena, int64_t part, int64_t whole, const char *of)
{
    if (whole <= 0) return NULL;
    return arena_format(arena, "%s of %s",
                        word_percent(scale_floor(max_i64(0, part), PPM, whole)).text, of);
}

static void add_figure(struct figure *figures, uint32_t *count, struct arena *arena,
                       const struct currency *currency, struct figure figure)
{
    check(*count < FIGURES_MAX);
    figure.value = arena_copy(arena, text_of(word_money(figure.exact, currency).text));
    figures[(*count)++] = figure;
}

uint32_t money_figures(const struct model *model, struct arena *arena,
                       struct figure figures[FIGURES_MAX])
{
    const struct model_money *money = &model->money;
    const struct currency *currency = &model->currency;
    uint32_t count = 0;
    if (!model->campaign) return 0;
    add_figure(figures, &count, arena, currency,
               (struct figure){ .name = "budget", .exact = money->budget_micros });
    add_figure(figures, &count, arena, currency,
               (struct figure){ .name = "approved",
                                .note = share_of(arena, money->approved_micros,
                                                 money->budget_micros, "the budget"),
                                .exact = money->approved_micros });
    add_figure(figures, &count, arena, currency,
               (struct figure){ .name = "released", .exact = money->released_micros });
    add_figure(figures, &count, arena, currency,
               (struct figure){ .name = "reserved",
                                .note = money->reserved_micros > 0 ? "for live leases" : NULL,
                                .exact = money->reserved_micros });
    add_figure(figures, &count, arena, currency,
               (struct figure){ .name = "spent",
                                .note = spent_parts(model, arena),
                                .exact = money->spent_micros });
    add_figure(figures, &count, arena, currency,
               (struct figure){ .name = "unspent",
                                .note = share_of(arena, money->unspent_micros,
                                                 money->budget_micros, "the budget"),
                                .exact = money->unspent_micros });
    add_figure(
        figures, &count, arena, currency,
        (struct figure){ .name = "lost",
                         .note = money->lost_micros == 0
                                     ? NULL
                                     : share_of(arena, money->lost_micros, money->spent_micros,
                                                "spent, for work dropped or done again"),
                         .exact = money->lost_micros });
    if (model->options.since_ns > 0)
        add_figure(figures, &count, arena, currency,
                   (struct figure){ .name = "in the period", .exact = money->period_micros });
    if (money->mtok_micros >= 0)
        add_figure(figures, &count, arena, currency,
                   (struct figure){ .name = "per M tokens",
                                    .note = arena_format(arena, "%s tokens in all",
                                                         word_short(money->tokens).text),
                                    .exact = money->mtok_micros });
    return count;
}

/* ---- period and head ----------------------------------------------------------------- */

const char *period_line(const struct model *model, struct arena *arena)
{
    if (model->record_count == 0) return "no records";
    int64_t from_ns = max_i64(model->first_ns, model->options.since_ns);
    int64_t to_ns = max_i64(model->now_ns, from_ns);
    const char *line = arena_format(arena, "%s to %s, %s", word_utc(from_ns).text,
                                    word_utc(to_ns).text, word_duration(to_ns - from_ns).text);
    if (model->options.since_ns <= model->first_ns) return line;
    return arena_format(
        arena,
        "%s (decisions, incidents and guardrail actions of this period; the rest "
        "since the beginning)",
        line);
}

const char *head_line(const struct model *model, struct arena *arena)
{
    char hex[2 * SHA256_BYTES + 1];
    sha256_hex(&model->source.head, hex);
    return arena_format(arena, "record %" PRIu64 ", chain %s", model->source.head_seq, hex);
}

/* ---- policy -------------------------------------------------------------------------- */

struct lines {
    struct arena *arena;
    const char **lines;
    uint32_t count;
};

/* One line, as long as there is room; the last one says when there is none. */
static void add_line(struct lines *lines, const char *line)
{
    if (lines->count < POLICY_LINES_MAX) lines->lines[lines->count++] = line;
    if (lines->count == POLICY_LINES_MAX)
        lines->lines[POLICY_LINES_MAX - 1] = "more: see the JSON report's `policy`";
}

static const char *owner_of(const struct campaign_spec *spec, uint32_t owner)
{
    return owner < spec->owner_count ? spec->owners[owner].name : "an owner";
}

static void money_policy(const struct model *model, struct lines *lines)
{
    const struct campaign_spec *spec = model->campaign;
    const char *tiers = "tiers:";
    for (uint32_t t = 0; t < spec->tier_count; t++) {
        bool automatic = spec->tiers[t].owner_index == NO_INDEX;
        tiers = arena_format(lines->arena, "%s%s up to %s %s%s", tiers, t > 0 ? "," : "",
                             word_money(spec->tiers[t].up_to_micros, &model->currency).text,
                             automatic ? "automatic" : "approved by ",
                             automatic ? "" : owner_of(spec, spec->tiers[t].owner_index));
    }
    add_line(lines, tiers);
    const char *prices = "prices per slot-hour:";
    for (uint32_t c = 0; c < spec->class_count; c++)
        prices = arena_format(lines->arena, "%s%s %s %s", prices, c > 0 ? "," : "",
                              spec->classes[c].name,
                              word_exact(spec->classes[c].rate_micros, spec->currency).text);
    add_line(lines, prices);
}

static const char *target_of(struct arena *arena, const struct gate_rule_spec *rule)
{
    return rule->loss_max_micro == LOSS_UNKNOWN
               ? "the best sibling's loss"
               : arena_format(arena, "%s", word_loss(rule->loss_max_micro).text);
}

static const char *rule_line(struct arena *arena, const struct gate_rule_spec *rule,
                             const char *currency)
{
    int64_t slack_micro = max_i64(rule->margin_micro, GATE_NOISE_SDS * rule->seed_sd_micro);
    const char *slack =
        slack_micro > 0 ? arena_format(arena, ", give or take %s", word_loss(slack_micro).text)
                        : "";
    struct word siblings = word_plural(rule->siblings_min, "sibling", "siblings");
    struct word share = word_percent(rule->share_min_ppm);
    switch (rule->rule) {
    case GATE_RULE_MILESTONE:
        return arena_format(arena, "held-out loss at most %s",
                            word_loss(rule->loss_max_micro).text);
    case GATE_RULE_RANK:
        return arena_format(arena, "best 1 in %" PRIu32 "%s (from %s)", rule->eta, slack,
                            siblings.text);
    case GATE_RULE_RANK_RAY:
    case GATE_RULE_RANK_SYNE_TUNE:
    case GATE_RULE_RANK_OPTUNA:
        return arena_format(arena, "best 1 in %" PRIu32 "%s (%s)", rule->eta, slack,
                            gate_rule_name(rule->rule));
    case GATE_RULE_MEDIAN:
        return arena_format(arena, "not worse than the median%s (from %s)", slack,
                            siblings.text);
    case GATE_RULE_SIGNOFF: return "sign-off";
    case GATE_RULE_PENSTOCK:
        if (rule->loss_max_micro == LOSS_UNKNOWN)
            return arena_format(arena, "penstock: best 1 in %" PRIu32 "%s", rule->eta, slack);
        return arena_format(arena, "penstock: chance to reach %s at least %s",
                            target_of(arena, rule), share.text);
    case GATE_RULE_EXTRAPOLATION:
        return arena_format(arena, "extrapolated chance to reach %s at least %s",
                            target_of(arena, rule), share.text);
    case GATE_RULE_UTILIZATION:
    case GATE_RULE_GOODPUT:
        return arena_format(arena, "%s at least %s", gate_rule_name(rule->rule), share.text);
    case GATE_RULE_COST_TOKENS:
    case GATE_RULE_COST_NAT:
    case GATE_RULE_COST_INFERENCE:
        return arena_format(arena, "%s at most %s", gate_rule_name(rule->rule),
                            word_exact(rule->limit, currency).text);
    case GATE_RULE_LATENCY_P50:
    case GATE_RULE_LATENCY_P95:
        return arena_format(arena, "%s at most %s ms", gate_rule_name(rule->rule),
                            word_loss(rule->limit).text);
    case GATE_RULE_SPIKE:
        return arena_format(arena, "a jump of the loss beyond %s deviations asks a person",
                            word_loss(rule->limit).text);
    case GATE_RULE_COUNT: break;
    }
    unreachable("gate rule");
}

static void gate_policy(const struct campaign_spec *spec, struct lines *lines)
{
    for (uint32_t g = 0; g < spec->gate_count; g++) {
        const struct gate_spec *gate = &spec->gates[g];
        const char *line = gate->step > 0
                               ? arena_format(lines->arena, "gate %s at step %s:", gate->name,
                                              word_count(gate->step).text)
                               : arena_format(lines->arena, "gate %s at %s tokens:", gate->name,
                                              word_count(gate->tokens).text);
        for (uint32_t r = 0; r < gate->rule_count && r < RULES_PER_GATE_MAX; r++)
            line = arena_format(lines->arena, "%s%s %s", line, r > 0 ? ";" : "",
                                rule_line(lines->arena, &gate->rules[r], spec->currency));
        add_line(lines, arena_format(lines->arena, "%s; %s is asked on HOLD", line,
                                     owner_of(spec, gate->owner_index)));
    }
}

static void guard_policy(const struct campaign_spec *spec, struct lines *lines)
{
    for (uint32_t g = 0; g < spec->guard_count; g++) {
        const struct guard_spec *guard = &spec->guards[g];
        const char *line = arena_format(
            lines->arena, "guardrail %" PRIu32 ": windows of %s after a grace of %s", g + 1,
            word_duration(guard->window_ns).text, word_duration(guard->grace_ns).text);
        if (guard->floor_ppm > 0)
            line = arena_format(lines->arena,
                                "%s; floor %s: warn, park, stop after %" PRIu32 ", %" PRIu32
                                ", %" PRIu32 " low windows (0 = never)",
                                line, word_percent(guard->floor_ppm).text, guard->warn_windows,
                                guard->park_windows, guard->stop_windows);
        if (guard->idle_start_stop_ns > 0)
            line = arena_format(lines->arena, "%s; idle from the start: stop at %s", line,
                                word_duration(guard->idle_start_stop_ns).text);
        if (guard->idle_again_stop_ns > 0)
            line = arena_format(lines->arena, "%s; idle again: stop after %s", line,
                                word_duration(guard->idle_again_stop_ns).text);
        add_line(lines, line);
    }
}

static void runbook_policy(const struct campaign_spec *spec, struct lines *lines)
{
    for (uint32_t r = 0; r < spec->runbook_count; r++) {
        const struct runbook_row *row = &spec->runbook[r];
        const char *line = arena_format(lines->arena, "on %s", incident_name(row->incident));
        if (row->exit_code != RUNBOOK_EXIT_ANY)
            line =
                arena_format(lines->arena, "%s with exit code %" PRId32, line, row->exit_code);
        if (row->pattern[0])
            line =
                arena_format(lines->arena, "%s with \"%s\" in its output", line, row->pattern);
        for (uint32_t s = 0; s < row->step_count && s < RUNBOOK_STEPS_MAX; s++) {
            const struct runbook_step *step = &row->steps[s];
            line = arena_format(lines->arena, "%s%s %s", line, s > 0 ? ", then" : ":",
                                runbook_action_name(step->action));
            if (step->limit != RUNBOOK_UNLIMITED)
                line = arena_format(lines->arena, "%s (%" PRIu32 "x)", line, step->limit);
        }
        add_line(lines, line);
    }
}

uint32_t policy_lines(const struct model *model, struct arena *arena,
                      const char *text[POLICY_LINES_MAX])
{
    struct lines lines = { .arena = arena, .lines = text };
    const struct campaign_spec *spec = model->campaign;
    if (!spec) return 0;
    money_policy(model, &lines);
    add_line(&lines,
             arena_format(
                 arena,
                 "placement: %s%s; lease %s, heartbeat %s, stop grace %s, worker lost after %s",
                 place_policy_name(spec->place), spec->backfill ? " with backfill" : "",
                 word_duration(spec->lease_ns).text, word_duration(spec->heartbeat_ns).text,
                 word_duration(spec->stop_grace_ns).text,
                 word_duration(spec->worker_timeout_ns).text));
    gate_policy(spec, &lines);
    guard_policy(spec, &lines);
    runbook_policy(spec, &lines);
    return lines.count;
}
