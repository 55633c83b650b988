/*
 * options.h - what penstock-train is asked to do: its command line, and the environment that an
 * agent gives it.
 *
 * One table of flags drives parsing, defaults and --help, so that they agree. Promises: every
 * value is checked here, alone and against the others; an error says which flag or variable it
 * is, what is wrong and what to do. Never: opens files, prints, changes the environment.
 */
#ifndef WORKER_TRAINER_OPTIONS_H
#define WORKER_TRAINER_OPTIONS_H

#include "proto/base/defs.h"
#include "proto/base/error.h"
#include "proto/base/text.h"
#include "worker/trainer/ckpt.h"

#include <limits.h>

enum backend_choice { BACKEND_AUTO, BACKEND_CUDA, BACKEND_CPU };

enum options_verb { VERB_TRAIN, VERB_PROBE, VERB_HELP, VERB_VERSION };

struct options {
    enum options_verb verb;
    const char *data; /* texts are borrowed from argv */
    const char *dir;  /* NULL: not given */
    const char *resume;
    int64_t data_format; /* enum data_format */
    int64_t backend;     /* enum backend_choice */
    int64_t dtype;       /* enum kernels_type, of weights and activations */
    int64_t reduce;      /* enum kernels_type, in which a gang sums gradients */
    int64_t layers, width, heads, context, vocab;
    int64_t batch; /* sequences of a step of the whole gang */
    int64_t steps, warmup;
    int64_t seed;
    int64_t eval_every, eval_batches; /* eval_every 0: only at gates and at the end */
    int64_t checkpoint_every;         /* 0: only at gates, at a stop and at the end */
    int64_t keep;
    int64_t threads; /* 0: not given */
    double lr, lr_min_ratio, weight_decay, beta1, beta2, clip;
    double gang_timeout; /* seconds */
};

/* ERR_INPUT: something is wrong with the command line. With VERB_HELP and VERB_VERSION nothing
 * else is checked. */
must_use enum err options_parse(struct options *options, int argc, const char *const *argv,
                                struct error *error);

/* The text of --help: usage, every flag with its default, an example, the exit codes. */
void options_help(struct writer *writer);

/* The hyper-parameters of training as notes for a checkpoint; at most OPTIONS_NOTES_MAX. */
enum { OPTIONS_NOTES_MAX = 16 };
size_t options_notes(const struct options *options, struct ckpt_note notes[OPTIONS_NOTES_MAX]);

struct job_gate {
    char name[NAME_MAX_BYTES];
    bool by_tokens;
    uint64_t at; /* steps or tokens */
};

/* The environment of the trainer contract, with the flags that take its place. */
struct job {
    int rank, size;
    bool standalone;       /* no PENSTOCK_DIR: a person runs it */
    char dir[PATH_MAX];    /* the run's directory */
    bool dir_is_known;     /* the agent named it: paths in events are relative to it */
    char resume[PATH_MAX]; /* full path, or empty for a fresh start */
    bool has_resume_step;
    uint64_t resume_step; /* that the checkpoint is said to hold */
    int gate_count;
    struct job_gate gates[GATES_PER_RUN_MAX];
    const char *events_path, *protobuf_path; /* NULL where absent */
    int comm_fd;                             /* -1 where absent */
    size_t comm_bytes;
    int comm_id_fd; /* on which a GPU gang's id comes; -1 where absent */
    bool has_run;   /* an agent said which run and attempt this is */
    uint32_t run, attempt;
    int threads;
};

typedef const char *(*options_lookup_fn)(const char *name); /* getenv, or a test's */

/* Reads the environment; --dir, --resume and --threads win over it. ERR_INPUT names the
 * variable. */
must_use enum err options_job(struct job *job, const struct options *options,
                              options_lookup_fn lookup, struct error *error);

#endif
