/*
 * disk.h - the files of a run that its agents read and write: folders, checkpoint.latest, the rank lock,
 * the tail of stderr. Names are in docs/formats/trainer.md.
 */
#ifndef WORKER_AGENT_DISK_H
#define WORKER_AGENT_DISK_H

#include "proto/base/error.h"

enum { DISK_PATH_BYTES = 4096 };

/* The newest checkpoint of a run, as checkpoint.latest says: "STEP TOKENS PATH". */
struct checkpoint {
    uint64_t step, tokens;
    char path[PATH_MAX_BYTES]; /* relative to the run's directory, or absolute; empty: none */
};

/* Makes RUN_DIR and RUN_DIR/checkpoints, with parents. Content when they are there. */
must_use enum err disk_make_run(const char *run_dir, struct error *error);

/* Replaces RUN_DIR/checkpoint.latest, durably. */
must_use enum err disk_put_latest(const char *run_dir, const struct checkpoint *latest,
                                  struct error *error);

/* Reads it. ERR_NOT_FOUND: there is none. ERR_DAMAGED: it is not such a file. *latest is empty then. */
must_use enum err disk_get_latest(const char *run_dir, struct checkpoint *latest,
                                  struct error *error);

/* Forgets it: the run goes back to an older checkpoint. */
void disk_drop_latest(const char *run_dir);

/* The name under which a path that a trainer gave is kept: relative to run_dir where it lies inside. False
 * when it does not fit, leads out by "..", or no plain file is there. */
must_use bool disk_name_checkpoint(const char *run_dir, const char *path,
                                   char name[PATH_MAX_BYTES]);

/* The absolute path of such a name; false when it does not fit. */
must_use bool disk_full_path(const char *run_dir, const char *name, char path[DISK_PATH_BYTES]);
bool disk_is_file(const char *path);

/* Whether nobody on this host or, where the file system says so, on another holds the lock. A lock file
 * that is not there was never held. */
must_use enum err disk_is_unlocked(const char *lock_path, bool *unlocked, struct error *error);

/* The last lines of a file, at most tail_bytes - 1 bytes of valid UTF-8; "" when there is none. */
void disk_read_tail(const char *path, char *tail, size_t tail_bytes);

#endif
