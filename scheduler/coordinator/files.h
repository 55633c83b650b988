/*
 * files.h - small whole files in a state directory: written under a temporary name, synced and
 * renamed, so that a reader sees the old file or the new one and never half of one.
 */
#ifndef SCHEDULER_COORDINATOR_FILES_H
#define SCHEDULER_COORDINATOR_FILES_H

#include "proto/base/error.h"
#include "proto/base/text.h"

/* Replaces DIR/NAME by `text`. With `durable`, file and directory are synced before it returns.
 */
must_use enum err file_replace(const char *dir, const char *name, struct text text,
                               bool durable, struct error *error);

/* Reads DIR/NAME into data[0..capacity_bytes). ERR_NOT_FOUND when there is none, ERR_INPUT when
 * it is longer than the room or not a plain file; *bytes is its length. */
must_use enum err file_read(const char *dir, const char *name, char *data,
                            size_t capacity_bytes, size_t *bytes, struct error *error);

/* Makes a directory, and is content when it is there already. */
must_use enum err dir_make(const char *path, struct error *error);

#endif
