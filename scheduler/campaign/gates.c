/*
 * gates.c - gates, the points that their schedules give, and the tranches that a run gets from
 * them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/money.h"
#include "scheduler/campaign/internal.h"
#include "scheduler/campaign/units.h"

struct gate_read {
    char name[NAME_MAX_BYTES];
    struct entry *at, *rule, *rules, *combine, *owner, *releases;
};

#define GATE(member) offsetof(struct gate_read, member)

static const struct field gate_rows[] = {
    { .key = "name", FIELD_NAME, GATE(name), .required = true },
    { .key = "at", FIELD_ENTRY, GATE(at), .required = true },
    { .key = "rule", FIELD_ENTRY, GATE(rule) },
    { .key = "rules", FIELD_ENTRY, GATE(rules) },
    { .key = "combine", FIELD_ENTRY, GATE(combine) },
    { .key = "owner", FIELD_ENTRY, GATE(owner) },
    { .key = "releases", FIELD_ENTRY, GATE(releases) },
};
static const struct fields gate_fields = { "gates.", gate_rows, ARRAY_COUNT(gate_rows) };

/* ---- when ---------------------------------------------------------------------------- */

struct schedule {
    bool by_tokens;
    uint32_t count;
    uint64_t points[GATES_PER_RUN_MAX]; /* rising */
};

struct at_read {
    struct entry *steps, *tokens, *geometric;
};

static const struct field at_rows[] = {
    { .key = "steps", FIELD_ENTRY, offsetof(struct at_read, steps) },
    { .key = "tokens", FIELD_ENTRY, offsetof(struct at_read, tokens) },
    { .key = "geometric", FIELD_ENTRY, offsetof(struct at_read, geometric) },
};
static const struct fields at_fields = { "gates.at.", at_rows, ARRAY_COUNT(at_rows) };

struct geometric {
    uint64_t first, until;
    uint32_t factor;
};

static const struct field geometric_rows[] = {
    { .key = "first",
      FIELD_STEPS,
      offsetof(struct geometric, first),
      1,
      STEP_MAX,
      .required = true },
    { .key = "factor",
      FIELD_COUNT,
      offsetof(struct geometric, factor),
      2,
      1000000,
      .required = true },
    { .key = "until",
      FIELD_STEPS,
      offsetof(struct geometric, until),
      1,
      STEP_MAX,
      .required = true },
};
static const struct fields geometric_fields = { "gates.at.geometric.", geometric_rows,
                                                ARRAY_COUNT(geometric_rows) };

static enum err too_many_points(const struct reader *reader, uint32_t line, const char *key)
{
    return reader_fail(reader, line, key, "gives more than %d points; take fewer",
                       GATES_PER_RUN_MAX);
}

/* "steps: 40" or "steps: [40, 80]". */
static enum err points_read(const struct reader *reader, const char *key,
                            const struct entry *entry, struct schedule *schedule)
{
    static const struct field row = { .key = "point", FIELD_STEPS, 0, 1, STEP_MAX };
    struct entry alone = { .line = entry->line, .value = entry->value };
    const struct entry *item = &alone;
    if (entry->value->kind == NODE_LIST) item = entry->value->first;
    if (!item)
        return reader_fail(reader, entry->line, key, "is empty; write at least one point");
    for (; item; item = item->next) {
        uint64_t *point = &schedule->points[schedule->count];
        if (schedule->count == GATES_PER_RUN_MAX)
            return too_many_points(reader, entry->line, key);
        enum err rc = field_read(reader, &row, key, item->value, item->line, point);
        if (rc != ERR_OK) return rc;
        if (schedule->count > 0 && *point <= point[-1])
            return reader_fail(reader, item->line, key,
                               "%" PRIu64 " does not rise above the point before it; sort them",
                               *point);
        schedule->count++;
    }
    return ERR_OK;
}

static enum err geometric_read(const struct reader *reader, const struct entry *entry,
                               struct schedule *schedule)
{
    struct geometric g = { 0 };
    enum err rc = fields_read(reader, &geometric_fields, entry, &g);
    if (rc != ERR_OK) return rc;
    if (g.first > g.until)
        return reader_fail(reader, entry->line, "gates.at.geometric.until",
                           "comes before first; make it at least first");
    for (uint64_t point = g.first; point <= g.until; point *= g.factor) {
        if (schedule->count == GATES_PER_RUN_MAX)
            return too_many_points(reader, entry->line, "gates.at.geometric");
        schedule->points[schedule->count++] = point;
        if (point > (uint64_t)STEP_MAX / g.factor) break;
    }
    return ERR_OK;
}

static enum err at_read(const struct reader *reader, const struct entry *entry,
                        struct schedule *schedule)
{
    struct at_read read = { 0 };
    enum err rc = fields_read(reader, &at_fields, entry, &read);
    if (rc != ERR_OK) return rc;
    int given = (read.steps ? 1 : 0) + (read.tokens ? 1 : 0) + (read.geometric ? 1 : 0);
    if (given != 1)
        return reader_fail(reader, entry->line, "gates.at",
                           "needs exactly one of steps, tokens and geometric");
    if (read.steps) return points_read(reader, "gates.at.steps", read.steps, schedule);
    if (read.geometric) return geometric_read(reader, read.geometric, schedule);
    schedule->by_tokens = true;
    return points_read(reader, "gates.at.tokens", read.tokens, schedule);
}

/* ---- rules --------------------------------------------------------------------------- */

#define RULE(member) offsetof(struct gate_rule_spec, member)
#define LOSS_BOUND_MICRO (INT64_C(1000000) * INT64_C(1000000)) /* a million nats */

static const struct field milestone_rows[] = {
    { .key = "loss",
      FIELD_LOSS,
      RULE(loss_max_micro),
      -LOSS_BOUND_MICRO,
      LOSS_BOUND_MICRO,
      .required = true },
};

/* Rows that several rules share. */
#define ROW_ETA                                                                                \
    {                                                                                          \
        .key = "eta", FIELD_COUNT, RULE(eta), 2, 1000                                          \
    }
#define ROW_SIBLINGS                                                                           \
    {                                                                                          \
        .key = "siblings_min", FIELD_COUNT, RULE(siblings_min), 1, CAMPAIGN_RUNS_MAX           \
    }
#define ROW_MARGIN                                                                             \
    {                                                                                          \
        .key = "margin", FIELD_LOSS, RULE(margin_micro), 0, LOSS_BOUND_MICRO                   \
    }
#define ROW_SEED_SD                                                                            \
    {                                                                                          \
        .key = "seed_sd", FIELD_LOSS, RULE(seed_sd_micro), 0, LOSS_BOUND_MICRO                 \
    }
#define ROW_TARGET                                                                             \
    {                                                                                          \
        .key = "target", FIELD_LOSS, RULE(loss_max_micro), -LOSS_BOUND_MICRO, LOSS_BOUND_MICRO \
    }
#define ROW_CHANCE                                                                             \
    {                                                                                          \
        .key = "chance_min", FIELD_SHARE, RULE(share_min_ppm), 0, PPM                          \
    }
#define ROW_POINTS                                                                             \
    {                                                                                          \
        .key = "points_min", FIELD_COUNT, RULE(points_min), 1, GATES_PER_RUN_MAX               \
    }

static const struct field rank_rows[] = { ROW_ETA, ROW_SIBLINGS, ROW_MARGIN, ROW_SEED_SD };
static const struct field rank_as_rows[] = { ROW_ETA, ROW_MARGIN, ROW_SEED_SD };
static const struct field median_rows[] = { ROW_SIBLINGS, ROW_POINTS, ROW_MARGIN, ROW_SEED_SD };
static const struct field penstock_rows[] = { ROW_TARGET,   ROW_CHANCE, ROW_POINTS, ROW_ETA,
                                              ROW_SIBLINGS, ROW_MARGIN, ROW_SEED_SD };
static const struct field extrapolation_rows[] = { ROW_TARGET, ROW_CHANCE, ROW_POINTS,
                                                   ROW_MARGIN, ROW_SEED_SD };
static const struct field share_rows[] = {
    { .key = "at_least", FIELD_SHARE, RULE(share_min_ppm), 0, PPM, .required = true },
};
static const struct field money_rows[] = {
    { .key = "at_most", FIELD_MONEY, RULE(limit), 0, MONEY_MAX_MICROS, .required = true },
};
static const struct field time_rows[] = {
    { .key = "at_most", FIELD_DURATION, RULE(limit), 1, INT64_MAX, .required = true },
};
static const struct field spike_rows[] = {
    { .key = "deviations", FIELD_LOSS, RULE(limit), 1, LOSS_BOUND_MICRO },
    ROW_POINTS,
    ROW_MARGIN,
    ROW_SEED_SD,
};

/* A rule by its name in the file, its keys, and what they are when they are not said. */
static const struct rule_form {
    const char *word;
    struct fields fields;
    struct gate_rule_spec defaults;
} rule_forms[GATE_RULE_COUNT] = {
    [GATE_RULE_MILESTONE] = { "milestone",
                              { "gates.rule.milestone.", milestone_rows,
                                ARRAY_COUNT(milestone_rows) },
                              { .rule = GATE_RULE_MILESTONE } },
    [GATE_RULE_RANK] = { "rank",
                         { "gates.rule.rank.", rank_rows, ARRAY_COUNT(rank_rows) },
                         { .rule = GATE_RULE_RANK,
                           .eta = 3,
                           .siblings_min = 3,
                           .margin_micro = 10000 } },
    [GATE_RULE_MEDIAN] = { "median",
                           { "gates.rule.median.", median_rows, ARRAY_COUNT(median_rows) },
                           { .rule = GATE_RULE_MEDIAN,
                             .siblings_min = 5,
                             .points_min = 1,
                             .margin_micro = 10000 } },
    [GATE_RULE_SIGNOFF] = { "sign-off",
                            { "gates.rule.sign-off.", NULL, 0 },
                            { .rule = GATE_RULE_SIGNOFF } },
    [GATE_RULE_PENSTOCK] = { "penstock",
                             { "gates.rule.penstock.", penstock_rows,
                               ARRAY_COUNT(penstock_rows) },
                             { .rule = GATE_RULE_PENSTOCK,
                               .loss_max_micro = LOSS_UNKNOWN,
                               .share_min_ppm = 65000,
                               .points_min = 3,
                               .eta = 2,
                               .siblings_min = 1,
                               .margin_micro = 10000 } },
    [GATE_RULE_RANK_RAY] = { "rank_ray",
                             { "gates.rule.rank_ray.", rank_as_rows,
                               ARRAY_COUNT(rank_as_rows) },
                             { .rule = GATE_RULE_RANK_RAY, .eta = 4 } },
    [GATE_RULE_RANK_SYNE_TUNE] = { "rank_syne_tune",
                                   { "gates.rule.rank_syne_tune.", rank_as_rows,
                                     ARRAY_COUNT(rank_as_rows) },
                                   { .rule = GATE_RULE_RANK_SYNE_TUNE, .eta = 3 } },
    [GATE_RULE_RANK_OPTUNA] = { "rank_optuna",
                                { "gates.rule.rank_optuna.", rank_as_rows,
                                  ARRAY_COUNT(rank_as_rows) },
                                { .rule = GATE_RULE_RANK_OPTUNA, .eta = 4 } },
    [GATE_RULE_EXTRAPOLATION] = { "extrapolation",
                                  { "gates.rule.extrapolation.", extrapolation_rows,
                                    ARRAY_COUNT(extrapolation_rows) },
                                  { .rule = GATE_RULE_EXTRAPOLATION,
                                    .loss_max_micro = LOSS_UNKNOWN,
                                    .share_min_ppm = 50000,
                                    .points_min = 5,
                                    .margin_micro = 10000 } },
    [GATE_RULE_UTILIZATION] = { "utilization",
                                { "gates.rule.utilization.", share_rows,
                                  ARRAY_COUNT(share_rows) },
                                { .rule = GATE_RULE_UTILIZATION } },
    [GATE_RULE_GOODPUT] = { "goodput",
                            { "gates.rule.goodput.", share_rows, ARRAY_COUNT(share_rows) },
                            { .rule = GATE_RULE_GOODPUT } },
    [GATE_RULE_COST_TOKENS] = { "cost_per_million_tokens",
                                { "gates.rule.cost_per_million_tokens.", money_rows,
                                  ARRAY_COUNT(money_rows) },
                                { .rule = GATE_RULE_COST_TOKENS } },
    [GATE_RULE_COST_NAT] = { "cost_per_nat",
                             { "gates.rule.cost_per_nat.", money_rows,
                               ARRAY_COUNT(money_rows) },
                             { .rule = GATE_RULE_COST_NAT } },
    [GATE_RULE_COST_INFERENCE] = { "cost_per_1000_inferences",
                                   { "gates.rule.cost_per_1000_inferences.", money_rows,
                                     ARRAY_COUNT(money_rows) },
                                   { .rule = GATE_RULE_COST_INFERENCE } },
    [GATE_RULE_LATENCY_P50] = { "latency_p50",
                                { "gates.rule.latency_p50.", time_rows,
                                  ARRAY_COUNT(time_rows) },
                                { .rule = GATE_RULE_LATENCY_P50 } },
    [GATE_RULE_LATENCY_P95] = { "latency_p95",
                                { "gates.rule.latency_p95.", time_rows,
                                  ARRAY_COUNT(time_rows) },
                                { .rule = GATE_RULE_LATENCY_P95 } },
    [GATE_RULE_SPIKE] = { "spike",
                          { "gates.rule.spike.", spike_rows, ARRAY_COUNT(spike_rows) },
                          { .rule = GATE_RULE_SPIKE,
                            .limit = 6000000,
                            .points_min = 4,
                            .margin_micro = 10000 } },
};

static enum err rule_form_named(const struct reader *reader, const char *key, uint32_t line,
                                struct text word, const struct rule_form **form)
{
    const char *words[GATE_RULE_COUNT];
    for (size_t i = 0; i < GATE_RULE_COUNT; i++) {
        words[i] = rule_forms[i].word;
        if (!text_is(word, words[i])) continue;
        *form = &rule_forms[i];
        return ERR_OK;
    }
    const char *near = nearest_word(word.data, words, GATE_RULE_COUNT);
    return reader_fail(reader, line, key, "`%.40s` is not a rule; %s%s%s", word.data,
                       near ? "did you mean `" : "docs/formats/campaign.md lists them",
                       near ? near : "", near ? "`?" : "");
}

/* Rules that go by the target that is said, or else by the best sibling. */
static bool may_lack_target(const struct gate_rule_spec *rule)
{
    return rule->rule == GATE_RULE_PENSTOCK || rule->rule == GATE_RULE_EXTRAPOLATION;
}

/* "sign-off", "rank", or "{rank: {eta: 3}}". */
static enum err rule_read(const struct reader *reader, const struct entry *entry,
                          struct gate_rule_spec *rule)
{
    static const char key[] = "gates.rule";
    const struct rule_form *form = NULL;
    const struct node *node = entry->value;
    if (node->kind == NODE_SCALAR) {
        enum err rc = rule_form_named(reader, key, entry->line, node->text, &form);
        if (rc != ERR_OK) return rc;
        *rule = form->defaults;
        if (form->fields.count > 0 && form->fields.rows[0].required)
            return reader_fail(reader, entry->line, key,
                               "`%s` needs its `%s`; write {%s: {%s: ...}}", form->word,
                               form->fields.rows[0].key, form->word, form->fields.rows[0].key);
        return ERR_OK;
    }
    enum err rc = expect_kind(reader, key, entry, NODE_MAP);
    if (rc != ERR_OK) return rc;
    if (node->count != 1)
        return reader_fail(reader, entry->line, key,
                           "must name one rule; combine several under `rules:` as a list");
    rc = rule_form_named(reader, key, node->first->line, node->first->key, &form);
    if (rc != ERR_OK) return rc;
    *rule = form->defaults;
    if (form->fields.count == 0)
        return reader_fail(reader, node->first->line, key, "`%s` takes no keys; write it alone",
                           form->word);
    return fields_read(reader, &form->fields, node->first, rule);
}

static enum err rules_read(const struct reader *reader, const struct entry *item,
                           const struct gate_read *read, struct gate_spec *gate)
{
    if (!read->rule == !read->rules)
        return reader_fail(reader, item->line, "gates.rule",
                           "a gate needs `rule:` or a list of `rules:`, and not both");
    if (read->rule) {
        gate->rule_count = 1;
        return rule_read(reader, read->rule, &gate->rules[0]);
    }
    enum err rc = expect_kind(reader, "gates.rules", read->rules, NODE_LIST);
    if (rc != ERR_OK) return rc;
    if (read->rules->value->count == 0 || read->rules->value->count > RULES_PER_GATE_MAX)
        return reader_fail(reader, read->rules->line, "gates.rules", "takes 1 to %d rules",
                           RULES_PER_GATE_MAX);
    for (const struct entry *rule = read->rules->value->first; rule; rule = rule->next) {
        struct gate_rule_spec *to = &gate->rules[gate->rule_count];
        if ((rc = rule_read(reader, rule, to)) != ERR_OK) return rc;
        for (uint32_t i = 0; i < gate->rule_count; i++)
            if (gate->rules[i].rule == to->rule)
                return reader_fail(reader, rule->line, "gates.rules",
                                   "%s stands twice; keep one", rule_forms[to->rule].word);
        gate->rule_count++;
    }
    return ERR_OK;
}

/* "all" or "any"; absent: all. */
static enum err combine_read(const struct reader *reader, const struct entry *entry, bool *any)
{
    *any = false;
    if (!entry) return ERR_OK;
    enum err rc = expect_kind(reader, "gates.combine", entry, NODE_SCALAR);
    if (rc != ERR_OK) return rc;
    *any = text_is(entry->value->text, "any");
    if (*any || text_is(entry->value->text, "all")) return ERR_OK;
    return reader_fail(reader, entry->line, "gates.combine",
                       "`%.40s` is neither; write all or any", entry->value->text.data);
}

/* ---- gates --------------------------------------------------------------------------- */

static enum err releases_read(const struct reader *reader, const struct entry *entry,
                              int64_t *ppm)
{
    static const struct field row = { .key = "releases", FIELD_SHARE, 0, 0, PPM };
    int32_t share;
    *ppm = -1;
    if (!entry) return ERR_OK;
    enum err rc = field_read(reader, &row, "gates.releases", entry->value, entry->line, &share);
    if (rc == ERR_OK) *ppm = share;
    return rc;
}

/* One gate point for each point of the schedule: NAME, or NAME@POINT when there are several. */
static enum err add_points(struct loader *loader, const struct entry *item,
                           const struct gate_spec *like, const struct schedule *schedule,
                           struct gate_spec *points)
{
    struct campaign_spec *spec = &loader->campaign->spec;
    for (uint32_t i = 0; i < schedule->count; i++) {
        if (spec->gate_count == CAMPAIGN_POINTS_MAX)
            return reader_fail(&loader->reader, item->line, "gates",
                               "all gates together have more than %d points; take fewer",
                               CAMPAIGN_POINTS_MAX);
        struct gate_spec *point = &points[spec->gate_count++];
        *point = *like;
        point->step = schedule->by_tokens ? 0 : schedule->points[i];
        point->tokens = schedule->by_tokens ? schedule->points[i] : 0;
        if (schedule->count == 1) continue;
        struct writer name = writer_of(point->name, sizeof point->name);
        writer_format(&name, "%s@%" PRIu64, like->name, schedule->points[i]);
        if (name.full)
            return reader_fail(&loader->reader, item->line, "gates.name",
                               "`%s` is too long with its point behind it; shorten it",
                               like->name);
    }
    return ERR_OK;
}

static enum err gate_read(struct loader *loader, const struct entry *item,
                          struct named_gate *named, struct gate_spec *points)
{
    const struct reader *reader = &loader->reader;
    struct campaign *campaign = loader->campaign;
    struct gate_read read = { .name = "" };
    struct gate_spec gate = { .owner_index = owner_of_role(&campaign->spec, "research") };
    struct schedule schedule = { 0 };
    enum err rc = fields_read(reader, &gate_fields, item, &read);
    if (rc != ERR_OK) return rc;
    for (uint32_t i = 0; i < campaign->named_gate_count; i++)
        if (strcmp(campaign->named_gates[i].name, read.name) == 0)
            return reader_fail(reader, item->line, "gates.name",
                               "`%s` is used twice; give each gate its own name", read.name);
    if ((rc = at_read(reader, read.at, &schedule)) != ERR_OK) return rc;
    if ((rc = rules_read(reader, item, &read, &gate)) != ERR_OK) return rc;
    if ((rc = combine_read(reader, read.combine, &gate.any)) != ERR_OK) return rc;
    if (read.owner) rc = owner_lookup(loader, "gates.owner", read.owner, &gate.owner_index);
    if (rc != ERR_OK) return rc;
    rc = releases_read(reader, read.releases, &named->releases_ppm);
    if (rc != ERR_OK) return rc;
    check(text_copy(gate.name, sizeof gate.name, text_of(read.name)));
    check(text_copy(named->name, sizeof named->name, text_of(read.name)));
    named->first_point = campaign->spec.gate_count;
    named->point_count = schedule.count;
    return add_points(loader, item, &gate, &schedule, points);
}

enum err gates_read(struct loader *loader, const struct entry *gates)
{
    struct campaign *campaign = loader->campaign;
    if (!gates) return ERR_OK;
    enum err rc = expect_kind(&loader->reader, "gates", gates, NODE_LIST);
    if (rc != ERR_OK) return rc;
    uint32_t count = gates->value->count;
    if (count > CAMPAIGN_POINTS_MAX)
        return reader_fail(&loader->reader, gates->line, "gates",
                           "has more than %d gates; take fewer", CAMPAIGN_POINTS_MAX);
    uint32_t room = count * GATES_PER_RUN_MAX;
    if (room > CAMPAIGN_POINTS_MAX) room = CAMPAIGN_POINTS_MAX;
    struct gate_spec *points =
        (struct gate_spec *)arena_array(&campaign->arena, room, sizeof(struct gate_spec));
    campaign->named_gates =
        (struct named_gate *)arena_array(&campaign->arena, count, sizeof(struct named_gate));
    campaign->spec.gates = points;
    for (const struct entry *item = gates->value->first; item; item = item->next) {
        struct named_gate *named = &campaign->named_gates[campaign->named_gate_count];
        if ((rc = gate_read(loader, item, named, points)) != ERR_OK) return rc;
        campaign->named_gate_count++;
    }
    return ERR_OK;
}

/* ---- a run's points and tranches ----------------------------------------------------- */

/* Where a run's gate points come from while they are sorted. */
struct placed_point {
    uint32_t point;
    const struct named_gate *gate;
};

static uint64_t position(const struct campaign *campaign, const struct placed_point *placed)
{
    const struct gate_spec *gate = &campaign->spec.gates[placed->point];
    return gate->step + gate->tokens; /* one of them is 0 */
}

static void insert_sorted(const struct campaign *campaign, struct placed_point *all,
                          uint32_t count, struct placed_point new)
{
    uint32_t at = count;
    for (; at > 0 && position(campaign, &all[at - 1]) > position(campaign, &new); at--)
        all[at] = all[at - 1];
    all[at] = new;
}

static enum err collect(const struct loader *loader, const struct entry *run,
                        const uint32_t *named, uint32_t named_count, struct placed_point *all,
                        uint32_t *count)
{
    const struct campaign *campaign = loader->campaign;
    for (uint32_t n = 0; n < named_count; n++) {
        const struct named_gate *gate = &campaign->named_gates[named[n]];
        if (gate->point_count > GATES_PER_RUN_MAX - *count)
            return reader_fail(&loader->reader, run->line, "gates",
                               "a run passes at most %d gate points; leave some gates out",
                               GATES_PER_RUN_MAX);
        for (uint32_t i = 0; i < gate->point_count; i++)
            insert_sorted(campaign, all, (*count)++,
                          (struct placed_point){ gate->first_point + i, gate });
    }
    return ERR_OK;
}

static enum err check_points(const struct loader *loader, const struct entry *run,
                             const struct placed_point *all, uint32_t count,
                             const struct run_spec *spec)
{
    const struct gate_spec *gates = loader->campaign->spec.gates;
    for (uint32_t i = 0; i < count; i++) {
        const struct gate_spec *gate = &gates[all[i].point];
        if (spec->steps > 0 && gate->step > spec->steps)
            return reader_fail(&loader->reader, run->line, "gates",
                               "`%s` at step %" PRIu64
                               " comes after run %s's last step %" PRIu64
                               "; raise its steps, or name its `gates:` without it",
                               gate->name, gate->step, spec->name, spec->steps);
        if (i == 0) continue;
        const struct gate_spec *before = &gates[all[i - 1].point];
        if ((gate->tokens > 0) != (before->tokens > 0))
            return reader_fail(&loader->reader, run->line, "gates",
                               "`%s` goes by steps and `%s` by tokens; a run's gates must all "
                               "go by one of them",
                               gate->tokens > 0 ? before->name : gate->name,
                               gate->tokens > 0 ? gate->name : before->name);
        if (position(loader->campaign, &all[i]) == position(loader->campaign, &all[i - 1]))
            return reader_fail(&loader->reader, run->line, "gates",
                               "`%s` and `%s` stand at the same point; put both rules into one "
                               "gate",
                               before->name, gate->name);
    }
    return ERR_OK;
}

/* A gate's share of the budget over its points; gates without one split the rest with the
 * start. */
static enum err split_budget(const struct loader *loader, const struct entry *run,
                             const struct placed_point *all, struct run_spec *spec)
{
    int64_t shared = 0;
    uint32_t equal = 1;
    for (uint32_t i = 0; i < spec->gate_count; i++) {
        const struct named_gate *gate = all[i].gate;
        if (gate->releases_ppm < 0) {
            equal++;
            continue;
        }
        /* The budget is below 2^50 micro-units, so it is split before it is multiplied. */
        int64_t whole = spec->budget_micros / PPM * gate->releases_ppm +
                        spec->budget_micros % PPM * gate->releases_ppm / PPM;
        spec->gates[i].tranche_micros = whole / gate->point_count;
        shared = add_saturated(shared, spec->gates[i].tranche_micros);
    }
    if (shared >= spec->budget_micros)
        return reader_fail(
            &loader->reader, run->line, "gates.releases",
            "the gates of run %s release its whole budget, and nothing is left to "
            "start with; lower their shares",
            spec->name);
    int64_t rest = spec->budget_micros - shared, part = rest / equal;
    for (uint32_t i = 0; i < spec->gate_count; i++)
        if (all[i].gate->releases_ppm < 0) spec->gates[i].tranche_micros = part;
    spec->first_tranche_micros = rest - part * (equal - 1);
    return ERR_OK;
}

enum err gates_assign(const struct loader *loader, const struct entry *run,
                      const uint32_t *named, uint32_t named_count, struct run_spec *spec)
{
    struct placed_point all[GATES_PER_RUN_MAX];
    uint32_t count = 0;
    enum err rc = collect(loader, run, named, named_count, all, &count);
    if (rc == ERR_OK) rc = check_points(loader, run, all, count, spec);
    if (rc != ERR_OK) return rc;
    spec->gate_count = count;
    for (uint32_t i = 0; i < count; i++)
        spec->gates[i].gate_index = all[i].point;
    return split_budget(loader, run, all, spec);
}

/* ---- writing ------------------------------------------------------------------------- */

static void rule_write(struct writer *writer, const struct gate_rule_spec *rule,
                       const char *currency)
{
    const struct rule_form *form = &rule_forms[rule->rule];
    struct fields fields = form->fields;
    if (may_lack_target(rule) && rule->loss_max_micro == LOSS_UNKNOWN) {
        fields.rows++; /* the target stands first, and is said by not saying it */
        fields.count--;
    }
    if (form->fields.count == 0) {
        writer_format(writer, "      - %s\n", form->word);
        return;
    }
    writer_format(writer, "      - %s:\n", form->word);
    fields_write(writer, &fields, rule, 10, currency);
}

static void gate_write(struct writer *writer, const struct campaign *campaign,
                       const struct named_gate *named)
{
    const struct gate_spec *points = campaign->spec.gates + named->first_point;
    bool by_tokens = points[0].tokens > 0;
    writer_format(writer, "  - name: %s\n    at: {%s: [", named->name,
                  by_tokens ? "tokens" : "steps");
    for (uint32_t i = 0; i < named->point_count; i++)
        writer_format(writer, "%s%" PRIu64, i == 0 ? "" : ", ",
                      points[i].step + points[i].tokens);
    writer_string(writer, "]}\n    rules:\n");
    for (uint32_t i = 0; i < points[0].rule_count; i++)
        rule_write(writer, &points[0].rules[i], campaign->spec.currency);
    if (points[0].any) writer_string(writer, "    combine: any\n");
    writer_format(writer, "    owner: %s\n", campaign->spec.owners[points[0].owner_index].name);
    if (named->releases_ppm < 0) return; /* an equal part of the rest: said by not saying it */
    writer_string(writer, "    releases: ");
    share_write(writer, named->releases_ppm);
    writer_string(writer, "\n");
}

void gates_write(struct writer *writer, const struct campaign *campaign)
{
    if (campaign->named_gate_count == 0) return;
    writer_string(writer, "gates:\n");
    for (uint32_t i = 0; i < campaign->named_gate_count; i++)
        gate_write(writer, campaign, &campaign->named_gates[i]);
}

/* ---- keys ---------------------------------------------------------------------------- */

void gates_each_key(key_fn take, void *context)
{
    const struct fields *tables[] = { &gate_fields, &at_fields, &geometric_fields };
    for (size_t t = 0; t < ARRAY_COUNT(tables); t++)
        for (size_t i = 0; i < tables[t]->count; i++)
            take(context, tables[t]->rows[i].key);
    for (size_t f = 0; f < GATE_RULE_COUNT; f++) {
        take(context, rule_forms[f].word);
        for (size_t i = 0; i < rule_forms[f].fields.count; i++)
            take(context, rule_forms[f].fields.rows[i].key);
    }
}
