/*
 * slot.h - what this agent's slot is: host, CPU threads, device, and how fast it is.
 *
 * The device is measured by `penstock-train probe`, run as a trainer would be, because the agent never
 * touches a GPU itself. When it cannot be measured the slot is a CPU of unknown speed, and says why.
 */
#ifndef WORKER_AGENT_SLOT_H
#define WORKER_AGENT_SLOT_H

#include "proto/base/error.h"
#include "proto/base/text.h"
#include "worker/spawn/launcher.h"

struct slot {
    char host[NAME_MAX_BYTES];
    char boot_id[NAME_MAX_BYTES];
    uint32_t index, count; /* on this host */
    uint32_t threads;
    char device_class[NAME_MAX_BYTES];
    char device[NAME_MAX_BYTES];
    char pci_bus_id[NAME_MAX_BYTES]; /* of the GPU; empty: none, or unknown */
    uint64_t memory_bytes;           /* of the GPU; 0: unknown */
    double peak_flops;               /* 0: unknown */
    char peak_source[NAME_MAX_BYTES];
    char backend[NAME_MAX_BYTES];
    char backend_reason[256];
    char visible_devices[NAME_MAX_BYTES]; /* what CUDA_VISIBLE_DEVICES calls the slot's GPU */
    bool has_gpu;            /* NVML, or the probe, found one: trainers are shown it */
    bool has_device_list;    /* false: CUDA_VISIBLE_DEVICES hides none from this process */
    char device_list[4096];  /* else its value */
    char trainer_path[4096]; /* penstock-train */
};

/* Fills in everything but the device; host and trainer_path may be NULL. */
void slot_init(struct slot *slot, uint32_t index, uint32_t count, const char *host,
               const char *trainer_path);

/* Measures the device, waiting at most timeout_ns; launch ids from `id` on are its to use. Never fails: the
 * reason is in backend_reason. */
void slot_probe(struct slot *slot, struct launcher *launcher, uint64_t id, int64_t timeout_ns);

/* Takes over the line that the probe printed. */
must_use enum err slot_parse(struct slot *slot, struct text line, struct error *error);

/* The slot's GPU as NVML may be asked for it: the bus id that the probe found, else the entry of
 * CUDA_VISIBLE_DEVICES, whose indices count in order of the bus because trainers run with
 * CUDA_DEVICE_ORDER=PCI_BUS_ID. Empty when all GPUs are hidden. */
const char *slot_gpu(const struct slot *slot);

/* Brings the forms that drivers and tools use ("0000:3B:00.0", "3b:00.0") into one, "00000000:3b:00.0", so that
 * ids can be compared as strings; anything else becomes empty: unknown. */
void slot_normalize_pci(char id[NAME_MAX_BYTES]);

/* Entry number `index` of a list "0,1,2" (modulo its length); an empty list has none. Without a list (NULL): the
 * index, modulo the GPUs of the host where their number is known (0: it is not). */
void slot_choose_device(const char *list, uint32_t gpu_count, uint32_t index,
                        char device[NAME_MAX_BYTES]);

/* Whether this host's processes can be shown the device: it is in the list, or there is none. */
bool slot_may_show(const struct slot *slot, const char *device);

#endif
