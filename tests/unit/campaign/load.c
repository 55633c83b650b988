#include "tests/unit/campaign/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum err load_text(const char *text, struct campaign *campaign, struct error *error)
{
    char folder[] = "/tmp/penstock-campaign-XXXXXX", path[128];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/t.yaml", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    enum err rc = campaign_load(path, "penstock-train", campaign, error);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    return rc;
}

void load_good(const char *text, struct campaign *campaign)
{
    struct error error = { .code = ERR_OK };
    if (load_text(text, campaign, &error) != ERR_OK) fail_msg("%s", error.text);
}

void load_bad(const char *text, const char *expected)
{
    struct campaign campaign;
    struct error error = { .code = ERR_OK };
    assert_int_equal(load_text(text, &campaign, &error), ERR_INPUT);
    const char *after = strstr(error.text, "t.yaml:");
    assert_non_null(after);
    assert_string_equal(after + strlen("t.yaml:"), expected);
}

char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s cannot be opened", path);
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    size_t bytes = fread(text, 1, (1 << 20) - 1, file);
    assert_true(bytes > 0);
    assert_int_equal(fclose(file), 0);
    return text;
}

static void assert_same_policy(const struct campaign_spec *a, const struct campaign_spec *b)
{
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->currency, b->currency);
    assert_int_equal(a->budget_micros, b->budget_micros);
    assert_int_equal(a->tier_count, b->tier_count);
    for (uint32_t i = 0; i < a->tier_count; i++) {
        assert_int_equal(a->tiers[i].up_to_micros, b->tiers[i].up_to_micros);
        assert_int_equal(a->tiers[i].owner_index, b->tiers[i].owner_index);
    }
    assert_int_equal(a->owner_count, b->owner_count);
    for (uint32_t i = 0; i < a->owner_count; i++) {
        assert_string_equal(a->owners[i].name, b->owners[i].name);
        assert_string_equal(a->owners[i].role, b->owners[i].role);
    }
    assert_int_equal(a->class_count, b->class_count);
    for (uint32_t i = 0; i < a->class_count; i++) {
        assert_string_equal(a->classes[i].name, b->classes[i].name);
        assert_int_equal(a->classes[i].rate_micros, b->classes[i].rate_micros);
    }
    assert_int_equal(a->place, b->place);
    assert_int_equal(a->backfill, b->backfill);
    assert_int_equal(a->heartbeat_ns, b->heartbeat_ns);
    assert_int_equal(a->lease_ns, b->lease_ns);
    assert_int_equal(a->stop_grace_ns, b->stop_grace_ns);
    assert_int_equal(a->worker_timeout_ns, b->worker_timeout_ns);
    assert_int_equal(a->clock_error_ppm, b->clock_error_ppm);
    assert_int_equal(a->backoff_ns, b->backoff_ns);
    assert_int_equal(a->backoff_max_ns, b->backoff_max_ns);
}

static void assert_same_guards(const struct campaign *a, const struct campaign *b)
{
    assert_int_equal(a->spec.guard_count, b->spec.guard_count);
    for (uint32_t i = 0; i < a->spec.guard_count; i++) {
        const struct guard_spec *g = &a->spec.guards[i], *h = &b->spec.guards[i];
        assert_string_equal(a->guard_names[i], b->guard_names[i]);
        assert_int_equal(g->window_ns, h->window_ns);
        assert_int_equal(g->grace_ns, h->grace_ns);
        assert_int_equal(g->floor_ppm, h->floor_ppm);
        assert_int_equal(g->clear_ppm, h->clear_ppm);
        assert_int_equal(g->warn_windows, h->warn_windows);
        assert_int_equal(g->park_windows, h->park_windows);
        assert_int_equal(g->stop_windows, h->stop_windows);
        assert_int_equal(g->idle_ppm, h->idle_ppm);
        assert_int_equal(g->idle_start_warn_ns[0], h->idle_start_warn_ns[0]);
        assert_int_equal(g->idle_start_warn_ns[1], h->idle_start_warn_ns[1]);
        assert_int_equal(g->idle_start_stop_ns, h->idle_start_stop_ns);
        assert_int_equal(g->idle_again_warn_ns, h->idle_again_warn_ns);
        assert_int_equal(g->idle_again_stop_ns, h->idle_again_stop_ns);
        assert_int_equal(g->park_ns, h->park_ns);
    }
}

static void assert_same_gates(const struct campaign *a, const struct campaign *b)
{
    assert_int_equal(a->spec.gate_count, b->spec.gate_count);
    assert_int_equal(a->named_gate_count, b->named_gate_count);
    for (uint32_t i = 0; i < a->named_gate_count; i++) {
        assert_string_equal(a->named_gates[i].name, b->named_gates[i].name);
        assert_int_equal(a->named_gates[i].first_point, b->named_gates[i].first_point);
        assert_int_equal(a->named_gates[i].point_count, b->named_gates[i].point_count);
        assert_int_equal(a->named_gates[i].releases_ppm, b->named_gates[i].releases_ppm);
    }
    for (uint32_t i = 0; i < a->spec.gate_count; i++) {
        const struct gate_spec *g = &a->spec.gates[i], *h = &b->spec.gates[i];
        assert_string_equal(g->name, h->name);
        assert_int_equal(g->step, h->step);
        assert_int_equal(g->tokens, h->tokens);
        assert_int_equal(g->owner_index, h->owner_index);
        assert_int_equal(g->rule_count, h->rule_count);
        assert_int_equal(g->any, h->any);
        for (uint32_t r = 0; r < g->rule_count; r++) {
            assert_int_equal(g->rules[r].rule, h->rules[r].rule);
            assert_int_equal(g->rules[r].loss_max_micro, h->rules[r].loss_max_micro);
            assert_int_equal(g->rules[r].eta, h->rules[r].eta);
            assert_int_equal(g->rules[r].siblings_min, h->rules[r].siblings_min);
            assert_int_equal(g->rules[r].margin_micro, h->rules[r].margin_micro);
            assert_int_equal(g->rules[r].seed_sd_micro, h->rules[r].seed_sd_micro);
            assert_int_equal(g->rules[r].limit, h->rules[r].limit);
            assert_int_equal(g->rules[r].share_min_ppm, h->rules[r].share_min_ppm);
            assert_int_equal(g->rules[r].points_min, h->rules[r].points_min);
        }
    }
}

static void assert_same_runbook(const struct campaign_spec *a, const struct campaign_spec *b)
{
    assert_int_equal(a->runbook_count, b->runbook_count);
    for (uint32_t i = 0; i < a->runbook_count; i++) {
        const struct runbook_row *r = &a->runbook[i], *s = &b->runbook[i];
        assert_int_equal(r->incident, s->incident);
        assert_int_equal(r->exit_code, s->exit_code);
        assert_string_equal(r->pattern, s->pattern);
        assert_int_equal(r->builtin_only, s->builtin_only);
        assert_int_equal(r->step_count, s->step_count);
        for (uint32_t k = 0; k < r->step_count; k++) {
            assert_int_equal(r->steps[k].action, s->steps[k].action);
            assert_int_equal(r->steps[k].limit, s->steps[k].limit);
        }
    }
}

static void assert_same_launch(const struct launch *a, const struct launch *b)
{
    assert_int_equal(a->argc, b->argc);
    for (uint32_t i = 0; i < a->argc; i++)
        assert_string_equal(a->argv[i], b->argv[i]);
    assert_null(a->argv[a->argc]);
    assert_null(b->argv[b->argc]);
    assert_int_equal(a->env_count, b->env_count);
    for (uint32_t i = 0; i < a->env_count; i++) {
        assert_string_equal(a->env[i].name, b->env[i].name);
        assert_string_equal(a->env[i].value, b->env[i].value);
    }
    assert_string_equal(a->directory, b->directory);
    assert_int_equal(a->start_deadline_ns, b->start_deadline_ns);
    assert_int_equal(a->step_deadline_min_ns, b->step_deadline_min_ns);
    assert_int_equal(a->step_deadline_factor, b->step_deadline_factor);
    assert_int_equal(a->threads, b->threads);
}

static void assert_same_run(const struct run_spec *a, const struct run_spec *b)
{
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->tenant, b->tenant);
    assert_int_equal(a->ranks, b->ranks);
    assert_int_equal(a->class_index, b->class_index);
    assert_int_equal(a->priority, b->priority);
    assert_int_equal(a->budget_micros, b->budget_micros);
    assert_int_equal(a->first_tranche_micros, b->first_tranche_micros);
    assert_int_equal(a->steps, b->steps);
    assert_int_equal(a->guard_index, b->guard_index);
    assert_int_equal(a->owner_index, b->owner_index);
    assert_int_equal(a->builtin, b->builtin);
    assert_int_equal(a->launch.len, b->launch.len);
    assert_int_equal(a->gate_count, b->gate_count);
    for (uint32_t i = 0; i < a->gate_count; i++) {
        assert_int_equal(a->gates[i].gate_index, b->gates[i].gate_index);
        assert_int_equal(a->gates[i].tranche_micros, b->gates[i].tranche_micros);
    }
}

void assert_same_campaign(const struct campaign *a, const struct campaign *b)
{
    assert_same_policy(&a->spec, &b->spec);
    assert_same_guards(a, b);
    assert_same_gates(a, b);
    assert_same_runbook(&a->spec, &b->spec);
    assert_int_equal(a->run_count, b->run_count);
    for (uint32_t i = 0; i < a->run_count; i++) {
        assert_same_run(&a->runs[i], &b->runs[i]);
        assert_same_launch(&a->launches[i], &b->launches[i]);
    }
}
