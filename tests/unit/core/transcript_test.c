/*
 * transcript_test.c - plays a transcript: lines that are events, followed (indented by two
 * blanks) by the records and actions that the core must answer with.
 *
 *   transcript_test FILE            compares; prints the first difference
 *   transcript_test --update FILE   rewrites the answers: review the diff
 *
 * Lines: `# comment`; `+10s` lets time pass; `tick` is a timer event; see `commands` below for
 * the rest. Money is written in whole units (USD), losses in nats, times in seconds.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/arena.h"
#include "scheduler/core/state.h"

enum { RUNS_MAX = 16, WORKERS_MAX = 16, WORDS_MAX = 24, OUTPUT_BYTES = 1 << 20 };

struct player {
    struct arena arena;
    struct core *core;
    struct campaign_spec spec;
    struct gate_spec gates[16];
    int64_t now_ns;
    struct writer out;
    struct text words[WORDS_MAX];
    size_t word_count;
};

/* ---- words ------------------------------------------------------------------------------- */

static struct text word(const struct player *player, size_t i)
{
    return i < player->word_count ? player->words[i] : (struct text){ "", 0 };
}

/* The value of `key=value`, or an empty text. */
static struct text value_of(const struct player *player, const char *key)
{
    struct text name = text_of(key);
    for (size_t i = 0; i < player->word_count; i++) {
        struct text w = player->words[i];
        if (w.len > name.len && text_starts(w, name) && w.data[name.len] == '=')
            return (struct text){ w.data + name.len + 1, w.len - name.len - 1 };
    }
    return (struct text){ "", 0 };
}

static bool has_flag(const struct player *player, const char *flag)
{
    for (size_t i = 0; i < player->word_count; i++)
        if (text_is(player->words[i], flag)) return true;
    return false;
}

static bool has_key(const struct player *player, const char *key)
{
    return value_of(player, key).len > 0;
}

/* A decimal number scaled to an integer; `fallback` when the key is absent. */
static int64_t scaled(const struct player *player, const char *key, int64_t scale,
                      int64_t fallback)
{
    struct text value = value_of(player, key);
    int64_t number;
    if (value.len == 0) return fallback;
    if (text_is(value, "nan")) return LOSS_NONFINITE;
    check(text_to_scaled(value, scale, &number));
    return number;
}

static int64_t micros(const struct player *player, const char *key, int64_t fallback)
{
    return scaled(player, key, 1000000, fallback);
}

static int64_t seconds_ns(const struct player *player, const char *key, int64_t fallback_ns)
{
    return scaled(player, key, NS_PER_S, fallback_ns);
}

static uint32_t number(const struct player *player, const char *key, uint32_t fallback)
{
    return (uint32_t)scaled(player, key, 1, fallback);
}

static uint32_t index_word(const struct player *player, size_t i)
{
    int64_t n;
    check(text_to_i64(word(player, i), &n));
    return (uint32_t)n;
}

/* ---- answers ----------------------------------------------------------------------------- */

static void put_money(struct player *player, const char *key, int64_t amount_micros)
{
    writer_format(&player->out, " %s=%" PRId64 ".%06" PRId64, key, amount_micros / 1000000,
                  amount_micros % 1000000);
}

static void put_flags(struct player *player, uint32_t flags)
{
    for (unsigned flag = 0; flag < UTIL_FLAG_COUNT; flag++)
        if (flags >> flag & 1)
            writer_format(&player->out, " [%s]", util_flag_name((enum util_flag)flag));
}

static void put_seconds(struct player *player, const char *key, int64_t ns)
{
    writer_format(&player->out, " %s=%" PRId64 ".%03" PRId64 "s", key, ns / NS_PER_S,
                  ns % NS_PER_S / NS_PER_MS);
}

static const char *run_name(const struct player *player, uint32_t run)
{
    return run == NO_INDEX ? "-" : core_run(player->core, run)->name;
}

static void put_decision(struct player *player, const struct record_decision *decision)
{
    static const char *const subjects[] = { "gate", "run", "tier" };
    writer_format(&player->out, " %s %s %s", subjects[decision->subject],
                  run_name(player, decision->run), verdict_name(decision->verdict));
    if (decision->owner != NO_INDEX)
        writer_format(&player->out, " owner=%s", player->spec.owners[decision->owner].name);
    if (decision->by_default) writer_string(&player->out, " by default");
    if (decision->is_signed) writer_string(&player->out, " signed");
    if (decision->subject == SUBJECT_GATE && decision->owner == NO_INDEX)
        writer_format(&player->out, " rule=%s rank=%u siblings=%u",
                      gate_rule_name(decision->rule), decision->rank, decision->siblings);
}

/* What stands behind the kind's name, for the kinds that a reader wants to see more of. */
static void put_body(struct player *player, const struct record *record)
{
    struct writer *out = &player->out;
    switch (record->kind) {
    case RECORD_TIER: put_money(player, "approved", record->as.tier.approved_micros); return;
    case RECORD_TRANCHE:
        writer_format(out, " %s number=%u", run_name(player, record->as.tranche.run),
                      record->as.tranche.number);
        put_money(player, "released", record->as.tranche.released_micros);
        return;
    case RECORD_PLACED:
        writer_format(out, " %s/%u on", run_name(player, record->as.placed.run),
                      record->as.placed.attempt);
        for (uint32_t i = 0; i < record->as.placed.member_count; i++)
            writer_format(out, " %u", record->as.placed.workers[i]);
        put_money(player, "reserved", record->as.placed.reserved_micros);
        put_seconds(player, "lease_end", record->as.placed.lease_end_ns);
        writer_format(out, " resume=%" PRIu64 "%s", record->as.placed.resume_step,
                      record->as.placed.backfilled ? " on loan" : "");
        return;
    case RECORD_LEASE:
        writer_format(out, " %s/%u #%u", run_name(player, record->as.lease.run),
                      record->as.lease.attempt, record->as.lease.sequence);
        put_money(player, "settled", record->as.lease.settled_micros);
        put_money(player, "reserved", record->as.lease.reserved_micros);
        put_seconds(player, "lease_end", record->as.lease.lease_end_ns);
        return;
    case RECORD_WINDOW:
        writer_format(out, " %s util=%d (%s) %s", run_name(player, record->as.window.run),
                      record->as.window.util_ppm, util_rung_name(record->as.window.rung),
                      guard_action_name(record->as.window.action));
        put_flags(player, record->as.window.flags);
        return;
    case RECORD_DECISION: put_decision(player, &record->as.decision); return;
    case RECORD_INCIDENT:
        writer_format(out, " %s/%u %s -> %s", run_name(player, record->as.incident.run),
                      record->as.incident.attempt, incident_name(record->as.incident.incident),
                      runbook_action_name(record->as.incident.action));
        if (record->as.incident.incident == INCIDENT_HANG)
            writer_format(out, ", member %u", record->as.incident.member);
        return;
    case RECORD_STOPPING:
        writer_format(out, " %s/%u to %s: %s", run_name(player, record->as.stopping.run),
                      record->as.stopping.attempt, intent_name(record->as.stopping.intent),
                      reason_name(record->as.stopping.reason));
        if (record->as.stopping.pinned)
            writer_format(out, " back to step %" PRIu64, record->as.stopping.resume_step);
        return;
    case RECORD_MEMBER_ENDED:
        writer_format(out, " %s/%u member %u: %s",
                      run_name(player, record->as.member_ended.run),
                      record->as.member_ended.attempt, record->as.member_ended.member,
                      ending_name(record->as.member_ended.ending));
        return;
    case RECORD_ATTEMPT_ENDED:
        writer_format(out, " %s/%u", run_name(player, record->as.attempt_ended.run),
                      record->as.attempt_ended.attempt);
        put_seconds(player, "held", record->as.attempt_ended.held_ns);
        put_money(player, "settled", record->as.attempt_ended.settled_micros);
        put_money(player, "returned", record->as.attempt_ended.returned_micros);
        writer_format(out, " -> %s: %s", run_state_name(record->as.attempt_ended.state),
                      reason_name(record->as.attempt_ended.reason));
        return;
    case RECORD_RUN_STATE:
        writer_format(out, " %s -> %s: %s", run_name(player, record->as.run_state.run),
                      run_state_name(record->as.run_state.state),
                      reason_name(record->as.run_state.reason));
        return;
    case RECORD_NOTE:
        writer_format(out, " %s: ", run_name(player, record->as.note.run));
        writer_text(out, record->as.note.text);
        return;
    case RECORD_CLOSED: writer_format(out, " exit=%d", record->as.closed.exit_status); return;
    case RECORD_CHECKPOINT:
        writer_format(out, " %s step=%" PRIu64, run_name(player, record->as.checkpoint.run),
                      record->as.checkpoint.step);
        return;
    case RECORD_CAMPAIGN:
    case RECORD_RUN:
    case RECORD_EPOCH:
    case RECORD_WORKER:
    case RECORD_WORKER_LOST:
    case RECORD_MEMBER_STARTED:
    case RECORD_GATE:
    case RECORD_SUSPENDED:
    case RECORD_SPACE:
    case RECORD_KIND_COUNT: return;
    }
}

static void take_record(void *context, const struct record *record)
{
    struct player *player = (struct player *)context;
    writer_format(&player->out, "  record %s", record_kind_name(record->kind));
    put_body(player, record);
    writer_string(&player->out, "\n");
}

static void take_action(void *context, const struct action *action)
{
    struct player *player = (struct player *)context;
    struct writer *out = &player->out;
    static const char *const names[] = { "launch", "grant", "stop", "probe", "ask", "done" };
    writer_format(out, "  action %s", names[action->kind]);
    switch (action->kind) {
    case ACTION_LAUNCH:
    case ACTION_GRANT:
        writer_format(out, " worker %u %s/%u", action->worker, run_name(player, action->run),
                      action->attempt);
        put_seconds(player, "lease", action->lease_ns);
        break;
    case ACTION_STOP:
        writer_format(out, " worker %u %s/%u%s", action->worker,
                      action->run < core_run_count(player->core) ? run_name(player, action->run)
                                                                 : "?",
                      action->attempt, action->at_once ? " at once" : "");
        break;
    case ACTION_PROBE:
        writer_format(out, " worker %u about %s/%u member %u", action->worker,
                      run_name(player, action->run), action->attempt, action->member);
        break;
    case ACTION_ASK: writer_format(out, " %s", run_name(player, action->run)); break;
    case ACTION_DONE: writer_format(out, " exit=%d", action->exit_status); break;
    case ACTION_KIND_COUNT: break;
    }
    writer_string(out, "\n");
}

static void step(struct player *player, struct event *event)
{
    struct output output = { player, take_record, take_action };
    event->now_ns = player->now_ns;
    core_step(player->core, event, &output);
    core_check(player->core);
}

/* ---- commands ---------------------------------------------------------------------------- */

/* tiers=auto:5,alice:10 */
static void read_tiers(struct player *player)
{
    struct text rest = value_of(player, "tiers");
    while (rest.len > 0) {
        size_t comma = text_find(rest, TEXT(","));
        struct text one = { rest.data, comma == SIZE_MAX ? rest.len : comma };
        size_t colon = text_find(one, TEXT(":"));
        struct tier_spec *tier = &player->spec.tiers[player->spec.tier_count++];
        struct text who = { one.data, colon };
        tier->owner_index = NO_INDEX;
        for (uint32_t o = 0; o < player->spec.owner_count; o++)
            if (text_is(who, player->spec.owners[o].name)) tier->owner_index = o;
        check(text_to_scaled((struct text){ one.data + colon + 1, one.len - colon - 1 },
                             1000000, &tier->up_to_micros));
        player->spec.budget_micros = tier->up_to_micros;
        if (comma == SIZE_MAX) break;
        rest = (struct text){ rest.data + comma + 1, rest.len - comma - 1 };
    }
}

/* campaign tiers=auto:10 price=3.6 lease=60 grace=30 heartbeat=5 backoff=0 [backfill] [fair] */
static void do_campaign(struct player *player)
{
    struct campaign_spec *spec = &player->spec;
    text_copy(spec->name, sizeof spec->name, TEXT("test"));
    text_copy(spec->currency, sizeof spec->currency, TEXT("USD"));
    spec->owner_count = 2;
    text_copy(spec->owners[0].name, NAME_MAX_BYTES, TEXT("alice"));
    text_copy(spec->owners[1].name, NAME_MAX_BYTES, TEXT("bob"));
    spec->owners[0].delegate_index = spec->owners[1].delegate_index = NO_INDEX;
    read_tiers(player);
    spec->class_count = 2;
    text_copy(spec->classes[0].name, NAME_MAX_BYTES, TEXT("cpu"));
    text_copy(spec->classes[1].name, NAME_MAX_BYTES, TEXT("gpu"));
    spec->classes[0].rate_micros = micros(player, "price", 3600000);
    spec->classes[1].rate_micros = micros(player, "gpu_price", 3600000);
    spec->place = has_flag(player, "fair") ? PLACE_FAIR : PLACE_FIFO;
    spec->backfill = has_flag(player, "backfill");
    spec->lease_ns = seconds_ns(player, "lease", 60 * NS_PER_S);
    spec->stop_grace_ns = seconds_ns(player, "grace", 30 * NS_PER_S);
    spec->heartbeat_ns = seconds_ns(player, "heartbeat", 5 * NS_PER_S);
    spec->worker_timeout_ns = spec->lease_ns / 2;
    spec->backoff_ns = seconds_ns(player, "backoff", 0);
    spec->backoff_max_ns = 60 * NS_PER_S;
    spec->guard_count = 1;
    spec->guards[0] =
        (struct guard_spec){ .window_ns = seconds_ns(player, "window", NS_PER_HOUR),
                             .floor_ppm = (int32_t)number(player, "floor", 0),
                             .clear_ppm = (int32_t)number(player, "floor", 0),
                             .warn_windows = 1,
                             .park_windows = 2,
                             .stop_windows = 3,
                             .park_ns = 20 * NS_PER_S };
    spec->runbook_count = 2;
    spec->runbook[0] =
        (struct runbook_row){ .incident = INCIDENT_TRAINER_FAILED,
                              .exit_code = RUNBOOK_EXIT_ANY,
                              .step_count = 2,
                              .steps = { { RUNBOOK_RESTART, 2 }, { RUNBOOK_HOLD, 1 } } };
    spec->runbook[1] =
        (struct runbook_row){ .incident = INCIDENT_LOST_WORKER,
                              .exit_code = RUNBOOK_EXIT_ANY,
                              .step_count = 1,
                              .steps = { { RUNBOOK_RESTART, RUNBOOK_UNLIMITED } } };
}

/* owner 0 [answer=60] [delegate=1] [otherwise=go|no-go] [keyed] : before `start` */
static void do_owner(struct player *player)
{
    struct owner_spec *owner = &player->spec.owners[index_word(player, 1)];
    struct text otherwise = value_of(player, "otherwise");
    owner->answer_within_ns = seconds_ns(player, "answer", 0);
    owner->delegate_index = number(player, "delegate", NO_INDEX);
    owner->key_count = has_flag(player, "keyed");
    owner->otherwise = text_is(otherwise, "go")      ? OTHERWISE_GO
                       : text_is(otherwise, "no-go") ? OTHERWISE_NO_GO
                                                     : OTHERWISE_WAIT;
}

/* gate g1 step=100 [milestone=2.5] [eta=2 siblings=2] [penstock=2.5] [util=0.3] [signoff] owner=0
 * : before `start` */
static void do_gate(struct player *player)
{
    struct gate_spec *gate = &player->gates[player->spec.gate_count++];
    text_copy(gate->name, sizeof gate->name, word(player, 1));
    gate->step = number(player, "step", 0);
    gate->owner_index = number(player, "owner", 0);
    struct gate_rule_spec *rule = &gate->rules[gate->rule_count++];
    if (value_of(player, "milestone").len > 0)
        *rule = (struct gate_rule_spec){ .rule = GATE_RULE_MILESTONE,
                                         .loss_max_micro = micros(player, "milestone", 0) };
    else if (value_of(player, "eta").len > 0)
        *rule = (struct gate_rule_spec){ .rule = GATE_RULE_RANK,
                                         .eta = number(player, "eta", 2),
                                         .siblings_min = number(player, "siblings", 1) };
    else if (value_of(player, "penstock").len > 0)
        *rule = (struct gate_rule_spec){ .rule = GATE_RULE_PENSTOCK,
                                         .loss_max_micro = micros(player, "penstock", 0),
                                         .share_min_ppm = 500000,
                                         .points_min = number(player, "points", 1),
                                         .eta = 2 };
    else if (value_of(player, "util").len > 0)
        *rule = (struct gate_rule_spec){ .rule = GATE_RULE_UTILIZATION,
                                         .share_min_ppm = (int32_t)micros(player, "util", 0) };
    else
        *rule = (struct gate_rule_spec){ .rule = GATE_RULE_SIGNOFF };
}

/* start: the campaign as described so far */
static void do_start(struct player *player)
{
    player->spec.gates = player->gates;
    struct event event = { .kind = EVENT_CAMPAIGN, .as.campaign = &player->spec };
    step(player, &event);
}

/* run a ranks=1 budget=2 steps=200 gates=1 [builtin] [gpu|any] : gates = how many of the campaign's, from the first
 */
static void do_run(struct player *player)
{
    struct run_spec run = { .class_index = has_flag(player, "any")   ? NO_INDEX
                                           : has_flag(player, "gpu") ? 1
                                                                     : 0,
                            .builtin = has_flag(player, "builtin"),
                            .ranks = number(player, "ranks", 1),
                            .budget_micros = micros(player, "budget", 1000000),
                            .steps = number(player, "steps", 0),
                            .gate_count = number(player, "gates", 0),
                            .priority = (int32_t)number(player, "priority", 0) };
    text_copy(run.name, sizeof run.name, word(player, 1));
    text_copy(run.tenant, sizeof run.tenant, value_of(player, "team"));
    int64_t share = run.budget_micros / (run.gate_count + 1);
    run.first_tranche_micros = run.budget_micros - share * run.gate_count;
    for (uint32_t g = 0; g < run.gate_count; g++)
        run.gates[g] = (struct run_gate_spec){ g, share };
    struct event event = { .kind = EVENT_SUBMIT, .as.submit = &run };
    step(player, &event);
}

/* epoch workers=3 */
static void do_epoch(struct player *player)
{
    struct event event = { .kind = EVENT_EPOCH,
                           .as.epoch = { .epoch = core_epoch(player->core) + 1,
                                         .workers = number(player, "workers", 0),
                                         .host = TEXT("h"),
                                         .version = TEXT("v") } };
    step(player, &event);
}

/* hello WORKER HOST [gpu] [pci=ID] */
static void do_hello(struct player *player)
{
    struct event event = { .kind = EVENT_HELLO,
                           .as.hello = { .worker = index_word(player, 1),
                                         .host = word(player, 2),
                                         .class_index = has_flag(player, "gpu") ? 1 : 0,
                                         .peak_flops = 1000000000,
                                         .threads = 1,
                                         .on_cpu = !has_flag(player, "gpu"),
                                         .pci_bus_id = value_of(player, "pci") } };
    step(player, &event);
}

/* What a GPU was seen to do since the attempt began: seen= seconds, and of these busy= tensor= capped= seconds,
 * joules=, cycles= millions; xids=, xid=, lost=. Its limit is 700 W, its clock 2000 MHz at most. */
static struct device_figures device(const struct player *player)
{
    int64_t seen_ns = (int64_t)number(player, "seen", 0) * NS_PER_S;
    return (struct device_figures){
        .watched_ns = seen_ns,
        .energy_mj = (int64_t)number(player, "joules", 0) * 1000,
        .energy_ns = has_key(player, "joules") ? seen_ns : 0,
        .tensor_ns = (int64_t)number(player, "tensor", 0) * NS_PER_S,
        .gpm_ns = has_key(player, "tensor") ? seen_ns : 0,
        .busy_ns = (int64_t)number(player, "busy", 0) * NS_PER_S,
        .util_ns = has_key(player, "busy") ? seen_ns : 0,
        .mega_cycles = (int64_t)number(player, "cycles", 0),
        .clock_ns = has_key(player, "cycles") ? seen_ns : 0,
        .capped_ns = (int64_t)number(player, "capped", 0) * NS_PER_S,
        .reason_ns = has_key(player, "capped") ? seen_ns : 0,
        .xid_count = (int64_t)number(player, "xids", 0),
        .xid = (int64_t)number(player, "xid", 0),
        .lost = (int64_t)number(player, "lost", 0),
        .power_default_mw = seen_ns > 0 ? 700000 : 0,
        .clock_max_mhz = seen_ns > 0 ? 2000 : 0,
    };
}

static uint32_t run_word(const struct player *player, size_t i)
{
    return core_find_run(player->core, word(player, i));
}

static struct telemetry telemetry(const struct player *player)
{
    return (struct telemetry){ .step = number(player, "step", 0),
                               .tokens = number(player, "tokens", 0),
                               .loss_micro = micros(player, "loss", LOSS_UNKNOWN),
                               .val_loss_micro = LOSS_UNKNOWN,
                               .flops_per_token = number(player, "flops", 0),
                               .cpu_ns = -1,
                               .device = device(player),
                               .ready = true };
}

/* lost WORKER */
static void do_lost(struct player *player)
{
    struct event event = { .kind = EVENT_WORKER_LOST,
                           .as.worker_lost = { index_word(player, 1), TEXT("no heartbeat") } };
    step(player, &event);
}

/* beat WORKER RUN ATTEMPT MEMBER [step= tokens= loss= flops=] [what device() reads] */
static void do_beat(struct player *player)
{
    struct event event = { .kind = EVENT_HEARTBEAT };
    event.as.heartbeat.worker = index_word(player, 1);
    event.as.heartbeat.run = run_word(player, 2);
    event.as.heartbeat.attempt = index_word(player, 3);
    event.as.heartbeat.member = index_word(player, 4);
    event.as.heartbeat.telemetry = telemetry(player);
    step(player, &event);
}

/* started WORKER RUN ATTEMPT MEMBER */
static void do_started(struct player *player)
{
    struct event event = { .kind = EVENT_STARTED };
    event.as.started.worker = index_word(player, 1);
    event.as.started.run = run_word(player, 2);
    event.as.started.attempt = index_word(player, 3);
    event.as.started.member = index_word(player, 4);
    event.as.started.pid = 100 + event.as.started.worker;
    step(player, &event);
}

/* reach WORKER RUN ATTEMPT MEMBER gate=g1 step= loss= [path=] */
static void do_reach(struct player *player)
{
    struct event event = { .kind = EVENT_GATE };
    event.as.gate.worker = index_word(player, 1);
    event.as.gate.run = run_word(player, 2);
    event.as.gate.attempt = index_word(player, 3);
    event.as.gate.member = index_word(player, 4);
    event.as.gate.gate = value_of(player, "gate");
    event.as.gate.step = number(player, "step", 0);
    event.as.gate.loss_micro = micros(player, "loss", LOSS_UNKNOWN);
    event.as.gate.checkpoint = value_of(player, "path");
    step(player, &event);
}

/* checkpoint WORKER RUN ATTEMPT MEMBER step= path= */
static void do_checkpoint(struct player *player)
{
    struct event event = { .kind = EVENT_CHECKPOINT };
    event.as.checkpoint.worker = index_word(player, 1);
    event.as.checkpoint.run = run_word(player, 2);
    event.as.checkpoint.attempt = index_word(player, 3);
    event.as.checkpoint.member = index_word(player, 4);
    event.as.checkpoint.step = number(player, "step", 0);
    event.as.checkpoint.path = value_of(player, "path");
    step(player, &event);
}

/* exit WORKER RUN ATTEMPT MEMBER how=own|stopped|killed|lease|hang|launch code= [step= path= late=]
 */
static void do_exit(struct player *player)
{
    static const struct {
        const char *word;
        enum ending ending;
    } endings[] = { { "own", ENDING_OWN },       { "stopped", ENDING_STOPPED },
                    { "killed", ENDING_KILLED }, { "lease", ENDING_LEASE_EXPIRED },
                    { "hang", ENDING_HANG },     { "launch", ENDING_LAUNCH_FAILED } };
    struct event event = { .kind = EVENT_EXITED };
    event.as.exited.worker = index_word(player, 1);
    event.as.exited.run = run_word(player, 2);
    event.as.exited.attempt = index_word(player, 3);
    event.as.exited.member = index_word(player, 4);
    for (size_t i = 0; i < ARRAY_COUNT(endings); i++)
        if (text_is(value_of(player, "how"), endings[i].word))
            event.as.exited.ending = endings[i].ending;
    event.as.exited.exit_code = (int32_t)number(player, "code", 0);
    event.as.exited.telemetry = telemetry(player);
    event.as.exited.names_late = value_of(player, "late").len > 0;
    event.as.exited.late = number(player, "late", 0);
    event.as.exited.checkpoint_step = number(player, "step", 0);
    event.as.exited.checkpoint_tokens = number(player, "tokens", 0);
    event.as.exited.checkpoint = value_of(player, "path");
    step(player, &event);
}

/* gone WORKER RUN ATTEMPT MEMBER */
static void do_gone(struct player *player)
{
    struct event event = { .kind = EVENT_PROBED };
    event.as.probed.worker = index_word(player, 1);
    event.as.probed.run = run_word(player, 2);
    event.as.probed.attempt = index_word(player, 3);
    event.as.probed.member = index_word(player, 4);
    event.as.probed.gone = true;
    step(player, &event);
}

/* decide gate RUN SLOT go|no-go owner=0 [request=1] [signed], decide run RUN go owner=0, decide tier TIER go owner=0
 */
static void do_decide(struct player *player)
{
    struct event event = { .kind = EVENT_DECIDE };
    event.as.decide.run = event.as.decide.slot = event.as.decide.tier = NO_INDEX;
    if (text_is(word(player, 1), "tier")) {
        event.as.decide.subject = SUBJECT_TIER;
        event.as.decide.tier = index_word(player, 2);
    } else {
        event.as.decide.run = run_word(player, 2);
        event.as.decide.subject = text_is(word(player, 1), "gate") ? SUBJECT_GATE : SUBJECT_RUN;
        if (event.as.decide.subject == SUBJECT_GATE)
            event.as.decide.slot = index_word(player, 3);
    }
    event.as.decide.verdict = has_flag(player, "no-go") ? VERDICT_NO_GO : VERDICT_GO;
    event.as.decide.owner = number(player, "owner", 0);
    event.as.decide.request = number(player, "request", 0);
    event.as.decide.is_signed = has_flag(player, "signed");
    event.as.decide.reason = TEXT("because");
    step(player, &event);
}

/* suspend [now] */
static void do_suspend(struct player *player)
{
    struct event event = { .kind = EVENT_SUSPEND,
                           .as.suspend = { TEXT("signal"), has_flag(player, "now") } };
    step(player, &event);
}

/* space low|ok */
static void do_space(struct player *player)
{
    struct event event = { .kind = EVENT_SPACE, .as.space = { has_flag(player, "low") } };
    step(player, &event);
}

static void do_tick(struct player *player)
{
    struct event event = { .kind = EVENT_TIMER };
    step(player, &event);
}

static void do_rouse(struct player *player)
{
    struct output output = { player, take_record, take_action };
    core_rouse(player->core, player->now_ns, &output);
}

/* money: what the budget looks like now */
static void do_money(struct player *player)
{
    const struct budget *budget = core_budget(player->core);
    writer_string(&player->out, "  money");
    put_money(player, "approved", budget->approved_micros);
    put_money(player, "released", budget->released_micros);
    put_money(player, "reserved", budget->reserved_micros);
    put_money(player, "spent", budget->spent_micros);
    writer_string(&player->out, "\n");
}

/* waits RUN: why it is not placed */
static void do_waits(struct player *player)
{
    writer_format(&player->out, "  waits: %s\n",
                  reason_name(core_waits_for(player->core, run_word(player, 1))));
}

/* why RUN: what keeps its next tranche closed */
static void do_why(struct player *player)
{
    const char *wait =
        tranche_wait_name(core_tranche_waits_for(player->core, run_word(player, 1)));
    writer_format(&player->out, "  tranche: %s\n", wait[0] ? wait : "none waits");
}

static const struct {
    const char *name;
    void (*play)(struct player *player);
} commands[] = {
    { "campaign", do_campaign }, { "gate", do_gate },   { "owner", do_owner },
    { "start", do_start },       { "run", do_run },     { "epoch", do_epoch },
    { "hello", do_hello },       { "lost", do_lost },   { "beat", do_beat },
    { "started", do_started },   { "reach", do_reach }, { "checkpoint", do_checkpoint },
    { "exit", do_exit },         { "gone", do_gone },   { "decide", do_decide },
    { "suspend", do_suspend },   { "space", do_space }, { "tick", do_tick },
    { "rouse", do_rouse },       { "money", do_money }, { "waits", do_waits },
    { "why", do_why },
};

static void split(struct player *player, struct text line)
{
    player->word_count = 0;
    while (line.len > 0 && player->word_count < WORDS_MAX) {
        size_t blank = text_find(line, TEXT(" "));
        size_t len = blank == SIZE_MAX ? line.len : blank;
        if (len > 0) player->words[player->word_count++] = (struct text){ line.data, len };
        size_t next = len < line.len ? len + 1 : len;
        line = (struct text){ line.data + next, line.len - next };
    }
}

static void play_line(struct player *player, struct text line)
{
    int64_t ns;
    writer_text(&player->out, line);
    writer_string(&player->out, "\n");
    split(player, line);
    if (player->word_count == 0 || line.data[0] == '#') return;
    if (line.data[0] == '+') {
        check(text_to_scaled((struct text){ line.data + 1, line.len - 2 }, NS_PER_S, &ns));
        player->now_ns += ns;
        return;
    }
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        if (!text_is(word(player, 0), commands[i].name)) continue;
        commands[i].play(player);
        return;
    }
    fprintf(stderr, "unknown command: %.*s\n", (int)line.len, line.data);
    exit(2);
}

/* ---- files ------------------------------------------------------------------------------- */

static char *read_file(struct arena *arena, const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        exit(2);
    }
    char *text = (char *)arena_alloc(arena, OUTPUT_BYTES);
    size_t n = fread(text, 1, OUTPUT_BYTES - 1, file);
    text[n] = '\0';
    fclose(file);
    return text;
}

static void play(struct player *player, struct text text)
{
    while (text.len > 0) {
        size_t newline = text_find(text, TEXT("\n"));
        struct text line = { text.data, newline == SIZE_MAX ? text.len : newline };
        if (!text_starts(line, TEXT("  "))) play_line(player, line);
        size_t next = newline == SIZE_MAX ? text.len : newline + 1;
        text = (struct text){ text.data + next, text.len - next };
    }
}

static int report_difference(const char *expected, const char *actual)
{
    size_t line = 1, i = 0, start = 0;
    for (; expected[i] && expected[i] == actual[i]; i++)
        if (expected[i] == '\n') {
            line++;
            start = i + 1;
        }
    fprintf(stderr, "line %zu differs\nexpected: %.*s\nanswered: %.*s\n", line,
            (int)strcspn(expected + start, "\n"), expected + start,
            (int)strcspn(actual + start, "\n"), actual + start);
    return 1;
}

int main(int argc, char **argv)
{
    bool update = argc > 2 && strcmp(argv[1], "--update") == 0;
    const char *path = argv[argc - 1];
    struct core_limits limits = { RUNS_MAX, WORKERS_MAX, 16, 16 * RUNS_MAX };
    struct player player = { .core = core_create(&limits) };
    char *expected = read_file(&player.arena, path);
    player.out = writer_of((char *)arena_alloc(&player.arena, OUTPUT_BYTES), OUTPUT_BYTES);
    play(&player, text_of(expected));
    check(!player.out.full);
    int status = 0;
    if (update) {
        FILE *file = fopen(path, "w");
        check(file != NULL);
        fwrite(player.out.data, 1, player.out.len, file);
        fclose(file);
    } else if (strcmp(expected, player.out.data) != 0) {
        status = report_difference(expected, player.out.data);
    }
    core_destroy(player.core);
    arena_fini(&player.arena);
    return status;
}
