/*
 * export_csv.c - tables as RFC 4180: a heading, quoted where needed, CRLF. Unknown is empty; a loss that is not a
 * finite number is "nan".
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "scheduler/report/export.h"
#include "scheduler/report/facts.h"

struct csv {
    const struct facts_table *table;
    FILE *to;
};

static void out_heading(const struct facts_table *table, FILE *to)
{
    for (uint32_t f = 0; f < table->field_count; f++) {
        const struct field *field = &table->fields[f];
        fprintf(to, "%s%s%s", f > 0 ? "," : "", field->name, field_suffix(field->kind));
        if (field->kind == FIELD_TIME) fprintf(to, ",%s", field->name);
    }
    fputs("\r\n", to);
}

static void out_value(enum field_kind kind, const struct value *value, FILE *to)
{
    switch (kind) {
    case FIELD_TEXT:
        if (!value->is_null) out_csv(to, text_of(value->text));
        return;
    case FIELD_COUNT: fprintf(to, "%" PRIu64, value->count); return;
    case FIELD_BOOL: fputs(value->number ? "true" : "false", to); return;
    case FIELD_TIME:
        if (!value->is_null)
            fprintf(to, "%" PRId64 ",%s", value->number, word_rfc3339(value->number).text);
        else
            fputc(',', to);
        return;
    case FIELD_LOSS:
        if (value->is_null) return;
        if (loss_is_number(value->number))
            fprintf(to, "%" PRId64, value->number);
        else
            fputs("nan", to);
        return;
    case FIELD_INT:
    case FIELD_MONEY:
    case FIELD_DURATION:
    case FIELD_PPM:
        if (!value->is_null) fprintf(to, "%" PRId64, value->number);
        return;
    }
}

static bool out_row(void *context, const struct value *values)
{
    const struct csv *csv = context;
    for (uint32_t f = 0; f < csv->table->field_count; f++) {
        if (f > 0) fputc(',', csv->to);
        out_value(csv->table->fields[f].kind, &values[f], csv->to);
    }
    fputs("\r\n", csv->to);
    return true;
}

void export_csv_table(const struct model *model, const struct facts_table *table, FILE *to)
{
    struct csv csv = { table, to };
    out_heading(table, to);
    table->rows(model, &(struct facts_sink){ &csv, out_row });
}

static enum err export_table(const struct model *model, const struct facts_table *table,
                             const char *path, struct error *error)
{
    struct export_file file;
    enum err rc = export_open(&file, path, error);
    if (rc != ERR_OK) return rc;
    export_csv_table(model, table, file.to);
    return export_close(&file, ERR_OK, error);
}

static enum err export_folder(const struct model *model, const char *path, struct error *error)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return error_errno(error, "make the folder %s", path);
    for (uint32_t t = 0; t < facts_table_count; t++) {
        char name[4096];
        struct writer writer = writer_of(name, sizeof name);
        writer_format(&writer, "%s/%s.csv", path, facts_tables[t].name);
        if (writer.full) return error_set(error, ERR_INPUT, "the path %s is too long", path);
        enum err rc = export_table(model, &facts_tables[t], name, error);
        if (rc != ERR_OK) return rc;
    }
    return ERR_OK;
}

/* "a/b/decisions.csv" -> "decisions"; empty when it does not end so. */
static struct text table_name(const char *path)
{
    static const char ending[] = ".csv";
    size_t len = strlen(path), end = sizeof ending - 1;
    if (len <= end || strcmp(path + len - end, ending) != 0) return text_of("");
    size_t from = len - end;
    while (from > 0 && path[from - 1] != '/')
        from--;
    return (struct text){ path + from, len - end - from };
}

enum err export_csv(const struct model *model, const char *path, struct error *error)
{
    if (!path) return export_table(model, facts_find(TEXT("runs")), NULL, error);
    struct text name = table_name(path);
    if (name.len == 0) return export_folder(model, path, error);
    const struct facts_table *table = facts_find(name);
    if (table) return export_table(model, table, path, error);
    char names[512];
    struct writer writer = writer_of(names, sizeof names);
    for (uint32_t t = 0; t < facts_table_count; t++)
        writer_format(&writer, "%s%s", t > 0 ? ", " : "", facts_tables[t].name);
    return error_set(
        error, ERR_INPUT,
        "there is no table \"%.*s\"; name the file after one of %s, or give a folder",
        (int)(name.len < 64 ? name.len : 64), name.data, names);
}
