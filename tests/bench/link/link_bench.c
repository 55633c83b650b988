/*
 * link_bench.c - what an idle rank costs, and how soon a message is seen. Run by mpirun with two or more
 * ranks: all wait in link_wait as agents do; rank 0 pings each of them in turn, at irregular times. Argument:
 * seconds (default 5). Prints the round trip and the CPU time of every rank.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/wire/link_mpi.h"
#include "worker/spawn/process.h"

enum { PINGS_MAX = 4096 };

static int64_t cpu_ns(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS_PER_S +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * NS_PER_US;
}

static void need(enum err rc, const struct error *error)
{
    if (rc == ERR_OK) return;
    fprintf(stderr, "%s\n", error->text);
    _exit(1);
}

/* Waits as an agent does, until a message is there or the time has come. */
static bool await(struct link *link, int64_t until_ns, char *word)
{
    struct error error = { 0 };
    for (;;) {
        uint32_t from;
        size_t n = 0;
        enum err rc = link_receive(link, &from, word, 1, &n, &error);
        if (rc == ERR_OK) return true;
        if (rc != ERR_NOT_FOUND) need(rc, &error);
        int64_t left_ns = until_ns - boot_clock_ns();
        if (left_ns <= 0) return false;
        need(link_wait(link, left_ns, NULL, 0, &error), &error);
    }
}

static int by_size(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void ping_all(struct link *link, int64_t until_ns)
{
    static int64_t trips_ns[PINGS_MAX];
    struct error error = { 0 };
    size_t count = 0;
    char word = 'p';
    for (uint32_t to = 1; boot_clock_ns() < until_ns && count < PINGS_MAX;
         to = to % (link->size - 1) + 1) {
        int64_t pause_ns = 20 * NS_PER_MS + (int64_t)(count * 7919 % 13) * NS_PER_MS;
        await(link, boot_clock_ns() + pause_ns, &word);
        int64_t start_ns = boot_clock_ns();
        need(link_send(link, to, "p", 1, &error), &error);
        if (!await(link, start_ns + 10 * NS_PER_S, &word)) exit(1);
        trips_ns[count++] = boot_clock_ns() - start_ns;
    }
    for (uint32_t to = 1; to < link->size; to++)
        need(link_send(link, to, "q", 1, &error), &error);
    need(link_flush(link, NS_PER_S, &error), &error);
    qsort(trips_ns, count, sizeof trips_ns[0], by_size);
    printf("pings=%zu round_trip_p50=%.2f ms p99=%.2f ms max=%.2f ms (two pick-ups each)\n",
           count, (double)trips_ns[count / 2] / 1e6, (double)trips_ns[count * 99 / 100] / 1e6,
           (double)trips_ns[count - 1] / 1e6);
}

int main(int argc, char **argv)
{
    struct link link;
    struct error error = { 0 };
    int64_t seconds = argc > 1 ? strtol(argv[1], NULL, 10) : 5;
    need(link_mpi_open(&link, NULL, &error), &error);
    link_sleep_precisely();
    int64_t start_ns = boot_clock_ns(), start_cpu_ns = cpu_ns();
    if (link.rank == 0) ping_all(&link, start_ns + seconds * NS_PER_S);
    for (char word = 0; link.rank > 0 && word != 'q';) {
        if (!await(&link, start_ns + (seconds + 10) * NS_PER_S, &word)) exit(1);
        if (word == 'p') need(link_send(&link, 0, "p", 1, &error), &error);
    }
    printf("rank=%u cpu=%.2f %% of a core\n", link.rank,
           100.0 * (double)(cpu_ns() - start_cpu_ns) / (double)(boot_clock_ns() - start_ns));
    link_mpi_close(&link);
    return 0;
}
