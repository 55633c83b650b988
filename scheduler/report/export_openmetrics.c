/*
 * export_openmetrics.c - the campaign's figures in the OpenMetrics text format, for a scraper's text-file
 * collector. What is unknown has no sample.
 */

#include <inttypes.h>
#include <string.h>

#include "scheduler/report/export.h"

struct exposition {
    FILE *to;
    const struct model *model;
};

static void family(const struct exposition *out, const char *name, const char *type,
                   const char *unit, const char *help)
{
    fprintf(out->to, "# TYPE %s %s\n", name, type);
    if (unit) fprintf(out->to, "# UNIT %s %s\n", name, unit);
    fprintf(out->to, "# HELP %s %s\n", name, help);
}

/* A label's value: backslash, quote and line end are escaped, hostile characters replaced. */
static void out_label(FILE *to, const char *value)
{
    struct text text = text_of(value);
    while (text.len > 0) {
        struct text rest = text;
        text_next_rune(&rest);
        struct text one = { text.data, text.len - rest.len };
        if (one.data[0] == '\n')
            fputs("\\n", to);
        else if (one.data[0] == '"' || one.data[0] == '\\')
            fprintf(to, "\\%c", one.data[0]);
        else
            out_plain(to, one);
        text = rest;
    }
}

/* NAME{campaign="...",KEY="VALUE"} without the number; key may be NULL. */
static void sample(const struct exposition *out, const char *name, const char *key,
                   const char *value)
{
    fprintf(out->to, "%s{campaign=\"", name);
    out_label(out->to, out->model->campaign ? out->model->campaign->name : "");
    fputc('"', out->to);
    if (key) {
        fprintf(out->to, ",%s=\"", key);
        out_label(out->to, value);
        fputc('"', out->to);
    }
    fputs("} ", out->to);
}

/* Millionths as an exact decimal number. */
static void out_micros(const struct exposition *out, int64_t micros)
{
    uint64_t magnitude = micros < 0 ? 0 - (uint64_t)micros : (uint64_t)micros;
    fprintf(out->to, "%s%" PRIu64 ".%06" PRIu64 "\n", micros < 0 ? "-" : "",
            magnitude / 1000000, magnitude % 1000000);
}

static void out_seconds(const struct exposition *out, int64_t duration_ns)
{
    fprintf(out->to, "%" PRId64 ".%09" PRId64 "\n", duration_ns / NS_PER_S,
            duration_ns % NS_PER_S);
}

static void put_money(const struct exposition *out)
{
    const struct model_money *m = &out->model->money;
    const struct {
        const char *kind;
        int64_t micros;
    } rows[] = { { "budget", m->budget_micros },     { "approved", m->approved_micros },
                 { "released", m->released_micros }, { "reserved", m->reserved_micros },
                 { "spent", m->spent_micros },       { "lost", m->lost_micros } };
    family(out, "penstock_money", "gauge", NULL, "Money of the campaign, in its currency.");
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        sample(out, "penstock_money", "kind", rows[i].kind);
        out_micros(out, rows[i].micros);
    }
}

static void put_states(const struct exposition *out)
{
    family(out, "penstock_runs", "gauge", NULL, "Runs by state.");
    for (int state = 0; state < RUN_STATE_COUNT; state++) {
        sample(out, "penstock_runs", "state", run_state_name((enum run_state)state));
        fprintf(out->to, "%" PRIu32 "\n", out->model->state_count[state]);
    }
}

static void put_runs(const struct exposition *out)
{
    const struct model *model = out->model;
    family(out, "penstock_run_spent", "gauge", NULL,
           "Settled spend of a run, in the currency.");
    for (uint32_t r = 0; r < model->run_count; r++) {
        sample(out, "penstock_run_spent", "run", model->runs[r].name);
        out_micros(out, model->runs[r].spent_micros);
    }
    /* A restart goes back to a checkpoint, so steps and tokens may fall: gauges. */
    family(out, "penstock_run_step", "gauge", NULL, "Optimizer step that a run has reached.");
    for (uint32_t r = 0; r < model->run_count; r++) {
        sample(out, "penstock_run_step", "run", model->runs[r].name);
        fprintf(out->to, "%" PRIu64 "\n", model->runs[r].step);
    }
    family(out, "penstock_run_tokens", "gauge", NULL, "Accepted tokens of a run.");
    for (uint32_t r = 0; r < model->run_count; r++) {
        sample(out, "penstock_run_tokens", "run", model->runs[r].name);
        fprintf(out->to, "%" PRIu64 "\n", model->runs[r].tokens);
    }
    family(out, "penstock_run_held_out_loss", "gauge", NULL,
           "Best held-out loss of a run, in nats.");
    for (uint32_t r = 0; r < model->run_count; r++) {
        if (!loss_is_number(model->runs[r].val_best_micro)) continue;
        sample(out, "penstock_run_held_out_loss", "run", model->runs[r].name);
        out_micros(out, model->runs[r].val_best_micro);
    }
    family(out, "penstock_run_utilization_ratio", "gauge", "ratio",
           "Mean utilization of a run's windows.");
    for (uint32_t r = 0; r < model->run_count; r++) {
        if (model->runs[r].util_ppm < 0) continue;
        sample(out, "penstock_run_utilization_ratio", "run", model->runs[r].name);
        out_micros(out, model->runs[r].util_ppm);
    }
}

static void put_counts(const struct exposition *out)
{
    const struct model *model = out->model;
    uint64_t verdicts[VERDICT_COUNT] = { 0 }, incidents[INCIDENT_COUNT] = { 0 };
    for (uint32_t i = 0; i < model->decision_count; i++)
        verdicts[model->decisions[i].verdict]++;
    for (uint32_t i = 0; i < model->incident_count; i++)
        incidents[model->incidents[i].incident]++;
    family(out, "penstock_decisions", "counter", NULL, "Decisions by verdict.");
    for (int v = VERDICT_NONE + 1; v < VERDICT_COUNT; v++) {
        sample(out, "penstock_decisions_total", "verdict", verdict_name((enum verdict)v));
        fprintf(out->to, "%" PRIu64 "\n", verdicts[v]);
    }
    family(out, "penstock_incidents", "counter", NULL, "Incidents by kind.");
    for (int i = 0; i < INCIDENT_COUNT; i++) {
        sample(out, "penstock_incidents_total", "incident", incident_name((enum incident)i));
        fprintf(out->to, "%" PRIu64 "\n", incidents[i]);
    }
    family(out, "penstock_waiting_decisions", "gauge", NULL,
           "Questions that wait for a person.");
    sample(out, "penstock_waiting_decisions", NULL, NULL);
    fprintf(out->to, "%" PRIu32 "\n", model->wait_count);
    family(out, "penstock_ledger_records", "counter", NULL, "Records in the ledger.");
    sample(out, "penstock_ledger_records_total", NULL, NULL);
    fprintf(out->to, "%" PRIu64 "\n", model->record_count);
}

static void put_slots(const struct exposition *out)
{
    const struct model *model = out->model;
    uint64_t present = 0, busy = 0;
    for (uint32_t w = 0; w < model->worker_count; w++)
        present += model->workers[w].present;
    for (uint32_t h = 0; h < model->hold_count; h++)
        busy += model->holds[h].open;
    family(out, "penstock_slots", "gauge", NULL, "Slots by use.");
    sample(out, "penstock_slots", "state", "busy");
    fprintf(out->to, "%" PRIu64 "\n", busy);
    sample(out, "penstock_slots", "state", "idle");
    fprintf(out->to, "%" PRIu64 "\n", present > busy ? present - busy : 0);
    family(out, "penstock_slot_seconds", "counter", "seconds", "Time of slots by use.");
    sample(out, "penstock_slot_seconds_total", "state", "busy");
    out_seconds(out, model->slot_busy_ns);
    sample(out, "penstock_slot_seconds_total", "state", "idle");
    out_seconds(out, model->slot_idle_ns);
}

void export_openmetrics(const struct model *model, FILE *to)
{
    struct exposition out = { to, model };
    family(&out, "penstock_build", "info", NULL, "The program that wrote this.");
    fprintf(to, "penstock_build_info{version=\"%s\"} 1\n", PENSTOCK_VERSION);
    if (model->campaign) {
        put_money(&out);
        put_states(&out);
        put_runs(&out);
        put_slots(&out);
    }
    put_counts(&out);
    fputs("# EOF\n", to);
}
