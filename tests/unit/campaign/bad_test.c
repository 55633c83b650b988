/*
 * Every kind of mistake in a campaign file, and the one line that it gives: tests/unit/campaign/bad
 * holds one file for each row.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/campaign/load.h"

#define BAD "tests/unit/campaign/bad"

static const struct bad_file {
    const char *name;
    const char *error; /* after "FILE:" */
} bad_files[] = {
    /* clang-format off */
    { "empty", "1: the file is empty; start with `campaign: NAME`" },
    { "not-a-map", "1: the file must be a map of keys; start with `campaign: NAME`" },
    { "syntax", "6: not valid YAML: did not find expected ',' or '}' while parsing a flow mapping; check indentation, colons and quotes here" },
    { "tab-indent", "5: not valid YAML: found character that cannot start any token while scanning for the next token; check indentation, colons and quotes here" },
    { "two-documents", "6: a second document (---); a file holds one campaign" },
    { "anchor", "4: anchors (&name) are not read; put common keys under `defaults:`" },
    { "alias-bomb", "2: aliases (*name) are not read; put common keys under `defaults:`" },
    { "merge-key", "5: <<: unknown key; known here are: name, ranks, class, budget, priority, team, gates, guardrail, owner, steps, model, train, data, command, env, directory, threads" },
    { "tag", "4: tags (!name) are not read; write the plain value" },
    { "list-as-key", "4: a list or map cannot be a key; keys are single words" },
    { "too-deep", "4: nested too deeply; no key needs more than a few levels" },
    { "not-utf8", "5: not plain text (invalid leading UTF-8 octet); save it as UTF-8 without control characters" },
    { "zero-byte", "5: a zero byte inside a value; take it out" },
    { "long-key", "4: a key is empty or too long; keys are short words" },
    { "unknown-top-key", "4: guardrail: unknown key; did you mean `guardrails`?" },
    { "unknown-run-key", "6: budgte: unknown key; did you mean `budget`?" },
    { "unknown-nothing-near", "5: timing.fortnights: unknown key; known here are: heartbeat, lease, stop_grace, worker_timeout, start_deadline, step_deadline, step_factor, restart_backoff, restart_backoff_max, clock_error" },
    { "unknown-model-key", "8: model.lyers: unknown key; did you mean `layers`?" },
    { "key-in-wrong-section", "8: model.lr: stands under the wrong key; move it to `train:`" },
    { "steps-under-train", "8: train.steps: is a key of the run itself; move it out of `train:`" },
    { "duplicate-key", "4: budget: given twice, first on line 2; keep one of them" },
    { "missing-campaign", "1: campaign: is missing; add it here" },
    { "missing-budget", "1: budget: is missing; add it here" },
    { "missing-prices", "1: prices: is missing; add it here" },
    { "missing-run-budget", "8: budget: is missing; add it here" },
    { "missing-runs", "1: runs: the campaign has no runs; add `runs:` or a `sweep:`" },
    { "no-runs", "4: runs: the campaign has no runs; add `runs:` or a `sweep:`" },
    { "null-value", "5: timing.lease: has no value; write one, or take the key out" },
    { "null-map", "4: timing: is nothing, but must be a map; write `key: value` lines under it" },
    { "map-for-value", "5: timing.lease: is a map, but must be a single value; write it on the same line" },
    { "list-for-map", "4: guardrails: is a list, but must be a map; write `key: value` lines under it" },
    { "owner-key-private", "6: owners.keys: it is a private key; give the public one, from the .pub file" },
    { "owner-key-rsa", "6: owners.keys: it is a key of type ssh-rsa; only ssh-ed25519 keys are taken, as `ssh-keygen -t ed25519` makes them" },
    { "owner-key-garbled", "6: owners.keys: the key is not whole base64 after ssh-ed25519" },
    { "owner-key-twice", "8: owners.keys: a key stands twice" },
    { "owner-key-shared", "6: owners.keys: the key is also `alice`'s; each owner needs another" },
    { "owner-keys-empty", "5: owners.keys: is empty; take the key out" },
    { "owner-keys-scalar", "5: owners.keys: is a single value, but must be a list; write [a, b] or `- item` lines under it" },
    { "owner-keys-many", "5: owners.keys: has more than 4 keys" },
    { "owner-role-twice", "6: owners.role: `alice` has this role already; every kind of decision has one owner (name a `delegate` for the other)" },
    { "owner-delegate-self", "5: owners.delegate: is the owner itself; name somebody else, or nobody" },
    { "owner-delegate-undefined", "5: owners.delegate: `bob` is not defined under `owners:`; defined there: alice" },
    { "owner-delegate-never", "5: owners.delegate: would never apply; say `answer_within` too, as `answer_within: 2d`" },
    { "owner-otherwise-never", "5: owners.otherwise: would never apply; say `answer_within` too, as `answer_within: 2d`" },
    { "owner-otherwise-unknown", "5: owners.otherwise: `maybe` is not known; write one of: wait, go, no-go" },
    { "owner-answer-short", "5: owners.answer_within: `10ms` is out of range; write a value between 1s and 365d, or `never`" },
    { "value-for-list", "4: owners: is a single value, but must be a list; write [a, b] or `- item` lines under it" },
    { "runs-not-maps", "4: runs: is a single value, but must be a map; write `key: value` lines under it" },
    { "duration-without-unit", "5: timing.lease: `60` is not a duration; write a number with ms, s, m, h or d, as 90s" },
    { "duration-bad-unit", "5: timing.lease: `1min` is not a duration; write a number with ms, s, m, h or d, as 90s" },
    { "duration-negative", "5: timing.lease: `-60s` is not a duration; write a number with ms, s, m, h or d, as 90s" },
    { "duration-too-long", "5: timing.lease: `2d` is out of range; write a value between 1s and 1d" },
    { "duration-too-fine", "5: timing.lease: `1.0005s` is not a duration; write a number with ms, s, m, h or d, as 90s" },
    { "share-without-percent", "5: guardrails.utilization.floor: `0.2` is not a percentage; write it as 20%" },
    { "share-too-large", "5: guardrails.utilization.floor: `120%` is out of range; write a value between 0% and 100%" },
    { "money-other-currency", "5: budget: `1.00 EUR` is not an amount; write it as 1.20 with at most 6 decimals and the currency USD" },
    { "money-too-fine", "5: budget: `0.1234567 USD` is not an amount; write it as 1.20 with at most 6 decimals and the currency USD" },
    { "money-negative", "5: budget: `-1.00 USD` is not an amount; write it as 1.20 with at most 6 decimals and the currency USD" },
    { "money-zero", "2: budget: `0 USD` is out of range; write a value between 0.000001 USD and 1000000000.00 USD" },
    { "bool-yes", "4: placement.backfill: `yes` is neither true nor false; write one of these" },
    { "count-fraction", "5: steps: `1.5` is not a whole number; write it with digits only, as 40" },
    { "count-never-zero", "5: guardrails.utilization.warn_after: `0` is out of range; write a value between 1 and 100000, or `never`" },
    { "ranks-zero", "5: ranks: `0` is out of range; write a value between 1 and 1024" },
    { "ranks-too-many", "5: ranks: `5000` is out of range; write a value between 1 and 1024" },
    { "currency-lower-case", "1: currency: `usd` is not a currency; write 3 to 7 capital letters, as USD" },
    { "loss-too-fine", "5: gates.rule.milestone.loss: `2.6000001` is not a number with at most 6 decimals; write it as 2.6" },
    { "lr-word", "5: train.lr: `fast` is not a number; write it as 0.001 or 1e-3" },
    { "lr-nan", "5: train.lr: `1e999` is not a number; write it as 0.001 or 1e-3" },
    { "lr-negative", "5: train.lr: `-1e-3` is out of range; write a value between 1e-12 and 100" },
    { "layers-zero", "5: model.layers: `0` is out of range; write a value between 1 and 256" },
    { "backend-unknown", "5: train.backend: `tpu` is not known; write one of: auto, cuda, cpu" },
    { "name-with-blank", "5: name: `my run` is not a name; use 1 to 63 letters, digits and . _ -, not starting with . or -" },
    { "name-with-slash", "5: name: `../../etc` is not a name; use 1 to 63 letters, digits and . _ -, not starting with . or -" },
    { "name-hidden", "5: name: `.a` is not a name; use 1 to 63 letters, digits and . _ -, not starting with . or -" },
    { "name-too-long", "5: name: `nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn` is not a name; use 1 to 63 letters, digits and . _ -, not starting with . or -" },
    { "name-twice", "7: name: two runs are called `a`, the first on line 5; rename one" },
    { "owner-twice", "4: owners.name: `alice` is named twice; keep one" },
    { "owner-auto", "4: owners.name: `auto` means that nobody is asked; choose another name" },
    { "owner-role-unknown", "5: owners.role: `boss` is not known; write one of: research, spend, data, evaluation" },
    { "class-any", "4: prices.any: is not a device class; use letters, digits and . _ -, not `any`" },
    { "gate-twice", "6: gates.name: `g` is used twice; give each gate its own name" },
    { "gate-undefined", "7: gates: `erly` is not defined under `gates:`; did you mean `early`?" },
    { "gate-undefined-none", "5: gates: `early` is not defined under `gates:`; defined there: nothing" },
    { "gate-named-twice", "7: gates: `g` is named twice; keep one" },
    { "owner-undefined", "6: owner: `alise` is not defined under `owners:`; did you mean `alice`?" },
    { "owner-of-gate-undefined", "5: gates.owner: `carol` is not defined under `owners:`; defined there: owner" },
    { "tier-owner-undefined", "5: tiers.approve: `bob` is not defined under `owners:`; defined there: owner" },
    { "class-undefined", "5: class: `h100` is not defined under `prices:`; defined there: cpu" },
    { "guardrail-undefined", "6: guardrail: `debg` is not defined under `guardrails: variants:`; did you mean `debug`?" },
    { "policy-unknown", "4: placement.policy: `lottery` is not known; write one of: fifo, fair, shortest" },
    { "incident-unknown", "5: runbook.incident: `fire` is not known; write one of: trainer_failed, start_timeout, hang, nonfinite_loss, launch_failed, lost_worker, lease_expired, coordinator_lost, gate_missed" },
    { "action-unknown", "5: runbook.do: `reboot` is not an action; write one of: restart, park, hold, stop" },
    { "rule-unknown", "5: gates.rule: `rnak` is not a rule; did you mean `rank`?" },
    { "run-over-campaign", "6: budget: run a may spend more than the whole campaign; lower it, or raise the campaign's budget" },
    { "tiers-fall", "6: tiers.up_to: does not rise above the tier before it; sort the tiers by up_to" },
    { "tiers-not-budget", "6: tiers.up_to: the last tier does not end at the budget of line 2; make them equal" },
    { "tiers-too-many", "4: tiers: has more than 8 tiers; merge some" },
    { "shares-over-budget", "8: gates.releases: the gates of run a release its whole budget, and nothing is left to start with; lower their shares" },
    { "tranche-too-small", "5: budget: run a starts with 0.01 USD, but its shortest lease with the stop grace costs 0.012531 USD; raise its budget, or shorten timing.lease and timing.stop_grace" },
    { "gate-after-last-step", "7: gates: `late@300` at step 300 comes after run a's last step 200; raise its steps, or name its `gates:` without it" },
    { "gate-no-rule", "5: gates.rule: a gate needs `rule:` or a list of `rules:`, and not both" },
    { "gate-rule-and-rules", "5: gates.rule: a gate needs `rule:` or a list of `rules:`, and not both" },
    { "gate-same-rule-twice", "5: gates.rules: rank stands twice; keep one" },
    { "gate-two-rules-one-item", "5: gates.rule: must name one rule; combine several under `rules:` as a list" },
    { "gate-milestone-bare", "5: gates.rule: `milestone` needs its `loss`; write {milestone: {loss: ...}}" },
    { "gate-milestone-no-loss", "5: gates.rule.milestone.loss: is missing; add it here" },
    { "gate-combine", "5: gates.combine: `some` is neither; write all or any" },
    { "gate-share-bare", "5: gates.rule: `utilization` needs its `at_least`; write {utilization: {at_least: ...}}" },
    { "gate-chance-over", "5: gates.rule.penstock.chance_min: `101%` is out of range; write a value between 0% and 100%" },
    { "gate-signoff-keys", "5: gates.rule: `sign-off` takes no keys; write it alone" },
    { "gate-at-bare", "5: gates.at: is a single value, but must be a map; write `key: value` lines under it" },
    { "gate-at-both", "5: gates.at: needs exactly one of steps, tokens and geometric" },
    { "gate-steps-fall", "5: gates.at.steps: 40 does not rise above the point before it; sort them" },
    { "gate-steps-empty", "5: gates.at.steps: is empty; write at least one point" },
    { "gate-step-zero", "5: gates.at.steps: `0` is out of range; write a value between 1 and 9007199254740992" },
    { "gate-too-many-points", "5: gates.at.geometric: gives more than 24 points; take fewer" },
    { "gate-geometric-backwards", "5: gates.at.geometric.until: comes before first; make it at least first" },
    { "gate-factor-one", "5: gates.at.geometric.factor: `1` is out of range; write a value between 2 and 1000000" },
    { "gates-same-step", "8: gates: `g` and `h` stand at the same point; put both rules into one gate" },
    { "gates-steps-and-tokens", "8: gates: `g` goes by steps and `h` by tokens; a run's gates must all go by one of them" },
    { "gate-eta-one", "5: gates.rule.rank.eta: `1` is out of range; write a value between 2 and 1000" },
    { "gates-too-many-for-run", "8: gates: a run passes at most 24 gate points; leave some gates out" },
    { "lease-short", "4: timing.lease: is shorter than 4 heartbeats; make lease longer or heartbeat shorter" },
    { "worker-timeout-short", "4: timing.worker_timeout: is shorter than 2 heartbeats; make it longer, or heartbeat shorter" },
    { "backoff-falls", "4: timing.restart_backoff: is longer than restart_backoff_max; make it shorter" },
    { "clear-below-floor", "4: guardrails.utilization.clear: is below the floor; make it at least the floor" },
    { "guard-actions-fall", "4: guardrails.utilization: warn_after, park_after and stop_after must not fall; sort them" },
    { "start-warn-falls", "5: guardrails.idle.start_warn: must rise; put the shorter time first" },
    { "start-warn-late", "4: guardrails.idle.start_warn: comes after start_stop; warn earlier or stop later" },
    { "start-warn-many", "5: guardrails.idle.start_warn: takes one or two durations, as [60m, 105m], or `never`" },
    { "again-warn-late", "4: guardrails.idle.again_warn: comes after again_stop; warn earlier or stop later" },
    { "variant-bad", "7: guardrails.variants.window: `soon` is not a duration; write a number with ms, s, m, h or d, as 90s" },
    { "variant-nested", "7: guardrails.variants.variants: unknown key; known here are: window, grace, utilization, idle, park_for" },
    { "variant-default", "6: guardrails.variants: `default` is not a name; use letters, digits and . _ -, not `default`" },
    { "restart-without-number", "5: runbook.do: say how often: {restart: 2}, or {restart: unlimited}" },
    { "step-after-stop", "5: runbook.do: is never reached: the step before it has no limit" },
    { "stop-with-number", "5: runbook.do.stop: takes no number; write `stop`" },
    { "steps-too-many", "5: runbook.do: takes 1 to 4 steps" },
    { "steps-in-one-item", "5: runbook.do: one action an item; write [{restart: 2}, stop]" },
    { "exit-code-large", "5: runbook.exit_code: `256` is out of range; write a value between 0 and 255" },
    { "match-empty", "5: runbook.match: takes 1 to 63 bytes of the error output to look for" },
    { "match-newline", "5: runbook.match: holds a control character; match within one line" },
    { "runbook-too-long", "4: runbook: has more than 14 rows; take some out, or set `runbook_defaults: false`" },
    { "runbook-no-do", "5: runbook.do: is missing; add it here" },
    { "no-trainer", "5: data: run a has neither data for the built-in trainer nor a command; add one of them" },
    { "model-without-data", "5: data: run a has no text to train on; add `data: FILE`" },
    { "command-and-model", "8: model: is for the built-in trainer, but run a has its own command; keep one of them" },
    { "command-empty", "5: command: takes 1 to 1024 words" },
    { "command-blank", "5: command: is empty; write the command to run" },
    { "command-empty-word", "5: command: starts with an empty word; write the program's name first" },
    { "command-nested", "5: command: is a list, but must be a single value; write it on the same line" },
    { "data-empty", "5: data: has no value; write a file name" },
    { "env-reserved", "5: env.RANK: is set by Penstock for each trainer; take it out" },
    { "env-penstock", "5: env.PENSTOCK_DIR: is set by Penstock for each trainer; take it out" },
    { "env-name", "5: env.1A: is not a variable's name; use letters, digits and _" },
    { "env-value-map", "5: env.A: is a map, but must be a single value; write it on the same line" },
    { "heads-do-not-divide", "10: model.heads: 3 heads do not divide a width of 100; choose numbers that divide evenly" },
    { "batch-does-not-divide", "9: train.batch: 8 sequences do not divide over 3 ranks; make it a multiple of the ranks" },
    { "bf16-on-cpu", "7: train.dtype: `bf16` needs a GPU, and train.backend is cpu; use fp32 or another backend" },
    { "bf16-reduce-on-cpu", "5: train.reduce: `bf16` needs a GPU, and train.backend is cpu; use fp32 or another backend" },
    { "dtype-unknown", "5: train.dtype: `fp16` is not known; write one of: fp32, bf16" },
    { "vocab-too-small", "5: model.vocab: text has 256 byte values; make vocab at least 256" },
    { "priority-large", "5: priority: `5000` is out of range; write a value between -1000 and 1000" },
    { "defaults-name", "5: defaults.name: each run needs a name of its own; take this one out" },
    { "defaults-unknown", "5: colour: unknown key; known here are: name, ranks, class, budget, priority, team, gates, guardrail, owner, steps, model, train, data, command, env, directory, threads" },
    { "defaults-not-a-map", "4: defaults: is a list, but must be a map; write `key: value` lines under it" },
    { "sweep-no-grid", "4: sweep.grid: is missing; add it here, as {train.lr: [1e-3, 3e-3]}" },
    { "sweep-no-name", "4: sweep.name: is missing; add a pattern here, as \"lr{train.lr}\"" },
    { "sweep-name-unknown", "5: sweep.name: {train.rate} is not a key of the grid; name only keys of the grid" },
    { "sweep-name-open", "5: sweep.name: has a { without its }; write {train.lr} for a value of the grid" },
    { "sweep-name-incomplete", "5: sweep.name: does not name {steps}, so several runs would share a name; add it" },
    { "sweep-key-unknown", "6: sweep.grid: `command` cannot be swept; take model.KEY, train.KEY, env.KEY, or a plain key of a run such as steps" },
    { "sweep-inner-key-unknown", "7: train.rate: unknown key; known here are: data_format, batch, lr, lr_min_ratio, warmup, weight_decay, beta1, beta2, clip, seed, eval_every, eval_batches, checkpoint_every, keep, backend, dtype, reduce, gang_timeout" },
    { "sweep-value-bad", "7: train.lr: `fast` is not a number; write it as 0.001 or 1e-3" },
    { "sweep-values-twice", "4: name: two runs are called `c1e-3`, the first on line 4; rename one" },
    { "sweep-values-empty", "6: train.lr: is empty; list the values to try" },
    { "sweep-not-a-list", "6: train.lr: is a single value, but must be a list; write [a, b] or `- item` lines under it" },
    { "sweep-too-large", "6: sweep.grid: the campaign has more than 16384 runs; split it into several" },
    { "sweep-too-many-keys", "6: sweep.grid: takes 1 to 8 keys" },
    { "sweep-name-bad", "5: name: `c 1e-3` is not a name; use 1 to 63 letters, digits and . _ -, not starting with . or -" },
    { "warmup-too-long", "9: train.warmup: 11 steps are more than the run's 10; shorten it" },
    { "batch-too-large", "5: train.batch: 5000 sequences are more than 4096 for each rank; lower it" },
    { "lr-zero", "5: train.lr: `0` is out of range; write a value between 1e-12 and 100" },
    { "control-byte", "5: not plain text (control characters are not allowed); save it as UTF-8 without control characters" },
    { "name-with-newline", "5: name: `a?b` is not a name; use 1 to 63 letters, digits and . _ -, not starting with . or -" },
    { "gate-name-too-long", "5: gates.name: `gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg` is too long with its point behind it; shorten it" },
    { "prices-too-many", "3: prices: has more than 8 device classes; take some out" },
    { "prices-bad", "4: prices.cpu: `1,20 USD` is not an amount; write it as 1.20 with at most 6 decimals and the currency USD" },
    { "prices-empty", "3: prices: is empty; write a price per slot-hour, as `cpu: 1.20 USD`" },
    { "devices-empty", "4: devices: is empty; take the key out" },
    { "devices-map", "4: devices: is a map, but must be a list; write [a, b] or `- item` lines under it" },
    { "devices-no-peak", "4: devices.peak: is missing; add it here" },
    { "devices-no-match", "4: devices.match: is missing; add it here" },
    { "devices-unknown", "4: devices.flops: unknown key; known here are: match, peak" },
    { "devices-unit", "4: devices.peak: `989e12` is not a peak between 0.001 and 1000000 TFLOP/s; write it as 989.4 TFLOP/s" },
    { "devices-no-number", "4: devices.peak: `TFLOP/s` is not a peak between 0.001 and 1000000 TFLOP/s; write it as 989.4 TFLOP/s" },
    { "devices-negative", "4: devices.peak: `-1 TFLOP/s` is not a peak between 0.001 and 1000000 TFLOP/s; write it as 989.4 TFLOP/s" },
    { "devices-huge", "4: devices.peak: `1000001 TFLOP/s` is not a peak between 0.001 and 1000000 TFLOP/s; write it as 989.4 TFLOP/s" },
    { "devices-zero", "4: devices.peak: `0 TFLOP/s` is not a peak between 0.001 and 1000000 TFLOP/s; write it as 989.4 TFLOP/s" },
    { "devices-match-empty", "4: devices.match: is not a part of a device's name; write 1 to 63 plain characters, as `H100 PCIe`" },
    { "devices-match-long", "4: devices.match: is not a part of a device's name; write 1 to 63 plain characters, as `H100 PCIe`" },
    { "devices-twice", "4: devices.match: `a` is given twice; keep one" },
    { "devices-too-many", "4: devices: has more than 8 entries; take some out" },
    { "owners-too-many", "4: owners: has more than 16 owners" },
    { "owners-empty", "4: owners: is empty; name at least one owner" },
    { "tiers-empty", "4: tiers: is empty; take the key out" },
    { "variants-too-many", "5: guardrails.variants: has more than 15 variants; take some out" },
    { "teams-too-many", "261: team: the campaign has more than 256 teams; merge some" },
    { "keys-too-many", "501: too many keys in one map; at most 500 are read" },
    /* clang-format on */
};

static void each_bad_file_gives_its_error(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad_files); i++) {
        char path[256], expected[1024];
        struct campaign campaign;
        struct error error = { .code = ERR_OK };
        snprintf(path, sizeof path, BAD "/%s.yaml", bad_files[i].name);
        snprintf(expected, sizeof expected, "%s:%s", path, bad_files[i].error);
        assert_int_equal(campaign_load(path, "penstock-train", &campaign, &error), ERR_INPUT);
        assert_string_equal(error.text, expected);
        assert_int_equal(error.code, ERR_INPUT);
        assert_null(campaign.arena.blocks);
        assert_int_equal(campaign.run_count, 0);
    }
}

static bool is_listed(const char *file_name)
{
    size_t len = strlen(file_name);
    for (size_t i = 0; i < ARRAY_COUNT(bad_files); i++)
        if (strlen(bad_files[i].name) + 5 == len &&
            strncmp(file_name, bad_files[i].name, len - 5) == 0 &&
            strcmp(file_name + len - 5, ".yaml") == 0)
            return true;
    return false;
}

static void no_bad_file_is_left_out(void **state)
{
    (void)state;
    DIR *dir = opendir(BAD);
    size_t files = 0;
    assert_non_null(dir);
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        if (entry->d_name[0] == '.') continue;
        if (!is_listed(entry->d_name)) fail_msg("%s is in no row", entry->d_name);
        files++;
    }
    closedir(dir);
    assert_int_equal(files, ARRAY_COUNT(bad_files));
}

static void every_error_says_what_to_do(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad_files); i++) {
        const char *text = bad_files[i].error;
        assert_in_range(text[0], '1', '9');
        assert_non_null(strstr(text, ": "));
        assert_in_range(strlen(text), 20, 400);
        assert_null(strchr(text, '\n'));
    }
}

/* A file of `bytes` bytes that is a campaign with a long comment behind it. */
static enum err load_sized(size_t bytes, struct campaign *campaign, struct error *error)
{
    static const char head[] = "campaign: c\nbudget: 10 USD\nprices: {cpu: 1 USD}\n"
                               "runs: [{name: a, budget: 1 USD, data: t.txt}]\n#";
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    memset(text, 'x', bytes);
    memcpy(text, head, sizeof head - 1);
    text[bytes] = '\0';
    enum err rc = load_text(text, campaign, error);
    free(text);
    return rc;
}

static void a_file_may_be_as_large_as_the_limit_and_no_larger(void **state)
{
    (void)state;
    struct campaign campaign;
    struct error error;
    assert_int_equal(load_sized(CAMPAIGN_FILE_BYTES_MAX, &campaign, &error), ERR_OK);
    assert_int_equal(campaign.spec.file_text.len, CAMPAIGN_FILE_BYTES_MAX);
    campaign_fini(&campaign);
    assert_int_equal(load_sized(CAMPAIGN_FILE_BYTES_MAX + 1, &campaign, &error), ERR_INPUT);
    assert_non_null(strstr(error.text, ":1: the file is larger than 512 KiB; use a sweep"));
}

static void a_file_that_cannot_be_read_is_an_error(void **state)
{
    (void)state;
    struct campaign campaign;
    struct error error;
    assert_int_equal(campaign_load("/nowhere/x.yaml", "t", &campaign, &error), ERR_INPUT);
    assert_string_equal(error.text, "/nowhere/x.yaml: there is no such campaign file");
    assert_int_equal(campaign_load(BAD, "t", &campaign, &error), ERR_IO);
    assert_non_null(strstr(error.text, BAD ": cannot be read"));
    assert_int_equal(campaign_load(BAD "/empty.yaml", "t", &campaign, NULL), ERR_INPUT);
}

/* Each prefix of a good file is either good or refused with a line, and nothing leaks. */
static void a_file_cut_anywhere_is_refused_or_whole(void **state)
{
    (void)state;
    char *text = read_file("tests/unit/campaign/full.yaml");
    size_t len = strlen(text);
    for (size_t cut = 0; cut < len; cut += 7) {
        struct campaign campaign;
        struct error error;
        char kept = text[cut];
        text[cut] = '\0';
        if (load_text(text, &campaign, &error) == ERR_OK)
            campaign_fini(&campaign);
        else
            assert_non_null(strstr(error.text, ".yaml:"));
        text[cut] = kept;
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_bad_file_gives_its_error),
        cmocka_unit_test(no_bad_file_is_left_out),
        cmocka_unit_test(every_error_says_what_to_do),
        cmocka_unit_test(a_file_may_be_as_large_as_the_limit_and_no_larger),
        cmocka_unit_test(a_file_that_cannot_be_read_is_an_error),
        cmocka_unit_test(a_file_cut_anywhere_is_refused_or_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
