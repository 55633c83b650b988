/*
 * runs.c - one merged map of keys becomes one run: what the core is told, and how it is
 * started.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/money.h"
#include "scheduler/campaign/internal.h"
#include "scheduler/campaign/units.h"

enum {
    ARGV_MAX = 1024,
    ENV_MAX = 256,
    COMMAND_BYTES_MAX = 128 * 1024, /* arguments and environment of one run */
    FILE_NAME_BYTES_MAX = 4096
};

struct run_keys {
    char name[NAME_MAX_BYTES], team[NAME_MAX_BYTES];
    uint32_t ranks, threads;
    int64_t budget_micros;
    int32_t priority;
    uint64_t steps;
    struct entry *class, *gates, *guardrail, *owner, *model, *train, *data, *command, *env,
        *directory;
};

#define RUN(member) offsetof(struct run_keys, member)

static const struct field run_rows[] = {
    { .key = "name", FIELD_NAME, RUN(name), .required = true },
    { .key = "ranks", FIELD_COUNT, RUN(ranks), 1, GANG_MAX },
    { .key = "class", FIELD_ENTRY, RUN(class) },
    { .key = "budget", FIELD_MONEY, RUN(budget_micros), 1, MONEY_MAX_MICROS, .required = true },
    { .key = "priority", FIELD_NUMBER, RUN(priority), -1000, 1000 },
    { .key = "team", FIELD_NAME, RUN(team) },
    { .key = "gates", FIELD_ENTRY, RUN(gates) },
    { .key = "guardrail", FIELD_ENTRY, RUN(guardrail) },
    { .key = "owner", FIELD_ENTRY, RUN(owner) },
    { .key = "steps", FIELD_STEPS, RUN(steps), 1, STEP_MAX },
    { .key = "model", FIELD_ENTRY, RUN(model) },
    { .key = "train", FIELD_ENTRY, RUN(train) },
    { .key = "data", FIELD_ENTRY, RUN(data) },
    { .key = "command", FIELD_ENTRY, RUN(command) },
    { .key = "env", FIELD_ENTRY, RUN(env) },
    { .key = "directory", FIELD_ENTRY, RUN(directory) },
    { .key = "threads", FIELD_COUNT, RUN(threads), 0, 1024 },
};
static const struct fields run_fields = { "", run_rows, ARRAY_COUNT(run_rows) };

/* ---- files and text ------------------------------------------------------------------ */

/* A file name as the campaign means it: absolute, or relative to the campaign file's folder. */
static enum err file_name_read(const struct loader *loader, const char *key,
                               const struct entry *entry, const char **name)
{
    const struct reader *reader = &loader->reader;
    enum err rc = expect_kind(reader, key, entry, NODE_SCALAR);
    if (rc != ERR_OK) return rc;
    struct text text = entry->value->text;
    if (text.len == 0)
        return reader_fail(reader, entry->line, key, "has no value; write a file name");
    if (text_is(text, ".")) {
        *name = loader->directory;
        return ERR_OK;
    }
    if (text_starts(text, TEXT("./"))) text = (struct text){ text.data + 2, text.len - 2 };
    *name = text.data[0] == '/'
                ? arena_copy(reader->arena, text)
                : arena_format(reader->arena, "%s/%s",
                               strcmp(loader->directory, "/") == 0 ? "" : loader->directory,
                               text.data);
    if (strlen(*name) < FILE_NAME_BYTES_MAX) return ERR_OK;
    return reader_fail(reader, entry->line, key, "is a file name of more than %d bytes",
                       FILE_NAME_BYTES_MAX - 1);
}

static bool is_env_name(struct text name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9')) return false;
    }
    return name.len > 0;
}

/* Variables that tell a trainer its place in the gang: nobody else may set them. */
static bool is_reserved(struct text name)
{
    static const char *const reserved[] = {
        "RANK",       "LOCAL_RANK",  "WORLD_SIZE",  "LOCAL_WORLD_SIZE",
        "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT", "CUDA_VISIBLE_DEVICES",
    };
    for (size_t i = 0; i < ARRAY_COUNT(reserved); i++)
        if (text_is(name, reserved[i])) return true;
    return text_starts(name, TEXT("PENSTOCK_"));
}

static enum err env_read(const struct reader *reader, const struct entry *env, size_t *bytes,
                         struct launch *launch)
{
    if (!env) return ERR_OK;
    enum err rc = expect_kind(reader, "env", env, NODE_MAP);
    if (rc != ERR_OK) return rc;
    if (env->value->count > ENV_MAX)
        return reader_fail(reader, env->line, "env", "has more than %d variables", ENV_MAX);
    struct env_var *vars =
        (struct env_var *)arena_array(reader->arena, env->value->count, sizeof(struct env_var));
    launch->env = vars;
    for (const struct entry *e = env->value->first; e; e = e->next) {
        char key[TREE_KEY_BYTES_MAX + 8];
        snprintf(key, sizeof key, "env.%s", e->key.data);
        if (!is_env_name(e->key))
            return reader_fail(reader, e->line, key,
                               "is not a variable's name; use letters, digits and _");
        if (is_reserved(e->key))
            return reader_fail(reader, e->line, key,
                               "is set by Penstock for each trainer; take it out");
        if ((rc = expect_kind(reader, key, e, NODE_SCALAR)) != ERR_OK) return rc;
        vars[launch->env_count++] = (struct env_var){ e->key.data, e->value->text.data };
        *bytes += e->key.len + e->value->text.len + 2;
    }
    return ERR_OK;
}

/* ["python3", "train.py"], or one string that /bin/sh runs. */
static enum err command_read(const struct reader *reader, const struct entry *command,
                             size_t *bytes, struct launch *launch)
{
    const struct node *node = command->value;
    if (node->kind == NODE_SCALAR) {
        if (text_trim(node->text).len == 0)
            return reader_fail(reader, command->line, "command",
                               "is empty; write the command to run");
        const char **shell = (const char **)arena_array(reader->arena, 4, sizeof *shell);
        shell[0] = "/bin/sh";
        shell[1] = "-c";
        shell[2] = node->text.data;
        launch->argv = shell;
        launch->argc = 3;
        *bytes += node->text.len + 16;
        return ERR_OK;
    }
    enum err rc = expect_kind(reader, "command", command, NODE_LIST);
    if (rc != ERR_OK) return rc;
    if (node->count == 0 || node->count > ARGV_MAX)
        return reader_fail(reader, command->line, "command", "takes 1 to %d words", ARGV_MAX);
    const char **argv =
        (const char **)arena_array(reader->arena, (size_t)node->count + 1, sizeof *argv);
    launch->argv = argv;
    for (const struct entry *item = node->first; item; item = item->next) {
        if ((rc = expect_kind(reader, "command", item, NODE_SCALAR)) != ERR_OK) return rc;
        argv[launch->argc++] = item->value->text.data;
        *bytes += item->value->text.len + 1;
    }
    if (argv[0][0] == '\0')
        return reader_fail(reader, command->line, "command",
                           "starts with an empty word; write the program's name first");
    return ERR_OK;
}

static enum err launch_read(const struct loader *loader, const struct entry *run,
                            const struct run_keys *keys, const struct run_spec *spec,
                            struct launch *launch)
{
    const struct reader *reader = &loader->reader;
    size_t bytes = 0;
    const char *data = NULL;
    *launch = (struct launch){ .directory = "",
                               .start_deadline_ns = loader->timing.start_deadline_ns,
                               .step_deadline_min_ns = loader->timing.step_deadline_ns,
                               .step_deadline_factor = loader->timing.step_factor,
                               .threads = keys->threads };
    enum err rc = env_read(reader, keys->env, &bytes, launch);
    if (rc == ERR_OK && keys->directory)
        rc = file_name_read(loader, "directory", keys->directory, &launch->directory);
    if (rc == ERR_OK && keys->command) {
        rc = command_read(reader, keys->command, &bytes, launch);
    } else if (rc == ERR_OK) {
        rc = file_name_read(loader, "data", keys->data, &data);
        if (rc == ERR_OK)
            rc = trainer_read(loader, keys->model, keys->train, data, run, spec, launch);
    }
    if (rc == ERR_OK && bytes > COMMAND_BYTES_MAX)
        return reader_fail(reader, run->line, "command",
                           "command and env of run %s hold more than %d bytes; put them into a "
                           "script",
                           spec->name, COMMAND_BYTES_MAX);
    return rc;
}

/* ---- what the core is told ----------------------------------------------------------- */

static enum err trainer_choice(const struct reader *reader, const struct entry *run,
                               const struct run_keys *keys)
{
    const struct entry *builtin = keys->model   ? keys->model
                                  : keys->train ? keys->train
                                                : keys->data;
    if (keys->command && builtin)
        return reader_fail(reader, builtin->line, builtin->key.data,
                           "is for the built-in trainer, but run %s has its own command; keep "
                           "one of them",
                           keys->name);
    if (!keys->command && !builtin)
        return reader_fail(
            reader, run->line, "data",
            "run %s has neither data for the built-in trainer nor a command; add "
            "one of them",
            keys->name);
    if (!keys->command && !keys->data)
        return reader_fail(reader, run->line, "data",
                           "run %s has no text to train on; add `data: FILE`", keys->name);
    return ERR_OK;
}

static enum err references_read(const struct loader *loader, const struct run_keys *keys,
                                struct run_spec *spec)
{
    const struct reader *reader = &loader->reader;
    const struct campaign *campaign = loader->campaign;
    enum err rc = ERR_OK;
    spec->class_index = NO_INDEX;
    spec->owner_index = owner_of_role(&campaign->spec, "research");
    if (keys->class &&
        !(keys->class->value->kind == NODE_SCALAR && text_is(keys->class->value->text, "any")))
        rc = name_lookup(reader, "class", keys->class,
                         "prices:", campaign->spec.classes[0].name, campaign->spec.class_count,
                         sizeof campaign->spec.classes[0], &spec->class_index);
    if (rc == ERR_OK && keys->guardrail)
        rc = name_lookup(reader, "guardrail", keys->guardrail,
                         "guardrails: variants:", campaign->guard_names[0],
                         campaign->spec.guard_count, NAME_MAX_BYTES, &spec->guard_index);
    if (rc == ERR_OK && keys->owner)
        rc = owner_lookup(loader, "owner", keys->owner, &spec->owner_index);
    return rc;
}

/* The gates that the run names; all of the campaign's when it names none. */
static enum err run_gates_read(const struct loader *loader, const struct entry *run,
                               const struct entry *gates, struct run_spec *spec)
{
    const struct reader *reader = &loader->reader;
    const struct campaign *campaign = loader->campaign;
    uint32_t named[GATES_PER_RUN_MAX], count = 0;
    uint32_t wanted = campaign->named_gate_count;
    if (gates) {
        enum err rc = expect_kind(reader, "gates", gates, NODE_LIST);
        if (rc != ERR_OK) return rc;
        wanted = gates->value->count;
    }
    if (wanted > GATES_PER_RUN_MAX)
        return reader_fail(reader, gates ? gates->line : run->line, "gates",
                           "a run passes at most %d gates; name those of run %s under `gates:`",
                           GATES_PER_RUN_MAX, spec->name);
    for (const struct entry *item = gates ? gates->value->first : NULL; item;
         item = item->next) {
        const char *names = campaign->named_gates ? campaign->named_gates[0].name : "";
        enum err rc =
            name_lookup(reader, "gates", item, "gates:", names, campaign->named_gate_count,
                        sizeof(struct named_gate), &named[count]);
        if (rc != ERR_OK) return rc;
        for (uint32_t i = 0; i < count; i++)
            if (named[i] == named[count])
                return reader_fail(reader, item->line, "gates", "`%s` is named twice; keep one",
                                   campaign->named_gates[named[i]].name);
        count++;
    }
    for (; !gates && count < wanted; count++)
        named[count] = count;
    struct entry where = *run;
    if (gates) where.line = gates->line;
    return gates_assign(loader, &where, named, count, spec);
}

/* The core places a run when its released money pays for an eighth of a lease and the time to
 * stop. */
static enum err start_check(const struct loader *loader, const struct entry *run,
                            const struct run_spec *spec)
{
    const struct campaign_spec *campaign = &loader->campaign->spec;
    int64_t rate = INT64_MAX;
    for (uint32_t c = 0; c < campaign->class_count; c++)
        if (spec->class_index == NO_INDEX || spec->class_index == c)
            rate = min_i64(rate, campaign->classes[c].rate_micros);
    int64_t span_ns = campaign->lease_ns + campaign->stop_grace_ns;
    int64_t need_ns = campaign->stop_grace_ns + campaign->lease_ns / 8 +
                      div_ceil(span_ns / 1000 * campaign->clock_error_ppm, 1000) + NS_PER_MS;
    int64_t need = money_cost_micros(spec->ranks, need_ns, rate);
    if (spec->first_tranche_micros >= need) return ERR_OK;
    char has[64], needs[64];
    struct writer writer = writer_of(has, sizeof has);
    money_write(&writer, spec->first_tranche_micros, campaign->currency);
    writer = writer_of(needs, sizeof needs);
    money_write(&writer, need, campaign->currency);
    return reader_fail(
        &loader->reader, run->line, "budget",
        "run %s starts with %s, but its shortest lease with the stop grace costs "
        "%s; raise its budget, or shorten timing.lease and timing.stop_grace",
        spec->name, has, needs);
}

enum err run_read(const struct loader *loader, const struct entry *run, struct run_spec *spec,
                  struct launch *launch)
{
    const struct reader *reader = &loader->reader;
    struct run_keys keys = { .ranks = 1 };
    enum err rc = fields_read(reader, &run_fields, run, &keys);
    if (rc != ERR_OK) return rc;
    if ((rc = trainer_choice(reader, run, &keys)) != ERR_OK) return rc;
    if (!keys.command && keys.steps == 0) keys.steps = 200;
    check(text_copy(spec->name, sizeof spec->name, text_of(keys.name)));
    check(text_copy(spec->tenant, sizeof spec->tenant, text_of(keys.team)));
    spec->ranks = keys.ranks;
    spec->priority = keys.priority;
    spec->budget_micros = keys.budget_micros;
    spec->steps = keys.steps;
    spec->builtin = !keys.command;
    if (spec->budget_micros > loader->campaign->spec.budget_micros)
        return reader_fail(reader, tree_find(run->value, "budget")->line, "budget",
                           "run %s may spend more than the whole campaign; lower it, or raise "
                           "the campaign's budget",
                           spec->name);
    rc = references_read(loader, &keys, spec);
    if (rc == ERR_OK) rc = run_gates_read(loader, run, keys.gates, spec);
    if (rc == ERR_OK) rc = start_check(loader, run, spec);
    if (rc == ERR_OK) rc = launch_read(loader, run, &keys, spec, launch);
    return rc;
}

void runs_each_key(key_fn take, void *context)
{
    for (size_t i = 0; i < run_fields.count; i++)
        take(context, run_fields.rows[i].key);
}
