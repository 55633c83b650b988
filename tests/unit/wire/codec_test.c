/* Messages: what may be sent can be read, what breaks a rule is refused on both sides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire/codec.h"
#include "proto/wire/frame.h"

typedef Penstock__Wire__ToAgent to_agent;
typedef Penstock__Wire__ToCoordinator to_coordinator;

/* A good launch with everything that it points to. */
struct sample {
    to_agent message;
    Penstock__Wire__Launch launch;
    Penstock__Wire__Spec spec;
    Penstock__Wire__GatePoint gate, *gates[1];
    Penstock__Wire__EnvVar var, *vars[1];
    Penstock__Wire__LocalMember local[2], *locals[2];
    uint32_t gang[3];
    char *argv[2];
    char words[6][32];
};

static void fill(struct sample *s)
{
    memset(s, 0, sizeof *s);
    penstock__wire__to_agent__init(&s->message);
    penstock__wire__launch__init(&s->launch);
    penstock__wire__spec__init(&s->spec);
    penstock__wire__gate_point__init(&s->gate);
    penstock__wire__env_var__init(&s->var);
    const char *words[] = { "train", "two\nlines", "gate", "NAME", "value", "run-1" };
    for (size_t i = 0; i < 6; i++)
        snprintf(s->words[i], sizeof s->words[i], "%s", words[i]);
    s->argv[0] = s->words[0];
    s->argv[1] = s->words[1];
    s->gate.name = s->words[2];
    s->var.name = s->words[3];
    s->var.value = s->words[4];
    s->gates[0] = &s->gate;
    s->vars[0] = &s->var;
    s->gang[0] = 2;
    s->gang[1] = 1;
    s->gang[2] = 7;
    s->spec.n_argv = 2;
    s->spec.argv = s->argv;
    s->spec.n_env = 1;
    s->spec.env = s->vars;
    s->spec.stop_grace_ns = 1;
    s->launch.run = 4;
    s->launch.run_name = s->words[5];
    s->launch.attempt = 2;
    s->launch.member = 1;
    s->launch.n_gang = 3;
    s->launch.gang = s->gang;
    s->launch.lease_ns = 1000;
    s->launch.local_world_size = 2;
    for (size_t i = 0; i < 2; i++) {
        penstock__wire__local_member__init(&s->local[i]);
        s->locals[i] = &s->local[i];
    }
    s->launch.n_local = 2;
    s->launch.local = s->locals;
    s->launch.n_gates = 1;
    s->launch.gates = s->gates;
    s->launch.spec = &s->spec;
    s->message.epoch = 9;
    s->message.body_case = PENSTOCK__WIRE__TO_AGENT__BODY_LAUNCH;
    s->message.launch = &s->launch;
}

static uint8_t frame[LINK_MESSAGE_BYTES_MAX];

static void test_launch_round_trip(void **state)
{
    (void)state;
    struct sample s;
    struct error error = { 0 };
    to_agent *read = NULL;
    size_t n = 0;
    fill(&s);
    if (codec_pack_to_agent(&s.message, frame, sizeof frame, &n, &error) != ERR_OK)
        fail_msg("%s", error.text);
    assert_int_equal(codec_read_to_agent(frame, n, &read, &error), ERR_OK);
    assert_int_equal(read->epoch, 9);
    assert_int_equal(read->launch->n_gang, 3);
    assert_int_equal(read->launch->gang[2], 7);
    assert_string_equal(read->launch->spec->argv[1], "two\nlines");
    assert_string_equal(read->launch->gates[0]->name, "gate");
    codec_free_to_agent(read);
    /* Every cut of it is refused and leaves nothing. */
    for (size_t cut = 0; cut < n; cut++) {
        assert_int_not_equal(codec_read_to_agent(frame, cut, &read, &error), ERR_OK);
        assert_null(read);
    }
    assert_int_equal(codec_pack_to_agent(&s.message, frame, n - 1, &n, &error), ERR_FULL);
}

/* One rule broken at a time; the text names the field. */
static void broken(struct sample *s, int rule, const char **names)
{
    static char long_name[100], long_value[CODEC_STRING_BYTES_MAX + 2];
    memset(long_name, 'n', sizeof long_name - 1);
    memset(long_value, 'v', sizeof long_value - 1);
    static const char *const fields[] = {
        "run",           "attempt",     "member",      "gang",     "gang",
        "gang",          "spec",        "argv",        "argv",     "name",
        "name",          "run_name",    "run_name",    "run_name", "run_name",
        "local_rank",    "master_port", "lease_ns",    "lease_ns", "value",
        "stop_grace_ns", "resume",      "master_host", "local",    "visible_device",
        "gates"
    };
    *names = fields[rule];
    static char bad[] = "\xC3(", control[] = "a\x01", folder[] = "a/b", up[] = "..",
                equal[] = "A=B", none[] = "";
    switch (rule) {
    case 0: s->launch.run = UINT32_MAX; return;
    case 1: s->launch.attempt = 0; return;
    case 2: s->launch.member = 3; return;
    case 3: s->gang[1] = 0; return;
    case 4: s->gang[1] = 2; return;
    case 5: s->launch.n_gang = 0; return;
    case 6: s->launch.spec = NULL; return;
    case 7: s->spec.n_argv = 0; return;
    case 8: s->argv[0] = bad; return;
    case 9: s->var.name = equal; return;
    case 10: s->gate.name = long_name; return;
    case 11: s->launch.run_name = folder; return;
    case 12: s->launch.run_name = up; return;
    case 13: s->launch.run_name = none; return;
    case 14: s->launch.run_name = control; return;
    case 15: s->launch.local_rank = 2; return;
    case 16: s->launch.master_port = 70000; return;
    case 17: s->launch.lease_ns = 0; return;
    case 18: s->launch.lease_ns = (uint64_t)INT64_MAX + 1; return;
    case 19: s->var.value = long_value; return;
    case 20: s->spec.stop_grace_ns = 0; return;
    case 21: s->launch.resume = control; return;
    case 22: s->launch.master_host = bad; return;
    case 23: s->launch.n_local = 1; return;
    case 24: s->local[1].visible_device = control; return;
    case 25: s->launch.n_gates = CODEC_ARGS_MAX + 1; return;
    default: fail();
    }
}

static void test_broken_launches(void **state)
{
    (void)state;
    for (int rule = 0; rule < 26; rule++) {
        struct sample s;
        struct error error = { 0 };
        const char *name = NULL;
        to_agent *read = NULL;
        size_t n = 0;
        fill(&s);
        broken(&s, rule, &name);
        if (codec_pack_to_agent(&s.message, frame, sizeof frame, &n, &error) != ERR_INPUT)
            fail_msg("rule %d is not kept when packing", rule);
        if (!strstr(error.text, name)) fail_msg("rule %d: %s", rule, error.text);
        /* A peer that packs without rules: the reader keeps them too. (Rule 25 has no such array.) */
        if (rule == 25) continue;
        size_t bytes = penstock__wire__to_agent__pack(&s.message, frame + FRAME_HEADER_BYTES);
        wire_seal(frame, FRAME_TO_AGENT, bytes);
        if (codec_read_to_agent(frame, FRAME_HEADER_BYTES + bytes, &read, &error) == ERR_OK)
            fail_msg("rule %d is not kept when reading", rule);
        assert_null(read);
    }
}

static enum err judge(to_coordinator *message, int body_case, void *body)
{
    struct error error;
    size_t n = 0;
    message->body_case = (Penstock__Wire__ToCoordinator__BodyCase)body_case;
    message->hello = body;
    return codec_pack_to_coordinator(message, frame, sizeof frame, &n, &error);
}

static void test_to_coordinator(void **state)
{
    (void)state;
    to_coordinator message = PENSTOCK__WIRE__TO_COORDINATOR__INIT;
    struct error error;
    size_t n = 0;
    assert_int_equal(codec_pack_to_coordinator(&message, frame, sizeof frame, &n, &error),
                     ERR_INPUT);
    char word[] = "x";
    Penstock__Wire__Hello hello = PENSTOCK__WIRE__HELLO__INIT;
    hello.worker = 1;
    hello.threads = 1;
    hello.host = hello.device_class = hello.backend = hello.version = word;
    const int hello_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO;
    assert_int_equal(judge(&message, hello_case, &hello), ERR_OK);
    hello.peak_flops = (double)NAN;
    assert_int_equal(judge(&message, hello_case, &hello), ERR_INPUT);
    hello.peak_flops = -1;
    assert_int_equal(judge(&message, hello_case, &hello), ERR_INPUT);
    hello.peak_flops = 0;
    hello.worker = 0;
    assert_int_equal(judge(&message, hello_case, &hello), ERR_INPUT);
    Penstock__Wire__Heartbeat beat = PENSTOCK__WIRE__HEARTBEAT__INIT;
    const int beat_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_HEARTBEAT;
    assert_int_equal(judge(&message, beat_case, &beat), ERR_INPUT); /* sequence 0 */
    beat.sequence = 1;
    assert_int_equal(judge(&message, beat_case, &beat), ERR_OK); /* idle */
    beat.attempt = 1;
    assert_int_equal(judge(&message, beat_case, &beat), ERR_INPUT); /* without telemetry */
    Penstock__Wire__Telemetry telemetry = PENSTOCK__WIRE__TELEMETRY__INIT;
    beat.telemetry = &telemetry;
    assert_int_equal(judge(&message, beat_case, &beat), ERR_OK);
    telemetry.grad_norm = (double)INFINITY;
    assert_int_equal(judge(&message, beat_case, &beat), ERR_INPUT);
    Penstock__Wire__MemberExited exited = PENSTOCK__WIRE__MEMBER_EXITED__INIT;
    const int exited_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_EXITED;
    exited.attempt = 1;
    assert_int_equal(judge(&message, exited_case, &exited), ERR_INPUT); /* no cause */
    exited.cause = PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN;
    assert_int_equal(judge(&message, exited_case, &exited), ERR_OK);
    exited.cause = (Penstock__Wire__ExitCause)99;
    assert_int_equal(judge(&message, exited_case, &exited), ERR_INPUT);
    exited.cause = PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN;
    char tail[] = "line\n\tline\n", bell[] = "\a";
    exited.stderr_tail = tail;
    assert_int_equal(judge(&message, exited_case, &exited), ERR_OK);
    exited.stderr_tail = bell;
    assert_int_equal(judge(&message, exited_case, &exited), ERR_INPUT);
}

static void test_welcome(void **state)
{
    (void)state;
    to_agent message = PENSTOCK__WIRE__TO_AGENT__INIT;
    Penstock__Wire__Welcome welcome = PENSTOCK__WIRE__WELCOME__INIT;
    struct error error;
    size_t n = 0;
    char relative[] = "state", absolute[] = "/state", reason[] = "no";
    message.body_case = PENSTOCK__WIRE__TO_AGENT__BODY_WELCOME;
    message.welcome = &welcome;
    welcome.heartbeat_ns = 5;
    assert_int_equal(codec_pack_to_agent(&message, frame, sizeof frame, &n, &error), ERR_INPUT);
    welcome.state_dir = relative;
    assert_int_equal(codec_pack_to_agent(&message, frame, sizeof frame, &n, &error), ERR_INPUT);
    welcome.state_dir = absolute;
    assert_int_equal(codec_pack_to_agent(&message, frame, sizeof frame, &n, &error), ERR_OK);
    welcome.heartbeat_ns = 0;
    assert_int_equal(codec_pack_to_agent(&message, frame, sizeof frame, &n, &error), ERR_INPUT);
    welcome.refusal = reason;
    assert_int_equal(codec_pack_to_agent(&message, frame, sizeof frame, &n, &error), ERR_OK);
}

/* A field number that no message has, at the top and inside a body. */
static void test_unknown_fields(void **state)
{
    (void)state;
    static const uint8_t payloads[][12] = {
        { 0x3a, 0x00, 0xf8, 0x07, 0x01 }, /* Shutdown {}, then field 127 */
        { 0x3a, 0x03, 0xf8, 0x07, 0x01 }, /* Shutdown { field 127 } */
        { 0x3a, 0x00, 0x80, 0x00, 0x0a }, /* field 0, which cannot be packed again */
    };
    static const size_t bytes[] = { 5, 5, 5 };
    for (size_t i = 0; i < ARRAY_COUNT(payloads); i++) {
        uint8_t sealed[64];
        struct error error;
        Penstock__Wire__ToAgent *message = NULL;
        memcpy(sealed + FRAME_HEADER_BYTES, payloads[i], bytes[i]);
        wire_seal(sealed, FRAME_TO_AGENT, bytes[i]);
        assert_int_equal(
            codec_read_to_agent(sealed, FRAME_HEADER_BYTES + bytes[i], &message, &error),
            ERR_INPUT);
        assert_null(message);
    }
}

static void test_utf8(void **state)
{
    (void)state;
    const char *good[] = { "",
                           "plain",
                           "\xC3\xA9",
                           "\xE2\x82\xAC",
                           "\xF0\x9F\x98\x80",
                           "\xF4\x8F\xBF\xBF",
                           "\xED\x9F\xBF" };
    const char *bad[] = {
        "\x80",         "\xC3",         "\xC0\x80",         "\xC1\xBF",
        "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xFF",         "\xE2\x82",     "\xF0\x9F\x98",     "a\xC3("
    };
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        assert_true(codec_is_utf8(good[i], strlen(good[i])));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        char text[16];
        snprintf(text, sizeof text, "%s", bad[i]);
        assert_false(codec_is_utf8(text, strlen(text)));
        codec_make_utf8(text);
        assert_true(codec_is_utf8(text, strlen(text)));
        assert_int_equal(strlen(text), strlen(bad[i]));
    }
    char mixed[] = "a\tb\nc\x1B[0m\x7F\xC3\xA9";
    codec_make_utf8(mixed);
    assert_string_equal(mixed, "a\tb\nc?[0m?\xC3\xA9");
}

static void test_losses(void **state)
{
    (void)state;
    bool nonfinite = true;
    assert_int_equal(codec_loss_micro(2.3456789, &nonfinite), 2345679);
    assert_false(nonfinite);
    assert_int_equal(codec_loss_micro(-0.5, &nonfinite), -500000);
    assert_false(nonfinite);
    const double bad[] = { (double)NAN, (double)INFINITY, -(double)INFINITY, 1e300, -1e13 };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_int_equal(codec_loss_micro(bad[i], &nonfinite), 0);
        assert_true(nonfinite);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_launch_round_trip),
        cmocka_unit_test(test_broken_launches),
        cmocka_unit_test(test_to_coordinator),
        cmocka_unit_test(test_welcome),
        cmocka_unit_test(test_unknown_fields),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_losses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
