/* simulate.c - `penstock simulate`: a campaign on a virtual clock. */
#include <stdio.h>

#include "proto/base/money.h"
#include "scheduler/cli.h"
#include "scheduler/report/out.h"
#include "scheduler/verbs/paths.h"
#include "scheduler/verbs/verbs.h"
#include "scheduler/verbs/virtual.h"

enum err virtual_fraction(const struct arguments *arguments, const char *name, double most,
                          double *value, struct error *error)
{
    int64_t millionths = 0;
    const char *word = arguments_value(arguments, name);
    if (!text_to_scaled(text_of(word), 1000000, &millionths) || millionths < 0 ||
        (double)millionths > most * 1e6)
        return error_set(error, ERR_INPUT, "%s %s: a number from 0 to %.0f is wanted", name,
                         word, most);
    *value = (double)millionths / 1e6;
    return ERR_OK;
}

enum err virtual_options(const struct arguments *arguments, struct sim_options *options,
                         struct error *error)
{
    int64_t workers = 0;
    *options = sim_defaults();
    enum err rc = arguments_number(arguments, "--workers", 1, 4095, &workers, error);
    if (rc == ERR_OK)
        rc = virtual_fraction(arguments, "--speed", 1e6, &options->steps_per_second, error);
    if (rc == ERR_OK && options->steps_per_second <= 0)
        rc = error_set(error, ERR_INPUT, "--speed 0: a run that makes no step never ends");
    options->workers = (uint32_t)workers;
    return rc;
}

static void print_record(void *context, const struct record *record)
{
    (void)context;
    printf("%s %s\n", word_utc(record->at_ns).text, record_kind_name(record->kind));
}

static void print_result(const struct sim_result *result, const char *currency)
{
    char spent[64], useful[64], time[48], queue[48], held[48];
    struct writer writers[] = { writer_of(spent, sizeof spent),
                                writer_of(useful, sizeof useful), writer_of(time, sizeof time),
                                writer_of(queue, sizeof queue), writer_of(held, sizeof held) };
    money_write(&writers[0], result->spent_micros, currency);
    money_write(&writers[1], result->useful_micros, currency);
    writer_duration(&writers[2], result->makespan_ns);
    writer_duration(&writers[3], result->queue_ns);
    writer_duration(&writers[4], result->held_ns);
    printf("ended after %s with status %d\n", time, result->exit_status);
    printf("spent %s, of which on runs that finished %s\n", spent, useful);
    printf("runs: %u finished, %u stopped, %u failed, %u open\n", result->finished,
           result->stopped, result->failed, result->open);
    printf("runs waited %s in all; slots were held %s in all\n", queue, held);
    printf("%llu events, %llu records, digest %016llx\n", (unsigned long long)result->events,
           (unsigned long long)result->records, (unsigned long long)result->digest);
}

int verb_simulate(const struct arguments *arguments)
{
    struct campaign campaign;
    struct sim_options options;
    struct sim_result result;
    struct error error;
    char trainer[PROGRAM_PATH_BYTES];
    int64_t seed = 0;
    enum err rc = virtual_options(arguments, &options, &error);
    if (rc == ERR_OK) rc = arguments_number(arguments, "--seed", 0, INT64_MAX, &seed, &error);
    if (rc == ERR_OK)
        rc = virtual_fraction(arguments, "--crashes", 1e4, &options.faults.crash_per_hour,
                              &error);
    if (rc == ERR_OK) rc = path_of_trainer(trainer, &error);
    if (rc == ERR_OK) rc = campaign_load(arguments->words[0], trainer, &campaign, &error);
    if (rc != ERR_OK) return cli_fail(&error);
    options.seed = (uint64_t)seed;
    if (arguments_given(arguments, "--records")) options.record = print_record;
    rc = sim_run(&campaign, &options, &result, &error);
    if (rc == ERR_OK) print_result(&result, campaign.spec.currency);
    campaign_fini(&campaign);
    return rc == ERR_OK ? CLI_DONE : cli_fail(&error);
}
