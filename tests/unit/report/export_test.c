/* Exports of a real ledger, written with the fixture's records. */
#include "scheduler/report/export.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "scheduler/ledger/ledger.h"
#include "scheduler/report/facts.h"
#include "scheduler/report/report.h"
#include "tests/unit/report/fixture.h"

static char folder[] = "/tmp/penstock-export-XXXXXX";
static char state_dir[64], out_dir[64];

static const char *at(const char *name)
{
    static char path[2][160];
    static unsigned turn;
    char *to = path[turn++ % 2];
    struct writer writer = writer_of(to, 160);
    writer_format(&writer, "%s/%s", out_dir, name);
    return to;
}

static void append(void *context, const struct record *record, uint64_t seq)
{
    (void)seq;
    struct error error;
    if (ledger_append(context, record, &error) != ERR_OK) fail_msg("%s", error.text);
}

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    struct writer writer = writer_of(state_dir, sizeof state_dir);
    writer_format(&writer, "%s/state", folder);
    writer = writer_of(out_dir, sizeof out_dir);
    writer_format(&writer, "%s/out", folder);
    assert_int_equal(mkdir(state_dir, 0777), 0);
    assert_int_equal(mkdir(out_dir, 0777), 0);
    struct ledger *ledger;
    struct ledger_options options = { .host = "node-a", .pid = 1 };
    assert_int_equal(ledger_open(state_dir, &options, &ledger, NULL), ERR_OK);
    struct fixture fixture;
    struct model_options none = { 0 };
    fixture_begin(&fixture, &none, 16);
    fixture.also = append;
    fixture.context = ledger;
    fixture_campaign(&fixture, NULL);
    fixture_end(&fixture);
    assert_int_equal(ledger_commit(ledger, NULL), ERR_OK);
    ledger_close(ledger);
    return 0;
}

static void remove_all(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char name[512];
        struct writer writer = writer_of(name, sizeof name);
        writer_format(&writer, "%s/%s", path, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlink(name) != 0)
            remove_all(name);
    }
    closedir(dir);
    rmdir(path);
}

static int tear_down(void **state)
{
    (void)state;
    remove_all(folder);
    return 0;
}

static char *read_all(const char *path)
{
    FILE *from = fopen(path, "rbe");
    if (!from) fail_msg("%s is not there", path);
    fseek(from, 0, SEEK_END);
    size_t bytes = (size_t)ftell(from);
    rewind(from);
    char *data = calloc(1, bytes + 1);
    assert_int_equal(fread(data, 1, bytes, from), bytes);
    fclose(from);
    return data;
}

static size_t count_of(const char *text, const char *word)
{
    size_t count = 0;
    for (const char *found = text; (found = strstr(found, word)); found++)
        count++;
    return count;
}

static void test_load(void **state)
{
    (void)state;
    struct model model;
    struct core *core;
    struct error error;
    assert_int_equal(model_load(state_dir, NULL, &model, &core, &error), ERR_OK);
    assert_int_equal(model.money.spent_micros, 6705003);
    assert_int_equal(model.phase, PHASE_INTERRUPTED); /* nobody holds the lock */
    assert_int_equal(model.source.head_seq, model.record_count);
    assert_non_null(core);
    core_destroy(core);
    model_fini(&model);
    assert_int_equal(model_load("/nowhere", NULL, &model, NULL, &error), ERR_NOT_FOUND);
}

static void test_csv(void **state)
{
    (void)state;
    struct error error;
    assert_int_equal(export_write(state_dir, EXPORT_CSV, at("csv"), &error), ERR_OK);
    for (uint32_t t = 0; t < facts_table_count; t++) {
        char name[200];
        struct writer writer = writer_of(name, sizeof name);
        writer_format(&writer, "%s/csv/%s.csv", out_dir, facts_tables[t].name);
        char *text = read_all(name);
        assert_true(count_of(text, "\r\n") >= 1);
        free(text);
    }
    assert_int_equal(export_write(state_dir, EXPORT_CSV, at("runs.csv"), &error), ERR_OK);
    char *text = read_all(at("runs.csv"));
    assert_int_equal(count_of(text, "\r\n"), 1 + 7);
    assert_non_null(strstr(text, "run,tenant,owner,class,ranks,state,"));
    assert_non_null(strstr(text, "\r\nbase,vision,ada,cpu,1,finished,done,1795514400000000000,"
                                 "2026-11-24T10:00:00.000000000Z,"));
    free(text);
    assert_int_equal(export_write(state_dir, EXPORT_CSV, at("cats.csv"), &error), ERR_INPUT);
    assert_non_null(strstr(error.text, "decisions"));
    assert_int_equal(export_write(state_dir, EXPORT_CSV, "/dev/null/x", &error), ERR_IO);
}

static void test_json(void **state)
{
    (void)state;
    struct error error;
    assert_int_equal(export_write(state_dir, EXPORT_JSON, at("all.json"), &error), ERR_OK);
    char *text = read_all(at("all.json"));
    struct model model;
    assert_int_equal(model_load(state_dir, NULL, &model, NULL, &error), ERR_OK);
    assert_int_equal(count_of(text, "{\"seq\": "), model.record_count);
    assert_non_null(strstr(text, "\"records\": ["));
    model_fini(&model);
    free(text);
    assert_int_equal(access(at("all.json.part"), F_OK), -1);
}

static int64_t ask(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *query;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &query, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(query), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(query, 0);
    sqlite3_finalize(query);
    return value;
}

static void test_sqlite(void **state)
{
    (void)state;
    struct error error;
    sqlite3 *db;
    assert_int_equal(export_write(state_dir, EXPORT_SQLITE, NULL, &error), ERR_INPUT);
    for (int i = 0; i < 2; i++) /* the second export takes the first one's place */
        assert_int_equal(export_write(state_dir, EXPORT_SQLITE, at("all.db"), &error), ERR_OK);
    assert_int_equal(sqlite3_open_v2(at("all.db"), &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(ask(db, "select count(*) from runs"), 7);
    assert_int_equal(ask(db, "select sum(spent_micros) from runs"), 6705003);
    assert_int_equal(ask(db, "select spent_micros from money"), 6705003);
    assert_int_equal(ask(db, "select count(*) from decisions where verdict = 'NO-GO'"), 1);
    assert_int_equal(ask(db, "select count(*) from windows where util_ppm is null"), 3);
    assert_int_equal(ask(db, "select count(*) from leases"),
                     22); /* 10 placed, 3 renewed, 9 ended */
    assert_int_equal(
        ask(db, "select sum(settled_micros) from attempts where ended_ns is not null"),
        6705003 - 996667);
    assert_int_equal(ask(db, "select count(*) from holds where \"to\" like '2026-11-24T10:%'"),
                     13);
    sqlite3_close(db);
    assert_int_equal(export_write(state_dir, EXPORT_SQLITE, at("no/such/all.db"), &error),
                     ERR_IO);
}

static void test_openmetrics(void **state)
{
    (void)state;
    struct error error;
    assert_int_equal(export_write(state_dir, EXPORT_OPENMETRICS, at("m.txt"), &error), ERR_OK);
    char *text = read_all(at("m.txt"));
    size_t length = strlen(text);
    assert_string_equal(text + length - 6, "# EOF\n");
    assert_non_null(
        strstr(text, "penstock_money{campaign=\"first-light\",kind=\"spent\"} 6.705003\n"));
    assert_non_null(
        strstr(text, "penstock_decisions_total{campaign=\"first-light\",verdict=\"GO\"} 6\n"));
    assert_int_equal(count_of(text, "# EOF"), 1);
    /* Each family is declared once, before its samples. */
    assert_int_equal(count_of(text, "# TYPE penstock_run_spent gauge"), 1);
    assert_true(strstr(text, "# TYPE penstock_run_spent ") <
                strstr(text, "penstock_run_spent{"));
    free(text);
}

static void test_openmetrics_labels(void **state)
{
    (void)state;
    struct fixture fixture;
    struct model_options none = { 0 };
    fixture_begin(&fixture, &none, 16);
    fixture_campaign(&fixture, &(struct fixture_names){ .run = "a\"b\\c\nd\x1b" });
    char *data = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&data, &bytes);
    export_openmetrics(&fixture.model, to);
    fclose(to);
    assert_non_null(strstr(data, "run=\"a\\\"b\\\\c\\nd\xEF\xBF\xBD\"} "));
    free(data);
    fixture_end(&fixture);
}

static void test_names(void **state)
{
    (void)state;
    assert_int_equal(export_format_of(TEXT("csv")), EXPORT_CSV);
    assert_int_equal(export_format_of(TEXT("openmetrics")), EXPORT_OPENMETRICS);
    assert_int_equal(export_format_of(TEXT("xml")), EXPORT_FORMAT_COUNT);
    for (uint32_t t = 0; t < facts_table_count; t++) {
        assert_ptr_equal(facts_find(text_of(facts_tables[t].name)), &facts_tables[t]);
        assert_true(facts_tables[t].field_count <= FIELDS_MAX);
    }
    assert_null(facts_find(TEXT("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_json),        cmocka_unit_test(test_sqlite),
        cmocka_unit_test(test_openmetrics), cmocka_unit_test(test_openmetrics_labels),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
