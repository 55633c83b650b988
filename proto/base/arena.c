#include "proto/base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES_MIN = 64 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t used_bytes, capacity_bytes;
    alignas(max_align_t) unsigned char data[];
};

static struct arena_block *block_create(size_t capacity_bytes)
{
    check(capacity_bytes <= SIZE_MAX - sizeof(struct arena_block));
    struct arena_block *block = (struct arena_block *)malloc(sizeof *block + capacity_bytes);
    check(block != NULL);
    *block = (struct arena_block){ .capacity_bytes = capacity_bytes };
    return block;
}

void arena_fini(struct arena *arena)
{
    if (!arena) return;
    while (arena->blocks) {
        struct arena_block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    const size_t align = alignof(max_align_t);
    check(bytes <= SIZE_MAX - align);
    bytes = (bytes + align - 1) / align * align;
    struct arena_block *block = arena->blocks;
    if (!block || block->capacity_bytes - block->used_bytes < bytes) {
        block = block_create(bytes > BLOCK_BYTES_MIN ? bytes : BLOCK_BYTES_MIN);
        block->next = arena->blocks;
        arena->blocks = block;
    }
    void *memory = block->data + block->used_bytes;
    block->used_bytes += bytes;
    return memset(memory, 0, bytes); /* a small job touches no more than it takes */
}

void *arena_array(struct arena *arena, size_t count, size_t bytes)
{
    check(bytes == 0 || count <= SIZE_MAX / bytes);
    return arena_alloc(arena, count * bytes);
}

char *arena_copy(struct arena *arena, struct text text)
{
    char *copy = (char *)arena_alloc(arena, text.len + 1);
    if (text.len > 0) memcpy(copy, text.data, text.len);
    return copy;
}

char *arena_format(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    check(n >= 0);
    char *string = (char *)arena_alloc(arena, (size_t)n + 1);
    vsnprintf(string, (size_t)n + 1, format, again);
    va_end(again);
    return string;
}
