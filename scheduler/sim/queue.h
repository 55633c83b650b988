/* queue.h - the virtual clock: things that happen at a time, earliest first, equal times in the
 * order in which they were added. Grows as needed; running out of memory aborts. */
#ifndef SCHEDULER_SIM_QUEUE_H
#define SCHEDULER_SIM_QUEUE_H

#include "proto/base/defs.h"

struct queue_entry {
    int64_t at_ns;
    uint64_t order;
    uint32_t index; /* of the item, in the owner's table */
};

struct queue {
    struct queue_entry *heap;
    uint32_t count, capacity;
    uint64_t next_order;
};

void queue_fini(struct queue *queue);
void queue_add(struct queue *queue, int64_t at_ns, uint32_t index);

/* The earliest entry, removed. False when there is none. */
bool queue_take(struct queue *queue, struct queue_entry *entry);

#endif
