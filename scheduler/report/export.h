/*
 * export.h - the ledger as files for other programs: CSV, JSON, SQLite, OpenMetrics.
 *
 * The tables are those of facts.h; docs/formats/report.md lists them. A file is written under another name and
 * renamed when it is whole; what stood there before stays until then.
 */
#ifndef SCHEDULER_REPORT_EXPORT_H
#define SCHEDULER_REPORT_EXPORT_H

#include "scheduler/report/model.h"

#define EXPORT_FORMATS(X)                                                                      \
    X(CSV, "csv") X(JSON, "json") X(SQLITE, "sqlite") X(OPENMETRICS, "openmetrics")

enum export_format {
#define X(id, name) EXPORT_##id,
    EXPORT_FORMATS(X) EXPORT_FORMAT_COUNT
#undef X
};

/* The format of that name, or EXPORT_FORMAT_COUNT. */
enum export_format export_format_of(struct text name);

/* Exports the ledger of the state directory `dir`. `path` is
 *   csv          a folder (made if need be) for NAME.csv of every table; or, when it ends in ".csv", a file for
 *                the one table that it is named after; NULL: the table `runs` to stdout
 *   json         a file, or NULL for stdout: the JSON report and, beside it, every record
 *   sqlite       a file; NULL is refused
 *   openmetrics  a file, or NULL for stdout
 * Fails as replay_run does, with ERR_INPUT for a path that does not suit, ERR_IO or ERR_NO_SPACE. */
must_use enum err export_write(const char *dir, enum export_format format, const char *path,
                               struct error *error);

/* ---- the writers behind it, for a model that is finished ----------------------------- */

struct facts_table;

void export_csv_table(const struct model *model, const struct facts_table *table, FILE *to);
must_use enum err export_csv(const struct model *model, const char *path, struct error *error);
must_use enum err export_sqlite(const struct model *model, const char *path,
                                struct error *error);
void export_openmetrics(const struct model *model, FILE *to);

/* A file that appears under its name only when it is whole. */
struct export_file {
    FILE *to;
    const char *path; /* borrowed; NULL: stdout */
    char part[4096];
};

/* ".part" is added to the path. */
must_use enum err export_part(const char *path, char *part, size_t part_bytes,
                              struct error *error);
must_use enum err export_open(struct export_file *file, const char *path, struct error *error);

/* Keeps the file when rc is ERR_OK and all was written, else removes it. Returns rc or the new failure. */
must_use enum err export_close(struct export_file *file, enum err rc, struct error *error);

#endif
