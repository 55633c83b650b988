/*
 * pool.h - a small team of threads that runs one loop at a time.
 *
 * Promises: pool_run calls the task once for each chunk and returns when all are done; the
 * caller works too, so a pool of one thread has no thread of its own and no cost. Which thread
 * takes which chunk is not fixed: a task whose chunks write disjoint memory gives the same
 * result whatever the number of threads. A thread that the system has set aside holds up only
 * the chunk it has in hand. Never: nests, allocates in pool_run, or burns a core for longer
 * than some tens of microseconds without work.
 */
#ifndef KERNELS_CPU_POOL_H
#define KERNELS_CPU_POOL_H

#include "proto/base/defs.h"
#include "proto/base/error.h"

struct pool;

enum { POOL_CHUNKS_MAX = (1 << 20) - 1 };

/* `thread` is in [0, threads) and lets a task use scratch memory of its own. */
typedef void (*pool_task_fn)(void *context, int chunk, int thread);

/* threads >= 1. ERR_NO_MEMORY, or ERR_IO when the system refuses a thread. */
must_use enum err pool_create(int threads, struct pool **pool, struct error *error);

/* No-op for NULL. Keeps errno. */
void pool_destroy(struct pool *pool);

/* 0 <= chunk_count <= POOL_CHUNKS_MAX. Not to be called from a task. */
void pool_run(struct pool *pool, pool_task_fn task, void *context, int chunk_count);

int pool_threads(const struct pool *pool);

#endif
