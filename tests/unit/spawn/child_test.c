/* Which variables a trainer must not inherit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "proto/base/text.h"
#include "worker/spawn/child.h"

static void test_scrubbed(void **state)
{
    (void)state;
    const char *names[] = { "OMPI_COMM_WORLD_RANK=1",
                            "PMIX_RANK=1",
                            "PMI_RANK=0",
                            "PRTE_MCA_x=1",
                            "PENSTOCK_RUN=old",
                            "PENSTOCK_COMM_FD=12",
                            "SLURM_PROCID=3",
                            "SLURM_LOCALID=0",
                            "SLURM_NTASKS=4",
                            "SLURM_STEP_ID=0",
                            "SLURM_STEPID=0",
                            "SLURM_TASKS_PER_NODE=2",
                            "SLURM_SRUN_COMM_HOST=x",
                            "SLURM_PMIX_MAPPING_SERV=x",
                            "SLURM_NPROCS",
                            "MPI_LOCALRANKID=0" };
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (!child_scrubs(names[i])) fail_msg("%s is kept", names[i]);
}

static void test_kept(void **state)
{
    (void)state;
    const char *names[] = { "PATH=/bin",
                            "HOME=/root",
                            "SLURM_JOB_ID=7",
                            "SLURM_JOBID=7",
                            "SLURM_CPUS_ON_NODE=8",
                            "SLURM_SUBMIT_DIR=/x",
                            "SLURM_TMPDIR=/t",
                            "SLURM_CONF=/etc/x",
                            "SLURM_NTASKSX=1",
                            "PENSTOCK_LOG=debug",
                            "XOMPI_=1",
                            "OMP_NUM_THREADS=2",
                            "CUDA_VISIBLE_DEVICES=0",
                            "MASTER_ADDR=x",
                            "" };
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (child_scrubs(names[i])) fail_msg("%s is scrubbed", names[i]);
}

/* Set, changed, removed and set again, in order; names that begin alike are apart; the marker comes last. */
static void test_environment(void **state)
{
    (void)state;
    static const char *const inherited[] = { "A=1", "AB=2", "ABC=", "D=4", "A=5", NULL };
    static const char *const none[] = { NULL };
    static const struct {
        const char *const *inherited;
        const char *changes[6], *marker, *expected;
    } rows[] = {
        { none, { NULL }, "", "" },
        { inherited, { NULL }, "", "A=1 AB=2 ABC= D=4 A=5 " },
        { inherited, { "A" }, "", "AB=2 ABC= D=4 " },
        { inherited, { "A=9" }, "", "AB=2 ABC= D=4 A=9 " },
        { inherited, { "AB", "ABC", "ABCD", "E=" }, "", "A=1 D=4 A=5 E= " },
        { inherited, { "E=1", "E=2", "E", "E=3" }, "", "A=1 AB=2 ABC= D=4 A=5 E=3 " },
        { none, { "M=1", "X=a=b" }, "M=2", "X=a=b M=2 " },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const char *changes[7] = { NULL };
        memcpy(changes, rows[i].changes, sizeof rows[i].changes);
        struct launch_body body = { .env = changes, .marker = rows[i].marker };
        const char **made = child_environment(rows[i].inherited, &body);
        char text[256];
        struct writer writer = writer_of(text, sizeof text);
        assert_non_null(made);
        for (size_t k = 0; made[k]; k++)
            writer_format(&writer, "%s ", made[k]);
        assert_string_equal(text, rows[i].expected);
        free(made);
    }
}

static void test_inherited_environment_is_scrubbed(void **state)
{
    (void)state;
    setenv("OMPI_COMM_WORLD_RANK", "5", 1);
    setenv("PENSTOCK_TEST_KEPT", "no", 1);
    setenv("SOME_OTHER", "yes", 1);
    const char **inherited = child_inherited();
    bool found = false;
    assert_non_null(inherited);
    for (size_t i = 0; inherited[i]; i++) {
        found = found || strcmp(inherited[i], "SOME_OTHER=yes") == 0;
        assert_false(child_scrubs(inherited[i]));
    }
    assert_true(found);
    free(inherited);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scrubbed), cmocka_unit_test(test_kept),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_inherited_environment_is_scrubbed)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
