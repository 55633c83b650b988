/* outbox.c - see outbox.h. */
#include "scheduler/coordinator/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/hash.h"
#include "proto/wire/codec.h"
#include "scheduler/coordinator/spec.h"

/* Below the ports that systems hand out by themselves. */
enum { PORT_FIRST = 15000, PORT_COUNT = 15000 };

enum err outbox_init(struct outbox *outbox, const struct outbox_options *options,
                     struct error *error)
{
    memset(outbox, 0, sizeof *outbox);
    outbox->link = options->link;
    outbox->worker_count = options->worker_count;
    outbox->launches = options->launches;
    outbox->trainer = options->trainer;
    outbox->heard = calloc((size_t)options->worker_count + 1, sizeof *outbox->heard);
    outbox->devices = calloc((size_t)options->worker_count + 1, sizeof *outbox->devices);
    if (outbox->heard != NULL && outbox->devices != NULL) return ERR_OK;
    outbox_fini(outbox);
    return error_set(error, ERR_NO_MEMORY, "out of memory for workers");
}

void outbox_fini(struct outbox *outbox)
{
    free(outbox->heard);
    free(outbox->devices);
    free(outbox->entries);
    free(outbox->comm_ids);
    memset(outbox, 0, sizeof *outbox);
}

enum err outbox_put(struct outbox *outbox, const struct action *action, int64_t step_ns,
                    struct error *error)
{
    if (outbox->entry_count == outbox->entry_capacity) {
        uint32_t capacity = outbox->entry_capacity > 0 ? 2 * outbox->entry_capacity : 64;
        struct outbox_entry *grown =
            realloc(outbox->entries, (size_t)capacity * sizeof *outbox->entries);
        if (grown == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory for actions");
        outbox->entries = grown;
        outbox->entry_capacity = capacity;
    }
    outbox->entries[outbox->entry_count++] = (struct outbox_entry){ *action, step_ns };
    return ERR_OK;
}

static enum err grow_comm_ids(struct outbox *outbox, uint32_t count, struct error *error)
{
    if (count <= outbox->comm_id_capacity) return ERR_OK;
    struct outbox_comm_id *grown =
        realloc(outbox->comm_ids, (size_t)count * sizeof *outbox->comm_ids);
    if (grown == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory for a gang's id");
    outbox->comm_ids = grown;
    outbox->comm_id_capacity = count;
    return ERR_OK;
}

enum err outbox_put_comm_id(struct outbox *outbox, const struct core *core, uint32_t from,
                            const Penstock__Wire__CommId *id, struct error *error)
{
    const struct attempt *attempt =
        id->run < core_run_count(core) ? core_attempt(core, id->run) : NULL;
    bool fits = attempt != NULL && attempt->number == id->attempt && !attempt->orphaned &&
                core_member(core, attempt->first_member)->worker == from &&
                id->id.len <= COMM_ID_BYTES_MAX;
    if (!fits) {
        outbox->stale_comm_id_count++;
        return ERR_OK;
    }
    enum err rc =
        grow_comm_ids(outbox, outbox->comm_id_count + attempt->member_count - 1, error);
    if (rc != ERR_OK) return rc;
    for (uint32_t i = 1; i < attempt->member_count; i++) {
        struct outbox_comm_id *kept = &outbox->comm_ids[outbox->comm_id_count++];
        *kept =
            (struct outbox_comm_id){ .run = id->run,
                                     .attempt = id->attempt,
                                     .member = i,
                                     .worker =
                                         core_member(core, attempt->first_member + i)->worker,
                                     .id_bytes = (uint32_t)id->id.len };
        memcpy(kept->id, id->id.data, id->id.len);
    }
    return ERR_OK;
}

void outbox_seat(struct outbox *outbox, uint32_t worker, struct text visible_device)
{
    check(worker < outbox->worker_count);
    text_copy(outbox->devices[worker], sizeof outbox->devices[worker], visible_device);
}

void outbox_heartbeat(struct outbox *outbox, uint32_t worker, uint64_t sequence, int64_t now_ns)
{
    check(worker < outbox->worker_count);
    outbox->heard[worker] = (struct outbox_heard){ sequence, now_ns };
}

void outbox_forget(struct outbox *outbox, uint32_t worker)
{
    check(worker < outbox->worker_count);
    outbox->heard[worker] = (struct outbox_heard){ 0, 0 };
    uint32_t kept = 0;
    for (uint32_t i = 0; i < outbox->entry_count; i++)
        if (outbox->entries[i].action.worker != worker)
            outbox->entries[kept++] = outbox->entries[i];
    outbox->entry_count = kept;
}

/* ---- messages
 * ---------------------------------------------------------------------------------- */

static char *borrowed(const char *string)
{
    char *plain;
    memcpy(&plain, &string, sizeof plain);
    return plain;
}

/* The lease of an action, as it counts from the worker's last heartbeat: the agent adds it to
 * the time at which it sent that heartbeat, which was before we received it, so its deadline
 * never lies beyond the recorded end. */
static uint64_t lease_since(const struct outbox_heard *heard, const struct outbox_entry *entry)
{
    int64_t end_ns = entry->step_ns + entry->action.lease_ns;
    return (uint64_t)max_i64(0, end_ns - heard->at_ns);
}

static enum err send_grant(struct outbox *outbox, Penstock__Wire__ToAgent *message,
                           const struct outbox_entry *entry, struct error *error)
{
    const struct action *action = &entry->action;
    Penstock__Wire__Grant grant;
    penstock__wire__grant__init(&grant);
    grant.run = action->run;
    grant.attempt = action->attempt;
    grant.lease_sequence = action->sequence;
    grant.answers_heartbeat = action->heartbeat;
    grant.lease_ns = (uint64_t)max_i64(0, action->lease_ns);
    message->body_case = PENSTOCK__WIRE__TO_AGENT__BODY_GRANT;
    message->grant = &grant;
    return codec_send_to_agent(outbox->link, action->worker, message, error);
}

static enum err send_stop(struct outbox *outbox, Penstock__Wire__ToAgent *message,
                          const struct outbox_entry *entry, struct error *error)
{
    const struct action *action = &entry->action;
    Penstock__Wire__Stop stop;
    penstock__wire__stop__init(&stop);
    stop.run = action->run;
    stop.attempt = action->attempt;
    stop.at_once = action->at_once;
    stop.reason = borrowed(reason_name(action->reason));
    message->body_case = PENSTOCK__WIRE__TO_AGENT__BODY_STOP;
    message->stop = &stop;
    return codec_send_to_agent(outbox->link, action->worker, message, error);
}

static enum err send_probe(struct outbox *outbox, const struct core *core,
                           Penstock__Wire__ToAgent *message, const struct outbox_entry *entry,
                           struct error *error)
{
    const struct action *action = &entry->action;
    Penstock__Wire__Probe probe;
    penstock__wire__probe__init(&probe);
    probe.run = action->run;
    probe.run_name = borrowed(core_run(core, action->run)->name);
    probe.attempt = action->attempt;
    probe.member = action->member;
    message->body_case = PENSTOCK__WIRE__TO_AGENT__BODY_PROBE;
    message->probe = &probe;
    return codec_send_to_agent(outbox->link, action->worker, message, error);
}

/* Gates without a verdict, in the order of the run's gates. `points` and `list` have room for
 * all. */
static size_t fill_gates(const struct core *core, uint32_t run,
                         Penstock__Wire__GatePoint *points, Penstock__Wire__GatePoint **list)
{
    size_t count = 0;
    for (uint32_t slot = 0; slot < core_run(core, run)->gate_count; slot++) {
        const struct run_gate *gate = core_run_gate(core, run, slot);
        if (gate->verdict != VERDICT_NONE) continue;
        const struct gate_spec *spec = core_gate(core, gate->gate_index);
        penstock__wire__gate_point__init(&points[count]);
        points[count].name = borrowed(spec->name);
        points[count].step = spec->step;
        points[count].tokens = spec->tokens;
        list[count] = &points[count];
        count++;
    }
    return count;
}

/* Ranks of the gang's workers, and where this member stands among those on its host. */
static void fill_gang(const struct core *core, const struct attempt *attempt, uint32_t member,
                      Penstock__Wire__Launch *launch, uint32_t gang[GANG_MAX])
{
    uint32_t host = core_member(core, attempt->first_member + member)->host;
    bool one_host = true;
    for (uint32_t i = 0; i < attempt->member_count; i++) {
        const struct member *other = core_member(core, attempt->first_member + i);
        gang[i] = other->worker;
        if (other->host != host) {
            one_host = false;
            continue;
        }
        launch->local_world_size++;
        if (i < member) launch->local_rank++;
    }
    launch->n_gang = attempt->member_count;
    launch->gang = gang;
    /* A gang on one host needs no name service. */
    uint32_t first_host = core_member(core, attempt->first_member)->host;
    launch->master_host = borrowed(one_host ? "127.0.0.1" : core_host(core, first_host));
}

/* The members that share this one's host, when they are on GPUs. The memory is one block, launch->local. */
static enum err fill_local(const struct outbox *outbox, const struct core *core,
                           const struct attempt *attempt, uint32_t member,
                           Penstock__Wire__Launch *launch, struct error *error)
{
    const struct member *self = core_member(core, attempt->first_member + member);
    if (outbox->devices[self->worker][0] == '\0') return ERR_OK;
    size_t count = launch->local_world_size;
    Penstock__Wire__LocalMember **list = malloc(count * (sizeof *list + sizeof **list));
    if (list == NULL) return error_set(error, ERR_NO_MEMORY, "out of memory for a launch");
    Penstock__Wire__LocalMember *items = (Penstock__Wire__LocalMember *)(list + count);
    for (uint32_t i = 0; i < attempt->member_count; i++) {
        const struct member *other = core_member(core, attempt->first_member + i);
        if (other->host != self->host) continue;
        Penstock__Wire__LocalMember *item = &items[launch->n_local];
        penstock__wire__local_member__init(item);
        item->slot = core_worker(core, other->worker)->slot;
        item->visible_device = outbox->devices[other->worker];
        list[launch->n_local++] = item;
    }
    launch->local = list;
    return ERR_OK;
}

/* The member's trainer as recorded; the built-in one is always that of this installation, so
 * that a campaign goes on after the program has moved. */
static Penstock__Wire__Spec *load_spec(const struct outbox *outbox, const struct core *core,
                                       uint32_t run)
{
    Penstock__Wire__Spec *spec = spec_unpack(outbox->launches[run]);
    if (spec == NULL || !core_run(core, run)->builtin || spec->n_argv == 0) return spec;
    char *trainer = strdup(outbox->trainer);
    if (trainer == NULL) return spec;
    free(spec->argv[0]);
    spec->argv[0] = trainer;
    return spec;
}

static enum err send_launch(struct outbox *outbox, const struct core *core,
                            Penstock__Wire__ToAgent *message, const struct outbox_entry *entry,
                            struct error *error)
{
    const struct action *action = &entry->action;
    const struct outbox_heard *heard = &outbox->heard[action->worker];
    const struct run *run = core_run(core, action->run);
    const struct attempt *attempt = core_attempt(core, action->run);
    Penstock__Wire__Launch launch;
    penstock__wire__launch__init(&launch);
    Penstock__Wire__GatePoint points[GATES_PER_RUN_MAX], *list[GATES_PER_RUN_MAX];
    uint32_t gang[GANG_MAX];
    launch.spec = load_spec(outbox, core, action->run);
    if (launch.spec == NULL)
        return error_set(error, ERR_DAMAGED, "run %s: its recorded command is unreadable",
                         run->name);
    launch.run = action->run;
    launch.run_name = borrowed(run->name);
    launch.attempt = action->attempt;
    launch.member = action->member;
    fill_gang(core, attempt, action->member, &launch, gang);
    launch.answers_heartbeat = heard->sequence;
    launch.lease_ns = lease_since(heard, entry);
    launch.lease_sequence = action->sequence;
    launch.resume = borrowed(run->resume_path);
    launch.resume_step = run->resume_step;
    launch.resume_pinned = run->resume_pinned;
    launch.n_gates = fill_gates(core, action->run, points, list);
    launch.gates = list;
    uint64_t mixed = hash_mix(hash_mix(core_epoch(core), action->run), action->attempt);
    launch.master_port = (uint32_t)(PORT_FIRST + mixed % PORT_COUNT);
    message->body_case = PENSTOCK__WIRE__TO_AGENT__BODY_LAUNCH;
    message->launch = &launch;
    enum err rc = fill_local(outbox, core, attempt, action->member, &launch, error);
    if (rc == ERR_OK) rc = codec_send_to_agent(outbox->link, action->worker, message, error);
    free(launch.local);
    penstock__wire__spec__free_unpacked(launch.spec, NULL);
    return rc;
}

/* Whether the state still backs a launch: the attempt lives, and holds this worker for this
 * member. */
static bool still_wanted(const struct core *core, const struct action *action)
{
    const struct attempt *attempt = core_attempt(core, action->run);
    if (attempt == NULL || attempt->number != action->attempt) return false;
    if (action->member >= attempt->member_count) return false;
    return core_member(core, attempt->first_member + action->member)->worker == action->worker;
}

static enum err send_comm_id(struct outbox *outbox, const struct core *core,
                             struct outbox_comm_id *kept, struct error *error)
{
    Penstock__Wire__ToAgent message;
    Penstock__Wire__CommId id;
    penstock__wire__to_agent__init(&message);
    penstock__wire__comm_id__init(&id);
    id.run = kept->run;
    id.attempt = kept->attempt;
    id.id = (ProtobufCBinaryData){ kept->id_bytes, kept->id };
    message.epoch = core_epoch(core);
    message.body_case = PENSTOCK__WIRE__TO_AGENT__BODY_COMM_ID;
    message.comm_id = &id;
    return codec_send_to_agent(outbox->link, kept->worker, &message, error);
}

static bool has_entry_for(const struct outbox *outbox, uint32_t worker)
{
    for (uint32_t i = 0; i < outbox->entry_count; i++)
        if (outbox->entries[i].action.worker == worker) return true;
    return false;
}

static enum err perform_comm_ids(struct outbox *outbox, const struct core *core,
                                 struct error *error)
{
    enum err first = ERR_OK;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < outbox->comm_id_count; i++) {
        struct outbox_comm_id *id = &outbox->comm_ids[i];
        struct action launch = {
            .run = id->run, .attempt = id->attempt, .member = id->member, .worker = id->worker
        };
        if (!still_wanted(core, &launch)) {
            outbox->stale_comm_id_count++;
            continue;
        }
        struct error failure;
        enum err rc = has_entry_for(outbox, id->worker)
                          ? ERR_FULL
                          : send_comm_id(outbox, core, id, &failure);
        if (rc == ERR_FULL) {
            outbox->comm_ids[kept++] = *id;
        } else if (rc != ERR_OK && first == ERR_OK) {
            first = rc;
            if (error != NULL) *error = failure;
        }
    }
    outbox->comm_id_count = kept;
    return first;
}

static enum err send_entry(struct outbox *outbox, const struct core *core,
                           const struct outbox_entry *entry, struct error *error)
{
    Penstock__Wire__ToAgent message;
    penstock__wire__to_agent__init(&message);
    message.epoch = core_epoch(core);
    switch (entry->action.kind) {
    case ACTION_LAUNCH:
        if (!still_wanted(core, &entry->action)) return ERR_OK;
        return send_launch(outbox, core, &message, entry, error);
    case ACTION_GRANT: return send_grant(outbox, &message, entry, error);
    case ACTION_STOP: return send_stop(outbox, &message, entry, error);
    case ACTION_PROBE: return send_probe(outbox, core, &message, entry, error);
    case ACTION_ASK:
    case ACTION_DONE:
    case ACTION_KIND_COUNT: break;
    }
    unreachable("an action that is not for a worker");
}

enum err outbox_perform(struct outbox *outbox, const struct core *core, struct error *error)
{
    enum err first = ERR_OK;
    bool full = false;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < outbox->entry_count; i++) {
        struct outbox_entry entry = outbox->entries[i];
        check(entry.action.worker < outbox->worker_count);
        bool waits = full || outbox->heard[entry.action.worker].sequence == 0;
        struct error failure;
        enum err rc = waits ? ERR_OK : send_entry(outbox, core, &entry, &failure);
        if (rc == ERR_FULL) full = true;
        if (waits || rc == ERR_FULL) {
            outbox->entries[kept++] = entry;
        } else if (rc != ERR_OK && first == ERR_OK) {
            first = rc;
            if (error != NULL) *error = failure;
        }
    }
    outbox->entry_count = kept;
    struct error failure;
    enum err rc = perform_comm_ids(outbox, core, &failure);
    if (rc != ERR_OK && first == ERR_OK) {
        first = rc;
        if (error != NULL) *error = failure;
    }
    return first;
}

enum err outbox_welcome(struct outbox *outbox, uint32_t worker, uint64_t epoch,
                        const char *state_dir, int64_t heartbeat_ns, const char *refusal,
                        struct error *error)
{
    Penstock__Wire__ToAgent message;
    penstock__wire__to_agent__init(&message);
    Penstock__Wire__Welcome welcome;
    penstock__wire__welcome__init(&welcome);
    welcome.state_dir = borrowed(state_dir);
    welcome.heartbeat_ns = (uint64_t)heartbeat_ns;
    welcome.refusal = borrowed(refusal);
    message.epoch = epoch;
    message.body_case = PENSTOCK__WIRE__TO_AGENT__BODY_WELCOME;
    message.welcome = &welcome;
    return codec_send_to_agent(outbox->link, worker, &message, error);
}

enum err outbox_shutdown(struct outbox *outbox, uint32_t worker, uint64_t epoch,
                         const char *reason, struct error *error)
{
    Penstock__Wire__ToAgent message;
    penstock__wire__to_agent__init(&message);
    Penstock__Wire__Shutdown shutdown;
    penstock__wire__shutdown__init(&shutdown);
    shutdown.reason = borrowed(reason);
    message.epoch = epoch;
    message.body_case = PENSTOCK__WIRE__TO_AGENT__BODY_SHUTDOWN;
    message.shutdown = &shutdown;
    return codec_send_to_agent(outbox->link, worker, &message, error);
}
