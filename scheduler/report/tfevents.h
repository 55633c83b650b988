/*
 * tfevents.h - writes a TensorBoard event file: scalars over steps (proto/tfevents.proto).
 *
 * A file belongs to one life of the coordinator and is never opened again: a file that is there already is
 * refused, so that nothing is ever written over or appended to a torn end. TensorBoard joins all files of a
 * folder. Writing is buffered. Metrics are a courtesy: after the first failure the file stays failed, every
 * later call returns the same error at once, and the caller goes on without it.
 */
#ifndef SCHEDULER_REPORT_TFEVENTS_H
#define SCHEDULER_REPORT_TFEVENTS_H

#include "proto/base/error.h"

struct tfevents;

/* Creates the file and writes its first event. TensorBoard finds files whose name contains "tfevents". On failure
 * *file is NULL; ERR_IO also when the file exists. */
must_use enum err tfevents_open(const char *path, int64_t wall_time_ns, struct tfevents **file,
                                struct error *error);

/* One point of the curve `tag`. */
must_use enum err tfevents_scalar(struct tfevents *file, int64_t wall_time_ns, uint64_t step,
                                  const char *tag, double value, struct error *error);

/* Hands everything written so far to the system, where readers see it. */
must_use enum err tfevents_flush(struct tfevents *file, struct error *error);

/* Flushes and closes; the file is gone in any case. NULL is a no-op. */
enum err tfevents_close(struct tfevents *take_file, struct error *error);

#endif
