/*
 * backend.h - which table of kernels a trainer computes with, and why.
 *
 * The CPU's table is part of the program. The GPU's is a module, penstock_cuda.so, that lies
 * beside the executable and is opened at run time, so that one build runs with and without
 * GPUs; module.h says what it exports. Promises: `cuda` never falls back; `auto` says why it
 * took what it took; what NCCL must not find in the environment is taken out of it, and said in
 * the log, before the module is opened. Never: prints.
 */
#ifndef WORKER_TRAINER_BACKEND_H
#define WORKER_TRAINER_BACKEND_H

#include "worker/trainer/module.h"
#include "worker/trainer/options.h"

struct backend {
    const struct kernels *kernels; /* valid as long as the process */
    const struct module *module;   /* alike; NULL on the CPU */
    struct module_device device;   /* where there is a module */
    char reason[256];              /* one line; with the module's versions */
};

/* ERR_UNSUPPORTED: the wanted backend is not there; ERR_NO_MEMORY: its GPU is full; the text says
 * why. */
must_use enum err backend_pick(enum backend_choice choice, struct backend *backend,
                               struct error *error);

/* ERR_UNSUPPORTED: this backend cannot do what the options ask for. */
must_use enum err backend_check(const struct backend *backend, const struct options *options,
                                struct error *error);

/* `threads`, or the CPUs that this process may use when it is 0; 1 .. KERNELS_THREADS_MAX. */
int backend_threads(int threads);

/* Measures the peak for numbers of a type and writes it as one JSON line. ERR_DEVICE,
 * ERR_NO_MEMORY. */
must_use enum err backend_probe(const struct backend *backend, int threads,
                                enum kernels_type type, struct writer *writer,
                                struct error *error);

#endif
