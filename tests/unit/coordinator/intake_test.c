/* Messages from agents: what becomes an event, and everything that is refused. */
#include "scheduler/coordinator/intake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/wire/codec.h"

enum { WORKERS = 3, EPOCH = 4 };
#define T0 (INT64_C(1700000000) * NS_PER_S)

static uint8_t frame[LINK_MESSAGE_BYTES_MAX];
static size_t frame_bytes;

static void drop_record(void *context, const struct record *record)
{
    (void)context;
    (void)record;
}

static void drop_action(void *context, const struct action *action)
{
    (void)context;
    (void)action;
}

/* A core that knows a campaign with device classes "cpu" and "gpu", in epoch 4. */
static struct core *make_core(void)
{
    struct campaign_spec spec = { .name = "intake",
                                  .currency = "USD",
                                  .budget_micros = 1000000,
                                  .tier_count = 1,
                                  .tiers = { { 1000000, NO_INDEX } },
                                  .owner_count = 1,
                                  .owners = { { .name = "ada" } },
                                  .class_count = 2,
                                  .classes = { { "cpu", 1000000 }, { "gpu", 9000000 } },
                                  .device_count = 2,
                                  .devices = { { "own card", 77000000000000 }, { "card", 1 } },
                                  .heartbeat_ns = NS_PER_S,
                                  .lease_ns = 60 * NS_PER_S,
                                  .worker_timeout_ns = 10 * NS_PER_S,
                                  .guard_count = 1,
                                  .guards = { { .window_ns = NS_PER_MIN } } };
    struct run_spec run = { .name = "only",
                            .ranks = 1,
                            .class_index = 0,
                            .budget_micros = 1000000,
                            .first_tranche_micros = 1000000 };
    struct core_limits limits = { 1, WORKERS, 0, 0 };
    struct output output = { NULL, drop_record, drop_action };
    struct core *core = core_create(&limits);
    assert_non_null(core);
    struct event begin[] = {
        { .kind = EVENT_CAMPAIGN, .now_ns = T0, .as.campaign = &spec },
        { .kind = EVENT_SUBMIT, .now_ns = T0, .as.submit = &run },
    };
    for (size_t i = 0; i < ARRAY_COUNT(begin); i++)
        core_step(core, &begin[i], &output);
    for (uint64_t epoch = 1; epoch <= EPOCH; epoch++) {
        struct event life = { .kind = EVENT_EPOCH,
                              .now_ns = T0,
                              .as.epoch = { .epoch = epoch, .workers = 2 } };
        core_step(core, &life, &output);
    }
    return core;
}

static char *writable(const char *string)
{
    char *plain;
    memcpy(&plain, &string, sizeof plain);
    return plain;
}

static void pack(const Penstock__Wire__ToCoordinator *message)
{
    struct error error;
    if (codec_pack_to_coordinator(message, frame, sizeof frame, &frame_bytes, &error) != ERR_OK)
        fail_msg("%s", error.text);
}

static Penstock__Wire__Hello hello_of(const char *device_class, const char *version)
{
    Penstock__Wire__Hello hello;
    penstock__wire__hello__init(&hello);
    hello.worker = 1;
    hello.host = writable("east");
    hello.boot_id = writable("boot");
    hello.device_class = writable(device_class);
    hello.device = writable("a processor");
    hello.threads = 2;
    hello.backend = writable("cpu");
    hello.backend_reason = writable("asked");
    hello.peak_source = writable("sgemm");
    hello.peak_flops = 1.5e9;
    hello.version = writable(version);
    hello.pci_bus_id = writable("00000000:3b:00.0");
    hello.memory_bytes = 80;
    return hello;
}

static void hellos_are_judged(void **state)
{
    (void)state;
    static const struct {
        const char *device_class, *version;
        uint32_t from;
        enum err rc;
        enum intake_kind kind;
        const char *says;
    } cases[] = {
        { "cpu", PENSTOCK_VERSION, 1, ERR_OK, INTAKE_HELLO, "" },
        { "h100", PENSTOCK_VERSION, 1, ERR_OK, INTAKE_UNFIT,
          "no price for device class \"h100\"" },
        { "cpu", "0.0.1", 1, ERR_OK, INTAKE_UNFIT, "it runs version 0.0.1" },
        { "cpu", PENSTOCK_VERSION, 2, ERR_INPUT, INTAKE_EVENT, "" },
    };
    struct core *core = make_core();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        Penstock__Wire__ToCoordinator message;
        penstock__wire__to_coordinator__init(&message);
        Penstock__Wire__Hello hello = hello_of(cases[i].device_class, cases[i].version);
        struct intake intake;
        message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO;
        message.hello = &hello;
        pack(&message);
        assert_int_equal(
            intake_take(&intake, core, cases[i].from, frame, frame_bytes, T0 + 1, NULL),
            cases[i].rc);
        if (cases[i].rc != ERR_OK) continue;
        assert_int_equal(intake.kind, cases[i].kind);
        assert_non_null(strstr(intake.refusal, cases[i].says));
        if (intake.kind == INTAKE_HELLO) {
            assert_int_equal(intake.event.kind, EVENT_HELLO);
            assert_int_equal(intake.event.now_ns, T0 + 1);
            assert_int_equal(intake.event.as.hello.class_index, 0);
            assert_int_equal(intake.event.as.hello.peak_flops, 1500000000);
            assert_true(intake.event.as.hello.on_cpu);
            assert_true(text_is(intake.event.as.hello.pci_bus_id, "00000000:3b:00.0"));
            assert_int_equal(intake.event.as.hello.memory_bytes, 80);
        }
        intake_drop(&intake);
    }
    core_destroy(core);
}

/* A GPU that NVML knows makes the slot a GPU when the trainer opened it or the campaign has a price for it. */
static void gpus_are_what_is_sold(void **state)
{
    (void)state;
    static const struct {
        const char *backend, *gpu_class;
        double gpu_peak;
        enum intake_kind kind;
        bool on_cpu;
        uint64_t peak;
        const char *source, *pci;
    } cases[] = {
        { "cpu", "gpu", 989e12, INTAKE_HELLO, false, 989000000000000, "table", "0000:5e:00.0" },
        { "cpu", "gpu", 0, INTAKE_HELLO, false, 0, "", "0000:5e:00.0" },
        { "cpu", "unpriced", 989e12, INTAKE_HELLO, true, 1500000000, "sgemm",
          "00000000:3b:00.0" },
        { "cuda", "gpu", 989e12, INTAKE_HELLO, false, 989000000000000, "table",
          "0000:5e:00.0" },
        { "cuda", "gpu", 0, INTAKE_HELLO, false, 1500000000, "sgemm", "0000:5e:00.0" },
        { "cuda", "unpriced", 989e12, INTAKE_UNFIT, false, 0, "", "" },
    };
    struct core *core = make_core();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        Penstock__Wire__ToCoordinator message = PENSTOCK__WIRE__TO_COORDINATOR__INIT;
        Penstock__Wire__Hello hello = hello_of("cpu", PENSTOCK_VERSION);
        Penstock__Wire__Gpu gpu = PENSTOCK__WIRE__GPU__INIT;
        struct intake intake;
        gpu.name = writable("NVIDIA H100 80GB HBM3");
        gpu.device_class = writable(cases[i].gpu_class);
        gpu.pci_bus_id = writable("0000:5e:00.0");
        gpu.peak_flops = cases[i].gpu_peak;
        hello.backend = writable(cases[i].backend);
        hello.gpu = &gpu;
        message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO;
        message.hello = &hello;
        pack(&message);
        assert_int_equal(intake_take(&intake, core, 1, frame, frame_bytes, T0 + 1, NULL),
                         ERR_OK);
        const struct record_worker *worker = &intake.event.as.hello;
        if (intake.kind != cases[i].kind) fail_msg("case %zu: %s", i, intake.refusal);
        if (intake.kind == INTAKE_HELLO) {
            assert_int_equal(worker->on_cpu, cases[i].on_cpu);
            assert_int_equal(worker->class_index, cases[i].on_cpu ? 0 : 1);
            assert_int_equal(worker->peak_flops, cases[i].peak);
            assert_true(text_is(worker->peak_source, cases[i].source));
            assert_true(text_is(worker->pci_bus_id, cases[i].pci));
        }
        intake_drop(&intake);
    }
    core_destroy(core);
}

static void campaigns_know_peaks(void **state)
{
    (void)state;
    static const struct {
        const char *device;
        uint64_t peak;
        const char *source;
    } cases[] = {
        { "Our OWN Card 3", 77000000000000, "campaign" },
        { "own car", 1500000000, "sgemm" },
        { "own own card", 77000000000000, "campaign" },
        { "a Cardboard", 1, "campaign" },
        { "", 1500000000, "sgemm" },
    };
    struct core *core = make_core();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        Penstock__Wire__ToCoordinator message = PENSTOCK__WIRE__TO_COORDINATOR__INIT;
        Penstock__Wire__Hello hello = hello_of("cpu", PENSTOCK_VERSION);
        struct intake intake;
        hello.device = writable(cases[i].device);
        message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO;
        message.hello = &hello;
        pack(&message);
        assert_int_equal(intake_take(&intake, core, 1, frame, frame_bytes, T0 + 1, NULL),
                         ERR_OK);
        if (intake.event.as.hello.peak_flops != cases[i].peak ||
            !text_is(intake.event.as.hello.peak_source, cases[i].source))
            fail_msg("\"%s\" has another peak", cases[i].device);
        intake_drop(&intake);
    }
    core_destroy(core);
}

static void heartbeats_carry_telemetry(void **state)
{
    (void)state;
    struct core *core = make_core();
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__Heartbeat heartbeat;
    penstock__wire__heartbeat__init(&heartbeat);
    Penstock__Wire__Telemetry telemetry;
    penstock__wire__telemetry__init(&telemetry);
    struct intake intake;
    telemetry.step = 7;
    telemetry.tokens = 700;
    telemetry.has_loss = true;
    telemetry.loss_micro = 2500000;
    telemetry.flops_per_token = 1e6;
    telemetry.learning_rate = 0.5;
    telemetry.ready = true;
    heartbeat.sequence = 9;
    heartbeat.attempt = 1;
    heartbeat.telemetry = &telemetry;
    message.epoch = EPOCH;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_HEARTBEAT;
    message.heartbeat = &heartbeat;
    pack(&message);
    assert_int_equal(intake_take(&intake, core, 2, frame, frame_bytes, T0, NULL), ERR_OK);
    assert_int_equal(intake.event.kind, EVENT_HEARTBEAT);
    assert_int_equal(intake.event.as.heartbeat.worker, 2);
    assert_int_equal(intake.event.as.heartbeat.telemetry.loss_micro, 2500000);
    assert_int_equal(intake.event.as.heartbeat.telemetry.val_loss_micro, LOSS_UNKNOWN);
    assert_int_equal(intake.event.as.heartbeat.telemetry.flops_per_token, 1000000);
    assert_true(intake.extra.learning_rate > 0.4);
    struct device_figures none = { 0 };
    assert_memory_equal(&intake.event.as.heartbeat.telemetry.device, &none, sizeof none);
    intake_drop(&intake);
    Penstock__Wire__Device device = PENSTOCK__WIRE__DEVICE__INIT;
    struct device_figures all;
    int64_t next = 1;
#define X(name, kind)                                                                          \
    all.name = next++;                                                                         \
    device.name = (uint64_t)all.name;
    DEVICE_FIGURES(X)
#undef X
    telemetry.device = &device;
    pack(&message);
    assert_int_equal(intake_take(&intake, core, 2, frame, frame_bytes, T0, NULL), ERR_OK);
    assert_memory_equal(&intake.event.as.heartbeat.telemetry.device, &all, sizeof all);
    intake_drop(&intake);
    telemetry.loss_nonfinite = true;
    pack(&message);
    assert_int_equal(intake_take(&intake, core, 2, frame, frame_bytes, T0, NULL), ERR_OK);
    assert_int_equal(intake.event.as.heartbeat.telemetry.loss_micro, LOSS_NONFINITE);
    intake_drop(&intake);
    core_destroy(core);
}

static void other_epochs_change_nothing(void **state)
{
    (void)state;
    static const uint64_t epochs[] = { 0, EPOCH - 1, EPOCH + 1, UINT64_MAX };
    struct core *core = make_core();
    for (size_t i = 0; i < ARRAY_COUNT(epochs); i++) {
        Penstock__Wire__ToCoordinator message;
        penstock__wire__to_coordinator__init(&message);
        Penstock__Wire__MemberStarted started;
        penstock__wire__member_started__init(&started);
        struct intake intake;
        struct error error;
        started.attempt = 1;
        started.pid = 5;
        message.epoch = epochs[i];
        message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_STARTED;
        message.started = &started;
        if (codec_pack_to_coordinator(&message, frame, sizeof frame, &frame_bytes, NULL) !=
            ERR_OK)
            continue; /* the codec itself refuses epoch 0 outside a hello */
        assert_int_equal(intake_take(&intake, core, 1, frame, frame_bytes, T0, &error),
                         ERR_INPUT);
        assert_non_null(strstr(error.text, "epoch"));
    }
    core_destroy(core);
}

static void exits_keep_the_end_of_a_long_stderr(void **state)
{
    (void)state;
    struct core *core = make_core();
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__MemberExited exited;
    penstock__wire__member_exited__init(&exited);
    char tail[STDERR_TAIL_BYTES], path[PATH_MAX_BYTES + 40];
    struct intake intake;
    memset(tail, 'x', sizeof tail - 1);
    tail[sizeof tail - 1] = '\0';
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    exited.attempt = 1;
    exited.cause = PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_HANG;
    exited.exit_code = -1;
    exited.signal = 9;
    exited.stderr_tail = tail;
    exited.detail = writable("no step for 60 s");
    message.epoch = EPOCH;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_EXITED;
    message.exited = &exited;
    pack(&message);
    assert_int_equal(intake_take(&intake, core, 1, frame, frame_bytes, T0, NULL), ERR_OK);
    assert_int_equal(intake.event.as.exited.ending, ENDING_HANG);
    assert_int_equal(intake.event.as.exited.signal, 9);
    assert_true(intake.event.as.exited.stderr_tail.len < STDERR_TAIL_BYTES);
    assert_true(text_is(intake.event.as.exited.detail, "no step for 60 s"));
    assert_int_equal(intake.event.as.exited.telemetry.loss_micro, LOSS_UNKNOWN);
    intake_drop(&intake);
    /* A path that cannot be kept counts as none; the exit still counts. */
    exited.checkpoint = path;
    if (codec_pack_to_coordinator(&message, frame, sizeof frame, &frame_bytes, NULL) ==
        ERR_OK) {
        assert_int_equal(intake_take(&intake, core, 1, frame, frame_bytes, T0, NULL), ERR_OK);
        assert_int_equal(intake.event.as.exited.checkpoint.len, 0);
        intake_drop(&intake);
    }
    core_destroy(core);
}

static void goodbyes_are_heard_at_any_time(void **state)
{
    (void)state;
    static const uint64_t epochs[] = { 0, EPOCH };
    struct core *core = make_core();
    for (size_t i = 0; i < ARRAY_COUNT(epochs); i++) {
        Penstock__Wire__ToCoordinator message;
        penstock__wire__to_coordinator__init(&message);
        Penstock__Wire__Goodbye goodbye;
        penstock__wire__goodbye__init(&goodbye);
        struct intake intake;
        goodbye.reason = writable("leaving");
        message.epoch = epochs[i];
        message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_GOODBYE;
        message.goodbye = &goodbye;
        if (codec_pack_to_coordinator(&message, frame, sizeof frame, &frame_bytes, NULL) !=
            ERR_OK)
            continue;
        assert_int_equal(intake_take(&intake, core, 1, frame, frame_bytes, T0, NULL), ERR_OK);
        assert_int_equal(intake.kind, INTAKE_GOODBYE);
        intake_drop(&intake);
    }
    core_destroy(core);
}

static void damaged_bytes_are_refused(void **state)
{
    (void)state;
    struct core *core = make_core();
    Penstock__Wire__ToCoordinator message;
    penstock__wire__to_coordinator__init(&message);
    Penstock__Wire__Hello hello = hello_of("cpu", PENSTOCK_VERSION);
    struct intake intake;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO;
    message.hello = &hello;
    pack(&message);
    for (size_t n = 0; n < frame_bytes; n++) {
        assert_int_not_equal(intake_take(&intake, core, 1, frame, n, T0, NULL), ERR_OK);
        frame[n] ^= 0x10;
        assert_int_not_equal(intake_take(&intake, core, 1, frame, frame_bytes, T0, NULL),
                             ERR_OK);
        frame[n] ^= 0x10;
    }
    core_destroy(core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hellos_are_judged),
        cmocka_unit_test(gpus_are_what_is_sold),
        cmocka_unit_test(campaigns_know_peaks),
        cmocka_unit_test(heartbeats_carry_telemetry),
        cmocka_unit_test(other_epochs_change_nothing),
        cmocka_unit_test(exits_keep_the_end_of_a_long_stderr),
        cmocka_unit_test(goodbyes_are_heard_at_any_time),
        cmocka_unit_test(damaged_bytes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
