/*
 * gate_game.c - plays recorded curves against the gate rules that ship.
 *
 * Usage: gates_bench KEY=VALUE... <GAMES, one policy for all games of the input. gates.py makes the
 * input and scores the output; what the games are stands there and in README.md.
 *
 * Input, numbers in millionths:
 *   game RUNS SLOTS POINTS TARGET    TARGET: a loss, or "none"
 *   LENGTH HIT VALUE...              one line a run, in order of arrival: LENGTH best losses so far
 * Output, for each run in that order: "run USED STOPPED", then for each new best of all runs
 * "best SPENT VALUE", then "end SPENT"; with policy=features instead a line per decision of
 * the rule "penstock".
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/policy/gate.h"

enum { RUNS_MAX = 8192, POINTS_MAX = 64, SLOTS_MAX = 64 };

struct run {
    uint32_t length, used;
    bool hit, over, stopped;
    int64_t best_micro[POINTS_MAX], mean_micro[POINTS_MAX];
};

struct game {
    uint32_t run_count, slots, points;
    bool has_target;
    int64_t target_micro;
    struct run runs[RUNS_MAX];
};

enum policy { NEVER, ORACLE, ENVELOPE, RULE, FEATURES };

/* How the input is played. */
struct options {
    enum policy policy;
    struct gate_rule_spec rule;
    uint32_t grace;    /* points before which nothing is stopped */
    double first_rung; /* rungs at first_rung * eta^k points; 0 = every point */
    double lag;        /* ENVELOPE: compare with winners at lag * now */
    bool noise;        /* seed noise from the runs at the same point: all are repeats */
    double weights[PRECEDENT_FEATURES];
    bool weighted; /* weights given */
};

static struct game game;
static struct gate_curve curves[RUNS_MAX];
static int64_t losses[RUNS_MAX], means[RUNS_MAX], scratch[RUNS_MAX + 1];

/* ---- facts --------------------------------------------------------------------------- */

/* The last of the run's reports at or before this point. */
static uint32_t last_point(const struct run *run, uint32_t point)
{
    return run->used - 1 < point ? run->used - 1 : point;
}

static struct gate_facts facts_of(const struct options *options, uint32_t self)
{
    const struct run *run = &game.runs[self];
    uint32_t point = run->used - 1;
    size_t at_point = 0, over = 0, others = 0;
    for (uint32_t r = 0; r < game.run_count; r++) {
        const struct run *other = &game.runs[r];
        if (r == self || other->used == 0) continue;
        bool ended = other->over && !other->stopped;
        if (options->rule.rule == GATE_RULE_MEDIAN) {
            if (ended) means[over++] = other->mean_micro[last_point(other, point)];
        } else if (other->used > point) {
            losses[at_point++] = other->best_micro[point];
        }
        enum gate_end end = other->stopped ? GATE_END_STOPPED
                            : ended        ? GATE_END_DONE
                                           : GATE_END_NONE;
        curves[others++] = (struct gate_curve){ other->best_micro, 1, other->used, end };
    }
    return (struct gate_facts){ .loss_micro = run->best_micro[point],
                                .best_loss_micro = run->best_micro[point],
                                .sibling_losses_micro = losses,
                                .sibling_means_micro = means,
                                .sibling_count =
                                    options->rule.rule == GATE_RULE_MEDIAN ? over : at_point,
                                .scratch = scratch,
                                .curve_micro = run->best_micro,
                                .curve_best_micro = run->best_micro,
                                .curve_stride = 1,
                                .curve_count = run->used,
                                .curves = curves,
                                .curves_count = others,
                                .incumbent_micro = LOSS_UNKNOWN,
                                .util_ppm = UTIL_UNKNOWN,
                                .goodput_ppm = UTIL_UNKNOWN,
                                .spent_micros = -1,
                                .eval_p50_ns = -1,
                                .eval_p95_ns = -1,
                                .inference_micros = -1 };
}

/* ---- policies ------------------------------------------------------------------------ */

static bool at_rung(const struct options *options, uint32_t used)
{
    if (options->first_rung <= 0) return true;
    double rung = options->first_rung;
    while (rung < used - 0.5)
        rung *= options->rule.eta;
    return (uint32_t)(rung + 0.5) == used;
}

/* Worse than the worst known winner was at lag * now, once siblings_min of them are known. */
static bool outside_envelope(const struct options *options, const struct run *run)
{
    uint32_t then = (uint32_t)(options->lag * run->used), winners = 0;
    int64_t worst = INT64_MIN;
    if (then < 1) return false;
    for (uint32_t r = 0; r < game.run_count; r++) {
        const struct run *other = &game.runs[r];
        if (!other->over || other->stopped || !other->hit) continue;
        winners++;
        worst = max_i64(worst, other->best_micro[last_point(other, then - 1)]);
    }
    return winners >= options->rule.siblings_min && run->best_micro[run->used - 1] > worst;
}

static void print_features(uint32_t self, const struct gate_facts *facts)
{
    const struct run *run = &game.runs[self];
    if (!game.has_target || facts->best_loss_micro == LOSS_UNKNOWN) return;
    struct precedent_view view = precedent_look(facts, game.target_micro);
    printf("%d %" PRIu32, run->hit ? 1 : 0, run->used);
    for (int k = 1; k < PRECEDENT_FEATURES; k++)
        printf(" %.4f", view.features[k]);
    puts("");
}

/* The standard deviation of the siblings' losses here, when there are enough to tell. */
static int64_t noise_of(const struct gate_facts *facts)
{
    memcpy(scratch, facts->sibling_losses_micro, facts->sibling_count * sizeof *scratch);
    return gate_seed_sd(scratch, facts->sibling_count);
}

static bool rule_stops(const struct options *options, uint32_t self)
{
    struct gate_facts facts = facts_of(options, self);
    struct gate_spec gate = { .rule_count = 1, .rules = { options->rule } };
    gate.rules[0].loss_max_micro = game.has_target ? game.target_micro : LOSS_UNKNOWN;
    if (options->policy == FEATURES) {
        print_features(self, &facts);
        return false;
    }
    if (options->noise) {
        gate.rules[0].seed_sd_micro = noise_of(&facts);
        if (gate.rules[0].seed_sd_micro == 0) return false; /* noise is not known yet */
    }
    if (options->weighted && game.has_target) {
        if (facts.best_loss_micro == LOSS_UNKNOWN) return false;
        struct precedent_view view = precedent_look(&facts, game.target_micro);
        return view.winners > 0 && facts.curve_count >= options->rule.points_min &&
               precedent_chance_ppm(&view, options->weights) < options->rule.share_min_ppm;
    }
    return gate_judge(&gate, &facts).verdict == VERDICT_NO_GO;
}

static bool stops(const struct options *options, uint32_t self)
{
    const struct run *run = &game.runs[self];
    if (options->policy == NEVER) return false;
    if (options->policy == ORACLE) return !run->hit;
    if (run->used < options->grace || !at_rung(options, run->used)) return false;
    if (options->policy == ENVELOPE) return outside_envelope(options, run);
    return rule_stops(options, self);
}

/* ---- the game ------------------------------------------------------------------------ */

static void play(const struct options *options)
{
    uint32_t live[SLOTS_MAX], live_count = 0, next = 0;
    uint64_t spent = 0;
    int64_t best = INT64_MAX;
    while (live_count > 0 || next < game.run_count) {
        while (live_count < game.slots && next < game.run_count)
            live[live_count++] = next++;
        for (uint32_t i = 0; i < live_count; i++)
            game.runs[live[i]].used++;
        uint32_t kept = 0;
        for (uint32_t i = 0; i < live_count; i++) {
            struct run *run = &game.runs[live[i]];
            spent++;
            if (run->best_micro[run->used - 1] < best) {
                best = run->best_micro[run->used - 1];
                if (options->policy != FEATURES)
                    printf("best %" PRIu64 " %" PRId64 "\n", spent, best);
            }
            if (run->used == run->length)
                run->over = true;
            else if (stops(options, live[i]))
                run->over = run->stopped = true;
            if (!run->over) live[kept++] = live[i];
        }
        live_count = kept;
    }
    if (options->policy == FEATURES) return;
    for (uint32_t r = 0; r < game.run_count; r++)
        printf("run %" PRIu32 " %d\n", game.runs[r].used, game.runs[r].stopped ? 1 : 0);
    printf("end %" PRIu64 "\n", spent);
}

/* ---- input --------------------------------------------------------------------------- */

static void refuse(const char *what)
{
    fprintf(stderr, "gates_bench: %s\n", what);
    exit(2);
}

static void read_run(struct run *run)
{
    int hit;
    memset(run, 0, sizeof *run);
    if (scanf("%" SCNu32 " %d", &run->length, &hit) != 2) refuse("a run is cut off");
    if (run->length < 1 || run->length > POINTS_MAX) refuse("a run's length is not 1 to 64");
    run->hit = hit != 0;
    int64_t sum = 0, count = 0;
    for (uint32_t p = 0; p < run->length; p++) {
        char word[32];
        if (scanf("%31s", word) != 1) refuse("a run's values are cut off");
        bool known = strcmp(word, "x") != 0;
        run->best_micro[p] = known ? strtoll(word, NULL, 10) : LOSS_UNKNOWN;
        sum += known ? run->best_micro[p] : 0;
        count += known ? 1 : 0;
        run->mean_micro[p] = count > 0 ? div_floor(sum, count) : LOSS_UNKNOWN;
    }
}

static bool read_game(void)
{
    char target[32];
    if (scanf(" game %" SCNu32 " %" SCNu32 " %" SCNu32 " %31s", &game.run_count, &game.slots,
              &game.points, target) != 4)
        return false;
    if (game.run_count > RUNS_MAX || game.slots > SLOTS_MAX) refuse("the game is too large");
    game.has_target = strcmp(target, "none") != 0;
    game.target_micro = game.has_target ? strtoll(target, NULL, 10) : LOSS_UNKNOWN;
    for (uint32_t r = 0; r < game.run_count; r++)
        read_run(&game.runs[r]);
    return true;
}

static bool is_rule(const char *word, enum gate_rule *rule)
{
    for (int r = 0; r < GATE_RULE_COUNT; r++)
        if (strcmp(word, gate_rule_name((enum gate_rule)r)) == 0) {
            *rule = (enum gate_rule)r;
            return true;
        }
    return false;
}

static void read_policy(const char *word, struct options *options)
{
    static const char *const words[] = { "never", "oracle", "envelope" };
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (strcmp(word, words[i]) == 0) {
            options->policy = (enum policy)i;
            return;
        }
    options->policy = strcmp(word, "features") == 0 ? FEATURES : RULE;
    options->rule.rule = GATE_RULE_PENSTOCK;
    if (options->policy == RULE && !is_rule(word, &options->rule.rule))
        refuse("unknown policy");
}

static void read_option(const char *key, const char *value, struct options *options)
{
    double number = strtod(value, NULL);
    if (strcmp(key, "policy") == 0)
        read_policy(value, options);
    else if (strcmp(key, "grace") == 0)
        options->grace = (uint32_t)number;
    else if (strcmp(key, "rung") == 0)
        options->first_rung = number;
    else if (strcmp(key, "eta") == 0)
        options->rule.eta = (uint32_t)number;
    else if (strcmp(key, "siblings") == 0)
        options->rule.siblings_min = (uint32_t)number;
    else if (strcmp(key, "points") == 0)
        options->rule.points_min = (uint32_t)number;
    else if (strcmp(key, "chance") == 0)
        options->rule.share_min_ppm = (int32_t)number;
    else if (strcmp(key, "margin") == 0)
        options->rule.margin_micro = (int64_t)number;
    else if (strcmp(key, "lag") == 0)
        options->lag = number;
    else if (strcmp(key, "noise") == 0)
        options->noise = number > 0;
    else if (strncmp(key, "weight", 6) == 0 && key[6] >= '0' &&
             key[6] < '0' + PRECEDENT_FEATURES) {
        options->weights[key[6] - '0'] = number;
        options->weighted = true;
    } else
        refuse("unknown option");
}

int main(int argc, char **argv)
{
    struct options options = { .policy = NEVER,
                               .rule = { .eta = 2, .loss_max_micro = LOSS_UNKNOWN } };
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) refuse("options are KEY=VALUE");
        *value = '\0';
        read_option(argv[i], value + 1, &options);
    }
    while (read_game())
        play(&options);
    if (!feof(stdin)) refuse("the input is not a game");
    return 0;
}
