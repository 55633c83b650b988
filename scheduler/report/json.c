#include "scheduler/report/json.h"

#include <inttypes.h>
#include <string.h>

#include "scheduler/report/report.h"

/* ---- the writer ---------------------------------------------------------------------- */

static void indent(const struct json *json)
{
    if (json->on_one_line) return;
    fputc('\n', json->to);
    for (uint32_t i = 0; i < json->depth; i++)
        fputs("  ", json->to);
}

static void member(struct json *json, const char *key)
{
    if (json->depth > 0) {
        if (json->has_member[json->depth - 1]) fputs(json->on_one_line ? ", " : ",", json->to);
        indent(json);
        json->has_member[json->depth - 1] = true;
    }
    if (!key) return;
    out_json(json->to, text_of(key));
    fputs(": ", json->to);
}

void json_begin(struct json *json, const char *key, char bracket)
{
    member(json, key);
    check(json->depth < JSON_DEPTH_MAX);
    json->has_member[json->depth++] = false;
    fputc(bracket, json->to);
}

void json_end(struct json *json, char bracket)
{
    check(json->depth > 0);
    json->depth--;
    if (json->has_member[json->depth]) indent(json);
    fputc(bracket, json->to);
    if (json->depth == 0) fputc('\n', json->to);
}

void json_text(struct json *json, const char *key, struct text text)
{
    member(json, key);
    out_json(json->to, text);
}

void json_string(struct json *json, const char *key, const char *string)
{
    if (!string) {
        json_null(json, key);
        return;
    }
    json_text(json, key, text_of(string));
}

void json_int(struct json *json, const char *key, int64_t value)
{
    member(json, key);
    fprintf(json->to, "%" PRId64, value);
}

void json_count(struct json *json, const char *key, uint64_t value)
{
    member(json, key);
    fprintf(json->to, "%" PRIu64, value);
}

void json_bool(struct json *json, const char *key, bool value)
{
    member(json, key);
    fputs(value ? "true" : "false", json->to);
}

void json_null(struct json *json, const char *key)
{
    member(json, key);
    fputs("null", json->to);
}

/* ---- quantities ---------------------------------------------------------------------- */

/* The key of a quantity's number: its name with the unit. */
static struct word key_of(const char *name, enum field_kind kind)
{
    struct word key;
    struct writer writer = writer_of(key.text, sizeof key.text);
    writer_format(&writer, "%s%s", name, field_suffix(kind));
    return key;
}

static void put_number(struct json *json, const char *name, enum field_kind kind, bool known,
                       int64_t value)
{
    struct word key = key_of(name, kind);
    if (known)
        json_int(json, key.text, value);
    else
        json_null(json, key.text);
}

static void put_money(struct json *json, const char *name, bool known, int64_t micros,
                      const char *currency)
{
    put_number(json, name, FIELD_MONEY, known, micros);
    json_string(json, name, known ? word_exact(micros, currency).text : NULL);
}

static void put_time(struct json *json, const char *name, bool known, int64_t unix_ns)
{
    put_number(json, name, FIELD_TIME, known, unix_ns);
    json_string(json, name, known ? word_rfc3339(unix_ns).text : NULL);
}

/* All six decimals, so that the text loses nothing. */
static void put_loss(struct json *json, const char *name, bool known, int64_t loss_micro)
{
    put_number(json, name, FIELD_LOSS, known && loss_is_number(loss_micro), loss_micro);
    struct word text;
    struct writer writer = writer_of(text.text, sizeof text.text);
    uint64_t magnitude = loss_micro < 0 ? 0 - (uint64_t)loss_micro : (uint64_t)loss_micro;
    writer_format(&writer, "%s%" PRIu64 ".%06" PRIu64, loss_micro < 0 ? "-" : "",
                  magnitude / 1000000, magnitude % 1000000);
    json_string(json, name,
                !known                       ? "unknown"
                : loss_is_number(loss_micro) ? text.text
                                             : "not finite");
}

void json_fields(struct json *json, const struct facts_table *table, const struct value *values,
                 const char *currency)
{
    for (uint32_t f = 0; f < table->field_count; f++) {
        const char *name = table->fields[f].name;
        enum field_kind kind = table->fields[f].kind;
        const struct value *value = &values[f];
        switch (kind) {
        case FIELD_MONEY:
            put_money(json, name, !value->is_null, value->number, currency);
            break;
        case FIELD_TIME: put_time(json, name, !value->is_null, value->number); break;
        case FIELD_LOSS: put_loss(json, name, !value->is_null, value->number); break;
        case FIELD_INT:
        case FIELD_DURATION:
        case FIELD_PPM: put_number(json, name, kind, !value->is_null, value->number); break;
        case FIELD_COUNT: json_count(json, name, value->count); break;
        case FIELD_TEXT: json_string(json, name, value->is_null ? NULL : value->text); break;
        case FIELD_BOOL: json_bool(json, name, value->number != 0); break;
        }
    }
}

/* ---- the policy ---------------------------------------------------------------------- */

static void put_owner(struct json *json, const char *key, const struct campaign_spec *spec,
                      uint32_t owner)
{
    json_string(json, key, owner < spec->owner_count ? spec->owners[owner].name : NULL);
}

static void put_gate_rule(struct json *json, const struct gate_rule_spec *rule)
{
    bool ranked = gate_rule_ranks(rule->rule) || rule->rule == GATE_RULE_MEDIAN;
    bool aims = rule->rule == GATE_RULE_PENSTOCK || rule->rule == GATE_RULE_EXTRAPOLATION;
    enum gate_unit unit = gate_rule_unit(rule);
    json_begin(json, NULL, '{');
    json_string(json, "rule", gate_rule_name(rule->rule));
    if (rule->rule == GATE_RULE_MILESTONE)
        put_loss(json, "loss_max", true, rule->loss_max_micro);
    if (aims) put_loss(json, "target", true, rule->loss_max_micro);
    if (unit == GATE_UNIT_SHARE) json_int(json, "share_min_ppm", rule->share_min_ppm);
    if (unit == GATE_UNIT_MONEY) json_int(json, "limit_micros", rule->limit);
    if (unit == GATE_UNIT_TIME) json_int(json, "limit_ns", rule->limit);
    if (unit == GATE_UNIT_Z) json_int(json, "limit_millionths", rule->limit);
    if (rule->points_min > 0) json_int(json, "points_min", rule->points_min);
    if (rule->seed_sd_micro > 0) put_loss(json, "seed_sd", true, rule->seed_sd_micro);
    if (gate_rule_ranks(rule->rule)) json_int(json, "eta", rule->eta);
    if (ranked) {
        json_int(json, "siblings_min", rule->siblings_min);
        put_loss(json, "margin", true, rule->margin_micro);
    }
    json_end(json, '}');
}

static void put_guard(struct json *json, const struct guard_spec *guard)
{
    json_begin(json, NULL, '{');
    json_int(json, "window_ns", guard->window_ns);
    json_int(json, "grace_ns", guard->grace_ns);
    json_int(json, "floor_ppm", guard->floor_ppm);
    json_int(json, "clear_ppm", guard->clear_ppm);
    json_int(json, "warn_windows", guard->warn_windows);
    json_int(json, "park_windows", guard->park_windows);
    json_int(json, "stop_windows", guard->stop_windows);
    json_int(json, "idle_ppm", guard->idle_ppm);
    json_int(json, "idle_start_warn_ns", guard->idle_start_warn_ns[0]);
    json_int(json, "idle_start_warn_again_ns", guard->idle_start_warn_ns[1]);
    json_int(json, "idle_start_stop_ns", guard->idle_start_stop_ns);
    json_int(json, "idle_again_warn_ns", guard->idle_again_warn_ns);
    json_int(json, "idle_again_stop_ns", guard->idle_again_stop_ns);
    json_int(json, "park_ns", guard->park_ns);
    json_end(json, '}');
}

static void put_runbook_row(struct json *json, const struct runbook_row *row)
{
    json_begin(json, NULL, '{');
    json_string(json, "incident", incident_name(row->incident));
    if (row->exit_code != RUNBOOK_EXIT_ANY) json_int(json, "exit_code", row->exit_code);
    if (row->pattern[0]) json_string(json, "pattern", row->pattern);
    if (row->builtin_only) json_bool(json, "builtin_only", true);
    json_begin(json, "steps", '[');
    for (uint32_t s = 0; s < row->step_count; s++) {
        json_begin(json, NULL, '{');
        json_string(json, "action", runbook_action_name(row->steps[s].action));
        if (row->steps[s].limit == RUNBOOK_UNLIMITED)
            json_null(json, "limit");
        else
            json_int(json, "limit", row->steps[s].limit);
        json_end(json, '}');
    }
    json_end(json, ']');
    json_end(json, '}');
}

static void put_money_policy(struct json *json, const struct campaign_spec *spec)
{
    json_begin(json, "tiers", '[');
    for (uint32_t t = 0; t < spec->tier_count; t++) {
        json_begin(json, NULL, '{');
        put_money(json, "up_to", true, spec->tiers[t].up_to_micros, spec->currency);
        put_owner(json, "owner", spec, spec->tiers[t].owner_index);
        json_end(json, '}');
    }
    json_end(json, ']');
    json_begin(json, "classes", '[');
    for (uint32_t c = 0; c < spec->class_count; c++) {
        json_begin(json, NULL, '{');
        json_string(json, "name", spec->classes[c].name);
        put_money(json, "rate_per_slot_hour", true, spec->classes[c].rate_micros,
                  spec->currency);
        json_end(json, '}');
    }
    json_end(json, ']');
    json_begin(json, "owners", '[');
    for (uint32_t o = 0; o < spec->owner_count; o++) {
        json_begin(json, NULL, '{');
        json_string(json, "name", spec->owners[o].name);
        json_string(json, "role", spec->owners[o].role);
        json_end(json, '}');
    }
    json_end(json, ']');
}

static void put_gates(struct json *json, const struct campaign_spec *spec)
{
    json_begin(json, "gates", '[');
    for (uint32_t g = 0; g < spec->gate_count; g++) {
        const struct gate_spec *gate = &spec->gates[g];
        json_begin(json, NULL, '{');
        json_string(json, "name", gate->name);
        json_count(json, "step", gate->step);
        json_count(json, "tokens", gate->tokens);
        put_owner(json, "owner", spec, gate->owner_index);
        json_begin(json, "rules", '[');
        for (uint32_t r = 0; r < gate->rule_count && r < RULES_PER_GATE_MAX; r++)
            put_gate_rule(json, &gate->rules[r]);
        json_end(json, ']');
        json_end(json, '}');
    }
    json_end(json, ']');
}

static void put_policy(struct json *json, const char *key, const struct campaign_spec *spec)
{
    char hex[2 * SHA256_BYTES + 1];
    sha256_hex(&spec->file_hash, hex);
    json_begin(json, key, '{');
    json_string(json, "file_sha256", hex);
    json_string(json, "placement", place_policy_name(spec->place));
    json_bool(json, "backfill", spec->backfill);
    json_int(json, "heartbeat_ns", spec->heartbeat_ns);
    json_int(json, "lease_ns", spec->lease_ns);
    json_int(json, "stop_grace_ns", spec->stop_grace_ns);
    json_int(json, "worker_timeout_ns", spec->worker_timeout_ns);
    json_int(json, "clock_error_ppm", spec->clock_error_ppm);
    json_int(json, "backoff_ns", spec->backoff_ns);
    json_int(json, "backoff_max_ns", spec->backoff_max_ns);
    put_money_policy(json, spec);
    put_gates(json, spec);
    json_begin(json, "guardrails", '[');
    for (uint32_t g = 0; g < spec->guard_count; g++)
        put_guard(json, &spec->guards[g]);
    json_end(json, ']');
    json_begin(json, "runbook", '[');
    for (uint32_t r = 0; r < spec->runbook_count; r++)
        put_runbook_row(json, &spec->runbook[r]);
    json_end(json, ']');
    json_end(json, '}');
}

/* ---- the report ---------------------------------------------------------------------- */

struct table_writer {
    struct json *json;
    const struct facts_table *table;
    const char *currency;
};

static bool put_row(void *context, const struct value *values)
{
    struct table_writer *writer = context;
    json_begin(writer->json, NULL, '{');
    json_fields(writer->json, writer->table, values, writer->currency);
    json_end(writer->json, '}');
    return true;
}

static bool put_single(void *context, const struct value *values)
{
    struct table_writer *writer = context;
    json_fields(writer->json, writer->table, values, writer->currency);
    return true;
}

void report_json_members(const struct model *model, struct json *json)
{
    json_string(json, "schema", "penstock.report");
    json_int(json, "version", REPORT_SCHEMA_VERSION);
    json_string(json, "generator", "penstock " PENSTOCK_VERSION);
    const char *currency = model->campaign ? model->campaign->currency : "";
    for (uint32_t t = 0; t < facts_table_count; t++) {
        const struct facts_table *table = &facts_tables[t];
        if (!table->in_report) continue;
        struct table_writer writer = { json, table, currency };
        json_begin(json, table->name, table->is_single ? '{' : '[');
        table->rows(model,
                    &(struct facts_sink){ &writer, table->is_single ? put_single : put_row });
        json_end(json, table->is_single ? '}' : ']');
    }
    if (model->campaign)
        put_policy(json, "policy", model->campaign);
    else
        json_null(json, "policy");
}

void report_json(const struct model *model, FILE *to)
{
    struct json json = { .to = to };
    json_begin(&json, NULL, '{');
    report_json_members(model, &json);
    json_end(&json, '}');
}
