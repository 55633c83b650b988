/*
 * arena.h - memory for one job (a report, a campaign file): allocate freely, release all at
 * once.
 *
 * Blocks are never moved, so pointers stay valid until arena_fini. Memory comes zeroed. Running
 * out of memory aborts: jobs that use an arena have nothing better to do.
 */
#ifndef PROTO_BASE_ARENA_H
#define PROTO_BASE_ARENA_H

#include "proto/base/defs.h"
#include "proto/base/text.h"

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
};

/* A zeroed struct arena is ready for use. arena_fini releases everything and zeroes it. */
void arena_fini(struct arena *arena);

/* `bytes` of zeroed memory, aligned for any type. Never NULL. */
void *arena_alloc(struct arena *arena, size_t bytes);

/* count * bytes, checked against overflow. */
void *arena_array(struct arena *arena, size_t count, size_t bytes);

/* A zero-terminated copy, and a formatted string. */
char *arena_copy(struct arena *arena, struct text text);
char *arena_format(struct arena *arena, const char *format, ...) printf_like(2, 3);

#endif
