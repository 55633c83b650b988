#include "scheduler/report/export.h"

#include <errno.h>
#include <string.h>

#include "scheduler/ledger/replay.h"
#include "scheduler/report/json.h"
#include "scheduler/report/report.h"

enum export_format export_format_of(struct text name)
{
    static const char *const names[] = {
#define X(id, name) name,
        EXPORT_FORMATS(X)
#undef X
    };
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (text_is(name, names[i])) return (enum export_format)i;
    return EXPORT_FORMAT_COUNT;
}

/* ---- files --------------------------------------------------------------------------- */

enum err export_part(const char *path, char *part, size_t part_bytes, struct error *error)
{
    struct writer writer = writer_of(part, part_bytes);
    writer_format(&writer, "%s.part", path);
    if (writer.full || path[0] == '\0')
        return error_set(error, ERR_INPUT, "\"%s\" is no name for a file", path);
    return ERR_OK;
}

enum err export_open(struct export_file *file, const char *path, struct error *error)
{
    *file = (struct export_file){ .to = stdout, .path = path };
    if (!path) return ERR_OK;
    enum err rc = export_part(path, file->part, sizeof file->part, error);
    if (rc != ERR_OK) return rc;
    file->to = fopen(file->part, "we");
    return file->to ? ERR_OK : error_errno(error, "create %s", file->part);
}

enum err export_close(struct export_file *file, enum err rc, struct error *error)
{
    if (!file->path) return rc == ERR_OK ? out_check(file->to, "stdout", error) : rc;
    if (!file->to) return rc;
    if (rc == ERR_OK)
        rc = out_close(file->to, file->part, error);
    else
        fclose(file->to);
    if (rc == ERR_OK && rename(file->part, file->path) != 0)
        rc = error_errno(error, "rename %s to %s", file->part, file->path);
    if (rc != ERR_OK) remove(file->part);
    return rc;
}

/* ---- JSON: the report and all records ------------------------------------------------ */

struct record_sink {
    struct json json;
    uint64_t last_seq; /* what the report knows: a writer may have gone on since */
};

static enum err visit_record(void *context, const struct ledger_entry *entry,
                             const struct core *core, struct error *error)
{
    (void)core;
    (void)error;
    struct record_sink *sink = context;
    if (entry->seq <= sink->last_seq) json_record(&sink->json, entry->seq, &entry->record);
    return ERR_OK;
}

static enum err export_json(const struct model *model, const char *dir, FILE *to,
                            struct error *error)
{
    struct record_sink sink = { .json = { .to = to }, .last_seq = model->source.head_seq };
    struct core *core = NULL;
    struct replay_summary summary;
    json_begin(&sink.json, NULL, '{');
    report_json_members(model, &sink.json);
    json_begin(&sink.json, "records", '[');
    struct replay_options replay = { .visit = visit_record, .context = &sink };
    enum err rc = replay_run(dir, &replay, &core, &summary, error);
    core_destroy(core);
    json_end(&sink.json, ']');
    json_end(&sink.json, '}');
    return rc;
}

/* ---- all ----------------------------------------------------------------------------- */

static enum err export_stream(const struct model *model, const char *dir,
                              enum export_format format, const char *path, struct error *error)
{
    struct export_file file;
    enum err rc = export_open(&file, path, error);
    if (rc != ERR_OK) return rc;
    if (format == EXPORT_JSON)
        rc = export_json(model, dir, file.to, error);
    else
        export_openmetrics(model, file.to);
    return export_close(&file, rc, error);
}

enum err export_write(const char *dir, enum export_format format, const char *path,
                      struct error *error)
{
    struct model model;
    struct model_options options = { .keep_leases = true, .state_folder = dir };
    if (format == EXPORT_SQLITE && !path)
        return error_set(error, ERR_INPUT, "a SQLite file needs a name; give -o FILE");
    enum err rc = model_load(dir, &options, &model, NULL, error);
    if (rc != ERR_OK) return rc;
    switch (format) {
    case EXPORT_CSV: rc = export_csv(&model, path, error); break;
    case EXPORT_SQLITE: rc = export_sqlite(&model, path, error); break;
    case EXPORT_JSON:
    case EXPORT_OPENMETRICS: rc = export_stream(&model, dir, format, path, error); break;
    case EXPORT_FORMAT_COUNT: unreachable("export format");
    }
    model_fini(&model);
    return rc;
}
