/*
 * events_in.h - what a trainer says, read from its two pipes: JSON lines and length-prefixed protobuf.
 *
 * Nothing is trusted: lines and messages are bounded, numbers and texts are checked, what is malformed is
 * counted and skipped, and reading goes on behind it. A pipe is never waited for. What the numbers mean,
 * and whether they may be true, is the caller's business.
 */
#ifndef WORKER_AGENT_EVENTS_IN_H
#define WORKER_AGENT_EVENTS_IN_H

#include "proto/base/error.h"
#include "proto/wire/comm_frame.h"

enum {
    EVENT_BYTES_MAX = 64 << 10, /* one line, or one message */
    EVENT_PATH_BYTES = 4096,
    EVENT_TEXT_BYTES = 512
};

enum trainer_event_kind {
    TRAINER_READY,
    TRAINER_PROGRESS,
    TRAINER_GATE,
    TRAINER_CHECKPOINT,
    TRAINER_FAILURE,
    TRAINER_COMM_ID
};

/* One event; which members mean something depends on the kind, the others are zero. */
struct trainer_event {
    enum trainer_event_kind kind;
    bool has_step, has_tokens, has_loss, has_val_loss;
    bool in_collective; /* PROGRESS */
    uint64_t step, tokens, busy_ns, wait_ns, collectives;
    double loss, val_loss;                            /* may be NaN or infinite */
    double grad_norm, learning_rate, flops_per_token; /* finite and >= 0; 0 = unknown */
    char gate[NAME_MAX_BYTES];                        /* GATE */
    char path[EVENT_PATH_BYTES];                      /* GATE, CHECKPOINT */
    char
        text[EVENT_TEXT_BYTES]; /* FAILURE: why; READY: backend and detail. One line of UTF-8 */
    uint32_t run, attempt;      /* COMM_ID: whose */
    uint8_t id[COMM_ID_BYTES_MAX]; /* COMM_ID */
    size_t id_bytes;               /* 1 .. COMM_ID_BYTES_MAX */
};

enum events_encoding { EVENTS_JSON, EVENTS_PROTOBUF };

struct events_in {
    int fd; /* non-blocking; -1: ended */
    enum events_encoding encoding;
    uint8_t *buffer;
    size_t capacity;
    size_t start, end; /* unread bytes: buffer[start..end) */
    bool skipping_line;
    uint64_t skip_bytes;
    uint64_t malformed_count;
};

/* Reads from take_fd, which is made non-blocking and owned from now on. */
must_use enum err events_in_init(struct events_in *in, int take_fd,
                                 enum events_encoding encoding, struct error *error);
void events_in_fini(struct events_in *in);

/* The next event that is there. ERR_NOT_FOUND: none yet (no text is set). ERR_CLOSED: the writers are gone
 * and everything was read. ERR_INPUT: something malformed was skipped, `error` says what; call again. */
must_use enum err events_in_next(struct events_in *in, struct trainer_event *event,
                                 struct error *error);

/* One line of JSON, without its newline. ERR_NOT_FOUND: well-formed, but none of our events. */
must_use enum err events_parse_json(const char *line, size_t bytes, struct trainer_event *event,
                                    struct error *error);

/* One protobuf message, without its length. */
must_use enum err events_parse_protobuf(const uint8_t *message, size_t bytes,
                                        struct trainer_event *event, struct error *error);

#endif
