/* The environment of a trainer, variable by variable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "proto/base/arena.h"
#include "worker/agent/contract.h"

static const char *find(const char *const *env, const char *name)
{
    const char *found = NULL; /* the last one wins, as in the launcher */
    for (; *env; env++)
        if (strncmp(*env, name, strlen(name)) == 0 && (*env)[strlen(name)] == '=')
            found = *env + strlen(name) + 1;
    return found;
}

static void test_contract(void **state)
{
    (void)state;
    Penstock__Wire__Launch launch = PENSTOCK__WIRE__LAUNCH__INIT;
    Penstock__Wire__Spec spec = PENSTOCK__WIRE__SPEC__INIT;
    Penstock__Wire__EnvVar own = PENSTOCK__WIRE__ENV_VAR__INIT,
                           stolen = PENSTOCK__WIRE__ENV_VAR__INIT;
    Penstock__Wire__EnvVar *vars[] = { &own, &stolen };
    char train[] = "penstock-train", flag[] = "--x", name[] = "SEED", value[] = "a=b c",
         rank[] = "RANK", nine[] = "9";
    char run[] = "demo", host[] = "node7";
    char *argv[] = { train, flag };
    uint32_t gang[] = { 4, 2, 3 };
    own.name = name;
    own.value = value;
    stolen.name = rank;
    stolen.value = nine;
    spec.n_argv = 2;
    spec.argv = argv;
    spec.n_env = 2;
    spec.env = vars;
    launch.spec = &spec;
    launch.run_name = run;
    launch.run = 3;
    launch.attempt = 12;
    launch.member = 2;
    launch.n_gang = 3;
    launch.gang = gang;
    launch.local_rank = 1;
    launch.local_world_size = 2;
    launch.master_host = host;
    launch.master_port = 23456;
    struct slot slot = { .threads = 6,
                         .backend = "cpu",
                         .visible_devices = "3",
                         .trainer_path = "/opt/penstock-train" };
    struct contract contract = { .launch = &launch,
                                 .slot = &slot,
                                 .run_dir = "/s/runs/demo",
                                 .resume_path = "/s/runs/demo/c",
                                 .resume_step = 40,
                                 .events_fd = 10,
                                 .events_pb_fd = 11,
                                 .comm_fd = 12,
                                 .comm_bytes = 4096,
                                 .comm_id_fd = -1 };
    struct arena arena = { 0 };
    const char *const *args = contract_argv(&contract, &arena);
    assert_string_equal(args[0], "/opt/penstock-train");
    assert_string_equal(args[1], "--x");
    assert_null(args[2]);
    const char *const *env = contract_env(&contract, &arena);
    const char *rows[][2] = { { "RANK", "2" },
                              { "WORLD_SIZE", "3" },
                              { "LOCAL_RANK", "1" },
                              { "LOCAL_WORLD_SIZE", "2" },
                              { "GROUP_RANK", "0" },
                              { "MASTER_ADDR", "node7" },
                              { "MASTER_PORT", "23456" },
                              { "OMP_NUM_THREADS", "6" },
                              { "OPENBLAS_NUM_THREADS", "6" },
                              { "SEED", "a=b c" },
                              { "PENSTOCK_RUN", "demo" },
                              { "PENSTOCK_RUN_INDEX", "3" },
                              { "PENSTOCK_ATTEMPT", "12" },
                              { "PENSTOCK_DIR", "/s/runs/demo" },
                              { "PENSTOCK_RESUME", "/s/runs/demo/c" },
                              { "PENSTOCK_RESUME_STEP", "40" },
                              { "PENSTOCK_GATES", "" },
                              { "PENSTOCK_EVENTS", "/dev/fd/10" },
                              { "PENSTOCK_FD", "/dev/fd/11" },
                              { "PENSTOCK_COMM_FD", "12" },
                              { "PENSTOCK_COMM_BYTES", "4096" } };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const char *found = find(env, rows[i][0]);
        if (!found || strcmp(found, rows[i][1]) != 0)
            fail_msg("%s is %s", rows[i][0], found ? found : "missing");
    }
    assert_null(find(env, "CUDA_VISIBLE_DEVICES"));
    assert_null(find(env, "PENSTOCK_COMM_ID_FD"));
    /* A GPU slot, a gang that reduces by itself, threads set by the campaign, nothing else. */
    snprintf(slot.backend, sizeof slot.backend, "cuda");
    contract.comm_fd = -1;
    contract.comm_id_fd = 13;
    spec.threads = 2;
    launch.master_port = 0;
    launch.local_world_size = 0;
    launch.master_host[0] = '\0';
    env = contract_env(&contract, &arena);
    assert_string_equal(find(env, "CUDA_VISIBLE_DEVICES"), "3");
    assert_string_equal(find(env, "OMP_NUM_THREADS"), "2");
    assert_string_equal(find(env, "MASTER_ADDR"), "127.0.0.1");
    assert_string_equal(find(env, "LOCAL_WORLD_SIZE"), "1");
    assert_null(find(env, "PENSTOCK_COMM_FD"));
    assert_string_equal(find(env, "PENSTOCK_COMM_ID_FD"), "13");
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_contract) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
