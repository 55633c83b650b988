/* Which variables a trainer must not inherit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_scrubbed),
                                        cmocka_unit_test(test_kept) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
