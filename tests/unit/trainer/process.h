/*
 * process.h - runs penstock-train as a process: alone, or as a gang of two with a tiny agent
 * that serves both.
 */
#ifndef TESTS_UNIT_TRAINER_PROCESS_H
#define TESTS_UNIT_TRAINER_PROCESS_H

#include "proto/base/defs.h"

#include <limits.h>
#include <sys/types.h>

enum { PROCESS_WORDS_MAX = 48, PROCESS_ENV_MAX = 12 };

/* A command line and an environment (nothing is inherited but PATH). */
struct process_plan {
    const char *words[PROCESS_WORDS_MAX];
    const char *env[PROCESS_ENV_MAX];
    const char *stderr_path; /* NULL: the test's */
    const char *stdout_path; /* NULL: the test's */
    size_t file_bytes_max;   /* RLIMIT_FSIZE; 0: none */
};

/* Appends words to the plan's command line, up to a NULL. */
void plan_words(struct process_plan *plan, const char *const *words);

/* Appends NAME=VALUE, kept in the plan's storage until the process ends. */
void plan_env(struct process_plan *plan, const char *pair);

/* Starts it; the descriptor `pass_fd` (or -1) is inherited. */
pid_t process_start(const struct process_plan *plan, int pass_fd);

/* The exit code, or 128 + signal; fails the test after a minute. */
int process_wait(pid_t process);
int process_run(const struct process_plan *plan);

/* Waits until the file holds `text`; fails the test after a minute. */
void await_text(const char *path, const char *text);

/* What the in-test agent does wrong. */
enum gang_fault {
    FAULT_NONE,
    FAULT_UNEQUAL_SUMS, /* the members get different sums of gradients */
    FAULT_ABORT         /* the gang breaks after some requests */
};

/* Runs both plans as members 0 and 1 of a gang and serves their requests until both have left.
 * When `stop_text` appears in the first events file, member `stop_member` gets SIGTERM. */
struct gang_stop {
    const char *events_path; /* NULL: nobody is stopped */
    const char *text;
    int member;
};
void gang_run(struct process_plan plans[2], enum gang_fault fault, const struct gang_stop *stop,
              int codes[2]);

#endif
