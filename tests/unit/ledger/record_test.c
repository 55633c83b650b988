#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/ledger.pb-c.h"
#include "scheduler/ledger/record.h"
#include "tests/unit/ledger/sample.h"

static struct sample sample;
static struct record record, again;
static struct record_codec *codec, *other;

static int setup(void **state)
{
    (void)state;
    codec = record_codec_create();
    other = record_codec_create();
    return codec == NULL || other == NULL;
}

static int teardown(void **state)
{
    (void)state;
    record_codec_destroy(codec);
    record_codec_destroy(other);
    record_codec_destroy(NULL);
    return 0;
}

static void assert_damaged(struct text payload)
{
    struct error error = { 0 };
    struct envelope envelope;
    memset(&again, 0, sizeof(again));
    assert_int_equal(record_decode(other, payload, &again, &envelope, &error), ERR_DAMAGED);
    assert_int_equal(error.code, ERR_DAMAGED);
    assert_true(strlen(error.text) > 5);
    assert_null(strchr(error.text, '\n'));
}

/* ---- what is written is what is read ---- */

static void test_every_kind_round_trips(void **state)
{
    (void)state;
    sample = sample_of(1);
    for (int kind = 0; kind < RECORD_KIND_COUNT; kind++) {
        for (int round = 0; round < 400; round++) {
            sample_record(&sample, (enum record_kind)kind, &record);
            uint64_t seq = rng_u64(&sample.rng), epoch = rng_u64(&sample.rng);
            struct error error = { 0 };
            struct text payload, payload_again;
            if (record_encode(codec, &record, seq, epoch, &payload, &error) != ERR_OK)
                fail_msg("%s", error.text);
            struct envelope envelope, peeked;
            memset(&again, 0, sizeof(again));
            if (record_decode(other, payload, &again, &envelope, &error) != ERR_OK)
                fail_msg("%s", error.text);
            assert_true(sample_same(&record, &again));
            assert_true(envelope.seq == seq && envelope.epoch == epoch);
            assert_true(envelope.at_ns == record.at_ns && envelope.kind == record.kind);
            assert_int_equal(record_peek(payload, &peeked, NULL), ERR_OK);
            assert_true(peeked.seq == seq && peeked.epoch == epoch);
            assert_true(peeked.at_ns == record.at_ns && peeked.kind == record.kind);

            char *kept = malloc(payload.len);
            memcpy(kept, payload.data, payload.len);
            assert_int_equal(record_encode(codec, &again, seq, epoch, &payload_again, NULL),
                             ERR_OK);
            assert_true(text_equal((struct text){ kept, payload.len }, payload_again));
            free(kept);
        }
    }
}

/* Changes the payload at random places; returns its new length. */
static size_t mutate(struct rng *rng, char *bytes, size_t len)
{
    size_t at = (size_t)rng_below(rng, len);
    switch (rng_below(rng, 5)) {
    case 0: bytes[at] = (char)(bytes[at] ^ (1 << rng_below(rng, 8))); return len;
    case 1: bytes[at] = (char)rng_u64(rng); return len;
    case 2: return at;
    case 3: memmove(bytes + at, bytes + at + 1, len - at - 1); return len - 1;
    default:
        memmove(bytes + at + 1, bytes + at, len - at);
        bytes[at] = (char)rng_u64(rng);
        return len + 1;
    }
}

/* Whatever decodes is the encoding of what it decoded to. */
static void test_mutations_fail_or_are_canonical(void **state)
{
    (void)state;
    sample = sample_of(2);
    static char bytes[FRAME_BYTES_MAX];
    uint32_t refused = 0, accepted = 0;
    for (int round = 0; round < 60000; round++) {
        struct text payload;
        sample_record(&sample, (enum record_kind)(round % RECORD_KIND_COUNT), &record);
        assert_int_equal(record_encode(codec, &record, 7, 3, &payload, NULL), ERR_OK);
        memcpy(bytes, payload.data, payload.len);
        size_t len = payload.len;
        for (uint64_t n = 1 + rng_below(&sample.rng, 3); n > 0 && len > 0; n--)
            len = mutate(&sample.rng, bytes, len);
        struct text mutated = { bytes, len };
        struct envelope envelope;
        struct error error = { 0 };
        memset(&again, 0, sizeof(again));
        enum err rc = record_decode(other, mutated, &again, &envelope, &error);
        if (rc != ERR_OK) {
            assert_int_equal(rc, ERR_DAMAGED);
            assert_true(error.text[0] != 0);
            refused++;
            continue;
        }
        accepted++;
        struct text back;
        assert_int_equal(
            record_encode(codec, &again, envelope.seq, envelope.epoch, &back, NULL), ERR_OK);
        assert_true(text_equal(back, mutated));
    }
    assert_true(refused > 20000); /* neither branch is empty */
    assert_true(accepted > 1000);
}

/* ---- what is refused ---- */

static struct campaign_spec *campaign(void)
{
    sample_record(&sample, RECORD_CAMPAIGN, &record);
    return &record.as.campaign;
}

static void break_time(void)
{
    record.at_ns = -1;
}
static void break_tiers_none(void)
{
    campaign()->tier_count = 0;
}
static void break_tiers_many(void)
{
    campaign()->tier_count = TIERS_MAX + 1;
}
static void break_tiers_fall(void)
{
    campaign()->tiers[0].up_to_micros = INT64_MAX;
}
static void break_budget(void)
{
    campaign()->budget_micros--;
}
static void break_currency(void)
{
    memset(campaign()->currency, 'X', CURRENCY_BYTES);
}
static void break_name_empty(void)
{
    campaign()->name[0] = 0;
}
static void break_name_text(void)
{
    campaign()->name[0] = (char)0xFF;
}
static void break_place(void)
{
    campaign()->place = PLACE_POLICY_COUNT;
}
static void break_tier_owner(void)
{
    campaign()->tiers[0].owner_index = OWNERS_MAX;
}
static void break_guards(void)
{
    campaign()->guard_count = 0;
}
static void break_guard_age(void)
{
    campaign()->guards[0].idle_start_warn_ns[1] = -1;
}
static void break_heartbeat(void)
{
    campaign()->heartbeat_ns = 0;
}
static void break_gates(void)
{
    campaign()->gate_count = 8193;
}
static void break_gate_rules(void)
{
    campaign()->gate_count = 1;
    sample.gates[0].rule_count = 0;
    (void)text_copy(sample.gates[0].name, sizeof(sample.gates[0].name), TEXT("g"));
    sample.gates[0].owner_index = NO_INDEX;
}

static struct run_spec *run(void)
{
    sample_record(&sample, RECORD_RUN, &record);
    return &record.as.run;
}

static void break_ranks_none(void)
{
    run()->ranks = 0;
}
static void break_ranks_many(void)
{
    run()->ranks = GANG_MAX + 1;
}
static void break_run_sum(void)
{
    run()->budget_micros++;
}
static void break_run_gates(void)
{
    run()->gate_count = GATES_PER_RUN_MAX + 1;
}
static void break_run_guard(void)
{
    run()->guard_index = GUARDS_MAX;
}
static void break_run_launch(void)
{
    static char launch[65537];
    run()->launch = (struct text){ launch, sizeof(launch) };
}

static void break_host_empty(void)
{
    sample_record(&sample, RECORD_EPOCH, &record);
    record.as.epoch.host = TEXT("");
}
static void break_host_long(void)
{
    static char host[NAME_MAX_BYTES];
    memset(host, 'h', sizeof(host));
    sample_record(&sample, RECORD_EPOCH, &record);
    record.as.epoch.host = (struct text){ host, sizeof(host) };
}
static void break_worker(void)
{
    sample_record(&sample, RECORD_WORKER, &record);
    record.as.worker.worker = 0;
}
static void break_members_none(void)
{
    sample_record(&sample, RECORD_PLACED, &record);
    record.as.placed.member_count = 0;
}
static void break_members_many(void)
{
    sample_record(&sample, RECORD_PLACED, &record);
    record.as.placed.member_count = GANG_MAX + 1;
}
static void break_member(void)
{
    sample_record(&sample, RECORD_PLACED, &record);
    sample.workers[0] = NO_INDEX;
}
static void break_attempt(void)
{
    sample_record(&sample, RECORD_LEASE, &record);
    record.as.lease.attempt = 0;
}
static void break_reserved(void)
{
    sample_record(&sample, RECORD_LEASE, &record);
    record.as.lease.reserved_micros = -1;
}
static void break_util(void)
{
    sample_record(&sample, RECORD_WINDOW, &record);
    record.as.window.util_ppm = -2;
}
static void break_guard_state(void)
{
    sample_record(&sample, RECORD_WINDOW, &record);
    record.as.window.guard.idle_ns = INT64_MIN;
}
static void break_path(void)
{
    sample_record(&sample, RECORD_CHECKPOINT, &record);
    record.as.checkpoint.path = TEXT("");
}
static void break_path_zero(void)
{
    sample_record(&sample, RECORD_CHECKPOINT, &record);
    record.as.checkpoint.path = TEXT("a\0b");
}
static void break_verdict(void)
{
    sample_record(&sample, RECORD_DECISION, &record);
    record.as.decision.verdict = VERDICT_NONE;
}
static void break_subject(void)
{
    sample_record(&sample, RECORD_DECISION, &record);
    record.as.decision.subject = SUBJECT_TIER;
    record.as.decision.tier = NO_INDEX;
}
static void break_state(void)
{
    sample_record(&sample, RECORD_RUN_STATE, &record);
    record.as.run_state.state = (enum run_state) - 1;
}

static void test_bad_values_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        void (*make)(void);
        const char *says;
    } rows[] = {
        { break_time, "time is negative" },
        { break_tiers_none, "tiers is 0" },
        { break_tiers_many, "tiers is 9; 1 to 8" },
        { break_tiers_fall, "campaign: " },
        { break_budget, "budget_micros" },
        { break_currency, "currency has no end" },
        { break_name_empty, "name is empty" },
        { break_name_text, "name is not UTF-8" },
        { break_place, "place is 3" },
        { break_tier_owner, "owner is not listed" },
        { break_guards, "guards is 0" },
        { break_guard_age, "idle_start_warn_ns is negative" },
        { break_heartbeat, "heartbeat_ns is 0" },
        { break_gates, "gates is 8193" },
        { break_gate_rules, "rules is 0" },
        { break_ranks_none, "ranks is 0" },
        { break_ranks_many, "ranks is 1025" },
        { break_run_sum, "sum of the tranches" },
        { break_run_gates, "gates is 25" },
        { break_run_guard, "guard_index is 16" },
        { break_run_launch, "launch is too long" },
        { break_host_empty, "host is empty" },
        { break_host_long, "host is too long" },
        { break_worker, "worker is 0" },
        { break_members_none, "workers is 0" },
        { break_members_many, "workers is 1025" },
        { break_member, "number that is none" },
        { break_attempt, "attempt is 0" },
        { break_reserved, "reserved_micros is -1" },
        { break_util, "util_ppm is -2" },
        { break_guard_state, "idle_ns is -9223372036854775808" },
        { break_path, "path is empty" },
        { break_path_zero, "path is not UTF-8" },
        { break_verdict, "verdict is none" },
        { break_subject, "tier is named by tier" },
        { break_state, "state is 4294967295" },
    };
    sample = sample_of(3);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        sample_record(&sample, RECORD_NOTE, &record);
        rows[i].make();
        struct text payload;
        struct error error = { 0 };
        if (record_encode(codec, &record, 1, 0, &payload, &error) != ERR_INPUT)
            fail_msg("accepted: %s", rows[i].says);
        if (strstr(error.text, rows[i].says) == NULL)
            fail_msg("'%s' does not say '%s'", error.text, rows[i].says);
    }
}

static void test_too_large_is_full(void **state)
{
    (void)state;
    static char file[FRAME_BYTES_MAX];
    sample = sample_of(4);
    campaign()->file_text = (struct text){ file, sizeof(file) };
    struct text payload;
    struct error error = { 0 };
    assert_int_equal(record_encode(codec, &record, 1, 0, &payload, &error), ERR_FULL);
    assert_non_null(strstr(error.text, "1048576"));
    record.as.campaign.file_text.len = FRAME_BYTES_MAX / 2;
    assert_int_equal(record_encode(codec, &record, 1, 0, &payload, &error), ERR_OK);
}

/* A Note of epoch 0 with a text, byte by byte, and the ways to write it otherwise. */
static void test_only_one_encoding(void **state)
{
    (void)state;
    static const char good[] = "\x08\x01\x10\x05\xCA\x01\x05\x08\x02\x12\x01x";
    static const struct {
        const char *bytes;
        size_t len;
        const char *why;
    } bad[] = {
#define BAD(bytes, why) { bytes, sizeof(bytes) - 1, why }
        BAD("", "no bytes"),
        BAD("\x08\x01\x10\x05", "no body"),
        BAD("\x10\x05\x08\x01\xCA\x01\x05\x08\x02\x12\x01x", "fields out of order"),
        BAD("\x08\x01\x10\x05\x18\x00\xCA\x01\x05\x08\x02\x12\x01x", "a zero written"),
        BAD("\x08\x81\x00\x10\x05\xCA\x01\x05\x08\x02\x12\x01x", "a long varint"),
        BAD("\x08\x01\x08\x01\x10\x05\xCA\x01\x05\x08\x02\x12\x01x", "a field twice"),
        BAD("\x08\x01\x10\x05\xCA\x01\x05\x12\x01x\x08\x02", "inner fields out of order"),
        BAD("\x08\x01\x10\x05\xCA\x01\x05\x08\x02\x12\x01x\xCA\x01\x00", "a body twice"),
        BAD("\x08\x01\x10\x05\xCA\x01\x07\x08\x02\x12\x01x\x18\x01", "an unknown inner field"),
        BAD("\x08\x01\x10\x05\xCA\x01\x05\x08\x02\x12\x01x\xF8\x07\x01", "an unknown field"),
        BAD("\x08\x01\x10\x05\xF2\x07\x05\x08\x02\x12\x01x", "an unknown body"),
        BAD("\x08\x01\x10\x05\xCA\x01\x06\x08\x02\x12\x02x", "a text that is cut"),
        BAD("\x08\x01\x10\x05\xCA\x01\x05\x08\x02\x12\x01\x00", "a zero in a text"),
        BAD("\x08\x01\x10\x05\xCA\x01\x05\x08\x02\x12\x01\xFF", "a text that is not UTF-8"),
        BAD("\x08\x01\x10\x05\xC2\x01\x02\x08\x02", "a flag that is neither"),
        BAD("\x08\x01\x10\x05\x72\x06\x10\x01\x82\x01\x01", "a message that is cut"),
        BAD("\x08\x01\x10\x05\x72\x02\x10\x01", "a window without its guard"),
        BAD("\x08\x01\x10\x05\xCA\x01\x05\x08\x02\x12\x01x\x00", "something behind"),
#undef BAD
    };
    struct envelope envelope;
    memset(&again, 0, sizeof(again));
    assert_int_equal(
        record_decode(other, (struct text){ good, sizeof(good) - 1 }, &again, &envelope, NULL),
        ERR_OK);
    assert_int_equal(again.as.note.run, 2);
    assert_true(text_is(again.as.note.text, "x"));
    assert_true(envelope.seq == 1 && envelope.epoch == 0 && envelope.at_ns == 5);
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        print_message("refuses %s\n", bad[i].why);
        assert_damaged((struct text){ bad[i].bytes, bad[i].len });
    }
}

static void test_peek_refuses_what_is_no_record(void **state)
{
    (void)state;
    struct envelope envelope;
    static const struct text bad[] = {
        { "", 0 },         { "\x08", 1 },
        { "\x08\x01", 2 }, { "\x08\x01\x10\x05", 4 },
        { "\x09\x01", 2 }, { "\x20\x01", 2 },
        { "\xFA\x07", 2 }, { "\x08\xFF\xFF", 3 },
        { "\x02", 1 },     { "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 11 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_int_equal(record_peek(bad[i], &envelope, NULL), ERR_DAMAGED);
}

/* ---- texts for people ---- */

static void test_free_texts_are_made_fit(void **state)
{
    (void)state;
    static const struct {
        struct text given;
        const char *kept;
    } rows[] = {
        { { "plain", 5 }, "plain" },
        { { "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x9A\xB0", 14 },
          "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x9A\xB0" },
        { { "a\0b", 3 }, "a?b" },
        { { "\xFF\xFE", 2 }, "??" },
        { { "\xC0\x80", 2 }, "??" },           /* an overlong zero */
        { { "\xE0\x80\x80", 3 }, "???" },      /* overlong */
        { { "\xED\xA0\x80", 3 }, "???" },      /* a surrogate */
        { { "\xF4\x90\x80\x80", 4 }, "????" }, /* above U+10FFFF */
        { { "\xF5\x80\x80\x80", 4 }, "????" },
        { { "x\xE2\x82", 3 }, "x??" }, /* cut in a character */
        { { "\x80", 1 }, "?" },
        { { "\xE2\x28\xA1", 3 }, "?(?" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        memset(&record, 0, sizeof(record));
        record.kind = RECORD_NOTE;
        record.as.note.text = rows[i].given;
        struct text payload;
        struct envelope envelope;
        assert_int_equal(record_encode(codec, &record, 1, 0, &payload, NULL), ERR_OK);
        assert_int_equal(record_decode(other, payload, &again, &envelope, NULL), ERR_OK);
        assert_true(text_is(again.as.note.text, rows[i].kept));
    }
}

static void test_free_texts_are_cut_at_a_character(void **state)
{
    (void)state;
    static char long_text[3000];
    memset(long_text, 'a', sizeof(long_text));
    memcpy(long_text + 1021, "\xE2\x82\xAC", 3); /* begins before the limit, ends behind it */
    memset(&record, 0, sizeof(record));
    record.kind = RECORD_NOTE;
    record.as.note.text = (struct text){ long_text, sizeof(long_text) };
    struct text payload;
    struct envelope envelope;
    assert_int_equal(record_encode(codec, &record, 1, 0, &payload, NULL), ERR_OK);
    assert_int_equal(record_decode(other, payload, &again, &envelope, NULL), ERR_OK);
    assert_int_equal(again.as.note.text.len, 1021);
}

/* ---- the two languages agree ---- */

static void assert_enum(const ProtobufCEnumDescriptor *descriptor, const char *const *names,
                        size_t count)
{
    assert_int_equal(descriptor->n_values, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(descriptor->values[i].value, i);
        assert_string_equal(descriptor->values[i].name, names[i]);
    }
}

static void test_enums_have_their_numbers_for_ever(void **state)
{
    (void)state;
#define N(id, ...) "RUN_STATE_" #id,
    static const char *const states[] = { RUN_STATES(N) };
#undef N
#define N(id, ...) "INTENT_" #id,
    static const char *const intents[] = { INTENTS(N) };
#undef N
#define N(id, ...) "REASON_" #id,
    static const char *const reasons[] = { REASONS(N) };
#undef N
#define N(id, ...) "ENDING_" #id,
    static const char *const endings[] = { ENDINGS(N) };
#undef N
#define N(id, ...) "VERDICT_" #id,
    static const char *const verdicts[] = { VERDICTS(N) };
#undef N
#define N(id, ...) "GATE_RULE_" #id,
    static const char *const gate_rules[] = { GATE_RULES(N) };
#undef N
#define N(id, ...) "UTIL_RUNG_" #id,
    static const char *const rungs[] = { UTIL_RUNGS(N) };
#undef N
#define N(id, ...) "GUARD_ACTION_" #id,
    static const char *const guard_actions[] = { GUARD_ACTIONS(N) };
#undef N
#define N(id, ...) "GUARD_RULE_" #id,
    static const char *const guard_rules[] = { GUARD_RULES(N) };
#undef N
#define N(id, ...) "PLACE_" #id,
    static const char *const places[] = { PLACE_POLICIES(N) };
#undef N
#define N(id, ...) "INCIDENT_" #id,
    static const char *const incidents[] = { INCIDENTS(N) };
#undef N
#define N(id, ...) "RUNBOOK_" #id,
    static const char *const runbook_actions[] = { RUNBOOK_ACTIONS(N) };
#undef N
    static const char *const subjects[] = { "SUBJECT_GATE", "SUBJECT_RUN", "SUBJECT_TIER" };
#define SAME(descriptor, names)                                                                \
    assert_enum(&penstock__ledger__##descriptor##__descriptor, names, ARRAY_COUNT(names))
    SAME(run_state, states);
    SAME(intent, intents);
    SAME(reason, reasons);
    SAME(ending, endings);
    SAME(verdict, verdicts);
    SAME(gate_rule, gate_rules);
    SAME(util_rung, rungs);
    SAME(guard_action, guard_actions);
    SAME(guard_rule, guard_rules);
    SAME(place_policy, places);
    SAME(incident_kind, incidents);
    SAME(runbook_action, runbook_actions);
    SAME(subject, subjects);
    assert_int_equal(SUBJECT_GATE, PENSTOCK__LEDGER__SUBJECT__SUBJECT_GATE);
    assert_int_equal(SUBJECT_TIER, PENSTOCK__LEDGER__SUBJECT__SUBJECT_TIER);
}

/* A new field changes its struct's size: this test then asks for its line in
 * proto/ledger.proto, its row in scheduler/ledger/shape.c and its place in sample.c. */
static void test_no_field_is_forgotten(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t bytes, expected;
    } rows[] = {
#define SIZE(type, expected) { #type, sizeof(struct type), expected }
        SIZE(tier_spec, 16),
        SIZE(owner_spec, 232),
        SIZE(ssh_key, 32),
        SIZE(device_class, 72),
        SIZE(guard_spec, 88),
        SIZE(runbook_step, 8),
        SIZE(runbook_row, 112),
        SIZE(gate_rule_spec, 56),
        SIZE(gate_spec, 320),
        SIZE(run_gate_spec, 16),
        SIZE(device_peak, 72),
        SIZE(device_figures, 176),
        SIZE(record_epoch, 48),
        SIZE(record_worker, 152),
        SIZE(record_worker_lost, 24),
        SIZE(record_tier, 16),
        SIZE(record_tranche, 40),
        SIZE(record_placed, 64),
        SIZE(record_lease, 40),
        SIZE(record_member_started, 16),
        SIZE(guard_state, 32),
        SIZE(record_window, 320),
        SIZE(record_checkpoint, 40),
        SIZE(record_gate, 72),
        SIZE(signoff, 64),
        SIZE(record_decision, 160),
        SIZE(record_incident, 88),
        SIZE(record_stopping, 64),
        SIZE(record_member_ended, 48),
        SIZE(record_attempt_ended, 64),
        SIZE(record_run_state, 24),
        SIZE(record_suspended, 24),
        SIZE(record_space, 1),
        SIZE(record_note, 24),
        SIZE(record_closed, 4),
        SIZE(run_spec, 592),
        SIZE(campaign_spec, 10232),
#undef SIZE
    };
    if (sizeof(void *) != 8) skip();
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (rows[i].bytes != rows[i].expected)
            fail_msg("struct %s has %zu bytes, not %zu", rows[i].name, rows[i].bytes,
                     rows[i].expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_round_trips),
        cmocka_unit_test(test_mutations_fail_or_are_canonical),
        cmocka_unit_test(test_bad_values_are_refused_by_name),
        cmocka_unit_test(test_too_large_is_full),
        cmocka_unit_test(test_only_one_encoding),
        cmocka_unit_test(test_peek_refuses_what_is_no_record),
        cmocka_unit_test(test_free_texts_are_made_fit),
        cmocka_unit_test(test_free_texts_are_cut_at_a_character),
        cmocka_unit_test(test_enums_have_their_numbers_for_ever),
        cmocka_unit_test(test_no_field_is_forgotten),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
