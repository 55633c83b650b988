/*
 * module.h - what penstock_cuda.so offers to the trainer that opens it: kernels on a GPU, and a
 * gang of GPUs over NCCL. Everything that links CUDA, cuBLASLt or NCCL is inside the module, so
 * that the trainer starts on machines that have none of them.
 *
 * The module exports `const struct module *penstock_cuda_module(void)`. It is built from the
 * same tree as the trainer; MODULE_VERSION refuses one that was left behind by another build.
 *
 * Promises: opening and probing it without a GPU or a driver is an error with a reason, never a
 * crash. Never: prints, logs, looks at the environment (its libraries do), starts processes.
 */
#ifndef WORKER_TRAINER_MODULE_H
#define WORKER_TRAINER_MODULE_H

#include "kernels/kernels.h"
#include "worker/trainer/comm.h"

enum {
    MODULE_VERSION = 2,
    MODULE_ID_BYTES = 128, /* of a gang's id: an ncclUniqueId */
    MODULE_NAME_BYTES = 128,
    MODULE_BUS_ID_BYTES = 32
};

/* Versions are known without a GPU; -1: unknown. */
struct module_versions {
    int runtime;  /* CUDA's, 1000 * major + 10 * minor */
    int driver;   /* what CUDA version it can run, alike; 0: there is none */
    int cublaslt; /* 10000 * major + 100 * minor + patch */
    int nccl;     /* alike, from 2.9 on */
};

/* The GPU that this process trains on: the first one visible to it. */
struct module_device {
    char name[MODULE_NAME_BYTES];
    char pci_bus_id[MODULE_BUS_ID_BYTES]; /* as NVML spells it: "0000:1b:00.0" */
    int64_t memory_bytes;
    int capability; /* 10 * major + minor */
    int visible_count;
};

struct module_gang {
    int rank, size;
    const char *name;                /* run and attempt, for NCCL's own messages */
    const uint8_t *id;               /* [MODULE_ID_BYTES], the same for all members */
    enum kernels_type reduce;        /* type in which gradients are summed */
    int64_t init_timeout_ns;         /* longest wait for the others to come; > 0 */
    int64_t timeout_ns;              /* longest wait of a collective; > 0 */
    void (*aborting)(void *context); /* called before ncclCommAbort, which may hang, or NULL */
    /* Called now and then in a wait that takes long, and once behind it: the comm's counts have
     * changed. Before gang_open has returned too. It must not block. Or NULL. */
    void (*waiting)(void *context);
    void *context;
};

struct module {
    uint32_t version;
    const struct kernels *(*kernels)(void); /* never NULL; static storage */
    void (*versions)(struct module_versions *versions);
    /* ERR_DEVICE: no driver, no GPU, or none that answers; the text is CUDA's. */
    enum err (*probe)(struct module_device *device, struct error *error);
    /* What member 0 does for its gang. It must live as long as the others are on their way. */
    enum err (*make_id)(uint8_t id[MODULE_ID_BYTES], struct error *error);
    /* Meets the gang. The caller owns *comm. ERR_CLOSED: a member is gone or refused; ERR_TIMEOUT,
     * ERR_DEVICE, ERR_NO_MEMORY. */
    enum err (*gang_open)(const struct module_gang *gang, struct comm **comm,
                          struct error *error);
};

typedef const struct module *(*module_fn)(void);

#define MODULE_SYMBOL "penstock_cuda_module"

#endif
