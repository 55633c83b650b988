/*
 * How a loop is handed out. `ticket` packs the loop's number, its chunk count and the next
 * chunk to take. A thread takes a chunk by advancing `next` with a compare-and-swap, which
 * fails as soon as the loop has moved on: so task and context, read before the swap, belong to
 * the loop whose chunk was taken, and a thread that wakes up late finds nothing and does no
 * harm. The caller publishes the next loop only after `done` has reached the count.
 *
 * Idle threads watch the ticket for a short while, since the next loop of a training step is
 * usually microseconds away, and then sleep on a condition variable.
 */
#include "kernels/cpu/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    SPIN_ROUNDS = 4000, /* of a pause each: some 50 microseconds */
    YIELD_EVERY = 256   /* rounds of the caller's wait between offers of the core to others */
};

struct member {
    struct pool *pool;
    pthread_t thread;
    int index;
};

struct pool {
    int threads;
    int started; /* members[1 .. started] run */
    _Atomic uint64_t ticket;
    _Atomic(pool_task_fn) task;
    _Atomic(void *) context;
    atomic_int done;
    atomic_int sleepers;
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct member members[];
};

/* From the top: 24 bits of loop, 20 of count, 20 of next. */
static uint64_t ticket_make(uint64_t loop, int chunk_count)
{
    return loop << 40 | (uint64_t)chunk_count << 20;
}

static uint64_t ticket_loop(uint64_t ticket)
{
    return ticket >> 40;
}

static int ticket_next(uint64_t ticket)
{
    return (int)(ticket & POOL_CHUNKS_MAX);
}

static int ticket_count(uint64_t ticket)
{
    return (int)(ticket >> 20 & POOL_CHUNKS_MAX);
}

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

/* Takes and runs chunks until the current loop has none left. */
static void work(struct pool *pool, int thread)
{
    uint64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    while (ticket_next(ticket) < ticket_count(ticket)) {
        pool_task_fn task = atomic_load_explicit(&pool->task, memory_order_relaxed);
        void *context = atomic_load_explicit(&pool->context, memory_order_relaxed);
        if (atomic_compare_exchange_weak_explicit(&pool->ticket, &ticket, ticket + 1,
                                                  memory_order_acq_rel, memory_order_acquire)) {
            task(context, ticket_next(ticket), thread);
            atomic_fetch_add_explicit(&pool->done, 1, memory_order_release);
            ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
        }
    }
}

static bool has_work(struct pool *pool)
{
    uint64_t ticket = atomic_load(&pool->ticket);
    return ticket_next(ticket) < ticket_count(ticket);
}

/* True when there is work, false when the pool ends. The caller raises the ticket before it
 * looks at `sleepers`, and a sleeper counts itself before it looks at the ticket, both in the
 * one order of all sequentially consistent operations: so one of the two always sees the other.
 */
static bool wait_for_work(struct pool *pool)
{
    for (int round = 0; round < SPIN_ROUNDS; round++) {
        if (atomic_load(&pool->stop)) return false;
        if (has_work(pool)) return true;
        pause_briefly();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!has_work(pool) && !atomic_load(&pool->stop))
        pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
    return !atomic_load(&pool->stop);
}

static void *member_main(void *argument)
{
    struct member *member = argument;
    while (wait_for_work(member->pool))
        work(member->pool, member->index);
    return NULL;
}

static void wake_all(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

void pool_run(struct pool *pool, pool_task_fn task, void *context, int chunk_count)
{
    check(chunk_count >= 0);
    check(chunk_count <= POOL_CHUNKS_MAX);
    if (pool->threads == 1 || chunk_count <= 1) {
        for (int chunk = 0; chunk < chunk_count; chunk++)
            task(context, chunk, 0);
        return;
    }
    uint64_t loop = ticket_loop(atomic_load_explicit(&pool->ticket, memory_order_relaxed)) + 1;
    atomic_store_explicit(&pool->task, task, memory_order_relaxed);
    atomic_store_explicit(&pool->context, context, memory_order_relaxed);
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    atomic_store(&pool->ticket, ticket_make(loop, chunk_count));
    if (atomic_load(&pool->sleepers) > 0) wake_all(pool);
    work(pool, 0);
    for (int round = 1; atomic_load_explicit(&pool->done, memory_order_acquire) < chunk_count;
         round++) {
        if (round % YIELD_EVERY == 0) sched_yield();
        pause_briefly();
    }
}

int pool_threads(const struct pool *pool)
{
    return pool->threads;
}

enum err pool_create(int threads, struct pool **out, struct error *error)
{
    *out = NULL;
    check(threads >= 1);
    struct pool *pool = calloc(1, sizeof(*pool) + (size_t)threads * sizeof(struct member));
    if (pool == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for a thread pool");
    pool->threads = threads;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    for (int i = 1; i < threads; i++) {
        pool->members[i] = (struct member){ .pool = pool, .index = i };
        errno = pthread_create(&pool->members[i].thread, NULL, member_main, &pool->members[i]);
        if (errno != 0) {
            enum err rc = error_errno(error, "start thread %d of %d", i + 1, threads);
            pool_destroy(pool);
            return rc;
        }
        pool->started = i;
    }
    *out = pool;
    return ERR_OK;
}

void pool_destroy(struct pool *pool)
{
    if (pool == NULL) return;
    int saved = errno;
    atomic_store(&pool->stop, true);
    wake_all(pool);
    for (int i = 1; i <= pool->started; i++)
        pthread_join(pool->members[i].thread, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
    errno = saved;
}
