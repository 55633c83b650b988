/*
 * export_sqlite.c - the tables as a SQLite database: the only file that knows SQLite. Numbers are INTEGER in the
 * units that the column names say; times are also there as text; unknown is NULL.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

#include "scheduler/report/export.h"
#include "scheduler/report/facts.h"

struct inserter {
    sqlite3 *db;
    sqlite3_stmt *insert;
    const struct facts_table *table;
    enum err rc;
    struct error *error;
};

static enum err sqlite_failed(sqlite3 *db, const char *what, struct error *error)
{
    int code = sqlite3_errcode(db) & 0xFF;
    return error_set(error, code == SQLITE_FULL ? ERR_NO_SPACE : ERR_IO, "SQLite, %s: %s", what,
                     sqlite3_errmsg(db));
}

static enum err run_sql(sqlite3 *db, const char *sql, struct error *error)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? ERR_OK
                                                                : sqlite_failed(db, sql, error);
}

/* Names are quoted: some, such as "to", are words of SQL. */
static void table_sql(const struct facts_table *table, struct writer *create,
                      struct writer *insert)
{
    writer_format(create, "CREATE TABLE \"%s\" (", table->name);
    writer_format(insert, "INSERT INTO \"%s\" VALUES (", table->name);
    for (uint32_t f = 0; f < table->field_count; f++) {
        const struct field *field = &table->fields[f];
        const char *comma = f > 0 ? ", " : "";
        writer_format(create, "%s\"%s%s\" %s", comma, field->name, field_suffix(field->kind),
                      field->kind == FIELD_TEXT ? "TEXT" : "INTEGER");
        writer_format(insert, "%s?", comma);
        if (field->kind != FIELD_TIME) continue;
        writer_format(create, ", \"%s\" TEXT", field->name);
        writer_string(insert, ", ?");
    }
    writer_string(create, ")");
    writer_string(insert, ")");
}

static void bind_text(sqlite3_stmt *insert, int *at, const char *text)
{
    sqlite3_bind_text(insert, (*at)++, text, -1, SQLITE_TRANSIENT);
}

static void bind_value(sqlite3_stmt *insert, int *at, enum field_kind kind,
                       const struct value *value)
{
    bool number = !value->is_null && (kind != FIELD_LOSS || loss_is_number(value->number));
    switch (kind) {
    case FIELD_TEXT:
        if (value->is_null)
            sqlite3_bind_null(insert, (*at)++);
        else
            bind_text(insert, at, value->text);
        return;
    case FIELD_COUNT:
        sqlite3_bind_int64(insert, (*at)++,
                           value->count > (uint64_t)INT64_MAX ? INT64_MAX
                                                              : (int64_t)value->count);
        return;
    case FIELD_INT:
    case FIELD_BOOL:
    case FIELD_MONEY:
    case FIELD_TIME:
    case FIELD_DURATION:
    case FIELD_LOSS:
    case FIELD_PPM:
        if (number)
            sqlite3_bind_int64(insert, (*at)++, value->number);
        else
            sqlite3_bind_null(insert, (*at)++);
        if (kind != FIELD_TIME) return;
        if (number)
            bind_text(insert, at, word_rfc3339(value->number).text);
        else
            sqlite3_bind_null(insert, (*at)++);
        return;
    }
}

static bool insert_row(void *context, const struct value *values)
{
    struct inserter *inserter = context;
    int at = 1;
    sqlite3_reset(inserter->insert);
    for (uint32_t f = 0; f < inserter->table->field_count; f++)
        bind_value(inserter->insert, &at, inserter->table->fields[f].kind, &values[f]);
    if (sqlite3_step(inserter->insert) == SQLITE_DONE) return true;
    inserter->rc = sqlite_failed(inserter->db, inserter->table->name, inserter->error);
    return false;
}

static enum err write_table(sqlite3 *db, const struct model *model,
                            const struct facts_table *table, struct error *error)
{
    char create_sql[4096], insert_sql[1024];
    struct writer create = writer_of(create_sql, sizeof create_sql);
    struct writer insert = writer_of(insert_sql, sizeof insert_sql);
    table_sql(table, &create, &insert);
    check(!create.full);
    check(!insert.full);
    enum err rc = run_sql(db, create_sql, error);
    if (rc != ERR_OK) return rc;
    struct inserter inserter = { .db = db, .table = table, .error = error };
    if (sqlite3_prepare_v2(db, insert_sql, -1, &inserter.insert, NULL) != SQLITE_OK)
        return sqlite_failed(db, table->name, error);
    table->rows(model, &(struct facts_sink){ &inserter, insert_row });
    sqlite3_finalize(inserter.insert);
    return inserter.rc;
}

static enum err write_all(sqlite3 *db, const struct model *model, struct error *error)
{
    /* The file is thrown away when anything fails: it needs no journal. */
    enum err rc = run_sql(db, "PRAGMA journal_mode = OFF", error);
    if (rc == ERR_OK) rc = run_sql(db, "BEGIN", error);
    for (uint32_t t = 0; rc == ERR_OK && t < facts_table_count; t++)
        rc = write_table(db, model, &facts_tables[t], error);
    if (rc == ERR_OK) rc = run_sql(db, "COMMIT", error);
    return rc;
}

enum err export_sqlite(const struct model *model, const char *path, struct error *error)
{
    char part[4096];
    sqlite3 *db = NULL;
    enum err rc = export_part(path, part, sizeof part, error);
    if (rc != ERR_OK) return rc;
    remove(part); /* left by an export that was interrupted; SQLite would add to it */
    if (sqlite3_open_v2(part, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
        SQLITE_OK)
        rc = db ? sqlite_failed(db, part, error)
                : error_set(error, ERR_NO_MEMORY, "no memory for SQLite");
    if (rc == ERR_OK) rc = write_all(db, model, error);
    if (sqlite3_close(db) != SQLITE_OK && rc == ERR_OK) rc = sqlite_failed(db, part, error);
    if (rc == ERR_OK && rename(part, path) != 0)
        rc = error_errno(error, "rename %s to %s", part, path);
    if (rc != ERR_OK) remove(part);
    return rc;
}
