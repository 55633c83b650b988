#include "worker/agent/contract.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"
#include "worker/agent/ras.h"

enum { OWN_VARIABLES_MAX = 48 };

const char *const *contract_argv(const struct contract *contract, struct arena *arena)
{
    const Penstock__Wire__Spec *spec = contract->launch->spec;
    const char **argv = arena_array(arena, spec->n_argv + 1, sizeof *argv);
    for (size_t i = 0; i < spec->n_argv; i++)
        argv[i] = spec->argv[i];
    if (strcmp(argv[0], "penstock-train") == 0) argv[0] = contract->slot->trainer_path;
    return argv;
}

/* "name@step name@tokens:N": those without a verdict, in the order given. */
static char *gates_of(const Penstock__Wire__Launch *launch, struct arena *arena)
{
    size_t bytes = launch->n_gates * (NAME_MAX_BYTES + 40) + 1;
    struct writer writer = writer_of(arena_alloc(arena, bytes), bytes);
    for (size_t i = 0; i < launch->n_gates; i++) {
        const Penstock__Wire__GatePoint *gate = launch->gates[i];
        writer_format(&writer, "%s%s@", i > 0 ? " " : "", gate->name);
        if (gate->step > 0)
            writer_format(&writer, "%" PRIu64, gate->step);
        else
            writer_format(&writer, "tokens:%" PRIu64, gate->tokens);
    }
    return writer.data;
}

/* ---- GPUs ---- */

/* Which GPUs a trainer sees, and where among them its own is. */
struct view {
    const char *devices; /* of CUDA_VISIBLE_DEVICES; NULL: the slot has no GPU */
    uint32_t local_rank, local_world_size;
};

/* A process can be shown all of the gang's GPUs of this host when it may see them and can tell them apart. A
 * resource manager that gives each task one GPU calls all of them 0; of MIG's parts CUDA shows one only. */
static bool can_share_view(const struct contract *contract)
{
    const Penstock__Wire__Launch *launch = contract->launch;
    for (size_t i = 0; i < launch->n_local; i++) {
        const char *device = launch->local[i]->visible_device;
        if (!slot_may_show(contract->slot, device)) return false;
        if (launch->n_local > 1 && strncmp(device, "MIG-", 4) == 0) return false;
        for (size_t k = 0; k < i; k++)
            if (strcmp(launch->local[k]->visible_device, device) == 0) return false;
    }
    return launch->n_local > 0;
}

static struct view view_of(const struct contract *contract, struct arena *arena)
{
    const Penstock__Wire__Launch *launch = contract->launch;
    uint32_t size = launch->local_world_size > 0 ? launch->local_world_size : 1;
    if (!contract->slot->has_gpu) return (struct view){ NULL, launch->local_rank, size };
    if (!can_share_view(contract))
        return (struct view){ contract->slot->visible_devices, 0, 1 };
    size_t bytes = launch->n_local * NAME_MAX_BYTES;
    struct writer writer = writer_of(arena_alloc(arena, bytes), bytes);
    for (size_t i = 0; i < launch->n_local; i++)
        writer_format(&writer, "%s%s", i > 0 ? "," : "", launch->local[i]->visible_device);
    return (struct view){ writer.data, launch->local_rank, size };
}

/* ---- NCCL ---- */

/* What would take the communicator out of the trainer's hands. */
static const struct {
    const char *name, *why;
} cleared[] = {
    { "NCCL_COMM_BLOCKING", "a communicator that blocks cannot be aborted" },
    { "NCCL_COMM_ID", "each attempt's gang meets by an id of its own" },
    { "NCCL_HOSTID", "with it two members on one GPU would not be noticed" },
};

static bool is_in_campaign(const Penstock__Wire__Spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->n_env; i++)
        if (strcmp(spec->env[i]->name, name) == 0) return true;
    return false;
}

static bool is_given(const Penstock__Wire__Spec *spec, const char *name)
{
    return getenv(name) != NULL || is_in_campaign(spec, name);
}

/* A name without a value takes the variable away, the campaign's as well. */
static size_t put_cleared(const struct contract *contract, const char **env)
{
    const Penstock__Wire__Launch *launch = contract->launch;
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_COUNT(cleared); i++) {
        env[n++] = cleared[i].name;
        if (is_given(launch->spec, cleared[i].name))
            log_line(LOG_LEVEL_WARN, "run=%s attempt=%u %s is cleared: %s", launch->run_name,
                     launch->attempt, cleared[i].name, cleared[i].why);
    }
    return n;
}

/* NCCL replaces %h and %p in the name of its log; a path may hold signs of its own. */
static const char *nccl_log(const struct contract *contract, struct arena *arena)
{
    const Penstock__Wire__Launch *launch = contract->launch;
    size_t bytes = 2 * strlen(contract->run_dir) + 80;
    struct writer writer = writer_of(arena_alloc(arena, bytes), bytes);
    writer_string(&writer, "NCCL_DEBUG_FILE=");
    for (const char *c = contract->run_dir; *c; c++)
        writer_format(&writer, *c == '%' ? "%%%%" : "%c", *c);
    writer_format(&writer, "/attempt-%04u.rank-%u.nccl.%%p", launch->attempt, launch->member);
    return writer.data;
}

static size_t put_nccl(const struct contract *contract, const char **env, struct arena *arena)
{
    const Penstock__Wire__Spec *spec = contract->launch->spec;
    size_t n = 0;
    if (!contract->slot->has_gpu) return 0;
    if (contract->ras_port > 0)
        env[n++] = arena_format(arena, "NCCL_RAS_ADDR=127.0.0.1:%" PRIu32, contract->ras_port);
    else
        env[n++] = "NCCL_RAS_ENABLE=0"; /* its default port is every gang's */
    if (!is_given(spec, "NCCL_DEBUG")) env[n++] = "NCCL_DEBUG=WARN";
    if (!is_given(spec, "NCCL_DEBUG_FILE")) env[n++] = nccl_log(contract, arena);
    return n + put_cleared(contract, env + n);
}

uint32_t contract_ras_port(const Penstock__Wire__Launch *launch, const struct slot *slot,
                           const char *state_dir)
{
    uint32_t lowest = slot->index;
    if (!slot->has_gpu) return 0;
    for (size_t i = 0; i < launch->n_local; i++)
        if (launch->local[i]->slot < lowest) lowest = launch->local[i]->slot;
    return ras_port(state_dir, lowest);
}

/* ---- the whole ---- */

static size_t put_torchrun(const struct contract *contract, const char **env,
                           struct arena *arena)
{
    const Penstock__Wire__Launch *launch = contract->launch;
    uint32_t threads =
        launch->spec->threads > 0 ? launch->spec->threads : contract->slot->threads;
    struct view view = view_of(contract, arena);
    size_t n = 0;
    env[n++] = arena_format(arena, "RANK=%" PRIu32, launch->member);
    env[n++] = arena_format(arena, "WORLD_SIZE=%zu", launch->n_gang);
    env[n++] = arena_format(arena, "LOCAL_RANK=%" PRIu32, view.local_rank);
    env[n++] = arena_format(arena, "LOCAL_WORLD_SIZE=%" PRIu32, view.local_world_size);
    env[n++] = "GROUP_RANK=0";
    env[n++] = arena_format(arena, "MASTER_ADDR=%s",
                            launch->master_host[0] ? launch->master_host : "127.0.0.1");
    env[n++] = arena_format(arena, "MASTER_PORT=%" PRIu32,
                            launch->master_port > 0 ? launch->master_port : 29500);
    env[n++] = arena_format(arena, "OMP_NUM_THREADS=%" PRIu32, threads);
    env[n++] = arena_format(arena, "OPENBLAS_NUM_THREADS=%" PRIu32, threads);
    if (view.devices) env[n++] = arena_format(arena, "CUDA_VISIBLE_DEVICES=%s", view.devices);
    env[n++] = "CUDA_DEVICE_ORDER=PCI_BUS_ID"; /* as NVML counts */
    return n;
}

static size_t put_penstock(const struct contract *contract, const char **env,
                           struct arena *arena)
{
    const Penstock__Wire__Launch *launch = contract->launch;
    size_t n = 0;
    env[n++] = arena_format(arena, "PENSTOCK_RUN=%s", launch->run_name);
    env[n++] = arena_format(arena, "PENSTOCK_RUN_INDEX=%" PRIu32, launch->run);
    env[n++] = arena_format(arena, "PENSTOCK_ATTEMPT=%" PRIu32, launch->attempt);
    env[n++] = arena_format(arena, "PENSTOCK_DIR=%s", contract->run_dir);
    env[n++] = arena_format(arena, "PENSTOCK_RESUME=%s", contract->resume_path);
    env[n++] = arena_format(arena, "PENSTOCK_RESUME_STEP=%" PRIu64, contract->resume_step);
    env[n++] = arena_format(arena, "PENSTOCK_GATES=%s", gates_of(launch, arena));
    env[n++] = arena_format(arena, "PENSTOCK_EVENTS=/dev/fd/%d", contract->events_fd);
    env[n++] = arena_format(arena, "PENSTOCK_FD=/dev/fd/%d", contract->events_pb_fd);
    if (contract->comm_fd >= 0) {
        env[n++] = arena_format(arena, "PENSTOCK_COMM_FD=%d", contract->comm_fd);
        env[n++] = arena_format(arena, "PENSTOCK_COMM_BYTES=%zu", contract->comm_bytes);
    }
    if (contract->comm_id_fd >= 0)
        env[n++] = arena_format(arena, "PENSTOCK_COMM_ID_FD=%d", contract->comm_id_fd);
    return n;
}

/* The campaign's variables first, so that the contract's own win. */
const char *const *contract_env(const struct contract *contract, struct arena *arena)
{
    const Penstock__Wire__Spec *spec = contract->launch->spec;
    const char **env = arena_array(arena, spec->n_env + OWN_VARIABLES_MAX, sizeof *env);
    size_t n = 0;
    for (; n < spec->n_env; n++)
        env[n] = arena_format(arena, "%s=%s", spec->env[n]->name, spec->env[n]->value);
    n += put_torchrun(contract, env + n, arena);
    n += put_penstock(contract, env + n, arena);
    n += put_nccl(contract, env + n, arena);
    check(n < spec->n_env + OWN_VARIABLES_MAX);
    return env;
}
