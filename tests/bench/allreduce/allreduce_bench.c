/*
 * allreduce_bench.c - what the way through the shared-memory segment and the agent's thread costs: the same
 * sum by MPI_Allreduce and by a trainer's request, taken in turns within one run. Run by mpirun with as many
 * ranks as the gang has members; argument: bytes (default 3 MB). Prints both medians and the ratio.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/wire/gang_shm.h"
#include "proto/wire/link_mpi.h"
#include "worker/agent/reduce.h"
#include "worker/spawn/process.h"

enum { ROUNDS = 60, WARM = 10 };

static int by_size(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* Median over rounds of the slowest rank's time. */
static double median_ns(int64_t times[ROUNDS])
{
    MPI_Allreduce(MPI_IN_PLACE, times, ROUNDS, MPI_INT64_T, MPI_MAX, MPI_COMM_WORLD);
    qsort(times + WARM, ROUNDS - WARM, sizeof times[0], by_size);
    return (double)times[WARM + (ROUNDS - WARM) / 2];
}

static void need(enum err rc, const struct error *error)
{
    if (rc == ERR_OK) return;
    fprintf(stderr, "%s\n", error->text);
    _exit(1);
}

int main(int argc, char **argv)
{
    struct link link;
    struct error error = { 0 };
    size_t bytes = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 3000000;
    int count = (int)(bytes / sizeof(float));
    need(link_mpi_open(&link, NULL, &error), &error);
    uint32_t *gang = calloc(link.size, sizeof *gang);
    for (uint32_t i = 0; gang && i < link.size; i++)
        gang[i] = i;
    struct reduce *reduce = NULL;
    struct reduce_options options = { .gang = gang,
                                      .gang_count = link.size,
                                      .member = link.rank,
                                      .key = 1,
                                      .buffer_bytes = bytes };
    need(reduce_start(&reduce, &options, &error), &error);
    struct gang_shm trainer;
    need(
        gang_shm_attach(&trainer, dup(reduce_fd(reduce)), reduce_segment_bytes(reduce), &error),
        &error);
    float *floats = gang_shm_buffer(&trainer), *plain = malloc(bytes + 64);
    for (int i = 0; plain && i < count; i++)
        floats[i] = plain[i] = 0;
    int64_t direct[ROUNDS], through[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        MPI_Barrier(MPI_COMM_WORLD);
        int64_t start_ns = boot_clock_ns();
        MPI_Allreduce(MPI_IN_PLACE, plain, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        direct[round] = boot_clock_ns() - start_ns;
        MPI_Barrier(MPI_COMM_WORLD);
        uint64_t sequence = 0;
        start_ns = boot_clock_ns();
        need(gang_shm_submit(&trainer, GANG_SHM_SUM_F32, 0, (uint64_t)count, &sequence, &error),
             &error);
        need(gang_shm_wait(&trainer, sequence, 10 * NS_PER_S, &error), &error);
        through[round] = boot_clock_ns() - start_ns;
    }
    double direct_ns = median_ns(direct), through_ns = median_ns(through);
    if (link.rank == 0)
        printf("ranks=%u bytes=%zu mpi_allreduce=%.3f ms (%.2f GB/s) through_agent=%.3f ms "
               "(%.2f GB/s) "
               "ratio=%.2f\n",
               link.size, bytes, direct_ns / 1e6, (double)bytes / direct_ns, through_ns / 1e6,
               (double)bytes / through_ns, direct_ns / through_ns);
    gang_shm_finish(&trainer);
    gang_shm_close(&trainer);
    if (!reduce_stop(reduce)) fprintf(stderr, "reduction abandoned\n");
    free(plain);
    free(gang);
    link_mpi_close(&link);
    return 0;
}
