/* intake.c - see intake.h. */
#include "scheduler/coordinator/intake.h"

#include <math.h>
#include <string.h>

#include "proto/wire/codec.h"

typedef Penstock__Wire__ToCoordinator to_coordinator;

static enum err too_long(const char *what, size_t max_bytes, struct error *error)
{
    return error_set(error, ERR_INPUT, "%s is longer than %zu bytes", what, max_bytes - 1);
}

static enum err take_text(struct text *to, const char *string, size_t max_bytes,
                          const char *what, struct error *error)
{
    if (strlen(string) >= max_bytes) return too_long(what, max_bytes, error);
    *to = text_of(string);
    return ERR_OK;
}

/* A path that would not fit where it is kept counts as none: losing a checkpoint's name loses
 * work, losing the message would lose more. */
static struct text take_path(const char *string)
{
    struct text path = text_of(string);
    return path.len < PATH_MAX_BYTES ? path : TEXT("");
}

static int64_t clamp_i64(uint64_t value)
{
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

static int64_t loss_of(bool there, bool nonfinite, int64_t micro)
{
    if (nonfinite) return LOSS_NONFINITE;
    if (!there || micro >= LOSS_NONFINITE) return LOSS_UNKNOWN;
    return micro;
}

static uint64_t count_of(double value)
{
    return value > 0 && value < 9e18 && isfinite(value) ? (uint64_t)value : 0;
}

static struct device_figures device_of(const Penstock__Wire__Device *wire)
{
    struct device_figures device = { 0 };
    if (wire == NULL) return device;
#define X(name, kind) device.name = clamp_i64(wire->name);
    DEVICE_FIGURES(X)
#undef X
    return device;
}

static struct telemetry telemetry_of(const Penstock__Wire__Telemetry *wire)
{
    struct telemetry unknown = { .loss_micro = LOSS_UNKNOWN,
                                 .val_loss_micro = LOSS_UNKNOWN,
                                 .cpu_ns = -1 };
    if (wire == NULL) return unknown;
    return (struct telemetry){
        .step = wire->step,
        .tokens = wire->tokens,
        .loss_micro = loss_of(wire->has_loss, wire->loss_nonfinite, wire->loss_micro),
        .val_loss_micro = loss_of(wire->has_val_loss, false, wire->val_loss_micro),
        .flops_per_token = count_of(wire->flops_per_token),
        .cpu_ns = clamp_i64(wire->cpu_ns),
        .device = device_of(wire->device),
        .ready = wire->ready,
    };
}

static uint32_t class_find(const struct campaign_spec *campaign, const char *name)
{
    for (uint32_t i = 0; i < campaign->class_count; i++)
        if (strcmp(campaign->classes[i].name, name) == 0) return i;
    return NO_INDEX;
}

/* A worker that speaks well may still be of no use here. */
static void judge_hello(struct intake *intake, const Penstock__Wire__Hello *hello,
                        const char *device_class, uint32_t class_index)
{
    struct writer writer = writer_of(intake->refusal, sizeof intake->refusal);
    if (strcmp(hello->version, PENSTOCK_VERSION) != 0)
        writer_format(&writer, "it runs version %.40s, the coordinator %s", hello->version,
                      PENSTOCK_VERSION);
    else if (class_index == NO_INDEX)
        writer_format(&writer, "the campaign has no price for device class \"%.60s\"; add it",
                      device_class);
    if (writer.len > 0) intake->kind = INTAKE_UNFIT;
}

/* A slot is a GPU when its trainer opened it, or when the campaign has a price for it, because then it is the GPU
 * that is sold, and a trainer of somebody else's may use it. What NVML says of the GPU is then taken over. */
static const char *take_gpu(struct record_worker *to, const Penstock__Wire__Hello *hello,
                            const struct campaign_spec *campaign)
{
    const Penstock__Wire__Gpu *gpu = hello->gpu;
    bool opened = strcmp(hello->backend, "cpu") != 0;
    if (!gpu || (!opened && class_find(campaign, gpu->device_class) == NO_INDEX))
        return hello->device_class;
    to->on_cpu = false;
    to->device = text_of(gpu->name);
    to->memory_bytes = gpu->memory_bytes;
    if (gpu->pci_bus_id[0]) to->pci_bus_id = text_of(gpu->pci_bus_id);
    if (gpu->peak_flops > 0 || !opened) {
        to->peak_flops = count_of(gpu->peak_flops);
        to->peak_source = gpu->peak_flops > 0 ? TEXT("table") : TEXT("");
    }
    return gpu->device_class;
}

static char small(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool stands_in(const char *match, struct text name)
{
    size_t n = strlen(match), same = 0;
    for (size_t at = 0; at + n <= name.len && same < n; at++)
        for (same = 0; same < n && small(name.data[at + same]) == small(match[same]);)
            same++;
    return same == n;
}

/* What the campaign says of a device stands above the table of chips and what was measured. */
static void take_peak(struct record_worker *to, const struct campaign_spec *campaign)
{
    for (uint32_t i = 0; i < campaign->device_count; i++) {
        if (!stands_in(campaign->devices[i].match, to->device)) continue;
        to->peak_flops = campaign->devices[i].peak_flops;
        to->peak_source = TEXT("campaign");
        return;
    }
}

static enum err take_hello(struct intake *intake, const struct core *core, uint32_t worker,
                           struct error *error)
{
    Penstock__Wire__Hello *hello = intake->message->hello;
    struct record_worker *to = &intake->event.as.hello;
    if (hello->worker != worker)
        return error_set(error, ERR_INPUT, "a hello for worker %u", hello->worker);
    intake->kind = INTAKE_HELLO;
    intake->event.kind = EVENT_HELLO;
    *to = (struct record_worker){ .worker = worker,
                                  .slot = hello->slot,
                                  .peak_flops = count_of(hello->peak_flops),
                                  .threads = hello->threads,
                                  .on_cpu = strcmp(hello->backend, "cpu") == 0,
                                  .memory_bytes = hello->memory_bytes };
    struct {
        struct text *to;
        const char *from;
        const char *what;
    } texts[] = {
        { &to->host, hello->host, "host" },
        { &to->boot_id, hello->boot_id, "boot id" },
        { &to->device, hello->device, "device" },
        { &to->peak_source, hello->peak_source, "peak source" },
        { &to->backend, hello->backend, "backend" },
        { &to->pci_bus_id, hello->pci_bus_id, "PCI bus id" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        enum err rc =
            take_text(texts[i].to, texts[i].from, NAME_MAX_BYTES, texts[i].what, error);
        if (rc != ERR_OK) return rc;
    }
    enum err rc = take_text(&to->backend_reason, hello->backend_reason, 512, "reason", error);
    if (rc != ERR_OK) return rc;
    const char *device_class = take_gpu(to, hello, core_campaign(core));
    take_peak(to, core_campaign(core));
    to->class_index = class_find(core_campaign(core), device_class);
    judge_hello(intake, hello, device_class, to->class_index);
    return ERR_OK;
}

static void take_heartbeat(struct intake *intake, uint32_t worker)
{
    const Penstock__Wire__Heartbeat *heartbeat = intake->message->heartbeat;
    struct event *event = &intake->event;
    event->kind = EVENT_HEARTBEAT;
    event->as.heartbeat.worker = worker;
    event->as.heartbeat.sequence = heartbeat->sequence;
    event->as.heartbeat.run = heartbeat->run;
    event->as.heartbeat.attempt = heartbeat->attempt;
    event->as.heartbeat.member = heartbeat->member;
    event->as.heartbeat.telemetry = telemetry_of(heartbeat->telemetry);
    if (heartbeat->telemetry == NULL) return;
    intake->extra = (struct telemetry_extra){ heartbeat->telemetry->learning_rate,
                                              heartbeat->telemetry->grad_norm };
}

static enum err take_gate(struct intake *intake, uint32_t worker, struct error *error)
{
    Penstock__Wire__GateReached *gate = intake->message->gate;
    struct event *event = &intake->event;
    event->kind = EVENT_GATE;
    event->as.gate.worker = worker;
    event->as.gate.run = gate->run;
    event->as.gate.attempt = gate->attempt;
    event->as.gate.member = gate->member;
    event->as.gate.step = gate->step;
    event->as.gate.tokens = gate->tokens;
    event->as.gate.loss_micro =
        loss_of(gate->has_val_loss, gate->loss_nonfinite, gate->val_loss_micro);
    event->as.gate.checkpoint = take_path(gate->checkpoint);
    return take_text(&event->as.gate.gate, gate->gate, NAME_MAX_BYTES, "gate name", error);
}

static const enum ending endings[] = {
    [PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_UNSPECIFIED] = ENDING_COUNT,
    [PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN] = ENDING_OWN,
    [PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_STOPPED] = ENDING_STOPPED,
    [PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_KILLED] = ENDING_KILLED,
    [PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_LEASE_EXPIRED] = ENDING_LEASE_EXPIRED,
    [PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_START_TIMEOUT] = ENDING_START_TIMEOUT,
    [PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_HANG] = ENDING_HANG,
    [PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_LAUNCH_FAILED] = ENDING_LAUNCH_FAILED,
    [PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_AGENT_LOST_LAUNCHER] = ENDING_LAUNCHER_LOST,
};

/* The end of a long text, from a character's first byte on. */
static struct text tail_of(const char *string, size_t max_bytes)
{
    size_t length = strlen(string);
    size_t skip = length > max_bytes ? length - max_bytes : 0;
    while (((unsigned char)string[skip] & 0xC0) == 0x80)
        skip++;
    return text_of(string + skip);
}

static enum err take_exited(struct intake *intake, uint32_t worker, struct error *error)
{
    Penstock__Wire__MemberExited *exited = intake->message->exited;
    struct event *event = &intake->event;
    event->kind = EVENT_EXITED;
    if ((size_t)exited->cause >= ARRAY_COUNT(endings) || endings[exited->cause] == ENDING_COUNT)
        return error_set(error, ERR_INPUT, "an exit of unknown cause %d", (int)exited->cause);
    event->as.exited.worker = worker;
    event->as.exited.run = exited->run;
    event->as.exited.attempt = exited->attempt;
    event->as.exited.member = exited->member;
    event->as.exited.ending = endings[exited->cause];
    event->as.exited.exit_code = exited->exit_code;
    event->as.exited.signal = exited->signal;
    event->as.exited.stderr_tail = tail_of(exited->stderr_tail, STDERR_TAIL_BYTES - 1);
    event->as.exited.detail = tail_of(exited->detail, 511);
    event->as.exited.ras = text_of(exited->ras);
    event->as.exited.telemetry = telemetry_of(exited->telemetry);
    event->as.exited.checkpoint_step = exited->checkpoint_step;
    event->as.exited.checkpoint_tokens = exited->checkpoint_tokens;
    event->as.exited.checkpoint = take_path(exited->checkpoint);
    return ERR_OK;
}

static void take_rest(struct intake *intake, uint32_t worker)
{
    const to_coordinator *message = intake->message;
    struct event *event = &intake->event;
    if (message->body_case == PENSTOCK__WIRE__TO_COORDINATOR__BODY_STARTED) {
        event->kind = EVENT_STARTED;
        event->as.started.worker = worker;
        event->as.started.run = message->started->run;
        event->as.started.attempt = message->started->attempt;
        event->as.started.member = message->started->member;
        event->as.started.pid = message->started->pid;
    } else if (message->body_case == PENSTOCK__WIRE__TO_COORDINATOR__BODY_CHECKPOINT) {
        event->kind = EVENT_CHECKPOINT;
        event->as.checkpoint.worker = worker;
        event->as.checkpoint.run = message->checkpoint->run;
        event->as.checkpoint.attempt = message->checkpoint->attempt;
        event->as.checkpoint.member = message->checkpoint->member;
        event->as.checkpoint.step = message->checkpoint->step;
        event->as.checkpoint.tokens = message->checkpoint->tokens;
        event->as.checkpoint.path = take_path(message->checkpoint->path);
    } else {
        event->kind = EVENT_PROBED;
        event->as.probed.worker = worker;
        event->as.probed.run = message->probe->run;
        event->as.probed.attempt = message->probe->attempt;
        event->as.probed.member = message->probe->member;
        event->as.probed.gone = message->probe->gone;
        event->as.probed.checkpoint_step = message->probe->checkpoint_step;
        event->as.probed.checkpoint_tokens = message->probe->checkpoint_tokens;
        event->as.probed.checkpoint = take_path(message->probe->checkpoint);
    }
}

static enum err take_body(struct intake *intake, const struct core *core, uint32_t worker,
                          struct error *error)
{
    const to_coordinator *message = intake->message;
    if (message->body_case == PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO)
        return take_hello(intake, core, worker, error);
    /* Who is sent home before it was welcomed knows no epoch. */
    bool early_goodbye = message->epoch == 0 &&
                         message->body_case == PENSTOCK__WIRE__TO_COORDINATOR__BODY_GOODBYE;
    if (message->epoch != core_epoch(core) && !early_goodbye)
        return error_set(error, ERR_INPUT, "a message of epoch %llu, now is %llu",
                         (unsigned long long)message->epoch,
                         (unsigned long long)core_epoch(core));
    switch (message->body_case) {
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_HEARTBEAT:
        take_heartbeat(intake, worker);
        return ERR_OK;
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_GATE: return take_gate(intake, worker, error);
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_EXITED: return take_exited(intake, worker, error);
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_STARTED:
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_CHECKPOINT:
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_PROBE: take_rest(intake, worker); return ERR_OK;
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_GOODBYE:
        intake->kind = INTAKE_GOODBYE;
        return ERR_OK;
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_COMM_ID:
        intake->kind = INTAKE_COMM_ID;
        return ERR_OK;
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO:
    case PENSTOCK__WIRE__TO_COORDINATOR__BODY__NOT_SET:
    case _PENSTOCK__WIRE__TO_COORDINATOR__BODY__CASE_IS_INT_SIZE: break;
    }
    return error_set(error, ERR_INPUT, "a message without a body that is known here");
}

enum err intake_take(struct intake *intake, const struct core *core, uint32_t worker,
                     const void *data, size_t bytes, int64_t now_ns, struct error *error)
{
    memset(intake, 0, sizeof *intake);
    intake->kind = INTAKE_EVENT;
    intake->event.now_ns = now_ns;
    enum err rc = codec_read_to_coordinator(data, bytes, &intake->message, error);
    if (rc != ERR_OK) return rc;
    rc = take_body(intake, core, worker, error);
    if (rc != ERR_OK) intake_drop(intake);
    return rc;
}

void intake_drop(struct intake *intake)
{
    codec_free_to_coordinator(intake->message);
    intake->message = NULL;
}
