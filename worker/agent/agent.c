#include "worker/agent/agent.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "proto/wire/codec.h"
#include "worker/agent/attempt.h"
#include "worker/spawn/process.h"

#define PROBE_TIMEOUT_NS (60 * NS_PER_S)
#define FAREWELL_NS (5 * NS_PER_S) /* for messages to leave after Shutdown */
#define WAIT_MAX_NS NS_PER_S

enum {
    BEATS_KEPT = 256, /* sending times of heartbeats; a lease counts from the one it answers */
    ENDED_KEPT = 64,  /* attempts that ended here: a doubled Launch changes nothing */
    UNSENT_MAX = 1024 /* messages kept while the link is full */
};

enum agent_state { AGENT_NEW, AGENT_WELCOME, AGENT_LEAVING, AGENT_DONE };

/* A packed message that the link had no room for. */
struct unsent {
    struct unsent *next;
    size_t n;
    uint8_t bytes[];
};

struct agent {
    struct link *link;
    enum agent_state state;
    struct slot slot;
    struct gpu *gpu;
    struct attempt_world world;
    char state_dir[DISK_PATH_BYTES];
    uint64_t launch_ids;
    int64_t heartbeat_ns, next_beat_ns;
    uint64_t sequence;            /* last heartbeat sent; 0: only Hello */
    int64_t beats_ns[BEATS_KEPT]; /* when it was sent, by sequence */
    struct attempt attempt;
    struct {
        uint32_t run, attempt;
    } ended[ENDED_KEPT];
    size_t ended_count;
    bool launcher_lost;
    char goodbye[256];
    struct unsent *unsent_first, **unsent_end;
    size_t unsent_count;
    struct error link_error; /* code ERR_OK: the link works */
    uint8_t frame[LINK_MESSAGE_BYTES_MAX];
};

/* ---- sending ---- */

static enum err send_unsent(struct agent *agent, struct error *error)
{
    while (agent->unsent_first) {
        struct unsent *unsent = agent->unsent_first;
        enum err rc = link_send(agent->link, 0, unsent->bytes, unsent->n, error);
        if (rc == ERR_FULL) return ERR_OK;
        if (rc != ERR_OK) return rc;
        agent->unsent_first = unsent->next;
        if (!unsent->next) agent->unsent_end = &agent->unsent_first;
        agent->unsent_count--;
        free(unsent);
    }
    return ERR_OK;
}

static bool keep_unsent(struct agent *agent, size_t n)
{
    if (agent->unsent_count >= UNSENT_MAX) return false;
    struct unsent *unsent = malloc(sizeof *unsent + n);
    if (!unsent) return false;
    memcpy(unsent->bytes, agent->frame, n);
    unsent->n = n;
    unsent->next = NULL;
    *agent->unsent_end = unsent;
    agent->unsent_end = &unsent->next;
    agent->unsent_count++;
    return true;
}

/* Nothing overtakes what waits already; heartbeats are not worth waiting. Uses agent->frame, so a message
 * that was received must have been read before. */
static void send_message(struct agent *agent, const Penstock__Wire__ToCoordinator *message,
                         bool may_be_lost)
{
    struct error error = { 0 };
    size_t n = 0;
    enum err rc =
        codec_pack_to_coordinator(message, agent->frame, sizeof agent->frame, &n, &error);
    if (rc != ERR_OK) {
        log_line(LOG_LEVEL_ERROR, "message not sent: %s", error.text);
        return;
    }
    rc = agent->unsent_first ? ERR_FULL : link_send(agent->link, 0, agent->frame, n, &error);
    if (rc == ERR_OK || (rc == ERR_FULL && may_be_lost)) return;
    if (rc == ERR_FULL && keep_unsent(agent, n)) return;
    if (rc == ERR_FULL) error_set(&error, ERR_FULL, "the coordinator takes no messages");
    agent->link_error = error;
}

static void post(void *context, Penstock__Wire__ToCoordinator *message)
{
    send_message(context, message, false);
}

/* Borrows the facts' strings. */
static void describe_gpu(struct gpu_facts *facts, Penstock__Wire__Gpu *gpu)
{
    slot_normalize_pci(facts->pci_bus_id);
    facts->name[NAME_MAX_BYTES - 1] = '\0';
    codec_make_utf8(facts->name);
    codec_make_utf8(facts->driver);
    gpu->name = facts->name;
    gpu->device_class = facts->class;
    gpu->pci_bus_id = facts->pci_bus_id;
    gpu->memory_bytes = (uint64_t)facts->memory_bytes;
    gpu->peak_flops = facts->peak_flops;
    gpu->driver = facts->driver;
    gpu->has_activity = facts->has_gpm;
}

static void send_hello(struct agent *agent)
{
    Penstock__Wire__ToCoordinator message = PENSTOCK__WIRE__TO_COORDINATOR__INIT;
    Penstock__Wire__Hello hello = PENSTOCK__WIRE__HELLO__INIT;
    Penstock__Wire__Gpu gpu = PENSTOCK__WIRE__GPU__INIT;
    struct gpu_facts facts = *gpu_facts(agent->gpu);
    char version[] = PENSTOCK_VERSION;
    hello.worker = agent->link->rank;
    hello.host = agent->slot.host;
    hello.boot_id = agent->slot.boot_id;
    hello.slot = agent->slot.index;
    hello.device_class = agent->slot.device_class;
    hello.device = agent->slot.device;
    hello.peak_flops = agent->slot.peak_flops;
    hello.peak_source = agent->slot.peak_source;
    hello.threads = agent->slot.threads;
    hello.backend = agent->slot.backend;
    hello.backend_reason = agent->slot.backend_reason;
    hello.version = version;
    hello.pci_bus_id = agent->slot.pci_bus_id;
    hello.memory_bytes = agent->slot.memory_bytes;
    if (agent->slot.has_gpu) hello.visible_device = agent->slot.visible_devices;
    if (facts.found) {
        describe_gpu(&facts, &gpu);
        hello.gpu = &gpu;
    }
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_HELLO;
    message.hello = &hello;
    agent->beats_ns[0] = boot_clock_ns();
    send_message(agent, &message, false);
}

/* The time is taken before the message leaves, so a lease that counts from it ends early, never late. */
static void send_heartbeat(struct agent *agent, int64_t now_ns)
{
    Penstock__Wire__ToCoordinator message = PENSTOCK__WIRE__TO_COORDINATOR__INIT;
    Penstock__Wire__Heartbeat beat = PENSTOCK__WIRE__HEARTBEAT__INIT;
    Penstock__Wire__Telemetry telemetry = PENSTOCK__WIRE__TELEMETRY__INIT;
    Penstock__Wire__Device device = PENSTOCK__WIRE__DEVICE__INIT;
    agent->sequence++;
    agent->beats_ns[agent->sequence % BEATS_KEPT] = now_ns;
    agent->next_beat_ns = now_ns + agent->heartbeat_ns;
    beat.sequence = agent->sequence;
    if (agent->attempt.alive) {
        beat.run = agent->attempt.run;
        beat.attempt = agent->attempt.number;
        beat.member = agent->attempt.member;
        attempt_fill_telemetry(&agent->attempt, &agent->world, &telemetry, &device, now_ns);
        beat.telemetry = &telemetry;
    }
    message.epoch = agent->world.epoch;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_HEARTBEAT;
    message.heartbeat = &beat;
    send_message(agent, &message, true);
}

static void say_goodbye(struct agent *agent)
{
    Penstock__Wire__ToCoordinator message = PENSTOCK__WIRE__TO_COORDINATOR__INIT;
    Penstock__Wire__Goodbye goodbye = PENSTOCK__WIRE__GOODBYE__INIT;
    goodbye.reason = agent->goodbye;
    message.epoch = agent->world.epoch;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_GOODBYE;
    message.goodbye = &goodbye;
    send_message(agent, &message, false);
    agent->state = AGENT_DONE;
}

static void leave(struct agent *agent, const char *why)
{
    if (agent->state >= AGENT_LEAVING) return;
    agent->state = AGENT_LEAVING;
    text_copy(agent->goodbye, sizeof agent->goodbye, text_of(why));
    log_line(LOG_LEVEL_INFO, "leaving: %s", why);
}

/* ---- fencing ---- */

static bool holds(const struct agent *agent, uint32_t run, uint32_t attempt)
{
    return agent->attempt.alive && agent->attempt.run == run &&
           agent->attempt.number == attempt;
}

static bool has_ended(const struct agent *agent, uint32_t run, uint32_t attempt)
{
    size_t kept = agent->ended_count < ENDED_KEPT ? agent->ended_count : ENDED_KEPT;
    for (size_t i = 0; i < kept; i++)
        if (agent->ended[i].run == run && agent->ended[i].attempt == attempt) return true;
    return false;
}

static void note_ended(struct agent *agent, uint32_t run, uint32_t attempt)
{
    size_t at = agent->ended_count++ % ENDED_KEPT;
    agent->ended[at].run = run;
    agent->ended[at].attempt = attempt;
}

/* When the heartbeat that is being answered was sent; false when it is unknown or too long ago. Sequence 0
 * is Hello. */
static bool beat_time(const struct agent *agent, uint64_t sequence, int64_t *sent_ns)
{
    if (sequence > agent->sequence || agent->sequence - sequence >= BEATS_KEPT) return false;
    *sent_ns = agent->beats_ns[sequence % BEATS_KEPT];
    return true;
}

/* ---- messages ---- */

static void on_welcome(struct agent *agent, uint64_t epoch,
                       const Penstock__Wire__Welcome *welcome, int64_t now_ns)
{
    if (agent->state != AGENT_NEW) return;
    agent->world.epoch = epoch;
    if (welcome->refusal[0]) {
        log_line(LOG_LEVEL_ERROR, "refused by the coordinator: %s", welcome->refusal);
        leave(agent, "refused");
        return;
    }
    text_copy(agent->state_dir, sizeof agent->state_dir, text_of(welcome->state_dir));
    agent->heartbeat_ns = (int64_t)welcome->heartbeat_ns;
    agent->next_beat_ns = now_ns;
    agent->state = AGENT_WELCOME;
}

static void on_launch(struct agent *agent, const Penstock__Wire__Launch *launch, int64_t now_ns)
{
    int64_t sent_ns = 0;
    if (holds(agent, launch->run, launch->attempt) ||
        has_ended(agent, launch->run, launch->attempt))
        return;
    const char *refusal = NULL;
    if (agent->state != AGENT_WELCOME)
        refusal = "this agent is leaving";
    else if (agent->launcher_lost)
        refusal = "this agent's launcher is gone";
    else if (agent->attempt.alive)
        refusal = "this slot's trainer of another attempt is still alive";
    else if (launch->gang[launch->member] != agent->link->rank)
        refusal = "the launch is meant for another worker";
    else if (!beat_time(agent, launch->answers_heartbeat, &sent_ns))
        refusal = "the launch answers a heartbeat that is too old";
    if (refusal) {
        attempt_refuse(&agent->world, launch,
                       PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_LAUNCH_FAILED, refusal);
        note_ended(agent, launch->run, launch->attempt);
        return;
    }
    attempt_begin(&agent->attempt, &agent->world, launch, ++agent->launch_ids,
                  add_saturated(sent_ns, (int64_t)launch->lease_ns), now_ns);
    if (!agent->attempt.alive) note_ended(agent, launch->run, launch->attempt);
}

static void on_grant(struct agent *agent, const Penstock__Wire__Grant *grant)
{
    int64_t sent_ns = 0;
    if (!holds(agent, grant->run, grant->attempt)) return;
    if (!beat_time(agent, grant->answers_heartbeat, &sent_ns)) return;
    attempt_grant(&agent->attempt, &agent->world,
                  add_saturated(sent_ns, (int64_t)grant->lease_ns));
}

static void on_stop(struct agent *agent, const Penstock__Wire__Stop *stop, int64_t now_ns)
{
    char why[200];
    if (!holds(agent, stop->run, stop->attempt)) return;
    snprintf(why, sizeof why, "told to stop%s%.150s", stop->reason[0] ? ": " : "",
             stop->reason);
    attempt_halt(&agent->attempt, &agent->world,
                 stop->at_once ? PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_KILLED
                               : PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_STOPPED,
                 stop->at_once, why, now_ns);
}

static void on_probe(struct agent *agent, const Penstock__Wire__Probe *probe)
{
    char run_dir[DISK_PATH_BYTES], lock_name[64], lock[DISK_PATH_BYTES];
    struct checkpoint latest;
    struct error error;
    bool gone = false;
    if (agent->state != AGENT_WELCOME) return;
    struct writer writer = writer_of(run_dir, sizeof run_dir);
    writer_format(&writer, "%s/runs/%s", agent->state_dir, probe->run_name);
    snprintf(lock_name, sizeof lock_name, "rank-%u.lock", probe->member);
    if (writer.full || !disk_full_path(run_dir, lock_name, lock)) return;
    if (disk_is_unlocked(lock, &gone, &error) != ERR_OK)
        log_line(LOG_LEVEL_WARN, "probe: %s", error.text);
    if (disk_get_latest(run_dir, &latest, &error) == ERR_DAMAGED)
        log_line(LOG_LEVEL_WARN, "probe: %s", error.text);
    Penstock__Wire__ToCoordinator message = PENSTOCK__WIRE__TO_COORDINATOR__INIT;
    Penstock__Wire__ProbeResult result = PENSTOCK__WIRE__PROBE_RESULT__INIT;
    result.run = probe->run;
    result.attempt = probe->attempt;
    result.member = probe->member;
    result.gone = gone;
    result.checkpoint_step = latest.step;
    result.checkpoint = latest.path;
    result.checkpoint_tokens = latest.tokens;
    message.epoch = agent->world.epoch;
    message.body_case = PENSTOCK__WIRE__TO_COORDINATOR__BODY_PROBE;
    message.probe = &result;
    send_message(agent, &message, false);
}

static void on_shutdown(struct agent *agent, const Penstock__Wire__Shutdown *shutdown,
                        int64_t now_ns)
{
    if (agent->attempt.alive)
        attempt_halt(&agent->attempt, &agent->world,
                     PENSTOCK__WIRE__EXIT_CAUSE__EXIT_CAUSE_STOPPED, false, "shutdown", now_ns);
    leave(agent, shutdown->reason[0] ? shutdown->reason : "shutdown");
}

static void on_message(struct agent *agent, const Penstock__Wire__ToAgent *message,
                       int64_t now_ns)
{
    if (message->body_case == PENSTOCK__WIRE__TO_AGENT__BODY_WELCOME) {
        on_welcome(agent, message->epoch, message->welcome, now_ns);
        return;
    }
    if (agent->state == AGENT_NEW || message->epoch != agent->world.epoch) {
        log_line(LOG_LEVEL_WARN, "message of epoch=%" PRIu64 " ignored, now is %" PRIu64,
                 message->epoch, agent->world.epoch);
        return;
    }
    switch (message->body_case) {
    case PENSTOCK__WIRE__TO_AGENT__BODY_LAUNCH:
        on_launch(agent, message->launch, now_ns);
        return;
    case PENSTOCK__WIRE__TO_AGENT__BODY_GRANT: on_grant(agent, message->grant); return;
    case PENSTOCK__WIRE__TO_AGENT__BODY_STOP: on_stop(agent, message->stop, now_ns); return;
    case PENSTOCK__WIRE__TO_AGENT__BODY_PROBE: on_probe(agent, message->probe); return;
    case PENSTOCK__WIRE__TO_AGENT__BODY_SHUTDOWN:
        on_shutdown(agent, message->shutdown, now_ns);
        return;
    case PENSTOCK__WIRE__TO_AGENT__BODY_COMM_ID:
        attempt_take_comm_id(&agent->attempt, &agent->world, message->comm_id);
        return;
    case PENSTOCK__WIRE__TO_AGENT__BODY_WELCOME:
    case PENSTOCK__WIRE__TO_AGENT__BODY__NOT_SET:
    case _PENSTOCK__WIRE__TO_AGENT__BODY__CASE_IS_INT_SIZE: break;
    }
    unreachable("message to an agent"); /* the codec refuses it */
}

/* Handles one message; false when there is none. */
static bool take_message(struct agent *agent, struct error *error)
{
    uint32_t from = 0;
    size_t n = 0;
    Penstock__Wire__ToAgent *message = NULL;
    enum err rc =
        link_receive(agent->link, &from, agent->frame, sizeof agent->frame, &n, error);
    if (rc == ERR_NOT_FOUND) return false;
    if (rc != ERR_OK && rc != ERR_INPUT) {
        agent->link_error = *error;
        return false;
    }
    if (rc == ERR_OK && from != 0)
        rc = error_set(error, ERR_INPUT, "a message from rank %u, which is no coordinator",
                       from);
    if (rc == ERR_OK) rc = codec_read_to_agent(agent->frame, n, &message, error);
    if (rc != ERR_OK) {
        log_line(LOG_LEVEL_WARN, "message ignored: %s", error->text);
        return true;
    }
    on_message(agent, message, boot_clock_ns());
    codec_free_to_agent(message);
    return true;
}

/* ---- the loop's body ---- */

static void hear_launcher(struct agent *agent, int64_t now_ns)
{
    struct launch_report report;
    struct error error;
    if (agent->launcher_lost) return;
    for (;;) {
        enum err rc = launcher_report(agent->world.launcher, &report, &error);
        if (rc == ERR_NOT_FOUND) return;
        if (rc == ERR_OK) {
            attempt_report(&agent->attempt, &agent->world, &report, now_ns);
            continue;
        }
        log_line(LOG_LEVEL_ERROR, "launcher: %s", error.text);
        agent->launcher_lost = true;
        attempt_lose_launcher(&agent->attempt, &agent->world, now_ns);
        return;
    }
}

static void advance(struct agent *agent, int64_t now_ns)
{
    bool was_alive = agent->attempt.alive;
    hear_launcher(agent, now_ns);
    attempt_tick(&agent->attempt, &agent->world, now_ns);
    if (was_alive && !agent->attempt.alive)
        note_ended(agent, agent->attempt.run, agent->attempt.number);
    if (agent->launcher_lost && !agent->attempt.alive) leave(agent, "its launcher is gone");
    if (agent->state == AGENT_LEAVING && !agent->attempt.alive) {
        say_goodbye(agent);
        return;
    }
    bool beats = agent->state == AGENT_WELCOME || agent->state == AGENT_LEAVING;
    if (beats && agent->heartbeat_ns > 0 && now_ns >= agent->next_beat_ns)
        send_heartbeat(agent, now_ns);
}

enum err agent_step(struct agent *agent, struct error *error)
{
    enum { MESSAGES_MAX = 64 };
    struct error local = { 0 };
    if (agent->state == AGENT_DONE) return ERR_OK;
    enum err rc = send_unsent(agent, error);
    if (rc != ERR_OK) return rc;
    for (int i = 0; i < MESSAGES_MAX && take_message(agent, &local); i++)
        ;
    advance(agent, boot_clock_ns());
    if (agent->link_error.code == ERR_OK) return ERR_OK;
    return error_set(error, agent->link_error.code, "%s", agent->link_error.text);
}

enum err agent_wait(struct agent *agent, int64_t timeout_ns, struct error *error)
{
    int64_t now_ns = boot_clock_ns();
    int64_t due_ns = add_saturated(now_ns, min_i64(timeout_ns, WAIT_MAX_NS));
    due_ns = min_i64(due_ns, attempt_due_ns(&agent->attempt));
    if (agent->heartbeat_ns > 0) due_ns = min_i64(due_ns, agent->next_beat_ns);
    if (agent->unsent_first) due_ns = min_i64(due_ns, now_ns + NS_PER_MS);
    struct pollfd watch[ATTEMPT_FDS + 1];
    attempt_watch(&agent->attempt, watch);
    watch[ATTEMPT_FDS] =
        (struct pollfd){ .fd = agent->launcher_lost ? -1 : agent->world.launcher->fd,
                         .events = POLLIN };
    return link_wait(agent->link, max_i64(0, due_ns - now_ns), watch, ARRAY_COUNT(watch),
                     error);
}

bool agent_is_done(const struct agent *agent)
{
    return agent->state == AGENT_DONE && !agent->unsent_first;
}

/* ---- life ---- */

enum err agent_create(struct agent **made, const struct agent_options *options,
                      struct error *error)
{
    check(options->link->rank > 0);
    struct agent *agent = calloc(1, sizeof *agent);
    if (!agent) return error_set(error, ERR_NO_MEMORY, "no memory for the agent");
    agent->link = options->link;
    agent->unsent_end = &agent->unsent_first;
    agent->attempt.events[0].fd = agent->attempt.events[1].fd = -1;
    agent->attempt.comm_id.fd = -1;
    ras_init(&agent->attempt.ras);
    agent->world = (struct attempt_world){ .launcher = options->launcher,
                                           .slot = &agent->slot,
                                           .state_dir = agent->state_dir,
                                           .post = post,
                                           .agent = agent };
    slot_init(&agent->slot, options->slot, options->slot_count, options->host,
              options->trainer_path);
    slot_probe(&agent->slot, options->launcher, ++agent->launch_ids,
               options->probe_timeout_ns > 0 ? options->probe_timeout_ns : PROBE_TIMEOUT_NS);
    agent->gpu = gpu_open(&(struct gpu_options){ .which = slot_gpu(&agent->slot),
                                                 .library = options->nvml_path });
    if (!agent->gpu) {
        agent_destroy(agent);
        return error_set(error, ERR_NO_MEMORY, "no memory for the agent");
    }
    agent->world.gpu = agent->gpu;
    agent->slot.has_gpu =
        gpu_facts(agent->gpu)->found || strcmp(agent->slot.backend, "cuda") == 0;
    if (!gpu_facts(agent->gpu)->found)
        log_line(LOG_LEVEL_DEBUG, "no GPU is watched: %s", gpu_facts(agent->gpu)->reason);
    if (agent->slot.peak_flops <= 0)
        log_line(LOG_LEVEL_WARN, "speed unknown: %s", agent->slot.backend_reason);
    send_hello(agent);
    if (agent->link_error.code != ERR_OK) {
        enum err rc = error_set(error, agent->link_error.code, "%s", agent->link_error.text);
        agent_destroy(agent);
        return rc;
    }
    *made = agent;
    return ERR_OK;
}

void agent_destroy(struct agent *agent)
{
    if (!agent) return;
    if (agent->attempt.alive && !agent->launcher_lost)
        if (launcher_signal(agent->world.launcher, agent->attempt.launch_id, SIGKILL, NULL) !=
            ERR_OK)
            log_line(LOG_LEVEL_WARN, "the launcher could not be told to end a trainer");
    attempt_drop(&agent->attempt, &agent->world);
    gpu_close(agent->gpu);
    while (agent->unsent_first) {
        struct unsent *unsent = agent->unsent_first;
        agent->unsent_first = unsent->next;
        free(unsent);
    }
    free(agent);
}

/*
 * mpirun and Slurm send signals to every rank; what they mean for the campaign is the coordinator's to
 * decide, and the lease rules in any case.
 */
void agent_ignore_signals(void)
{
    static const int ignored[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE };
    for (size_t i = 0; i < ARRAY_COUNT(ignored); i++)
        signal(ignored[i], SIG_IGN);
}

/* The parent is the MPI launcher's daemon: without it nobody would ever end this rank. Were it gone before
 * the prctl, no signal would come, hence the second look. */
static void die_with(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
}

static enum err live(struct agent *agent, struct error *error)
{
    enum err rc = ERR_OK;
    while (rc == ERR_OK && !agent_is_done(agent)) {
        rc = agent_step(agent, error);
        if (rc == ERR_OK && !agent_is_done(agent)) rc = agent_wait(agent, WAIT_MAX_NS, error);
    }
    return rc;
}

int agent_main(const struct agent_options *options)
{
    struct agent *agent = NULL;
    struct error error = { 0 };
    if (!options->keep_signals) {
        agent_ignore_signals();
        die_with(getppid());
    }
    link_sleep_precisely();
    enum err rc = agent_create(&agent, options, &error);
    if (agent) rc = live(agent, &error);
    if (rc == ERR_OK) rc = link_flush(options->link, FAREWELL_NS, &error);
    if (rc != ERR_OK) log_line(LOG_LEVEL_ERROR, "%s", error.text);
    agent_destroy(agent);
    return rc == ERR_OK ? 0 : 1;
}
