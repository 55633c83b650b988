/* metrics.c - see metrics.h. */
#include "scheduler/coordinator/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"
#include "scheduler/coordinator/files.h"
#include "scheduler/report/tfevents.h"

enum { METRICS_PATH_BYTES = 4096 };
#define FLUSH_EVERY_NS (2 * NS_PER_S)

struct metrics_run {
    struct tfevents *file;
    uint32_t attempt;  /* that the file is for */
    uint32_t given_up; /* attempt whose file could not be written; 0: none */
    int64_t flush_ns;  /* when it is flushed next */
    int64_t val_micro; /* ... and what it was */
};

enum err metrics_init(struct metrics *metrics, const char *state_dir, uint32_t run_count,
                      struct error *error)
{
    struct metrics_run *runs = calloc((size_t)run_count + 1, sizeof *runs);
    if (runs == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory for metrics");
    *metrics = (struct metrics){ .state_dir = state_dir, .run_count = run_count, .runs = runs };
    return ERR_OK;
}

static void close_file(struct metrics_run *run)
{
    struct error error;
    if (tfevents_close(run->file, &error) != ERR_OK)
        log_line(LOG_LEVEL_WARN, "metrics %s", error.text);
    run->file = NULL;
}

void metrics_fini(struct metrics *metrics)
{
    for (uint32_t i = 0; metrics->runs != NULL && i < metrics->run_count; i++)
        close_file(&metrics->runs[i]);
    free(metrics->runs);
    memset(metrics, 0, sizeof *metrics);
}

static void give_up(struct metrics_run *run, uint32_t attempt, const struct error *error)
{
    log_line(LOG_LEVEL_WARN, "metrics %s", error->text);
    tfevents_close(run->file, NULL);
    run->file = NULL;
    run->given_up = attempt;
}

/* The name holds the time, as TensorBoard wants it, then life and attempt, so that no file is ever met
 * twice. The folder is the agents' too: whoever comes first makes it. */
static enum err create_file(struct metrics *metrics, const struct core *core, uint32_t index,
                            uint32_t attempt, int64_t now_ns, struct error *error)
{
    char folder[METRICS_PATH_BYTES], path[METRICS_PATH_BYTES + 128];
    struct writer folder_writer = writer_of(folder, sizeof folder);
    struct writer writer = writer_of(path, sizeof path);
    writer_format(&folder_writer, "%s/runs/%s", metrics->state_dir,
                  core_run(core, index)->name);
    writer_format(&writer, "%s/events.out.tfevents.%lld.life%llu.attempt%u", folder,
                  (long long)(now_ns / NS_PER_S), (unsigned long long)core_epoch(core),
                  attempt);
    if (folder_writer.full || writer.full)
        return error_set(error, ERR_INPUT, "%s: too long a path", path);
    enum err rc = dir_make(folder, error);
    if (rc != ERR_OK) return rc;
    return tfevents_open(path, now_ns, &metrics->runs[index].file, error);
}

/* The file of the run's attempt, opened now if need be; NULL when there is none to be had. The name holds
 * the time, as TensorBoard wants it, then life and attempt, so that no file is ever met twice. */
static struct metrics_run *open_file(struct metrics *metrics, const struct core *core,
                                     uint32_t index, uint32_t attempt, int64_t now_ns)
{
    struct metrics_run *run = &metrics->runs[index];
    if (run->file != NULL && run->attempt == attempt) return run;
    if (run->given_up == attempt) return NULL;
    close_file(run);
    struct error error;
    if (create_file(metrics, core, index, attempt, now_ns, &error) != ERR_OK) {
        give_up(run, attempt, &error);
        return NULL;
    }
    run->attempt = attempt;
    run->flush_ns = now_ns + FLUSH_EVERY_NS;
    run->val_micro = LOSS_UNKNOWN;
    return run;
}

struct point {
    const char *tag;
    double value;
    bool known;
};

static void write_points(struct metrics_run *run, int64_t now_ns, uint64_t step,
                         const struct point *points, size_t count)
{
    struct error error;
    uint32_t attempt = run->attempt;
    enum err rc = ERR_OK;
    for (size_t i = 0; rc == ERR_OK && i < count; i++)
        if (points[i].known)
            rc = tfevents_scalar(run->file, now_ns, step, points[i].tag, points[i].value,
                                 &error);
    if (rc == ERR_OK && now_ns >= run->flush_ns) {
        run->flush_ns = now_ns + FLUSH_EVERY_NS;
        rc = tfevents_flush(run->file, &error);
    }
    if (rc != ERR_OK) give_up(run, attempt, &error);
}

static bool is_number(int64_t loss_micro)
{
    return loss_micro != LOSS_UNKNOWN && loss_micro != LOSS_NONFINITE;
}

void metrics_progress(struct metrics *metrics, const struct core *core, uint32_t index,
                      const struct run_figures *figures)
{
    struct metrics_run *run = open_file(metrics, core, index, figures->attempt, figures->at_ns);
    if (run == NULL) return;
    bool new_val =
        is_number(figures->val_loss_micro) && figures->val_loss_micro != run->val_micro;
    const struct point points[] = {
        { "loss", (double)figures->loss_micro / 1e6, is_number(figures->loss_micro) },
        { "val_loss", (double)figures->val_loss_micro / 1e6, new_val },
        { "tokens_per_s", figures->tokens_per_s, figures->tokens_per_s > 0 },
        { "learning_rate", figures->learning_rate, figures->learning_rate > 0 },
        { "grad_norm", figures->grad_norm, figures->grad_norm > 0 },
        { "spend", (double)core_run(core, index)->spent_micros / 1e6, true },
    };
    if (new_val) run->val_micro = figures->val_loss_micro;
    write_points(run, figures->at_ns, figures->step, points, ARRAY_COUNT(points));
}

void metrics_record(struct metrics *metrics, const struct core *core,
                    const struct record *record)
{
    if (record->kind == RECORD_ATTEMPT_ENDED) {
        close_file(&metrics->runs[record->as.attempt_ended.run]);
    } else if (record->kind == RECORD_WINDOW && record->as.window.util_ppm != UTIL_UNKNOWN) {
        const struct record_window *window = &record->as.window;
        struct metrics_run *run =
            open_file(metrics, core, window->run, window->attempt, record->at_ns);
        const struct point point = { "utilization", (double)window->util_ppm / 1e6, true };
        if (run != NULL) write_points(run, record->at_ns, window->step, &point, 1);
    } else if (record->kind == RECORD_GATE && is_number(record->as.gate.loss_micro)) {
        const struct record_gate *gate = &record->as.gate;
        struct metrics_run *run =
            open_file(metrics, core, gate->run, gate->attempt, record->at_ns);
        const struct point point = { "val_loss", (double)gate->loss_micro / 1e6, true };
        if (run == NULL) return;
        run->val_micro = gate->loss_micro;
        write_points(run, record->at_ns, gate->step, &point, 1);
    }
}
