/*
 * error.h - how functions report failure.
 *
 * A fallible function returns enum err (ERR_OK is 0) and takes `struct error *error` last,
 * which may be NULL. error_set fills it and returns the code, so that failing is one line.
 * Nothing here prints.
 */
#ifndef PROTO_BASE_ERROR_H
#define PROTO_BASE_ERROR_H

#include "proto/base/defs.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ERRORS(X)                                                                              \
    X(OK, "ok")                                                                                \
    X(INPUT, "bad input")        /* a file, flag or message that a person or peer got wrong */ \
    X(IO, "input/output error")  /* the operating system refused: errno is kept */             \
    X(NO_SPACE, "no space left") /* ENOSPC or EDQUOT: wait for room, nothing is lost */        \
    X(NO_MEMORY, "out of memory")                                                              \
    X(DAMAGED, "damaged data") /* a checksum, chain or structure does not hold */              \
    X(LOCKED, "held by another process")                                                       \
    X(FULL, "limit reached") /* a fixed table or queue is full */                              \
    X(NOT_FOUND, "not found")                                                                  \
    X(REFUSED, "refused") /* valid request, but the rules say no */                            \
    X(TIMEOUT, "timed out")                                                                    \
    X(CLOSED, "peer is gone")                                                                  \
    X(DEVICE, "device error") /* GPU, NCCL or MPI */                                           \
    X(UNSUPPORTED, "not supported here")

enum err {
#define X(id, text) ERR_##id,
    ERRORS(X)
#undef X
};

struct error {
    enum err code;
    int sys_errno;  /* errno of the failed call, or 0 */
    char text[512]; /* one line, no final newline: what is wrong; what to do */
};

/* Fills *error (if not NULL), cutting the text to fit, and returns `code`. Keeps errno in
 * sys_errno only for ERR_IO and ERR_NO_SPACE. */
enum err error_set(struct error *error, enum err code, const char *format, ...)
    printf_like(3, 4);

/* As error_set for a failed system call: appends ": strerror(errno)"; ENOSPC and EDQUOT become
 * ERR_NO_SPACE, everything else ERR_IO. */
enum err error_errno(struct error *error, const char *format, ...) printf_like(2, 3);

/* Puts "PREFIX: " before the text of an error that is already set; returns its code. */
enum err error_prefix(struct error *error, enum err code, const char *format, ...)
    printf_like(3, 4);

/* The static analyzer looks into one file at a time; this tells it what error.c promises. */
#if defined(__clang_analyzer__) && !defined(PROTO_BASE_ERROR_C)
#define error_set(error, code, ...) ((void)(error_set)((error), (code), __VA_ARGS__), (code))
#define error_prefix(error, code, ...)                                                         \
    ((void)(error_prefix)((error), (code), __VA_ARGS__), (code))
#define error_errno(error, ...)                                                                \
    ((error_errno)((error), __VA_ARGS__) == ERR_NO_SPACE ? ERR_NO_SPACE : ERR_IO)
#endif

/* The code's name for people. Never NULL; static storage. */
const char *err_name(enum err code);

#ifdef __cplusplus
}
#endif

#endif
