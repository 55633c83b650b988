#include "worker/trainer/events_protobuf.h"

#include "proto/trainer.pb-c.h"

/* protobuf-c's strings are not const; nothing writes to them while packing. */
static char *borrowed(const char *text)
{
    return (char *)(uintptr_t)text;
}

static size_t pack(const Penstock__Trainer__Event *event, uint8_t *out, size_t out_max)
{
    size_t bytes = penstock__trainer__event__get_packed_size(event);
    if (bytes > out_max) return 0;
    return penstock__trainer__event__pack(event, out);
}

static size_t encode_ready(const struct events_ready *ready, uint8_t *out, size_t out_max)
{
    Penstock__Trainer__Ready body;
    Penstock__Trainer__Event event;
    penstock__trainer__ready__init(&body);
    penstock__trainer__event__init(&event);
    body.step = ready->step;
    body.flops_per_token = ready->flops_per_token;
    body.parameters = ready->parameters;
    body.backend = borrowed(ready->backend);
    body.detail = borrowed(ready->detail);
    event.body_case = PENSTOCK__TRAINER__EVENT__BODY_READY;
    event.ready = &body;
    return pack(&event, out, out_max);
}

static size_t encode_progress(const struct events_progress *p, uint8_t *out, size_t out_max)
{
    Penstock__Trainer__Progress body;
    Penstock__Trainer__Event event;
    penstock__trainer__progress__init(&body);
    penstock__trainer__event__init(&event);
    body.step = p->step;
    body.tokens = p->tokens;
    body.has_loss = p->has_loss;
    body.loss = p->has_loss ? p->loss : 0;
    body.has_val_loss = p->has_val_loss;
    body.val_loss = p->has_val_loss ? p->val_loss : 0;
    body.grad_norm = p->grad_norm;
    body.learning_rate = p->learning_rate;
    body.busy_ns = p->busy_ns;
    body.wait_ns = p->wait_ns;
    body.collectives = p->collectives;
    body.in_collective = p->in_collective;
    event.body_case = PENSTOCK__TRAINER__EVENT__BODY_PROGRESS;
    event.progress = &body;
    return pack(&event, out, out_max);
}

static size_t encode_gate(const struct events_gate *gate, uint8_t *out, size_t out_max)
{
    Penstock__Trainer__Gate body;
    Penstock__Trainer__Event event;
    penstock__trainer__gate__init(&body);
    penstock__trainer__event__init(&event);
    body.gate = borrowed(gate->name);
    body.step = gate->step;
    body.tokens = gate->tokens;
    body.has_val_loss = true;
    body.val_loss = gate->val_loss;
    body.checkpoint = borrowed(gate->checkpoint);
    event.body_case = PENSTOCK__TRAINER__EVENT__BODY_GATE;
    event.gate = &body;
    return pack(&event, out, out_max);
}

static size_t encode_checkpoint(const struct events_checkpoint *checkpoint, uint8_t *out,
                                size_t out_max)
{
    Penstock__Trainer__Checkpoint body;
    Penstock__Trainer__Event event;
    penstock__trainer__checkpoint__init(&body);
    penstock__trainer__event__init(&event);
    body.step = checkpoint->step;
    body.tokens = checkpoint->tokens;
    body.path = borrowed(checkpoint->path);
    event.body_case = PENSTOCK__TRAINER__EVENT__BODY_CHECKPOINT;
    event.checkpoint = &body;
    return pack(&event, out, out_max);
}

static size_t encode_failure(const char *text, uint8_t *out, size_t out_max)
{
    Penstock__Trainer__Failure body;
    Penstock__Trainer__Event event;
    penstock__trainer__failure__init(&body);
    penstock__trainer__event__init(&event);
    body.text = borrowed(text);
    event.body_case = PENSTOCK__TRAINER__EVENT__BODY_FAILURE;
    event.failure = &body;
    return pack(&event, out, out_max);
}

static size_t encode_comm_id(const struct comm_frame *id, uint8_t *out, size_t out_max)
{
    Penstock__Trainer__CommId body;
    Penstock__Trainer__Event event;
    penstock__trainer__comm_id__init(&body);
    penstock__trainer__event__init(&event);
    body.run = id->run;
    body.attempt = id->attempt;
    body.id =
        (ProtobufCBinaryData){ .len = id->id_bytes, .data = (uint8_t *)(uintptr_t)id->id };
    event.body_case = PENSTOCK__TRAINER__EVENT__BODY_COMM_ID;
    event.comm_id = &body;
    return pack(&event, out, out_max);
}

const struct events_encoder *events_protobuf(void)
{
    static const struct events_encoder encoder = {
        .ready = encode_ready,
        .progress = encode_progress,
        .gate = encode_gate,
        .checkpoint = encode_checkpoint,
        .failure = encode_failure,
        .comm_id = encode_comm_id,
    };
    return &encoder;
}
