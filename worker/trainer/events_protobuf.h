/*
 * events_protobuf.h - a trainer's events as protobuf messages (proto/trainer.proto), without
 * the length that travels before them. Private to events.c.
 */
#ifndef WORKER_TRAINER_EVENTS_PROTOBUF_H
#define WORKER_TRAINER_EVENTS_PROTOBUF_H

#include "worker/trainer/events.h"

struct events_checkpoint {
    uint64_t step, tokens;
    const char *path;
};

/* Each writes one message to out[out_max] and returns its length, or 0 where it does not fit.
 */
struct events_encoder {
    size_t (*ready)(const struct events_ready *ready, uint8_t *out, size_t out_max);
    size_t (*progress)(const struct events_progress *progress, uint8_t *out, size_t out_max);
    size_t (*gate)(const struct events_gate *gate, uint8_t *out, size_t out_max);
    size_t (*checkpoint)(const struct events_checkpoint *checkpoint, uint8_t *out,
                         size_t out_max);
    size_t (*failure)(const char *text, uint8_t *out, size_t out_max);
    size_t (*comm_id)(const struct comm_frame *id, uint8_t *out, size_t out_max);
};

/* NULL in a build without protobuf-c. Static storage. */
const struct events_encoder *events_protobuf(void);

#endif
