/* queue.c - a binary heap of what happens when. See queue.h. */

#include "scheduler/sim/queue.h"

#include <stdlib.h>

void queue_fini(struct queue *queue)
{
    free(queue->heap);
    *queue = (struct queue){ 0 };
}

static bool before(const struct queue_entry *a, const struct queue_entry *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void queue_add(struct queue *queue, int64_t at_ns, uint32_t index)
{
    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity > 0 ? 2 * queue->capacity : 1024;
        queue->heap =
            (struct queue_entry *)realloc(queue->heap, queue->capacity * sizeof *queue->heap);
        check(queue->heap != NULL);
    }
    struct queue_entry entry = { at_ns, queue->next_order++, index };
    uint32_t at = queue->count++;
    while (at > 0 && before(&entry, &queue->heap[(at - 1) / 2])) {
        queue->heap[at] = queue->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    queue->heap[at] = entry;
}

bool queue_take(struct queue *queue, struct queue_entry *entry)
{
    if (queue->count == 0) return false;
    *entry = queue->heap[0];
    struct queue_entry last = queue->heap[--queue->count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= queue->count) break;
        if (child + 1 < queue->count && before(&queue->heap[child + 1], &queue->heap[child]))
            child++;
        if (!before(&queue->heap[child], &last)) break;
        queue->heap[at] = queue->heap[child];
        at = child;
    }
    if (queue->count > 0) queue->heap[at] = last;
    return true;
}
