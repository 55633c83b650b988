/* spec.c - see spec.h. */
#include "scheduler/coordinator/spec.h"

#include <string.h>

enum { SPEC_BYTES_MAX = 256 * 1024 };

/* protobuf-c takes strings without const and never writes to them. */
static char *borrowed(const char *string)
{
    char *plain;
    memcpy(&plain, &string, sizeof plain);
    return plain;
}

static void fill_env(Penstock__Wire__Spec *spec, const struct launch *launch,
                     struct arena *arena)
{
    spec->n_env = launch->env_count;
    if (spec->n_env == 0) return;
    spec->env = arena_array(arena, spec->n_env, sizeof *spec->env);
    Penstock__Wire__EnvVar *vars = arena_array(arena, spec->n_env, sizeof *vars);
    for (uint32_t i = 0; i < launch->env_count; i++) {
        penstock__wire__env_var__init(&vars[i]);
        vars[i].name = borrowed(launch->env[i].name);
        vars[i].value = borrowed(launch->env[i].value);
        spec->env[i] = &vars[i];
    }
}

static struct text pack(const struct launch *launch, int64_t stop_grace_ns, struct arena *arena)
{
    struct arena scratch = { 0 };
    Penstock__Wire__Spec spec;
    penstock__wire__spec__init(&spec);
    spec.n_argv = launch->argc;
    spec.argv = arena_array(&scratch, (size_t)launch->argc + 1, sizeof *spec.argv);
    for (uint32_t i = 0; i < launch->argc; i++)
        spec.argv[i] = borrowed(launch->argv[i]);
    fill_env(&spec, launch, &scratch);
    spec.directory = borrowed(launch->directory != NULL ? launch->directory : "");
    spec.start_deadline_ns = (uint64_t)launch->start_deadline_ns;
    spec.step_deadline_min_ns = (uint64_t)launch->step_deadline_min_ns;
    spec.step_deadline_factor = launch->step_deadline_factor;
    spec.stop_grace_ns = (uint64_t)stop_grace_ns;
    spec.threads = launch->threads;
    size_t bytes = penstock__wire__spec__get_packed_size(&spec);
    uint8_t *data = arena_alloc(arena, bytes + 1);
    penstock__wire__spec__pack(&spec, data);
    arena_fini(&scratch);
    return (struct text){ (const char *)data, bytes };
}

enum err spec_pack_all(struct campaign *campaign, struct arena *arena, struct error *error)
{
    for (uint32_t i = 0; i < campaign->run_count; i++) {
        struct text launch = pack(&campaign->launches[i], campaign->spec.stop_grace_ns, arena);
        if (launch.len > SPEC_BYTES_MAX)
            return error_set(
                error, ERR_INPUT,
                "run %s: its command and environment take %zu bytes; at most %d fit",
                campaign->runs[i].name, launch.len, SPEC_BYTES_MAX);
        campaign->runs[i].launch = launch;
    }
    return ERR_OK;
}

Penstock__Wire__Spec *spec_unpack(struct text launch)
{
    return penstock__wire__spec__unpack(NULL, launch.len, (const uint8_t *)launch.data);
}
