#include "worker/agent/contract.h"

#include <inttypes.h>
#include <string.h>

enum { OWN_VARIABLES_MAX = 32 };

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

static size_t put_torchrun(const struct contract *contract, const char **env,
                           struct arena *arena)
{
    const Penstock__Wire__Launch *launch = contract->launch;
    uint32_t threads =
        launch->spec->threads > 0 ? launch->spec->threads : contract->slot->threads;
    size_t n = 0;
    env[n++] = arena_format(arena, "RANK=%" PRIu32, launch->member);
    env[n++] = arena_format(arena, "WORLD_SIZE=%zu", launch->n_gang);
    env[n++] = arena_format(arena, "LOCAL_RANK=%" PRIu32, launch->local_rank);
    env[n++] = arena_format(arena, "LOCAL_WORLD_SIZE=%" PRIu32,
                            launch->local_world_size > 0 ? launch->local_world_size : 1);
    env[n++] = "GROUP_RANK=0";
    env[n++] = arena_format(arena, "MASTER_ADDR=%s",
                            launch->master_host[0] ? launch->master_host : "127.0.0.1");
    env[n++] = arena_format(arena, "MASTER_PORT=%" PRIu32,
                            launch->master_port > 0 ? launch->master_port : 29500);
    env[n++] = arena_format(arena, "OMP_NUM_THREADS=%" PRIu32, threads);
    env[n++] = arena_format(arena, "OPENBLAS_NUM_THREADS=%" PRIu32, threads);
    if (strcmp(contract->slot->backend, "cuda") == 0)
        env[n++] =
            arena_format(arena, "CUDA_VISIBLE_DEVICES=%s", contract->slot->visible_devices);
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
    check(n < spec->n_env + OWN_VARIABLES_MAX);
    return env;
}
