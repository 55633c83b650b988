/*
 * report.h - the checkpoint review report, status and explanations, in all their forms.
 *
 *     model_load(...)  ->  report_write(model, format, stream)   the review report
 *                          export_write(...) in export.h          files for other programs
 *     core             ->  status_write(...), explain_write(...)  a look at the present
 *
 * Nothing here changes anything, takes a lock or loads anything from outside; everything that
 * came from people or trainers is written so that it stays text (out.h).
 */
#ifndef SCHEDULER_REPORT_REPORT_H
#define SCHEDULER_REPORT_REPORT_H

#include "scheduler/report/model.h"

#define REPORT_FORMATS(X) X(TEXT, "text") X(MARKDOWN, "md") X(HTML, "html") X(JSON, "json")

enum report_format {
#define X(id, name) REPORT_##id,
    REPORT_FORMATS(X) REPORT_FORMAT_COUNT
#undef X
};

enum { REPORT_SCHEMA_VERSION = 1, REPORT_COLUMNS = 100 };

/* The format of that name, or REPORT_FORMAT_COUNT. */
enum report_format report_format_of(struct text name);

/* Reads the ledger of the state directory `dir` into a model (model_fini releases it) and, when
 * `core` is not NULL, hands over the core as well (core_destroy). options may be NULL;
 * options->live LIVE_UNKNOWN is replaced by what the ledger's lock says. Fails as replay_run
 * does; *model is then empty. */
must_use enum err model_load(const char *dir, const struct model_options *options,
                             struct model *model, struct core **core, struct error *error);

/* Writes the whole report. ERR_IO or ERR_NO_SPACE when the stream fails. */
must_use enum err report_write(const struct model *model, enum report_format format, FILE *to,
                               struct error *error);

/* One screen about now, from the core alone: runs by state, a line per run that has not ended,
 * who is waited for since when, slots, money. Cheap: for `status` and for the live display. */
struct status_options {
    int64_t now_ns; /* 0: the core's time */
    enum liveness live;
    const char *state_folder; /* for the commands that are suggested; NULL: "STATE" */
    uint32_t run_lines_max;   /* open runs are shown first, then ended ones; 0: no limit */
    bool ended_runs;          /* ended runs too */
};

must_use enum err status_write(const struct core *core, const struct status_options *options,
                               FILE *to, struct error *error);

/* The same as JSON: {"schema":"penstock.status","version":1,...}. All runs, whatever the
 * options say. */
must_use enum err status_write_json(const struct core *core,
                                    const struct status_options *options, FILE *to,
                                    struct error *error);

/* Explains a run ("big"), a gate ("scale-up": everywhere it stands) or one gate of a run
 * ("big/scale-up"): what it waits for, or what was decided: inputs, rule, verdict, margin, next
 * step. ERR_NOT_FOUND, with the nearest names, when there is no such run or gate. */
must_use enum err explain_write(const struct model *model, const struct core *core,
                                struct text what, FILE *to, struct error *error);

/* The renderers behind report_write. */
void report_text(const struct model *model, FILE *to);
void report_markdown(const struct model *model, FILE *to);
void report_html(const struct model *model, FILE *to);
void report_json(const struct model *model, FILE *to);

struct json;
/* The members of the JSON report, for the export that adds the records. */
void report_json_members(const struct model *model, struct json *json);

#endif
