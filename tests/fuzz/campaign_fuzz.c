/* Any bytes as a campaign file: either one line that names a line of it, or a campaign that keeps
 * the promises of its header and whose effective policy loads to the same effective policy. */
#include <string.h>

#include "scheduler/campaign/internal.h"
#include "tests/fuzz/fuzz.h"

static enum err parse(struct text text, struct campaign *campaign, struct error *error)
{
    struct source source = {
        .file = "f.yaml", .folder = "/folder", .trainer = "penstock-train", .text = text
    };
    memset(campaign, 0, sizeof *campaign);
    return campaign_parse(&source, campaign, error);
}

static void check_refusal(const struct error *error)
{
    check(strncmp(error->text, "f.yaml:", 7) == 0);
    check(error->text[7] >= '1');
    check(error->text[7] <= '9');
    check(strlen(error->text) > 12);
    for (const char *c = error->text; *c; c++)
        check((unsigned char)*c >= 0x20);
}

static void check_run(const struct campaign *campaign, const struct run_spec *run,
                      const struct launch *launch)
{
    int64_t sum = run->first_tranche_micros;
    uint64_t last = 0;
    check(run->name[0] != '\0');
    check(run->first_tranche_micros > 0);
    check(run->ranks >= 1);
    check(run->ranks <= GANG_MAX);
    check(run->guard_index < campaign->spec.guard_count);
    check(run->owner_index < campaign->spec.owner_count);
    check(run->gate_count <= GATES_PER_RUN_MAX);
    for (uint32_t i = 0; i < run->gate_count; i++) {
        check(run->gates[i].gate_index < campaign->spec.gate_count);
        const struct gate_spec *gate = &campaign->spec.gates[run->gates[i].gate_index];
        check(run->gates[i].tranche_micros >= 0);
        check(gate->step + gate->tokens > last);
        last = gate->step + gate->tokens;
        sum += run->gates[i].tranche_micros;
    }
    check(sum == run->budget_micros);
    check(run->budget_micros <= campaign->spec.budget_micros);
    check(launch->argc >= 1);
    check(launch->argv[launch->argc] == NULL);
}

static void check_campaign(struct campaign *campaign)
{
    const struct campaign_spec *spec = &campaign->spec;
    check(campaign->run_count >= 1);
    check(spec->tier_count >= 1);
    check(spec->tiers[spec->tier_count - 1].up_to_micros == spec->budget_micros);
    for (uint32_t i = 0; i < campaign->run_count; i++)
        check_run(campaign, &campaign->runs[i], &campaign->launches[i]);
    struct campaign again;
    struct error error;
    struct text text = campaign_effective(campaign);
    check(parse(text, &again, &error) == ERR_OK);
    check(text_equal(campaign_effective(&again), text));
    campaign_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct campaign campaign;
    struct error error;
    if (parse((struct text){ (const char *)data, size }, &campaign, &error) == ERR_OK)
        check_campaign(&campaign);
    else
        check_refusal(&error);
    campaign_fini(&campaign);
    return 0;
}

static const char *const examples[] = {
    "campaign: c\nbudget: 10 USD\nprices: {cpu: 1.2}\n"
    "runs: [{name: a, budget: 1 USD, data: t}]\n",
    "campaign: c\nbudget: 9.000001 EUR\ncurrency: EUR\nprices:\n  cpu: 1.2 EUR\n  h100: 2.5\n"
    "tiers:\n  - {up_to: 8, approve: auto}\n  - {up_to: 9.000001, approve: bob}\n"
    "owners: [{name: alice, role: research}, {name: bob}]\n"
    "placement: {policy: fair, backfill: false}\n"
    "timing: {heartbeat: 500ms, lease: 1m 30s, stop_grace: 10s, clock_error: 0.2%}\n"
    "guardrails:\n  window: 30s\n  utilization: {floor: 3%, stop_after: never}\n"
    "  idle: {start_warn: [10m, 20m]}\n  variants: {x: {window: 5s}}\n"
    "gates:\n"
    "  - {name: e, at: {geometric: {first: 20, factor: 3, until: 99}}, rule: rank}\n"
    "  - name: m\n    at: {steps: [70, 80]}\n    releases: 33.3%\n"
    "    rules: [{milestone: {loss: 2.6}}, {median: {margin: 0.5}}, sign-off]\n"
    "runbook: [{incident: hang, match: \"a\\tb\", do: [{restart: 2}, hold]}]\n"
    "runs:\n  - {name: a, budget: 1.5, ranks: 2, data: ./t, guardrail: x, owner: bob}\n"
    "  - {name: b, budget: 1, command: 'x y', gates: [], env: {A: \"\\u2028\"}, directory: "
    ".}\n",
    "campaign: c\nbudget: 10 USD\nprices: {cpu: 1}\n"
    "gates: [{name: t, at: {tokens: 9}, rule: sign-off}]\n"
    "defaults: {budget: 0.5 USD, data: t, train: {seed: 3}}\n"
    "sweep: {name: \"l{train.lr}-s{steps}\", grid: {train.lr: [1e-3, 2e-3], steps: [30, "
    "40]}}\n",
};

size_t fuzz_example(unsigned index, uint8_t *to, size_t capacity)
{
    if (index >= ARRAY_COUNT(examples)) return 0;
    size_t size = strlen(examples[index]);
    check(size <= capacity);
    memcpy(to, examples[index], size);
    return size;
}
