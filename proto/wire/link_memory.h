/*
 * link_memory.h - links between any number of ranks inside one process, for tests.
 *
 * One struct holds all mailboxes. It locks, so ranks may live in threads of their own; each
 * link is still used by one thread at a time. Tests can hold messages back, lose and double
 * them.
 */
#ifndef PROTO_WIRE_LINK_MEMORY_H
#define PROTO_WIRE_LINK_MEMORY_H

#include "proto/wire/link.h"

struct link_memory; /* the post office */

/* A post office of `size` >= 1 ranks, whose mailboxes hold `queue_count` messages each. */
must_use enum err link_memory_create(struct link_memory **office, uint32_t size,
                                     size_t queue_count, struct error *error);

/* Frees everything; all links of it are dead afterwards. NULL is a no-op. */
void link_memory_destroy(struct link_memory *office);

/* The link of one rank; borrows from the office. */
struct link link_memory_of(struct link_memory *office, uint32_t rank);

/* What happens to messages that are sent from now on. Rank `rank` is cut off: all messages from
 * and to it are lost in silence (cut = true), or delivered again. */
void link_memory_cut(struct link_memory *office, uint32_t rank, bool cut);

/* Every message to `rank` is delivered twice while this is on. */
void link_memory_double(struct link_memory *office, uint32_t rank, bool doubled);

#endif
