/*
 * runbook.c - what is done about incidents: the file's rows, then the rows that are always
 * there.
 *
 * The default rows end crash loops: what a program does wrong is tried again a few times, what
 * a bad configuration does wrong is not, and being preempted costs no retry at all.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "scheduler/campaign/internal.h"
#include "scheduler/campaign/units.h"

#define STEP(what, times)                                                                      \
    {                                                                                          \
        RUNBOOK_##what, times                                                                  \
    }
#define FOREVER RUNBOOK_UNLIMITED

/* One row a line. */
/* clang-format off */
static const struct runbook_row default_rows[] = {
    /* The built-in trainer says by its exit code what a new start would not mend. */
    { INCIDENT_TRAINER_FAILED, 2, "", true, 1, { STEP(STOP, FOREVER) } }, /* bad configuration
    */
    { INCIDENT_TRAINER_FAILED, 3, "", true, 1, { STEP(STOP, FOREVER) } }, /* no data */
    { INCIDENT_TRAINER_FAILED, 4, "", true, 1, { STEP(STOP, FOREVER) } }, /* bad checkpoint */
    { INCIDENT_TRAINER_FAILED, 5, "", true, 1, { STEP(STOP, FOREVER) } }, /* loss not finite */
    { INCIDENT_TRAINER_FAILED, 7, "", true, 1, { STEP(STOP, FOREVER) } }, /* no such backend */
    { INCIDENT_TRAINER_FAILED, 6, "", true, 3, { STEP(RESTART, 5), STEP(PARK, 1), STEP(STOP, FOREVER) } }, /* gang */
    { INCIDENT_TRAINER_FAILED, 8, "", true, 2, { STEP(PARK, 3), STEP(STOP, FOREVER) } }, /* no space */
    { INCIDENT_TRAINER_FAILED, 10, "", true, 3, { STEP(RESTART, 5), STEP(PARK, 1), STEP(STOP, FOREVER) } }, /* GPU */
    { INCIDENT_NONFINITE_LOSS, RUNBOOK_EXIT_ANY, "", true, 1, { STEP(STOP, FOREVER) } },
    { INCIDENT_NONFINITE_LOSS, RUNBOOK_EXIT_ANY, "", false, 2, { STEP(RESTART, 1), STEP(STOP, FOREVER) } },
    { INCIDENT_TRAINER_FAILED, RUNBOOK_EXIT_ANY, "", false, 2, { STEP(RESTART, 3), STEP(STOP, FOREVER) } },
    { INCIDENT_START_TIMEOUT, RUNBOOK_EXIT_ANY, "", false, 2, { STEP(RESTART, 2), STEP(STOP, FOREVER) } },
    { INCIDENT_GATE_MISSED, RUNBOOK_EXIT_ANY, "", false, 1, { STEP(STOP, FOREVER) } },
    { INCIDENT_HANG, RUNBOOK_EXIT_ANY, "", false, 3, { STEP(RESTART, 3), STEP(PARK, 1), STEP(STOP, FOREVER) } },
    { INCIDENT_LAUNCH_FAILED, RUNBOOK_EXIT_ANY, "", false, 2, { STEP(RESTART, 3), STEP(STOP, FOREVER) } },
    { INCIDENT_LOST_WORKER, RUNBOOK_EXIT_ANY, "", false, 3, { STEP(RESTART, 20), STEP(PARK, 3), STEP(STOP, FOREVER) } },
    { INCIDENT_LEASE_EXPIRED, RUNBOOK_EXIT_ANY, "", false, 1, { STEP(RESTART, FOREVER) } },
    { INCIDENT_COORDINATOR_LOST, RUNBOOK_EXIT_ANY, "", false, 1, { STEP(RESTART, FOREVER) } },
};
/* clang-format on */

static const char *const incident_words[INCIDENT_COUNT] = {
    [INCIDENT_TRAINER_FAILED] = "trainer_failed",
    [INCIDENT_START_TIMEOUT] = "start_timeout",
    [INCIDENT_HANG] = "hang",
    [INCIDENT_NONFINITE_LOSS] = "nonfinite_loss",
    [INCIDENT_LAUNCH_FAILED] = "launch_failed",
    [INCIDENT_LOST_WORKER] = "lost_worker",
    [INCIDENT_LEASE_EXPIRED] = "lease_expired",
    [INCIDENT_COORDINATOR_LOST] = "coordinator_lost",
    [INCIDENT_GATE_MISSED] = "gate_missed",
};

static const char *const trainer_words[] = { "any", "builtin" };

struct row_read {
    struct entry *incident, *exit_code, *match, *trainer, *steps;
};

#define ROW(member) offsetof(struct row_read, member)

static const struct field row_rows[] = {
    { .key = "incident", FIELD_ENTRY, ROW(incident), .required = true },
    { .key = "exit_code", FIELD_ENTRY, ROW(exit_code) },
    { .key = "match", FIELD_ENTRY, ROW(match) },
    { .key = "trainer", FIELD_ENTRY, ROW(trainer) },
    { .key = "do", FIELD_ENTRY, ROW(steps), .required = true },
};
static const struct fields row_fields = { "runbook.", row_rows, ARRAY_COUNT(row_rows) };

/* ---- steps --------------------------------------------------------------------------- */

static enum err action_named(const struct reader *reader, uint32_t line, struct text word,
                             enum runbook_action *action)
{
    for (uint32_t a = RUNBOOK_RESTART; a < RUNBOOK_ACTION_COUNT; a++) {
        if (!text_is(word, runbook_action_name((enum runbook_action)a))) continue;
        *action = (enum runbook_action)a;
        return ERR_OK;
    }
    return reader_fail(reader, line, "runbook.do",
                       "`%.40s` is not an action; write one of: restart, park, hold, stop",
                       word.data);
}

/* "stop", "hold", "{restart: 2}", "{park: unlimited}". */
static enum err step_read(const struct reader *reader, const struct entry *item,
                          struct runbook_step *step)
{
    static const struct field row = { .key = "times", FIELD_COUNT, 0, 1, 1000 };
    const struct node *node = item->value;
    enum err rc;
    step->limit = RUNBOOK_UNLIMITED;
    if (node->kind == NODE_SCALAR) {
        if ((rc = action_named(reader, item->line, node->text, &step->action)) != ERR_OK)
            return rc;
        if (step->action == RUNBOOK_STOP || step->action == RUNBOOK_HOLD) return ERR_OK;
        return reader_fail(reader, item->line, "runbook.do",
                           "say how often: {%s: 2}, or {%s: unlimited}", node->text.data,
                           node->text.data);
    }
    if ((rc = expect_kind(reader, "runbook.do", item, NODE_MAP)) != ERR_OK) return rc;
    if (node->count != 1)
        return reader_fail(reader, item->line, "runbook.do",
                           "one action an item; write [{restart: 2}, stop]");
    const struct entry *only = node->first;
    if ((rc = action_named(reader, only->line, only->key, &step->action)) != ERR_OK) return rc;
    if (only->value->kind == NODE_SCALAR && text_is(only->value->text, "unlimited"))
        return ERR_OK;
    if (step->action == RUNBOOK_STOP)
        return reader_fail(reader, only->line, "runbook.do.stop",
                           "takes no number; write `stop`");
    return field_read(reader, &row, "runbook.do", only->value, only->line, &step->limit);
}

static enum err steps_read(const struct reader *reader, const struct entry *entry,
                           struct runbook_row *row)
{
    struct entry alone = { .line = entry->line, .value = entry->value };
    const struct entry *item = &alone; /* a single step needs no brackets */
    if (entry->value->kind == NODE_LIST) {
        if (entry->value->count == 0 || entry->value->count > RUNBOOK_STEPS_MAX)
            return reader_fail(reader, entry->line, "runbook.do", "takes 1 to %d steps",
                               RUNBOOK_STEPS_MAX);
        item = entry->value->first;
    }
    for (; item; item = item->next) {
        if (row->step_count > 0 && row->steps[row->step_count - 1].limit == RUNBOOK_UNLIMITED)
            return reader_fail(reader, item->line, "runbook.do",
                               "is never reached: the step before it has no limit");
        enum err rc = step_read(reader, item, &row->steps[row->step_count]);
        if (rc != ERR_OK) return rc;
        row->step_count++;
    }
    return ERR_OK;
}

/* ---- rows ---------------------------------------------------------------------------- */

static enum err match_read(const struct reader *reader, const struct entry *entry, char *to)
{
    enum err rc = expect_kind(reader, "runbook.match", entry, NODE_SCALAR);
    if (rc != ERR_OK) return rc;
    struct text text = entry->value->text;
    for (size_t i = 0; i < text.len; i++)
        if (iscntrl((unsigned char)text.data[i]))
            return reader_fail(reader, entry->line, "runbook.match",
                               "holds a control character; match within one line");
    if (text.len > 0 && text_copy(to, NAME_MAX_BYTES, text)) return ERR_OK;
    return reader_fail(reader, entry->line, "runbook.match",
                       "takes 1 to %d bytes of the error output to look for",
                       NAME_MAX_BYTES - 1);
}

static enum err row_read(const struct reader *reader, const struct entry *item,
                         struct runbook_row *row)
{
    static const struct field exit_row = { .key = "exit_code", FIELD_NUMBER, 0, 0, 255 };
    struct row_read read = { 0 };
    uint32_t word = 0;
    enum err rc = fields_read(reader, &row_fields, item, &read);
    if (rc != ERR_OK) return rc;
    rc = word_read(reader, "runbook.incident", read.incident, incident_words, INCIDENT_COUNT,
                   &word);
    if (rc != ERR_OK) return rc;
    row->incident = (enum incident)word;
    row->exit_code = RUNBOOK_EXIT_ANY;
    if (read.exit_code)
        rc = field_read(reader, &exit_row, "runbook.exit_code", read.exit_code->value,
                        read.exit_code->line, &row->exit_code);
    if (rc == ERR_OK && read.match) rc = match_read(reader, read.match, row->pattern);
    if (rc != ERR_OK) return rc;
    word = 0;
    if (read.trainer)
        rc = word_read(reader, "runbook.trainer", read.trainer, trainer_words,
                       ARRAY_COUNT(trainer_words), &word);
    if (rc != ERR_OK) return rc;
    row->builtin_only = word == 1;
    return steps_read(reader, read.steps, row);
}

enum err runbook_read(struct loader *loader, const struct entry *runbook, bool with_defaults)
{
    struct campaign_spec *spec = &loader->campaign->spec;
    const struct reader *reader = &loader->reader;
    size_t room = RUNBOOK_ROWS_MAX - (with_defaults ? ARRAY_COUNT(default_rows) : 0);
    if (runbook) {
        enum err rc = expect_kind(reader, "runbook", runbook, NODE_LIST);
        if (rc != ERR_OK) return rc;
        if (runbook->value->count > room)
            return reader_fail(reader, runbook->line, "runbook",
                               "has more than %zu rows; take some out, or set "
                               "`runbook_defaults: false`",
                               room);
        for (const struct entry *item = runbook->value->first; item; item = item->next) {
            rc = row_read(reader, item, &spec->runbook[spec->runbook_count++]);
            if (rc != ERR_OK) return rc;
        }
    }
    if (!with_defaults) return ERR_OK;
    memcpy(spec->runbook + spec->runbook_count, default_rows, sizeof default_rows);
    spec->runbook_count += (uint32_t)ARRAY_COUNT(default_rows);
    return ERR_OK;
}

/* ---- writing ------------------------------------------------------------------------- */

static void row_write(struct writer *writer, const struct runbook_row *row)
{
    writer_format(writer, "  - incident: %s\n", incident_words[row->incident]);
    if (row->exit_code != RUNBOOK_EXIT_ANY)
        writer_format(writer, "    exit_code: %d\n", row->exit_code);
    if (row->pattern[0]) {
        writer_string(writer, "    match: ");
        quoted_write(writer, row->pattern);
        writer_string(writer, "\n");
    }
    writer_format(writer, "    trainer: %s\n    do: [",
                  trainer_words[row->builtin_only ? 1 : 0]);
    for (uint32_t i = 0; i < row->step_count; i++) {
        const struct runbook_step *step = &row->steps[i];
        const char *name = runbook_action_name(step->action);
        writer_string(writer, i == 0 ? "" : ", ");
        if (step->action == RUNBOOK_STOP)
            writer_string(writer, name);
        else if (step->limit == RUNBOOK_UNLIMITED)
            writer_format(writer, "{%s: unlimited}", name);
        else
            writer_format(writer, "{%s: %u}", name, step->limit);
    }
    writer_string(writer, "]\n");
}

void runbook_write(struct writer *writer, const struct campaign *campaign)
{
    writer_string(writer, "runbook_defaults: false # all rows stand below\n");
    if (campaign->spec.runbook_count == 0) return;
    writer_string(writer, "runbook:\n");
    for (uint32_t i = 0; i < campaign->spec.runbook_count; i++)
        row_write(writer, &campaign->spec.runbook[i]);
}

/* ---- keys ---------------------------------------------------------------------------- */

void runbook_each_key(key_fn take, void *context)
{
    for (size_t i = 0; i < row_fields.count; i++)
        take(context, row_fields.rows[i].key);
    for (size_t i = 0; i < INCIDENT_COUNT; i++)
        take(context, incident_words[i]);
    for (uint32_t a = RUNBOOK_RESTART; a < RUNBOOK_ACTION_COUNT; a++)
        take(context, runbook_action_name((enum runbook_action)a));
}
