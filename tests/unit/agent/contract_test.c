/* The environment of a trainer, variable by variable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
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
    slot.has_gpu = true;
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

/* ---- GPUs ---- */

struct gpu_case {
    const char *list; /* CUDA_VISIBLE_DEVICES of the agent; NULL: not set */
    const char *own;
    const char *local[3]; /* of the gang's members on this host */
    uint32_t local_count, local_rank;
    const char *devices, *rank, *size; /* what is due */
};

/* A launch on a GPU slot; `env` of the campaign. */
struct scene {
    Penstock__Wire__Launch launch;
    Penstock__Wire__Spec spec;
    Penstock__Wire__LocalMember local[3], *locals[3];
    Penstock__Wire__EnvVar vars[4], *var_list[4];
    struct slot slot;
    struct contract contract;
    struct arena arena;
    char words[12][64];
    uint32_t word_count;
};

static char *word(struct scene *scene, const char *text)
{
    char *to = scene->words[scene->word_count++];
    snprintf(to, sizeof scene->words[0], "%s", text);
    return to;
}

static void set_scene(struct scene *scene, const struct gpu_case *row)
{
    static uint32_t gang[] = { 1, 2, 3 };
    *scene = (struct scene){ .launch = PENSTOCK__WIRE__LAUNCH__INIT,
                             .spec = PENSTOCK__WIRE__SPEC__INIT };
    scene->slot = (struct slot){ .index = 5, .has_gpu = true, .threads = 1 };
    text_copy(scene->slot.visible_devices, sizeof scene->slot.visible_devices,
              text_of(row->own));
    scene->slot.has_device_list = row->list != NULL;
    text_copy(scene->slot.device_list, sizeof scene->slot.device_list, text_of(row->list));
    for (uint32_t i = 0; i < row->local_count; i++) {
        scene->local[i] = (Penstock__Wire__LocalMember)PENSTOCK__WIRE__LOCAL_MEMBER__INIT;
        scene->local[i].slot = 5 + 2 * i - 2 * row->local_rank;
        scene->local[i].visible_device = word(scene, row->local[i]);
        scene->locals[i] = &scene->local[i];
    }
    scene->launch.spec = &scene->spec;
    scene->launch.run_name = word(scene, "demo");
    scene->launch.attempt = 3;
    scene->launch.member = row->local_rank;
    scene->launch.gang = gang;
    scene->launch.n_gang = row->local_count ? row->local_count : 1;
    scene->launch.n_local = row->local_count;
    scene->launch.local = scene->locals;
    scene->launch.local_rank = row->local_rank;
    scene->launch.local_world_size = row->local_count;
    scene->contract = (struct contract){ .launch = &scene->launch,
                                         .slot = &scene->slot,
                                         .run_dir = "/s/100%/runs/demo",
                                         .resume_path = "",
                                         .ras_port = 30123,
                                         .comm_fd = -1,
                                         .comm_id_fd = -1 };
}

static const char *const *env_of(struct scene *scene)
{
    return contract_env(&scene->contract, &scene->arena);
}

static void test_a_member_sees_its_gangs_gpus(void **state)
{
    (void)state;
    static const struct gpu_case rows[] = {
        /* alone: one GPU */
        { NULL, "3", { "3" }, 1, 0, "3", "0", "1" },
        { "4,7", "7", { "7" }, 1, 0, "7", "0", "1" },
        { NULL, "3", { NULL }, 0, 0, "3", "0", "1" },
        { NULL, "MIG-a", { "MIG-a" }, 1, 0, "MIG-a", "0", "1" },
        /* all of this host's, in local order */
        { NULL, "6", { "4", "6", "5" }, 3, 1, "4,6,5", "1", "3" },
        { "0,1,2,3", "2", { "3", "2" }, 2, 1, "3,2", "1", "2" },
        { "GPU-b,GPU-a", "GPU-a", { "GPU-a", "GPU-b" }, 2, 0, "GPU-a,GPU-b", "0", "2" },
        /* one GPU per task, all called 0; another's hidden; parts of a GPU; one unknown */
        { "0", "0", { "0", "0" }, 2, 1, "0", "0", "1" },
        { "1", "1", { "0", "1" }, 2, 1, "1", "0", "1" },
        { NULL, "MIG-b", { "MIG-a", "MIG-b" }, 2, 1, "MIG-b", "0", "1" },
        { NULL, "1", { "", "1" }, 2, 1, "1", "0", "1" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct scene scene;
        set_scene(&scene, &rows[i]);
        const char *const *env = env_of(&scene);
        if (strcmp(find(env, "CUDA_VISIBLE_DEVICES"), rows[i].devices) != 0 ||
            strcmp(find(env, "LOCAL_RANK"), rows[i].rank) != 0 ||
            strcmp(find(env, "LOCAL_WORLD_SIZE"), rows[i].size) != 0)
            fail_msg("row %zu: %s, %s of %s", i, find(env, "CUDA_VISIBLE_DEVICES"),
                     find(env, "LOCAL_RANK"), find(env, "LOCAL_WORLD_SIZE"));
        arena_fini(&scene.arena);
    }
}

static const struct gpu_case alone = { NULL, "3", { "3" }, 1, 0, "3", "0", "1" };

/* The last entry of this name: "NAME=value", or "NAME" where it is removed; NULL: untouched. */
static const char *entry(const char *const *env, const char *name)
{
    const char *found = NULL;
    size_t n = strlen(name);
    for (; *env; env++)
        if (strncmp(*env, name, n) == 0 && ((*env)[n] == '=' || (*env)[n] == '\0'))
            found = *env;
    return found;
}

static void test_nccl_is_kept_in_hand(void **state)
{
    (void)state;
    static const char *const bad[] = { "NCCL_COMM_BLOCKING", "NCCL_COMM_ID", "NCCL_HOSTID" };
    struct scene scene;
    set_scene(&scene, &alone);
    /* What the campaign sets of these is taken away as well. */
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        scene.vars[i] = (Penstock__Wire__EnvVar)PENSTOCK__WIRE__ENV_VAR__INIT;
        scene.vars[i].name = word(&scene, bad[i]);
        scene.vars[i].value = word(&scene, "1");
        scene.var_list[i] = &scene.vars[i];
    }
    scene.spec.n_env = ARRAY_COUNT(bad);
    scene.spec.env = scene.var_list;
    const char *const *env = env_of(&scene);
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_string_equal(entry(env, bad[i]), bad[i]);
    assert_string_equal(find(env, "NCCL_RAS_ADDR"), "127.0.0.1:30123");
    assert_null(entry(env, "NCCL_RAS_ENABLE"));
    assert_string_equal(find(env, "NCCL_DEBUG"), "WARN");
    assert_string_equal(find(env, "NCCL_DEBUG_FILE"),
                        "/s/100%%/runs/demo/attempt-0003.rank-0.nccl.%p");
    assert_null(entry(env, "NCCL_SOCKET_IFNAME"));
    /* The campaign may ask NCCL to say more, somewhere else, and over which interface. */
    static const char *const free_names[] = { "NCCL_DEBUG", "NCCL_DEBUG_FILE",
                                              "NCCL_SOCKET_IFNAME" };
    for (size_t i = 0; i < ARRAY_COUNT(free_names); i++)
        snprintf(scene.vars[i].name, 64, "%s", free_names[i]);
    env = env_of(&scene);
    for (size_t i = 0; i < ARRAY_COUNT(free_names); i++)
        assert_string_equal(find(env, free_names[i]), "1");
    /* Without a port of its own it must not take everybody's. */
    scene.contract.ras_port = 0;
    env = env_of(&scene);
    assert_null(entry(env, "NCCL_RAS_ADDR"));
    assert_string_equal(find(env, "NCCL_RAS_ENABLE"), "0");
    /* On a CPU nothing of this is touched. */
    scene.slot.has_gpu = false;
    scene.spec.n_env = 0;
    env = env_of(&scene);
    for (size_t i = 0; env[i]; i++)
        if (strncmp(env[i], "NCCL_", 5) == 0) fail_msg("%s", env[i]);
    arena_fini(&scene.arena);
}

static void test_what_is_cleared_is_said(void **state)
{
    (void)state;
    struct scene scene;
    set_scene(&scene, &alone);
    setenv("NCCL_COMM_ID", "10.0.0.1:5000", 1);
    FILE *kept = stderr, *said = tmpfile();
    assert_non_null(said);
    char text[1024] = "";
    stderr = said;
    env_of(&scene);
    stderr = kept;
    unsetenv("NCCL_COMM_ID");
    rewind(said);
    assert_true(fread(text, 1, sizeof text - 1, said) > 0);
    fclose(said);
    assert_non_null(strstr(text, "run=demo attempt=3 NCCL_COMM_ID is cleared: "));
    assert_null(strstr(text, "NCCL_HOSTID"));
    arena_fini(&scene.arena);
}

/* Gangs of one host hold different slots, so their lowest ones differ. */
static void test_gangs_have_ports_of_their_own(void **state)
{
    (void)state;
    struct scene scene;
    static const struct gpu_case trio = { NULL, "6", { "4", "6", "5" }, 3, 1, "", "", "" };
    set_scene(&scene, &trio); /* slots 3, 5, 7; this is 5 */
    uint32_t ours = contract_ras_port(&scene.launch, &scene.slot, "/s");
    scene.slot.index = 7;
    assert_int_equal(contract_ras_port(&scene.launch, &scene.slot, "/s"), ours);
    set_scene(&scene, &alone); /* slot 5 */
    assert_int_equal(contract_ras_port(&scene.launch, &scene.slot, "/s"), ours + 2);
    scene.slot.index = 64;
    scene.local[0].slot = 64;
    assert_int_equal(contract_ras_port(&scene.launch, &scene.slot, "/s"), 0);
    scene.slot.has_gpu = false;
    scene.slot.index = 5;
    assert_int_equal(contract_ras_port(&scene.launch, &scene.slot, "/s"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contract),
        cmocka_unit_test(test_a_member_sees_its_gangs_gpus),
        cmocka_unit_test(test_nccl_is_kept_in_hand),
        cmocka_unit_test(test_what_is_cleared_is_said),
        cmocka_unit_test(test_gangs_have_ports_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
