/*
 * mpi_test.c - run by mpirun with three ranks: the link over MPI, and a gang's reductions through the
 * shared-memory segment. Rank 0 plays the coordinator, ranks 1 and 2 are a gang; each plays its own
 * trainer. Prints what failed and exits with 1.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/wire/gang_shm.h"
#include "proto/wire/link_mpi.h"
#include "worker/agent/reduce.h"
#include "worker/spawn/process.h"

#define PATIENCE_NS (60 * NS_PER_S)

#define expect(condition)                                                                      \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "%s:%d: rank %u: %s\n", __FILE__, __LINE__, own_rank, #condition); \
            _exit(1);                                                                          \
        }                                                                                      \
    } while (0)

static uint32_t own_rank;
static uint8_t buffer[LINK_MESSAGE_BYTES_MAX];

static size_t receive(struct link *link, uint32_t *from)
{
    struct error error = { 0 };
    size_t n = 0;
    int64_t until_ns = boot_clock_ns() + PATIENCE_NS;
    for (;;) {
        enum err rc = link_receive(link, from, buffer, sizeof buffer, &n, &error);
        if (rc == ERR_OK) return n;
        expect(rc == ERR_NOT_FOUND);
        expect(boot_clock_ns() < until_ns);
        expect(link_wait(link, NS_PER_S, NULL, 0, &error) == ERR_OK);
    }
}

static void send_all(struct link *link, uint32_t to, const void *bytes, size_t n)
{
    struct error error = { 0 };
    enum err rc;
    while ((rc = link_send(link, to, bytes, n, &error)) == ERR_FULL)
        expect(link_wait(link, NS_PER_MS, NULL, 0, &error) == ERR_OK);
    expect(rc == ERR_OK);
}

/* Numbered messages of very different lengths from both agents arrive whole and in order. */
static void test_order(struct link *link)
{
    enum { COUNT = 300 };
    uint32_t next[3] = { 0, 0, 0 };
    if (link->rank > 0) {
        for (uint32_t i = 0; i < COUNT; i++) {
            size_t n = i % 50 == 7 ? LINK_MESSAGE_BYTES_MAX : 8 + i * 13;
            memset(buffer, (int)(i & 0xFF), n);
            memcpy(buffer, &i, sizeof i);
            send_all(link, 0, buffer, n);
        }
        expect(link_flush(link, PATIENCE_NS, NULL) == ERR_OK);
        uint32_t from;
        expect(receive(link, &from) == 3);
        expect(from == 0);
        return;
    }
    for (int i = 0; i < 2 * COUNT; i++) {
        uint32_t from = 0, number = 0;
        size_t n = receive(link, &from);
        expect(from == 1 || from == 2);
        memcpy(&number, buffer, sizeof number);
        expect(number == next[from]);
        expect(n == (number % 50 == 7 ? LINK_MESSAGE_BYTES_MAX : 8 + number * 13));
        expect(buffer[n - 1] == (number & 0xFF) || n <= 8);
        next[from]++;
    }
    send_all(link, 1, "bye", 3);
    send_all(link, 2, "bye", 3);
}

/* A descriptor ends the wait at once; silence lasts as long as asked. */
static void test_wait(struct link *link)
{
    int ends[2];
    expect(pipe(ends) == 0);
    struct pollfd watch[2] = { { .fd = -1, .events = POLLIN },
                               { .fd = ends[0], .events = POLLIN } };
    int64_t start_ns = boot_clock_ns();
    expect(link_wait(link, 20 * NS_PER_MS, watch, 2, NULL) == ERR_OK);
    expect(boot_clock_ns() - start_ns >= 20 * NS_PER_MS);
    expect(watch[1].revents == 0);
    expect(write(ends[1], "x", 1) == 1);
    expect(link_wait(link, PATIENCE_NS, watch, 2, NULL) == ERR_OK);
    expect(watch[1].revents & POLLIN);
    expect(boot_clock_ns() - start_ns < PATIENCE_NS);
    close(ends[0]);
    close(ends[1]);
}

static struct reduce *start_gang(struct link *link, uint64_t key, struct gang_shm *trainer)
{
    uint32_t gang[] = { 1, 2 };
    struct error error = { 0 };
    struct reduce *reduce = NULL;
    struct reduce_options options = { .gang = gang,
                                      .gang_count = 2,
                                      .member = link->rank - 1,
                                      .key = key,
                                      .buffer_bytes = 16 << 20 };
    expect(reduce_start(&reduce, &options, &error) == ERR_OK);
    expect(gang_shm_attach(trainer, dup(reduce_fd(reduce)), reduce_segment_bytes(reduce),
                           &error) == ERR_OK);
    return reduce;
}

static void test_sums(struct link *link, uint64_t key)
{
    enum { FLOATS = 1000003 };
    struct gang_shm trainer;
    struct error error = { 0 };
    uint64_t sequence = 0;
    struct reduce *reduce = start_gang(link, key, &trainer);
    float *floats = gang_shm_buffer(&trainer);
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < FLOATS; i++)
            floats[i] = (float)(i % 1000) * (float)link->rank + (float)round;
        expect(gang_shm_submit(&trainer, GANG_SHM_SUM_F32, 0, FLOATS, &sequence, &error) ==
               ERR_OK);
        expect(gang_shm_wait(&trainer, sequence, PATIENCE_NS, &error) == ERR_OK);
        for (int i = 0; i < FLOATS; i++)
            expect(floats[i] == (float)(i % 1000) * 3 + 2 * (float)round);
    }
    int64_t *numbers = gang_shm_buffer(&trainer);
    numbers[0] = link->rank == 1 ? -5 : 11;
    expect(gang_shm_submit(&trainer, GANG_SHM_MAX_I64, 0, 1, &sequence, &error) == ERR_OK);
    expect(gang_shm_wait(&trainer, sequence, PATIENCE_NS, &error) == ERR_OK);
    expect(numbers[0] == 11);
    double *doubles = gang_shm_buffer(&trainer);
    doubles[0] = 0.25 * link->rank;
    expect(gang_shm_submit(&trainer, GANG_SHM_SUM_F64, 0, 1, &sequence, &error) == ERR_OK);
    expect(gang_shm_wait(&trainer, sequence, PATIENCE_NS, &error) == ERR_OK);
    expect(doubles[0] == 0.75);
    expect(reduce_done_count(reduce) == 5);
    gang_shm_finish(&trainer);
    gang_shm_close(&trainer);
    expect(reduce_stop(reduce));
}

/* A member that never comes: the other's trainer is told so in time, and everything goes on. */
static void test_missing_member(struct link *link)
{
    struct gang_shm trainer;
    struct error error = { 0 };
    uint64_t sequence = 0;
    struct reduce *reduce = start_gang(link, 2, &trainer);
    float *floats = gang_shm_buffer(&trainer);
    floats[0] = 1;
    if (link->rank == 1) {
        expect(gang_shm_submit(&trainer, GANG_SHM_SUM_F32, 0, 1, &sequence, &error) == ERR_OK);
        expect(gang_shm_wait(&trainer, sequence, 100 * NS_PER_MS, &error) == ERR_TIMEOUT);
        reduce_call_off(reduce, boot_clock_ns());
        expect(gang_shm_wait(&trainer, sequence, PATIENCE_NS, &error) == ERR_CLOSED);
        expect(strstr(error.text, "missing") || strstr(error.text, "together"));
        reduce_stop(reduce); /* may have to be abandoned */
    } else {
        nanosleep(&(struct timespec){ .tv_nsec = 200000000 }, NULL);
        gang_shm_finish(&trainer);
        reduce_stop(reduce);
    }
    gang_shm_close(&trainer);
}

/* The gang does not even come together: nothing was begun, so nothing is abandoned. */
static void test_gang_that_never_meets(struct link *link)
{
    struct gang_shm trainer;
    if (link->rank != 1) return;
    struct reduce *reduce = start_gang(link, 3, &trainer);
    expect(reduce_stop(reduce));
    gang_shm_close(&trainer);
}

int main(void)
{
    struct link link;
    struct link_mpi_place place;
    struct error error = { 0 };
    alarm(100);
    if (link_mpi_open(&link, &place, &error) != ERR_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    own_rank = link.rank;
    expect(link.size == 3);
    expect(place.slot_count == (link.rank == 0 ? 0 : 2));
    expect(place.slot == (link.rank == 2 ? 1 : 0));
    expect(link_send(&link, link.rank, "x", 1, NULL) == ERR_INPUT);
    expect(link_send(&link, 3, "x", 1, NULL) == ERR_INPUT);
    test_order(&link);
    test_wait(&link);
    if (link.rank > 0) {
        test_sums(&link, 1);
        test_missing_member(&link);
        test_gang_that_never_meets(&link);
        test_sums(&link, 4); /* and another attempt comes together as if nothing had been */
    }
    test_order(&link);
    link_mpi_close(&link);
    link_mpi_close(&link);
    if (own_rank == 0) printf("mpi_test: all passed\n");
    return 0;
}
