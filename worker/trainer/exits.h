/*
 * exits.h - the exit codes of penstock-train, which its agent and its users rely on. One table,
 * so that the code, --help and the tests cannot disagree.
 */
#ifndef WORKER_TRAINER_EXITS_H
#define WORKER_TRAINER_EXITS_H

#define EXITS(X)                                                                               \
    X(DONE, 0, "done, or stopped as asked")                                                    \
    X(INTERNAL, 1, "internal error, or out of memory")                                         \
    X(USAGE, 2, "usage or bad configuration")                                                  \
    X(DATA, 3, "data file missing or bad")                                                     \
    X(CHECKPOINT, 4, "checkpoint missing or damaged")                                          \
    X(NONFINITE, 5, "loss or gradient not finite")                                             \
    X(GANG, 6, "communication with the gang lost")                                             \
    X(BACKEND, 7, "backend not available")                                                     \
    X(STORE, 8, "no space or I/O error while writing a checkpoint")                            \
    X(MEMORY, 9, "out of GPU memory")                                                          \
    X(DEVICE, 10, "the GPU failed, or did not answer in time")

enum exit_code {
#define X(id, code, text) EXIT_##id = (code),
    EXITS(X)
#undef X
};

#endif
