/*
 * record.h - a record as bytes: the payload of one ledger frame (proto/ledger.proto).
 *
 * Promises: the same record gives the same bytes; bytes that decode give back the very same
 * bytes when encoded; what decodes is inside every range, count and length that shape.c lists,
 * so that whoever reads it need not look again. Never reads a clock or a file.
 *
 * Texts for people (details, reasons, the tail of stderr) are cut to their limit, and bytes of
 * them that are not UTF-8, or are zero, become '?': a trainer's garbage must not end a
 * campaign. Names and paths are refused instead, because state depends on them.
 */
#ifndef SCHEDULER_LEDGER_RECORD_H
#define SCHEDULER_LEDGER_RECORD_H

#include "proto/base/error.h"
#include "scheduler/core/record.h"

/* What stands around every record. */
struct envelope {
    uint64_t seq, epoch;
    int64_t at_ns;
    enum record_kind kind;
};

/* Memory for one record at a time. */
struct record_codec;
struct record_codec *record_codec_create(void); /* NULL when memory runs out */
void record_codec_destroy(struct record_codec *codec);

/* Encodes a record; `payload` is valid until the next call with this codec. ERR_INPUT names the
 * field that the format refuses; ERR_FULL when it is larger than FRAME_BYTES_MAX. */
must_use enum err record_encode(struct record_codec *codec, const struct record *record,
                                uint64_t seq, uint64_t epoch, struct text *payload,
                                struct error *error);

/* Decodes and validates a payload. Texts and arrays of *record are valid until the next call
 * with this codec. ERR_DAMAGED names what is wrong. */
must_use enum err record_decode(struct record_codec *codec, struct text payload,
                                struct record *record, struct envelope *envelope,
                                struct error *error);

/* Reads only what stands around the record. ERR_DAMAGED when the payload does not begin as a
 * record does; the body is not looked at. */
must_use enum err record_peek(struct text payload, struct envelope *envelope,
                              struct error *error);

/* Whether the text is well-formed UTF-8 without zero characters. */
bool text_is_utf8(struct text text);

#endif
