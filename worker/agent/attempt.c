#include "worker/agent/attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/hash.h"
#include "proto/base/log.h"
#include "proto/wire/codec.h"
#include "worker/agent/contract.h"

enum {
    EVENTS_FD = LAUNCH_FD_FIRST,
    EVENTS_PB_FD = LAUNCH_FD_FIRST + 1,
    COMM_FD = LAUNCH_FD_FIRST + 2,
    PIPE_BYTES = 1 << 18, /* a trainer is not held up while its agent is busy */
    COMPLAINTS_MAX = 20,
    LATE_MAX = 8
};

/* Gradients of the largest model that anybody trains on CPUs; untouched pages cost nothing. */
#define REDUCE_BUFFER_BYTES ((size_t)4 << 30)
#define LOCK_WAIT_NS (30 * NS_PER_S)
#define ORPHAN_LOOK_NS (20 * NS_PER_MS)

/* protobuf-c's strings are not const; packing only reads them. */
static char *borrowed(const char *string)
{
    char *plain;
    memcpy(&plain, &string, sizeof plain);
    return plain;
}

static void post(struct attempt_world *world, Penstock__Wire__ToCoordinator *message)
{
    message->epoch = world->epoch;
    world->post(world->agent, message);
}

/* ---- the end ---- */

static void release(struct attempt *attempt, struct attempt_world *world)
{
    for (size_t i = 0; i < ARRAY_COUNT(attempt->events); i++)
        events_in_fini(&attempt->events[i]);
    meter_fini(&attempt->meter);
    if (!reduce_stop(attempt->reduce)) {
        world->abandoned_count++;
        log_line(LOG_LEVEL_WARN, "run=%u attempt=%u reduction abandoned, %u so far",
                 attempt->run, attempt->number, world->abandoned_count);
    }
    attempt->reduce = NULL;
    comm_id_close(&attempt->comm_id);
    ras_fini(&attempt->ras);
    attempt->alive = false;
}

/* Whoever is told to stop leaves what it waits in; so this is not looked at any more afterwards. */
static void look_at_gang(struct attempt *attempt)
{
    if (!attempt->reduce) return;
    attempt->collectives = reduce_done_count(attempt->reduce);
    attempt->in_collective = reduce_is_waiting(attempt->reduce);
}

static void describe_end(const struct attempt *attempt, const struct launch_report *report,
                         char *detail, size_t detail_bytes)
{
    struct writer writer = writer_of(detail, detail_bytes);
    if (attempt->why[0]) writer_format(&writer, "%s; ", attempt->why);
    if (report->kind == LAUNCH_FAILED)
        writer_string(&writer, report->text);
    else if (report->signal_number > 0)
        writer_format(&writer, "died by signal %d (%s)", report->signal_number,
                      strsignal(report->signal_number));
    else
        writer_format(&writer, "exited with status %d", report->exit_code);
    if (attempt->reduce || attempt->collectives > 0 || attempt->in_collective)
        writer_format(&writer, "; %" PRIu64 " reductions done%s", attempt->collectives,
                      attempt->in_collective ? ", waited in the next" : "");
    if (attempt->failure[0]) writer_format(&writer, "; it said: %s", attempt->failure);
    codec_make_utf8(detail);
    for (char *c = detail; *c; c++)
        if (*c == '\n' || *c == '\t') *c = ' ';
}

static Penstock__Wire__ExitCause cause_of(const struct attempt *attempt,
                                          const struct launch_report *report)
{
    if (attempt->cause != PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_UNSPECIFIED)
        return attempt->cause;
    if (report->kind == LAUNCH_FAILED)
        return PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_LAUNCH_FAILED;
    if (report->at_limit) return PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_LEASE_EXPIRED;
    return PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_OWN;
}

static void finish(struct attempt *attempt, struct attempt_world *world,
                   const struct launch_report *report, int64_t now_ns)
{
    char tail[STDERR_TAIL_BYTES], detail[512];
    uint32_t late[LATE_MAX];
    Penstock__Wire__ToCoordinator message = PENSTOCK__WIRE__TO_COORDINATOR__INIT;
    Penstock__Wire__MemberExited exited = PENSTOCK__WIRE__MEMBER_EXITED__INIT;
    Penstock__Wire__Telemetry telemetry = PENSTOCK__WIRE__TELEMETRY__INIT;
    Penstock__Wire__Device device = PENSTOCK__WIRE__DEVICE__INIT;
    disk_read_tail(attempt->err_path, tail, sizeof tail);
    describe_end(attempt, report, detail, sizeof detail);
    if ((uint64_t)max_i64(report->cpu_ns, 0) > attempt->meter.cpu_ns)
        attempt->meter.cpu_ns = (uint64_t)report->cpu_ns;
    attempt->pid = 0; /* nothing is left to be measured */
    attempt_fill_telemetry(attempt, world, &telemetry, &device, now_ns);
    exited.run = attempt->run;
    exited.attempt = attempt->number;
    exited.member = attempt->member;
    exited.cause = cause_of(attempt, report);
    exited.exit_code = report->exit_code;
    exited.signal = report->signal_number;
    exited.stderr_tail = tail;
    exited.detail = detail;
    exited.telemetry = &telemetry;
    exited.checkpoint_step = attempt->newest.step;
    exited.checkpoint = attempt->newest.path;
    exited.checkpoint_tokens = attempt->newest.tokens;
    exited.ras = attempt->ras.text;
    exited.n_late_ranks = ras_late_ranks(attempt->ras.text, late, ARRAY_COUNT(late));
    exited.late_ranks = late;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_EXITED;
    message.exited = &exited;
    post(world, &message);
    log_line(LOG_LEVEL_INFO, "run=%u attempt=%u member=%u exited: %s", attempt->run,
             attempt->number, attempt->member, detail);
    release(attempt, world);
}

void attempt_refuse(struct attempt_world *world, const Penstock__Wire__Launch *launch,
                    Penstock__Wire__ExitCause cause, const char *detail)
{
    Penstock__Wire__ToCoordinator message = PENSTOCK__WIRE__TO_COORDINATOR__INIT;
    Penstock__Wire__MemberExited exited = PENSTOCK__WIRE__MEMBER_EXITED__INIT;
    Penstock__Wire__Telemetry telemetry = PENSTOCK__WIRE__TELEMETRY__INIT;
    exited.run = launch->run;
    exited.attempt = launch->attempt;
    exited.member = launch->member;
    exited.cause = cause;
    exited.exit_code = -1;
    exited.detail = borrowed(detail);
    exited.telemetry = &telemetry;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_EXITED;
    message.exited = &exited;
    post(world, &message);
    log_line(LOG_LEVEL_WARN, "run=%u attempt=%u refused: %s", launch->run, launch->attempt,
             detail);
}

void attempt_drop(struct attempt *attempt, struct attempt_world *world)
{
    if (attempt->alive) release(attempt, world);
}

/* ---- the beginning ---- */

static void choose_resume(struct attempt *attempt, const Penstock__Wire__Launch *launch)
{
    struct checkpoint latest;
    struct error error;
    char path[DISK_PATH_BYTES];
    attempt->newest.step = launch->resume[0] ? launch->resume_step : 0;
    text_copy(attempt->newest.path, sizeof attempt->newest.path, text_of(launch->resume));
    enum err rc = disk_get_latest(attempt->run_dir, &latest, &error);
    if (rc != ERR_OK && rc != ERR_NOT_FOUND) log_line(LOG_LEVEL_WARN, "%s", error.text);
    bool there = rc == ERR_OK && disk_full_path(attempt->run_dir, latest.path, path) &&
                 disk_is_file(path);
    if (there && latest.step == attempt->newest.step &&
        strcmp(latest.path, attempt->newest.path) == 0)
        attempt->newest.tokens = latest.tokens;
    /* Going back on purpose: what lies ahead of the pinned checkpoint was rejected, and must not be
     * picked up by a later attempt. */
    if (launch->resume_pinned) {
        if (launch->member == 0 && attempt->newest.tokens == 0)
            disk_drop_latest(attempt->run_dir);
        return;
    }
    if (there && latest.step > attempt->newest.step) attempt->newest = latest;
}

/* One pipe: the agent's end becomes events_in, the other is for the trainer. */
static enum err open_events(struct events_in *in, enum events_encoding encoding,
                            int *for_trainer, struct error *error)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return error_errno(error, "pipe for events");
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES); /* only a wish */
    enum err rc = events_in_init(in, ends[0], encoding, error);
    if (rc != ERR_OK)
        close(ends[1]);
    else
        *for_trainer = ends[1];
    return rc;
}

/* A gang on GPUs gets a pipe for its id, one on CPUs a segment to reduce in; *fd is what the trainer inherits,
 * and the caller's when there is no segment. */
static enum err open_gang(struct attempt *attempt, const struct attempt_world *world,
                          const Penstock__Wire__Launch *launch, int *fd, struct error *error)
{
    if (launch->n_gang < 2) return ERR_OK;
    if (strcmp(world->slot->backend, "cuda") == 0)
        return comm_id_open(&attempt->comm_id, fd, error);
    struct reduce_options options = {
        .gang = launch->gang,
        .gang_count = launch->n_gang,
        .member = launch->member,
        .key = hash_mix(hash_mix(world->epoch, launch->run), launch->attempt),
        .buffer_bytes = REDUCE_BUFFER_BYTES,
    };
    enum err rc = reduce_start(&attempt->reduce, &options, error);
    if (rc == ERR_OK) *fd = reduce_fd(attempt->reduce);
    return rc;
}

static enum err spawn(struct attempt *attempt, struct attempt_world *world,
                      const Penstock__Wire__Launch *launch, int *fds, size_t fd_count,
                      struct error *error)
{
    char resume[DISK_PATH_BYTES] = "", out_name[64], err_name[64], lock_name[64];
    char out[DISK_PATH_BYTES], lock[DISK_PATH_BYTES];
    snprintf(out_name, sizeof out_name, "attempt-%04u.rank-%u.out", launch->attempt,
             launch->member);
    snprintf(err_name, sizeof err_name, "attempt-%04u.rank-%u.err", launch->attempt,
             launch->member);
    snprintf(lock_name, sizeof lock_name, "rank-%u.lock", launch->member);
    if (!disk_full_path(attempt->run_dir, out_name, out) ||
        !disk_full_path(attempt->run_dir, err_name, attempt->err_path) ||
        !disk_full_path(attempt->run_dir, lock_name, lock) ||
        (attempt->newest.path[0] &&
         !disk_full_path(attempt->run_dir, attempt->newest.path, resume)))
        return error_set(error, ERR_INPUT, "path too long: %s", attempt->run_dir);
    struct contract contract = { .launch = launch,
                                 .slot = world->slot,
                                 .run_dir = attempt->run_dir,
                                 .resume_path = resume,
                                 .resume_step = attempt->newest.step,
                                 .events_fd = EVENTS_FD,
                                 .events_pb_fd = EVENTS_PB_FD,
                                 .comm_fd = attempt->reduce ? COMM_FD : -1,
                                 .ras_port = attempt->ras_port,
                                 .comm_id_fd = attempt->comm_id.fd >= 0 ? COMM_FD : -1 };
    if (attempt->reduce) contract.comm_bytes = reduce_segment_bytes(attempt->reduce);
    struct arena arena = { 0 };
    const char *directory =
        launch->spec->directory[0] ? launch->spec->directory : attempt->run_dir;
    struct launch request = {
        .id = attempt->launch_id,
        .argv = contract_argv(&contract, &arena),
        .env = contract_env(&contract, &arena),
        .directory = directory,
        .out_path = out,
        .err_path = attempt->err_path,
        .lock_path = lock,
        .lock_until_ns = min_i64(attempt->lease_end_ns, attempt->launched_ns + LOCK_WAIT_NS),
        .marker = attempt->marker,
        .grace_ns = attempt->grace_ns,
        .limit_ns = add_saturated(attempt->lease_end_ns, attempt->grace_ns),
        .fds = fds,
        .fd_count = fd_count,
    };
    enum err rc = launcher_spawn(world->launcher, &request, error);
    arena_fini(&arena);
    return rc;
}

static enum err prepare(struct attempt *attempt, struct attempt_world *world,
                        const Penstock__Wire__Launch *launch, struct error *error)
{
    int fds[3] = { -1, -1, -1 };
    struct writer writer = writer_of(attempt->run_dir, sizeof attempt->run_dir);
    writer_format(&writer, "%s/runs/%s", world->state_dir, launch->run_name);
    if (writer.full)
        return error_set(error, ERR_INPUT, "the state directory's path is too long");
    snprintf(attempt->marker, sizeof attempt->marker,
             "PENSTOCK_ATTEMPT_ID=%.63s.%u.%u.%" PRIx64, launch->run_name, launch->attempt,
             launch->member, hash_mix(world->epoch, attempt->launch_id) ^ (uint64_t)getpid());
    if (launch->n_gang > 1)
        attempt->ras_port = contract_ras_port(launch, world->slot, world->state_dir);
    enum err rc = disk_make_run(attempt->run_dir, error);
    if (rc == ERR_OK) {
        choose_resume(attempt, launch);
        rc = open_events(&attempt->events[0], EVENTS_JSON, &fds[0], error);
    }
    if (rc == ERR_OK) rc = open_events(&attempt->events[1], EVENTS_PROTOBUF, &fds[1], error);
    if (rc == ERR_OK) rc = open_gang(attempt, world, launch, &fds[2], error);
    if (rc == ERR_OK) rc = spawn(attempt, world, launch, fds, fds[2] >= 0 ? 3 : 2, error);
    if (attempt->reduce) fds[2] = -1; /* its own */
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++)
        if (fds[i] >= 0) close(fds[i]);
    return rc;
}

void attempt_begin(struct attempt *attempt, struct attempt_world *world,
                   const Penstock__Wire__Launch *launch, uint64_t launch_id,
                   int64_t lease_end_ns, int64_t now_ns)
{
    const Penstock__Wire__Spec *spec = launch->spec;
    struct error error = { 0 };
    memset(attempt, 0, sizeof *attempt);
    attempt->events[0].fd = attempt->events[1].fd = -1;
    attempt->comm_id.fd = -1;
    ras_init(&attempt->ras);
    attempt->alive = true;
    attempt->run = launch->run;
    attempt->number = launch->attempt;
    attempt->member = launch->member;
    attempt->launch_id = launch_id;
    attempt->launched_ns = now_ns;
    meter_begin(&attempt->meter, world->gpu);
    attempt->lease_end_ns = lease_end_ns;
    attempt->grace_ns = (int64_t)spec->stop_grace_ns;
    attempt->step_min_ns = (int64_t)spec->step_deadline_min_ns;
    attempt->step_factor = spec->step_deadline_factor;
    attempt->start_end_ns = TIME_NEVER;
    if (spec->start_deadline_ns > 0)
        attempt->start_end_ns = add_saturated(now_ns, (int64_t)spec->start_deadline_ns);
    pace_init(&attempt->pace);
    supervise_init(&attempt->supervise, attempt->grace_ns);
    struct launch_report failed = { .kind = LAUNCH_FAILED, .exit_code = -1 };
    if (lease_end_ns <= now_ns) {
        attempt->cause = PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_LEASE_EXPIRED;
        text_copy(failed.text, sizeof failed.text,
                  TEXT("the lease had ended before the start"));
        finish(attempt, world, &failed, now_ns);
        return;
    }
    if (prepare(attempt, world, launch, &error) != ERR_OK) {
        text_copy(failed.text, sizeof failed.text, text_of(error.text));
        finish(attempt, world, &failed, now_ns);
        return;
    }
    attempt->step = attempt->newest.step;
    attempt->tokens = attempt->newest.tokens;
    log_line(LOG_LEVEL_INFO, "run=%s attempt=%u member=%u launched resume_step=%" PRIu64,
             launch->run_name, launch->attempt, launch->member, attempt->newest.step);
}

/* ---- what the trainer says ---- */

static void complain(struct attempt *attempt, const char *what)
{
    attempt->complaints++;
    if (attempt->complaints <= COMPLAINTS_MAX)
        log_line(LOG_LEVEL_WARN, "run=%u attempt=%u %s%s", attempt->run, attempt->number, what,
                 attempt->complaints == COMPLAINTS_MAX ? "; no more of these are shown" : "");
}

/* Work done never falls within an attempt: a report that says so is wrong. */
static bool take_work(struct attempt *attempt, const struct trainer_event *event,
                      int64_t now_ns)
{
    if ((event->has_step && event->step < attempt->step) ||
        (event->has_tokens && event->tokens < attempt->tokens)) {
        complain(attempt, "a trainer's step or tokens went back; report skipped");
        return false;
    }
    if (event->has_step && event->step > attempt->step) {
        attempt->step = event->step;
        pace_step(&attempt->pace, now_ns);
    }
    if (event->has_tokens) attempt->tokens = event->tokens;
    return true;
}

/* A gang on GPUs is seen by its trainers alone. Where somebody ends one it stands as it stood. */
static void take_gang(struct attempt *attempt, const struct trainer_event *event)
{
    if (attempt->reduce || attempt->cause != PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_UNSPECIFIED)
        return;
    if (event->collectives > attempt->collectives) attempt->collectives = event->collectives;
    attempt->in_collective = event->in_collective;
}

static void on_progress(struct attempt *attempt, const struct trainer_event *event,
                        int64_t now_ns)
{
    if (attempt->pace.last_ns == TIME_NEVER) pace_life(&attempt->pace, now_ns);
    if (!take_work(attempt, event, now_ns)) return;
    attempt->ready = true;
    if (event->has_loss) {
        attempt->has_loss = true;
        attempt->loss_micro = codec_loss_micro(event->loss, &attempt->loss_nonfinite);
    }
    if (event->has_val_loss) {
        bool nonfinite;
        int64_t micro = codec_loss_micro(event->val_loss, &nonfinite);
        attempt->has_val_loss = !nonfinite;
        attempt->val_loss_micro = micro;
        attempt->loss_nonfinite = attempt->loss_nonfinite || nonfinite;
    }
    if (event->busy_ns > attempt->busy_ns) attempt->busy_ns = event->busy_ns;
    if (event->wait_ns > attempt->wait_ns) attempt->wait_ns = event->wait_ns;
    attempt->learning_rate = event->learning_rate;
    attempt->grad_norm = event->grad_norm;
    take_gang(attempt, event);
}

static void on_ready(struct attempt *attempt, const struct trainer_event *event, int64_t now_ns)
{
    attempt->ready = true;
    if (event->flops_per_token > 0) attempt->flops_per_token = event->flops_per_token;
    if (event->has_step && event->step != attempt->step)
        log_line(LOG_LEVEL_WARN,
                 "run=%u attempt=%u begins at step %" PRIu64 ", was asked for %" PRIu64,
                 attempt->run, attempt->number, event->step, attempt->step);
    /* Only here may the step be lower than asked: the trainer says where it really begins. */
    if (event->has_step && !attempt->pace.stepped) attempt->step = event->step;
    if (event->has_step && event->step == 0) attempt->tokens = 0;
    pace_life(&attempt->pace, now_ns);
    log_line(LOG_LEVEL_INFO, "run=%u attempt=%u ready: %s", attempt->run, attempt->number,
             event->text);
}

/* The name of the event's checkpoint, made the newest and put on disk before anybody hears of it. False when
 * there is no such file. */
static bool take_checkpoint(struct attempt *attempt, const struct trainer_event *event)
{
    struct checkpoint made = { .step = event->step,
                               .tokens = event->has_tokens ? event->tokens : attempt->tokens };
    struct error error;
    if (!disk_name_checkpoint(attempt->run_dir, event->path, made.path)) {
        complain(attempt, "a checkpoint that is no file, or has too long a path; ignored");
        return false;
    }
    attempt->newest = made;
    if (disk_put_latest(attempt->run_dir, &made, &error) != ERR_OK)
        log_line(LOG_LEVEL_ERROR, "run=%u checkpoint.latest: %s", attempt->run, error.text);
    return true;
}

static void on_checkpoint(struct attempt *attempt, struct attempt_world *world,
                          const struct trainer_event *event, int64_t now_ns)
{
    if (!take_work(attempt, event, now_ns)) return;
    pace_life(&attempt->pace, now_ns);
    if (!take_checkpoint(attempt, event)) return;
    Penstock__Wire__ToCoordinator message = PENSTOCK__WIRE__TO_COORDINATOR__INIT;
    Penstock__Wire__CheckpointWritten written = PENSTOCK__WIRE__CHECKPOINT_WRITTEN__INIT;
    written.run = attempt->run;
    written.attempt = attempt->number;
    written.member = attempt->member;
    written.step = attempt->newest.step;
    written.tokens = attempt->newest.tokens;
    written.path = attempt->newest.path;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_CHECKPOINT;
    message.checkpoint = &written;
    post(world, &message);
}

static void on_gate(struct attempt *attempt, struct attempt_world *world,
                    const struct trainer_event *event, int64_t now_ns)
{
    if (!take_work(attempt, event, now_ns)) return;
    pace_life(&attempt->pace, now_ns);
    bool durable = event->path[0] && take_checkpoint(attempt, event);
    bool nonfinite = false;
    Penstock__Wire__ToCoordinator message = PENSTOCK__WIRE__TO_COORDINATOR__INIT;
    Penstock__Wire__GateReached gate = PENSTOCK__WIRE__GATE_REACHED__INIT;
    gate.run = attempt->run;
    gate.attempt = attempt->number;
    gate.member = attempt->member;
    gate.gate = borrowed(event->gate);
    gate.step = event->step;
    gate.tokens = attempt->tokens;
    if (event->has_val_loss)
        gate.val_loss_micro = codec_loss_micro(event->val_loss, &nonfinite);
    gate.has_val_loss = event->has_val_loss && !nonfinite;
    gate.loss_nonfinite = nonfinite;
    gate.checkpoint = durable ? attempt->newest.path : borrowed("");
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_GATE;
    message.gate = &gate;
    post(world, &message);
}

static void note_stale_id(const struct attempt *attempt, struct attempt_world *world,
                          const char *why)
{
    world->stale_id_count++;
    log_line(LOG_LEVEL_WARN, "run=%u attempt=%u gang id dropped: %s; %u so far", attempt->run,
             attempt->number, why, world->stale_id_count);
}

/* Member 0's trainer made the id; the coordinator knows the others. */
static void on_comm_id(struct attempt *attempt, struct attempt_world *world,
                       const struct trainer_event *event)
{
    if (event->run != attempt->run || event->attempt != attempt->number) {
        note_stale_id(attempt, world, "it is tagged with another attempt");
        return;
    }
    if (attempt->member != 0 || attempt->comm_id.fd < 0) {
        note_stale_id(attempt, world, "no gang waits for it");
        return;
    }
    comm_id_close(&attempt->comm_id); /* member 0 is given none: the trainer knows it */
    Penstock__Wire__ToCoordinator message = PENSTOCK__WIRE__TO_COORDINATOR__INIT;
    Penstock__Wire__CommId id = PENSTOCK__WIRE__COMM_ID__INIT;
    uint8_t bytes[COMM_ID_BYTES_MAX];
    memcpy(bytes, event->id, event->id_bytes);
    id.run = attempt->run;
    id.attempt = attempt->number;
    id.id = (ProtobufCBinaryData){ event->id_bytes, bytes };
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_COMM_ID;
    message.comm_id = &id;
    post(world, &message);
}

static void on_event(struct attempt *attempt, struct attempt_world *world,
                     const struct trainer_event *event, int64_t now_ns)
{
    switch (event->kind) {
    case TRAINER_READY: on_ready(attempt, event, now_ns); return;
    case TRAINER_PROGRESS: on_progress(attempt, event, now_ns); return;
    case TRAINER_GATE: on_gate(attempt, world, event, now_ns); return;
    case TRAINER_CHECKPOINT: on_checkpoint(attempt, world, event, now_ns); return;
    case TRAINER_FAILURE:
        text_copy(attempt->failure, sizeof attempt->failure, text_of(event->text));
        return;
    case TRAINER_COMM_ID: on_comm_id(attempt, world, event); return;
    }
    unreachable("trainer event");
}

/* `most` bounds one call, so that a trainer that floods its pipe cannot keep the agent from its
 * deadlines. */
static void read_events(struct attempt *attempt, struct attempt_world *world, size_t most,
                        int64_t now_ns)
{
    for (size_t i = 0; i < ARRAY_COUNT(attempt->events); i++) {
        struct trainer_event event;
        struct error error;
        for (size_t n = 0; n < most; n++) {
            enum err rc = events_in_next(&attempt->events[i], &event, &error);
            if (rc == ERR_OK)
                on_event(attempt, world, &event, now_ns);
            else if (rc == ERR_INPUT)
                complain(attempt, error.text);
            else
                break;
        }
    }
}

/* ---- deadlines ---- */

static void tell_launcher(struct attempt *attempt, struct attempt_world *world,
                          enum supervise_action action)
{
    struct error error;
    if (action == SUPERVISE_NOTHING) return;
    int number = action == SUPERVISE_SEND_KILL ? SIGKILL : SIGTERM;
    enum err rc = launcher_signal(world->launcher, attempt->launch_id, number, &error);
    if (rc != ERR_OK && rc != ERR_CLOSED)
        log_line(LOG_LEVEL_WARN, "run=%u signal %d: %s", attempt->run, number, error.text);
    if (action == SUPERVISE_SEND_KILL &&
        attempt->cause == PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_STOPPED)
        attempt->cause = PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_KILLED;
}

void attempt_halt(struct attempt *attempt, struct attempt_world *world,
                  Penstock__Wire__ExitCause cause, bool at_once, const char *why,
                  int64_t now_ns)
{
    if (!attempt->alive || attempt->phase == ATTEMPT_ORPHANED) return;
    if (attempt->cause == PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_UNSPECIFIED) {
        look_at_gang(attempt);
        attempt->cause = cause;
        text_copy(attempt->why, sizeof attempt->why, text_of(why));
        log_line(LOG_LEVEL_INFO, "run=%u attempt=%u stopping: %s", attempt->run,
                 attempt->number, why);
    }
    /* Members of the gang may be gone by now: the trainer must not wait for them until it is killed. */
    if (attempt->reduce) reduce_call_off(attempt->reduce, now_ns + attempt->grace_ns / 2);
    comm_id_close(&attempt->comm_id);
    tell_launcher(attempt, world,
                  supervise_step(&attempt->supervise,
                                 at_once ? SUPERVISE_ON_STOP_AT_ONCE : SUPERVISE_ON_STOP,
                                 now_ns));
    supervise_hasten(&attempt->supervise,
                     add_saturated(attempt->lease_end_ns, attempt->grace_ns));
}

static int64_t step_end_ns(const struct attempt *attempt)
{
    /* Only member 0 needs to report; the others are held to it once they have begun. */
    if (attempt->member > 0 && !attempt->pace.stepped) return TIME_NEVER;
    return pace_deadline_ns(&attempt->pace, attempt->step_min_ns, attempt->step_factor);
}

static int64_t start_end_ns(const struct attempt *attempt)
{
    bool owes = attempt->member == 0 && attempt->pace.last_ns == TIME_NEVER;
    return owes ? attempt->start_end_ns : TIME_NEVER;
}

/* NCCL knows whom a gang waits for, and only as long as its trainers live: it is asked before they are told to
 * stop, which this delays by RAS_TIME_NS at most. True when there is nothing (more) to wait for. */
static bool has_answer(struct attempt *attempt, int64_t now_ns)
{
    if (attempt->ras_port == 0) return true;
    if (!attempt->ras.is_asked) ras_ask(&attempt->ras, attempt->ras_port, now_ns);
    return ras_step(&attempt->ras, now_ns);
}

static void keep_deadlines(struct attempt *attempt, struct attempt_world *world, int64_t now_ns)
{
    char why[200];
    struct writer writer = writer_of(why, sizeof why);
    if (attempt->cause != PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_UNSPECIFIED) return;
    if (now_ns >= attempt->lease_end_ns) {
        attempt_halt(attempt, world, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_LEASE_EXPIRED,
                     false, "no fresh lease", now_ns);
    } else if (now_ns >= start_end_ns(attempt)) {
        if (!has_answer(attempt, now_ns)) return;
        writer_string(&writer, "showed no life within ");
        writer_duration(&writer, attempt->start_end_ns - attempt->launched_ns);
        attempt_halt(attempt, world, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_START_TIMEOUT,
                     false, why, now_ns);
    } else if (now_ns >= step_end_ns(attempt)) {
        if (!has_answer(attempt, now_ns)) return;
        writer_format(&writer, "no step after %" PRIu64 " for ", attempt->step);
        writer_duration(&writer, now_ns - attempt->pace.last_ns);
        attempt_halt(attempt, world, PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_HANG, false, why,
                     now_ns);
    } else if (attempt->ras.is_asked) { /* it got on after all */
        ras_fini(&attempt->ras);
        ras_init(&attempt->ras);
    }
}

/* ---- without a launcher ---- */

static struct process_family family_of(const struct attempt *attempt,
                                       const struct attempt_world *world)
{
    bool orphaned = attempt->phase == ATTEMPT_ORPHANED;
    return (struct process_family){ .root = orphaned ? getpid() : world->launcher->pid,
                                    .leader = attempt->pid,
                                    .marker = attempt->marker };
}

void attempt_lose_launcher(struct attempt *attempt, struct attempt_world *world, int64_t now_ns)
{
    (void)world;
    if (!attempt->alive || attempt->phase == ATTEMPT_ORPHANED) return;
    attempt->phase = ATTEMPT_ORPHANED;
    attempt->cause = PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_AGENT_LOST_LAUNCHER;
    text_copy(attempt->why, sizeof attempt->why, TEXT("the launcher died"));
    attempt->supervise.due_ns = now_ns;
}

/* Kills what is left of the family and reaps it; it was re-parented to this process. */
static void sweep_orphans(struct attempt *attempt, struct attempt_world *world, int64_t now_ns)
{
    struct process_family family = family_of(attempt, world);
    struct process_list list = { 0 };
    struct launch_report report = { .kind = LAUNCH_EXITED,
                                    .exit_code = -1,
                                    .signal_number = SIGKILL };
    if (now_ns < attempt->supervise.due_ns) return;
    attempt->supervise.due_ns = now_ns + ORPHAN_LOOK_NS;
    if (process_list_read(&list, NULL) != ERR_OK) return;
    size_t alive = process_find_family(&list, &family);
    process_kill_family(&list);
    for (size_t i = 0; i < list.count; i++)
        if (list.items[i].in_family && list.items[i].state == 'Z' &&
            list.items[i].parent == getpid())
            waitpid(list.items[i].pid, NULL, WNOHANG);
    process_list_fini(&list);
    if (alive > 0) return;
    read_events(attempt, world, SIZE_MAX, now_ns);
    finish(attempt, world, &report, now_ns);
}

/* ---- public ---- */

void attempt_tick(struct attempt *attempt, struct attempt_world *world, int64_t now_ns)
{
    enum { EVENTS_MAX = 256 };
    if (!attempt->alive) return;
    /* A trainer may speak before the launcher has said that it runs; whoever hears of it hears of its start
     * first. */
    if (attempt->phase != ATTEMPT_LAUNCHING) read_events(attempt, world, EVENTS_MAX, now_ns);
    if (attempt->phase == ATTEMPT_ORPHANED) {
        sweep_orphans(attempt, world, now_ns);
        return;
    }
    keep_deadlines(attempt, world, now_ns);
    tell_launcher(attempt, world,
                  supervise_step(&attempt->supervise, SUPERVISE_ON_TIME, now_ns));
}

void attempt_report(struct attempt *attempt, struct attempt_world *world,
                    const struct launch_report *report, int64_t now_ns)
{
    if (!attempt->alive || report->id != attempt->launch_id) return;
    if (report->kind != LAUNCH_STARTED) {
        /* The family is gone, so both pipes end: this reads what is left in them. */
        read_events(attempt, world, SIZE_MAX, now_ns);
        finish(attempt, world, report, now_ns);
        return;
    }
    attempt->phase = ATTEMPT_RUNNING;
    attempt->pid = report->pid;
    Penstock__Wire__ToCoordinator message = PENSTOCK__WIRE__TO_COORDINATOR__INIT;
    Penstock__Wire__MemberStarted started = PENSTOCK__WIRE__MEMBER_STARTED__INIT;
    started.run = attempt->run;
    started.attempt = attempt->number;
    started.member = attempt->member;
    started.pid = (uint32_t)report->pid;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_STARTED;
    message.started = &started;
    post(world, &message);
}

void attempt_take_comm_id(struct attempt *attempt, struct attempt_world *world,
                          const Penstock__Wire__CommId *id)
{
    struct error error;
    struct comm_frame frame = {
        .run = id->run, .attempt = id->attempt, .id = id->id.data, .id_bytes = id->id.len
    };
    if (!attempt->alive || id->run != attempt->run || id->attempt != attempt->number)
        note_stale_id(attempt, world, "it is another attempt's");
    else if (attempt->member == 0)
        note_stale_id(attempt, world, "member 0 needs none");
    else if (comm_id_give(&attempt->comm_id, &frame, &error) != ERR_OK)
        note_stale_id(attempt, world, error.text);
}

void attempt_grant(struct attempt *attempt, struct attempt_world *world, int64_t lease_end_ns)
{
    struct error error;
    if (!attempt->alive || lease_end_ns <= attempt->lease_end_ns) return;
    attempt->lease_end_ns = lease_end_ns;
    enum err rc = launcher_limit(world->launcher, attempt->launch_id,
                                 add_saturated(lease_end_ns, attempt->grace_ns), &error);
    if (rc != ERR_OK && rc != ERR_CLOSED)
        log_line(LOG_LEVEL_WARN, "run=%u launcher's limit: %s", attempt->run, error.text);
}

void attempt_fill_telemetry(struct attempt *attempt, const struct attempt_world *world,
                            Penstock__Wire__Telemetry *telemetry,
                            Penstock__Wire__Device *device, int64_t now_ns)
{
    struct device_figures figures = meter_gpu(&attempt->meter, world->gpu);
    if (attempt->pid > 0) {
        struct process_family family = family_of(attempt, world);
        meter_look(&attempt->meter, &family, false);
    }
    telemetry->step = attempt->step;
    telemetry->tokens = attempt->tokens;
    telemetry->loss_micro = attempt->loss_micro;
    telemetry->has_loss = attempt->has_loss && !attempt->loss_nonfinite;
    telemetry->loss_nonfinite = attempt->loss_nonfinite;
    telemetry->val_loss_micro = attempt->val_loss_micro;
    telemetry->has_val_loss = attempt->has_val_loss;
    telemetry->flops_per_token = attempt->flops_per_token;
    telemetry->busy_ns = attempt->busy_ns;
    telemetry->wait_ns = attempt->wait_ns;
    telemetry->cpu_ns = attempt->meter.cpu_ns;
#define X(name, kind) device->name = (uint64_t)figures.name;
    DEVICE_FIGURES(X)
#undef X
    telemetry->device = figures.watched_ns > 0 || figures.lost ? device : NULL;
    telemetry->held_ns = (uint64_t)max_i64(0, now_ns - attempt->launched_ns);
    telemetry->ready = attempt->ready;
    telemetry->learning_rate = attempt->learning_rate;
    telemetry->grad_norm = attempt->grad_norm;
    if (attempt->cause == PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_UNSPECIFIED)
        look_at_gang(attempt);
    telemetry->collectives = attempt->collectives;
    telemetry->in_collective = attempt->in_collective;
}

int64_t attempt_due_ns(const struct attempt *attempt)
{
    if (!attempt->alive) return TIME_NEVER;
    int64_t due_ns = attempt->supervise.due_ns;
    if (attempt->cause != PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_UNSPECIFIED) return due_ns;
    due_ns = min_i64(due_ns, attempt->lease_end_ns);
    if (attempt->ras.fd >= 0) return min_i64(due_ns, attempt->ras.due_ns);
    due_ns = min_i64(due_ns, start_end_ns(attempt));
    return min_i64(due_ns, step_end_ns(attempt));
}

void attempt_watch(const struct attempt *attempt, struct pollfd watch[ATTEMPT_FDS])
{
    watch[2] = (struct pollfd){ .fd = attempt->ras.fd, .events = ras_events(&attempt->ras) };
    for (size_t i = 0; i < 2; i++) {
        bool heard = attempt->alive && attempt->phase != ATTEMPT_LAUNCHING;
        int fd = heard ? attempt->events[i].fd : -1;
        watch[i] = (struct pollfd){ .fd = fd, .events = POLLIN };
    }
}
