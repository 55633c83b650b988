/* plan.c - `penstock plan`: the effective policy of a campaign file, and what it can cost at
 * most. */
#include <stdio.h>

#include "proto/base/money.h"
#include "scheduler/campaign/campaign.h"
#include "scheduler/cli.h"
#include "scheduler/report/out.h"
#include "scheduler/verbs/paths.h"
#include "scheduler/verbs/verbs.h"
#include "scheduler/verbs/virtual.h"

static void print_money(const char *what, int64_t micros, const char *currency)
{
    char text[64];
    struct writer writer = writer_of(text, sizeof text);
    money_write(&writer, micros, currency);
    printf("#   %-44s %s\n", what, text);
}

static int64_t cheapest_rate(const struct campaign_spec *spec, uint32_t class_index)
{
    if (class_index < spec->class_count) return spec->classes[class_index].rate_micros;
    int64_t rate_micros = INT64_MAX;
    for (uint32_t i = 0; i < spec->class_count; i++)
        rate_micros = min_i64(rate_micros, spec->classes[i].rate_micros);
    return spec->class_count > 0 ? rate_micros : 0;
}

/* What can be proved from the file alone. Spend never crosses the smaller of the campaign's
 * budget and the sum of the runs' budgets; a run's first tranche is all that it can spend
 * without a GO. */
static void print_bounds(const struct campaign *campaign)
{
    const struct campaign_spec *spec = &campaign->spec;
    int64_t first_micros = 0, runs_micros = 0, automatic_micros = 0;
    int64_t longest_ns = 0;
    for (uint32_t i = 0; i < campaign->run_count; i++) {
        const struct run_spec *run = &campaign->runs[i];
        first_micros = add_saturated(first_micros, run->first_tranche_micros);
        runs_micros = add_saturated(runs_micros, run->budget_micros);
        int64_t affords_ns = money_affords_ns(run->budget_micros, run->ranks,
                                              cheapest_rate(spec, run->class_index));
        longest_ns = max_i64(longest_ns, affords_ns);
    }
    for (uint32_t i = 0; i < spec->tier_count && spec->tiers[i].owner_index == NO_INDEX; i++)
        automatic_micros = spec->tiers[i].up_to_micros;
    printf("#\n# what follows from it, whatever happens (%u runs):\n", campaign->run_count);
    print_money("spend is at most", min_i64(spec->budget_micros, runs_micros), spec->currency);
    print_money("of which without any GO at a gate", min_i64(spec->budget_micros, first_micros),
                spec->currency);
    print_money("of which without any owner's approval", min_i64(automatic_micros, runs_micros),
                spec->currency);
    if (longest_ns == TIME_NEVER) return;
    char text[48];
    struct writer writer = writer_of(text, sizeof text);
    writer_duration(&writer, longest_ns);
    printf("#   %-44s %s\n", "no run can train for longer than", text);
}

static void print_range(const char *what, const char *best, const char *expected,
                        const char *worst)
{
    printf("#   %-20s %18s %18s %18s\n", what, best, expected, worst);
}

static struct word money_word(int64_t micros, const char *currency)
{
    struct word word;
    struct writer writer = writer_of(word.text, sizeof word.text);
    money_write(&writer, micros, currency);
    return word;
}

static struct word time_word(int64_t duration_ns)
{
    struct word word;
    struct writer writer = writer_of(word.text, sizeof word.text);
    writer_duration(&writer, duration_ns);
    return word;
}

static struct word count_word(int64_t count)
{
    struct word word;
    struct writer writer = writer_of(word.text, sizeof word.text);
    writer_format(&writer, "%lld", (long long)count);
    return word;
}

/* Low spend and an early end are the best that can happen; so are many finished runs. */
static void print_forecast(const struct sim_forecast *forecast, const char *currency)
{
    const struct sim_range *spent = &forecast->spent_micros, *time = &forecast->makespan_ns;
    const struct sim_range *finished = &forecast->finished;
    print_range("", "best", "expected", "worst");
    print_range("spend", money_word(spent->p10, currency).text,
                money_word(spent->p50, currency).text, money_word(spent->p90, currency).text);
    print_range("time to the end", time_word(time->p10).text, time_word(time->p50).text,
                time_word(time->p90).text);
    print_range("runs that finish", count_word(finished->p90).text,
                count_word(finished->p50).text, count_word(finished->p10).text);
}

static enum err forecast_of(const struct campaign *campaign, const struct arguments *arguments,
                            struct error *error)
{
    int64_t samples = 0;
    struct sim_options options;
    struct sim_forecast forecast;
    enum err rc = arguments_number(arguments, "--samples", 0, 1024, &samples, error);
    if (rc == ERR_OK) rc = virtual_options(arguments, &options, error);
    if (rc != ERR_OK || samples == 0) return rc;
    rc = sim_forecast(campaign, &options, (uint32_t)samples, &forecast, error);
    if (rc != ERR_OK) return rc;
    printf("#\n# forecast: %u simulated campaigns, %u workers, %s steps a second a slot; "
           "losses are made "
           "up,\n# so what gates will say is a guess (--workers, --speed):\n",
           forecast.samples, options.workers, arguments_value(arguments, "--speed"));
    print_forecast(&forecast, campaign->spec.currency);
    return ERR_OK;
}

int verb_plan(const struct arguments *arguments)
{
    struct campaign campaign;
    struct error error;
    char trainer[PROGRAM_PATH_BYTES];
    if (path_of_trainer(trainer, &error) != ERR_OK) return cli_fail(&error);
    if (campaign_load(arguments->words[0], trainer, &campaign, &error) != ERR_OK)
        return cli_fail(&error);
    struct text policy = campaign_effective(&campaign);
    printf("# effective policy, every default written out; it loads to the same campaign\n");
    printf("%.*s", (int)policy.len, policy.data);
    print_bounds(&campaign);
    enum err rc = forecast_of(&campaign, arguments, &error);
    campaign_fini(&campaign);
    return rc == ERR_OK ? CLI_DONE : cli_fail(&error);
}
