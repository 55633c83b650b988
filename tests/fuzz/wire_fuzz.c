/*
 * Any bytes as a frame in both directions: reading refuses and leaves nothing, or gives a message that can be
 * packed again and read again. The checksum is made right first, or nothing would get past it; the input as
 * it is goes the same way too.
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/defs.h"
#include "proto/wire/codec.h"
#include "proto/wire/frame.h"

static uint8_t again[LINK_MESSAGE_BYTES_MAX];

static void try_agent(const uint8_t *frame, size_t n)
{
    Penstock__Wire__ToAgent *message = NULL, *second = NULL;
    struct error error;
    size_t bytes = 0;
    if (codec_read_to_agent(frame, n, &message, &error) != ERR_OK) {
        check(message == NULL);
        return;
    }
    check(codec_pack_to_agent(message, again, sizeof again, &bytes, &error) == ERR_OK);
    check(codec_read_to_agent(again, bytes, &second, &error) == ERR_OK);
    check(second->body_case == message->body_case);
    codec_free_to_agent(message);
    codec_free_to_agent(second);
}

static void try_coordinator(const uint8_t *frame, size_t n)
{
    Penstock__Wire__ToCoordinator *message = NULL, *second = NULL;
    struct error error;
    size_t bytes = 0;
    if (codec_read_to_coordinator(frame, n, &message, &error) != ERR_OK) {
        check(message == NULL);
        return;
    }
    check(codec_pack_to_coordinator(message, again, sizeof again, &bytes, &error) == ERR_OK);
    check(codec_read_to_coordinator(again, bytes, &second, &error) == ERR_OK);
    check(second->body_case == message->body_case);
    codec_free_to_coordinator(message);
    codec_free_to_coordinator(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_agent(data, size);
    try_coordinator(data, size);
    if (size <= FRAME_HEADER_BYTES || size > LINK_MESSAGE_BYTES_MAX) return 0;
    if (size - FRAME_HEADER_BYTES > FRAME_BYTES_MAX) return 0;
    uint8_t *frame = malloc(size);
    if (!frame) return 0;
    memcpy(frame, data, size);
    wire_seal(frame, FRAME_TO_AGENT, size - FRAME_HEADER_BYTES);
    try_agent(frame, size);
    wire_seal(frame, FRAME_TO_COORDINATOR, size - FRAME_HEADER_BYTES);
    try_coordinator(frame, size);
    free(frame);
    return 0;
}

static size_t exited_example(uint8_t *to, size_t capacity)
{
    Penstock__Wire__ToCoordinator message = PENSTOCK__WIRE__TO_COORDINATOR__INIT;
    Penstock__Wire__MemberExited exited = PENSTOCK__WIRE__MEMBER_EXITED__INIT;
    Penstock__Wire__Telemetry telemetry = PENSTOCK__WIRE__TELEMETRY__INIT;
    char tail[] = "last words\n", detail[] = "exited with status 3", path[] = "checkpoints/c";
    size_t n = 0;
    telemetry.step = 100;
    telemetry.flops_per_token = 6e6;
    telemetry.has_loss = true;
    telemetry.loss_micro = -2310000;
    exited.run = 3;
    exited.attempt = 2;
    exited.cause = PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN;
    exited.exit_code = -1;
    exited.stderr_tail = tail;
    exited.detail = detail;
    exited.checkpoint = path;
    exited.telemetry = &telemetry;
    message.epoch = 5;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_EXITED;
    message.exited = &exited;
    return codec_pack_to_coordinator(&message, to, capacity, &n, NULL) == ERR_OK ? n : 0;
}

static size_t launch_example(uint8_t *to, size_t capacity)
{
    Penstock__Wire__ToAgent message = PENSTOCK__WIRE__TO_AGENT__INIT;
    Penstock__Wire__Launch launch = PENSTOCK__WIRE__LAUNCH__INIT;
    Penstock__Wire__Spec spec = PENSTOCK__WIRE__SPEC__INIT;
    Penstock__Wire__EnvVar var = PENSTOCK__WIRE__ENV_VAR__INIT, *vars[] = { &var };
    Penstock__Wire__GatePoint gate = PENSTOCK__WIRE__GATE_POINT__INIT, *gates[] = { &gate };
    char program[] = "penstock-train", flag[] = "--steps", name[] = "demo", key[] = "SEED",
         value[] = "1";
    char gate_name[] = "early";
    char *argv[] = { program, flag };
    uint32_t gang[] = { 2, 1 };
    size_t n = 0;
    var.name = key;
    var.value = value;
    gate.name = gate_name;
    gate.step = 100;
    spec.n_argv = 2;
    spec.argv = argv;
    spec.n_env = 1;
    spec.env = vars;
    spec.stop_grace_ns = 30000000000;
    launch.run_name = name;
    launch.attempt = 1;
    launch.member = 1;
    launch.n_gang = 2;
    launch.gang = gang;
    launch.lease_ns = 1000;
    launch.n_gates = 1;
    launch.gates = gates;
    launch.spec = &spec;
    message.epoch = 5;
    message.body_case = PENSTOCK__WIRE__TO_AGENT__BODY_LAUNCH;
    message.launch = &launch;
    return codec_pack_to_agent(&message, to, capacity, &n, NULL) == ERR_OK ? n : 0;
}

size_t fuzz_example(unsigned index, uint8_t *to, size_t capacity)
{
    if (index == 0) return launch_example(to, capacity);
    return index == 1 ? exited_example(to, capacity) : 0;
}
