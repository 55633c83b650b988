/* look.c - the verbs that read a state directory and change nothing: status, explain, report,
 * verify, export. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "proto/base/money.h"
#include "scheduler/cli.h"
#include "scheduler/coordinator/clock.h"
#include "scheduler/ledger/replay.h"
#include "scheduler/ledger/verify.h"
#include "scheduler/report/export.h"
#include "scheduler/report/report.h"
#include "scheduler/verbs/verbs.h"

static enum liveness liveness_of(const char *state_dir)
{
    struct ledger_holder holder;
    if (ledger_holder(state_dir, NULL, &holder, NULL) != ERR_OK) return LIVE_UNKNOWN;
    return holder.locked ? LIVE_YES : LIVE_NO;
}

/* ---- status
 * ------------------------------------------------------------------------------------- */

static bool campaign_over(const struct core *core)
{
    for (uint32_t i = 0; i < core_run_count(core); i++)
        if (core_run(core, i)->state < RUN_STATE_FINISHED) return false;
    return core_campaign(core) != NULL;
}

/* Prints the status once. *over: nothing more will change by itself. */
static enum err show_status(const char *state_dir, bool json, bool watch, bool *over,
                            struct error *error)
{
    struct core *core = NULL;
    struct replay_summary summary;
    enum err rc = replay_run(state_dir, NULL, &core, &summary, error);
    if (rc != ERR_OK) return rc;
    struct status_options options = { .live = liveness_of(state_dir),
                                      .state_folder = state_dir,
                                      .ended_runs = true };
    if (options.live == LIVE_YES) options.now_ns = max_i64(clock_wall_ns(), summary.head.at_ns);
    if (watch) printf("\033[H\033[J");
    rc = json ? status_write_json(core, &options, stdout, error)
              : status_write(core, &options, stdout, error);
    *over = campaign_over(core) || options.live == LIVE_NO;
    core_destroy(core);
    return rc;
}

int verb_status(const struct arguments *arguments)
{
    static const struct timespec pause = { 2, 0 };
    bool watch = arguments_given(arguments, "--watch"), over = false;
    bool json = arguments_given(arguments, "--json");
    struct error error;
    for (;;) {
        if (show_status(arguments->words[0], json, watch && !json, &over, &error) != ERR_OK)
            return cli_fail(&error);
        fflush(stdout);
        if (!watch || over) return CLI_DONE;
        nanosleep(&pause, NULL);
    }
}

/* ---- explain, report, export
 * --------------------------------------------------------------------- */

int verb_explain(const struct arguments *arguments)
{
    struct model_options options = { .state_folder = arguments->words[0] };
    struct model model;
    struct core *core = NULL;
    struct error error;
    enum err rc = model_load(arguments->words[0], &options, &model, &core, &error);
    if (rc == ERR_OK)
        rc = explain_write(&model, core, text_of(arguments->words[1]), stdout, &error);
    core_destroy(core);
    model_fini(&model);
    return rc == ERR_OK ? CLI_DONE : cli_fail(&error);
}

/* "7d", "12h", "30m", "45s" as nanoseconds. */
static enum err parse_age(const char *word, int64_t *age_ns, struct error *error)
{
    static const struct {
        char letter;
        int64_t ns;
    } units[] = {
        { 'd', 24 * NS_PER_HOUR }, { 'h', NS_PER_HOUR }, { 'm', NS_PER_MIN }, { 's', NS_PER_S }
    };
    size_t length = strlen(word);
    int64_t number = 0;
    for (size_t i = 0; length > 1 && i < ARRAY_COUNT(units); i++) {
        if (word[length - 1] != units[i].letter) continue;
        if (!text_to_i64((struct text){ word, length - 1 }, &number) || number < 0 ||
            number > INT64_MAX / units[i].ns)
            break;
        *age_ns = number * units[i].ns;
        return ERR_OK;
    }
    return error_set(error, ERR_INPUT,
                     "--since %s: an age such as 7d, 12h, 30m or 45s is wanted", word);
}

int verb_report(const struct arguments *arguments)
{
    const char *state_dir = arguments->words[0];
    struct model_options options = { .state_folder = state_dir };
    struct error error;
    const char *name = arguments_value(arguments, "--format");
    enum report_format format = report_format_of(text_of(name));
    if (format == REPORT_FORMAT_COUNT) {
        error_set(&error, ERR_INPUT, "--format %s: text, md, html or json is wanted", name);
        return cli_fail(&error);
    }
    int64_t age_ns = 0;
    const char *since = arguments_value(arguments, "--since");
    if (since != NULL && parse_age(since, &age_ns, &error) != ERR_OK) return cli_fail(&error);
    if (liveness_of(state_dir) == LIVE_YES) options.now_ns = clock_wall_ns();
    if (since != NULL) options.since_ns = max_i64(1, clock_wall_ns() - age_ns);
    struct model model;
    if (model_load(state_dir, &options, &model, NULL, &error) != ERR_OK)
        return cli_fail(&error);
    struct export_file file;
    enum err rc = export_open(&file, arguments_value(arguments, "--output"), &error);
    if (rc == ERR_OK) {
        rc = report_write(&model, format, file.to, &error);
        rc = export_close(&file, rc, &error);
    }
    model_fini(&model);
    return rc == ERR_OK ? CLI_DONE : cli_fail(&error);
}

/* ---- verify
 * -------------------------------------------------------------------------------------- */

int verb_verify(const struct arguments *arguments)
{
    struct verify_report report;
    struct error error;
    enum err rc = ledger_verify(arguments->words[0], NULL, &report, &error);
    if (rc != ERR_OK) return cli_fail(&error);
    char head[2 * SHA256_BYTES + 1];
    sha256_hex(&report.head.chain, head);
    printf("ledger ok: %llu records, %lld bytes, epoch %llu, %u runs, %u attempts\n",
           (unsigned long long)report.head.seq, (long long)report.head.bytes,
           (unsigned long long)report.head.epoch, report.totals.runs, report.totals.attempts);
    printf("money ok at every record: spent %lld + reserved %lld <= released %lld <= approved "
           "%lld "
           "(millionths)\n",
           (long long)report.totals.spent_micros, (long long)report.totals.reserved_micros,
           (long long)report.totals.released_micros, (long long)report.totals.approved_micros);
    printf("signatures ok: %llu\n", (unsigned long long)report.signatures);
    printf("acknowledged records: %s\n",
           report.acknowledged ? "all there" : "not known (no head in the lock file)");
    if (report.tail_bytes > 0)
        printf("unfinished tail: %lld bytes (a writer at work, or a crash; the next run cuts "
               "it)\n",
               (long long)report.tail_bytes);
    printf("head %s\n", head);
    return CLI_DONE;
}
