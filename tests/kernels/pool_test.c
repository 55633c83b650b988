#include "kernels/cpu/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { CHUNKS_MOST = 1000 };

struct tally {
    atomic_int times[CHUNKS_MOST]; /* how often each chunk ran */
    atomic_int bad_thread;
    int threads;
};

static void count_chunk(void *context, int chunk, int thread)
{
    struct tally *tally = context;
    if (thread < 0 || thread >= tally->threads) atomic_store(&tally->bad_thread, 1);
    atomic_fetch_add(&tally->times[chunk], 1);
}

static void run_and_check(struct pool *pool, int chunk_count)
{
    static struct tally tally;
    memset(&tally, 0, sizeof(tally));
    tally.threads = pool_threads(pool);
    pool_run(pool, count_chunk, &tally, chunk_count);
    assert_int_equal(atomic_load(&tally.bad_thread), 0);
    for (int i = 0; i < CHUNKS_MOST; i++)
        assert_int_equal(atomic_load(&tally.times[i]), i < chunk_count ? 1 : 0);
}

static struct pool *pool_new(int threads)
{
    struct pool *pool;
    assert_int_equal(pool_create(threads, &pool, NULL), ERR_OK);
    assert_int_equal(pool_threads(pool), threads);
    return pool;
}

static void every_chunk_runs_once(void **state)
{
    (void)state;
    const int counts[] = { 0, 1, 2, 3, 17, CHUNKS_MOST };
    for (int threads = 1; threads <= 5; threads++) {
        struct pool *pool = pool_new(threads);
        for (size_t i = 0; i < ARRAY_COUNT(counts); i++)
            run_and_check(pool, counts[i]);
        pool_destroy(pool);
    }
}

/* Loops follow each other so closely that threads are late for many of them. */
static void short_loops_in_a_row_do_not_mix(void **state)
{
    (void)state;
    struct pool *pool = pool_new(4);
    for (int i = 0; i < 3000; i++)
        run_and_check(pool, 1 + i % 9);
    pool_destroy(pool);
}

/* After a pause the threads have gone to sleep and must be woken. */
static void sleeping_threads_wake_up(void **state)
{
    (void)state;
    struct pool *pool = pool_new(3);
    const struct timespec pause = { .tv_nsec = 5000000 };
    for (int i = 0; i < 10; i++) {
        (void)nanosleep(&pause, NULL);
        run_and_check(pool, 50);
    }
    pool_destroy(pool);
}

static void unused_pools_and_null_end_cleanly(void **state)
{
    (void)state;
    pool_destroy(NULL);
    for (int i = 0; i < 20; i++)
        pool_destroy(pool_new(1 + i % 4));
}

struct sums {
    const double *values;
    double out[64];
};

static void sum_chunk(void *context, int chunk, int thread)
{
    (void)thread;
    struct sums *sums = context;
    for (int i = 0; i < 100; i++)
        sums->out[chunk] += sums->values[chunk * 100 + i];
}

/* What tasks write is seen by the caller when pool_run returns. */
static void results_are_visible_after_the_loop(void **state)
{
    (void)state;
    static double values[6400];
    for (int i = 0; i < 6400; i++)
        values[i] = i;
    struct pool *pool = pool_new(4);
    for (int round = 0; round < 200; round++) {
        struct sums sums = { .values = values };
        pool_run(pool, sum_chunk, &sums, 64);
        double total = 0.0;
        for (int i = 0; i < 64; i++)
            total += sums.out[i];
        assert_true(total == 6399.0 * 6400.0 / 2.0);
    }
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_chunk_runs_once),
        cmocka_unit_test(short_loops_in_a_row_do_not_mix),
        cmocka_unit_test(sleeping_threads_wake_up),
        cmocka_unit_test(unused_pools_and_null_end_cleanly),
        cmocka_unit_test(results_are_visible_after_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
