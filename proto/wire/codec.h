/*
 * codec.h - wire.proto's messages to frames and back, checked on both sides.
 *
 * What comes out of codec_read_* is safe to use without further checks of form: exactly one
 * body is set, strings are valid UTF-8 without control characters (a text of several lines may
 * hold newlines and tabs) and no longer than docs/formats/wire.md says, durations fit an int64,
 * numbers that must be finite are, ids that must be there are. What an id refers to, and
 * whether the epoch is the current one, is the caller's to check. Packing checks the same
 * rules, so a message that one side can send the other can read.
 */
#ifndef PROTO_WIRE_CODEC_H
#define PROTO_WIRE_CODEC_H

#include "proto/base/error.h"
#include "proto/wire.pb-c.h"
#include "proto/wire/link.h"

enum {
    CODEC_ARGS_MAX = 1024, /* arguments of a command, and variables of its environment */
    CODEC_STRING_BYTES_MAX = 65536 /* one argument or value */
};

/* Reads one received frame. The caller frees *message with codec_free_*. On failure *message is
 * NULL, and `error` says what is wrong with which field. */
must_use enum err codec_read_to_coordinator(const void *frame, size_t frame_bytes,
                                            Penstock__Wire__ToCoordinator **message,
                                            struct error *error);
must_use enum err codec_read_to_agent(const void *frame, size_t frame_bytes,
                                      Penstock__Wire__ToAgent **message, struct error *error);

/* NULL is a no-op. */
void codec_free_to_coordinator(Penstock__Wire__ToCoordinator *message);
void codec_free_to_agent(Penstock__Wire__ToAgent *message);

/* Checks, packs and queues a message. ERR_INPUT: it breaks a rule (a bug, or something too
 * long); else as link_send. The message is only read. */
must_use enum err codec_send_to_coordinator(struct link *link,
                                            const Penstock__Wire__ToCoordinator *message,
                                            struct error *error);
must_use enum err codec_send_to_agent(struct link *link, uint32_t agent,
                                      const Penstock__Wire__ToAgent *message,
                                      struct error *error);

/* Packs without sending: frame[0..capacity_bytes) gets *frame_bytes. ERR_FULL when it does not
 * fit. */
must_use enum err codec_pack_to_coordinator(const Penstock__Wire__ToCoordinator *message,
                                            uint8_t *frame, size_t capacity_bytes,
                                            size_t *frame_bytes, struct error *error);
must_use enum err codec_pack_to_agent(const Penstock__Wire__ToAgent *message, uint8_t *frame,
                                      size_t capacity_bytes, size_t *frame_bytes,
                                      struct error *error);

/* A loss as the wire carries it: millionths of a nat, or a flag that it is not finite. Values
 * beyond
 * +-1e12 nats count as not finite. */
int64_t codec_loss_micro(double loss, bool *nonfinite);

/* Whether bytes are UTF-8 (no surrogates, no overlong forms, at most U+10FFFF). */
bool codec_is_utf8(const char *bytes, size_t n);

/* Replaces in place what is not UTF-8, and control characters except newline and tab, by '?'.
 * The string is zero-terminated and stays as long as it is. */
void codec_make_utf8(char *string);

#endif
