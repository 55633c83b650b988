#include "worker/trainer/backend.h"

#include "proto/base/log.h"
#include "worker/trainer/json.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULE "penstock_cuda.so"

/* MODULE beside the running executable. */
static enum err module_path(char path[PATH_MAX], struct error *error)
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length < 0) return error_errno(error, "find the executable");
    while (length > 0 && self[length - 1] != '/')
        length--;
    struct writer writer = writer_of(path, PATH_MAX);
    writer_text(&writer, (struct text){ self, (size_t)length });
    writer_string(&writer, MODULE);
    if (writer.full) return error_set(error, ERR_UNSUPPORTED, "the path is too long");
    return ERR_OK;
}

/* ---- the module ---- */

/* NCCL would let these win over what the trainer asks for: a blocking communicator cannot be
 * aborted, and an id or host of somebody else's choice makes gangs that are none. The log says
 * what was there. */
static void clear_environment(void)
{
    static const char *const names[] = { "NCCL_COMM_BLOCKING", "NCCL_COMM_ID", "NCCL_HOSTID" };
    char found[128];
    struct writer writer = writer_of(found, sizeof(found));
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (getenv(names[i]) == NULL) continue;
        writer_format(&writer, "%s%s", writer.len > 0 ? "," : "", names[i]);
        (void)unsetenv(names[i]);
    }
    if (writer.len > 0)
        log_line(LOG_LEVEL_WARN,
                 "event=environment_cleared names=%s: they would break aborting a gang", found);
}

/* The `index`-th of a list's words. False: it has fewer. */
static bool word_at(struct text list, int64_t index, struct text *word)
{
    for (;; index--) {
        size_t comma = text_find(list, TEXT(","));
        *word = (struct text){ list.data, comma == SIZE_MAX ? list.len : comma };
        if (index == 0) return word->len > 0;
        if (comma == SIZE_MAX) return false;
        list = (struct text){ list.data + comma + 1, list.len - comma - 1 };
    }
}

/* A member may be shown the GPUs of its whole gang: LOCAL_RANK says which is its own. From here
 * on it sees that one alone, so that the first GPU is the right one everywhere. */
static enum err choose_gpu(struct error *error)
{
    const char *rank = getenv("LOCAL_RANK"), *visible = getenv("CUDA_VISIBLE_DEVICES");
    char one[128];
    int64_t index;
    struct text word;
    if (rank == NULL || rank[0] == '\0') return ERR_OK;
    if (!text_to_i64(text_of(rank), &index) || index < 0)
        return error_set(error, ERR_UNSUPPORTED, "LOCAL_RANK is '%.60s'; it must be a number",
                         rank);
    bool listed = visible != NULL && text_find(text_of(visible), TEXT(",")) != SIZE_MAX;
    if (visible != NULL && !listed) return ERR_OK; /* shown its own alone */
    if (visible == NULL)
        word = text_of(rank);
    else if (!word_at(text_of(visible), index, &word))
        return error_set(error, ERR_UNSUPPORTED,
                         "LOCAL_RANK is %.60s, but CUDA_VISIBLE_DEVICES (%.100s) lists fewer "
                         "GPUs",
                         rank, visible);
    if (!text_copy(one, sizeof(one), word) || setenv("CUDA_VISIBLE_DEVICES", one, 1) != 0)
        return error_set(error, ERR_UNSUPPORTED, "CUDA_VISIBLE_DEVICES cannot be set");
    return ERR_OK;
}

/* Opens and closes the smallest device: a module without a GPU under it is of no use. */
static enum err try_device(const struct module *module, struct module_device *found,
                           struct error *error)
{
    struct kernels_options smallest = {
        .threads = 1, .batch_rows = 1, .context = 1, .width = 1, .heads = 1, .vocab_count = 1
    };
    struct kernels_device *device;
    enum err rc = module->probe(found, error);
    if (rc == ERR_OK) rc = module->kernels()->open(&smallest, &device, error);
    if (rc == ERR_OK) module->kernels()->close(device);
    return rc;
}

static enum err check_module(const struct module *module, struct error *error)
{
    if (module == NULL)
        return error_set(error, ERR_UNSUPPORTED, "%s offers nothing; build it anew", MODULE);
    if (module->version != MODULE_VERSION)
        return error_set(error, ERR_UNSUPPORTED,
                         "%s is of another build (version %u, not %d); build it anew", MODULE,
                         (unsigned)module->version, MODULE_VERSION);
    return ERR_OK;
}

/* The handle stays open as long as the process: CUDA cannot be unloaded. */
static enum err open_module(const struct module **module, struct error *error)
{
    char path[PATH_MAX];
    enum err rc = module_path(path, error);
    if (rc != ERR_OK) return rc;
    if (access(path, F_OK) != 0)
        return error_set(error, ERR_UNSUPPORTED, "there is no %s beside penstock-train",
                         MODULE);
    clear_environment();
    if ((rc = choose_gpu(error)) != ERR_OK) return rc;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        return error_set(error, ERR_UNSUPPORTED, "%s cannot be loaded: %s", MODULE, dlerror());
    module_fn function = NULL;
    void *symbol = dlsym(handle, MODULE_SYMBOL);
    memcpy(&function, &symbol, sizeof(function)); /* ISO C has no cast for this */
    *module = function == NULL ? NULL : function();
    return check_module(*module, error);
}

/* "CUDA 13.0, driver 13.0, cuBLASLt 13.0.2, NCCL 2.28.9" */
static void write_versions(struct writer *writer, const struct module *module)
{
    struct module_versions v = { .runtime = -1 };
    module->versions(&v);
    writer_format(writer, "CUDA %d.%d, ", v.runtime / 1000, v.runtime % 1000 / 10);
    if (v.driver > 0)
        writer_format(writer, "driver %d.%d, ", v.driver / 1000, v.driver % 1000 / 10);
    else
        writer_string(writer, "no driver, ");
    writer_format(writer, "cuBLASLt %d.%d.%d, ", v.cublaslt / 10000, v.cublaslt / 100 % 100,
                  v.cublaslt % 100);
    writer_format(writer, "NCCL %d.%d.%d", v.nccl / 10000, v.nccl / 100 % 100, v.nccl % 100);
}

static enum err open_cuda(struct backend *backend, struct error *error)
{
    const struct module *module = NULL;
    enum err rc = open_module(&module, error);
    if (rc == ERR_OK) rc = try_device(module, &backend->device, error);
    if (rc != ERR_OK) {
        char versions[96] = "";
        struct writer writer = writer_of(versions, sizeof(versions));
        if (module != NULL && module->version == MODULE_VERSION)
            write_versions(&writer, module);
        return error_prefix(error, rc == ERR_NO_MEMORY ? rc : ERR_UNSUPPORTED,
                            "no usable GPU%s%s%s", versions[0] != '\0' ? " (" : "", versions,
                            versions[0] != '\0' ? ")" : "");
    }
    backend->module = module;
    backend->kernels = module->kernels();
    return ERR_OK;
}

enum err backend_pick(enum backend_choice choice, struct backend *backend, struct error *error)
{
    struct error why = { .code = ERR_OK };
    struct writer reason = writer_of(backend->reason, sizeof(backend->reason));
    *backend = (struct backend){ .kernels = kernels_cpu() };
    if (choice != BACKEND_CPU && open_cuda(backend, &why) == ERR_OK) {
        writer_string(&reason,
                      choice == BACKEND_AUTO ? "chosen: a GPU is usable; " : "as asked; ");
        write_versions(&reason, backend->module);
        return ERR_OK;
    }
    if (choice == BACKEND_CUDA)
        return error_set(error, why.code,
                         "--backend cuda is not available: %s; use --backend cpu or auto",
                         why.text);
    writer_string(&reason, choice == BACKEND_CPU ? "as asked" : "chosen: ");
    if (choice == BACKEND_AUTO) writer_string(&reason, why.text);
    return ERR_OK;
}

enum err backend_check(const struct backend *backend, const struct options *options,
                       struct error *error)
{
    const char *flag = options->dtype != KERNELS_FP32    ? "dtype"
                       : options->reduce != KERNELS_FP32 ? "reduce"
                                                         : NULL;
    if (backend->module != NULL || flag == NULL) return ERR_OK;
    return error_set(error, ERR_UNSUPPORTED,
                     "--%s bf16 needs a GPU, and this trains on the CPU (%.200s); use fp32",
                     flag, backend->reason);
}

/* ---- what it can do ---- */

int backend_threads(int threads)
{
    cpu_set_t cpus;
    if (threads <= 0)
        threads = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    if (threads < 1) return 1;
    return threads < KERNELS_THREADS_MAX ? threads : KERNELS_THREADS_MAX;
}

/* The processor's name, or "CPU" where the system does not tell. */
static void cpu_name(char *name, size_t name_bytes)
{
    char line[512];
    struct text key = TEXT("model name");
    text_copy(name, name_bytes, TEXT("CPU"));
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (file == NULL) return;
    while (fgets(line, sizeof(line), file) != NULL) {
        struct text text = text_of(line);
        size_t colon = text_find(text, TEXT(":"));
        if (!text_starts(text, key) || colon == SIZE_MAX) continue;
        struct text value = { text.data + colon + 1, text.len - colon - 1 };
        text_copy(name, name_bytes, text_trim(value));
        break;
    }
    fclose(file);
}

static void write_device(struct writer *writer, const struct module_device *device)
{
    writer_string(writer, ",\"pci_bus_id\":");
    json_write_string(writer, device->pci_bus_id);
    writer_format(writer,
                  ",\"memory_bytes\":%" PRId64
                  ",\"compute_capability\":\"%d.%d\",\"visible_gpus\":%d",
                  device->memory_bytes, device->capability / 10, device->capability % 10,
                  device->visible_count);
}

enum err backend_probe(const struct backend *backend, int threads, enum kernels_type type,
                       struct writer *writer, struct error *error)
{
    const struct kernels *kernels = backend->kernels;
    struct kernels_options options = { .threads = threads,
                                       .batch_rows = 1,
                                       .context = 1,
                                       .width = 1,
                                       .heads = 1,
                                       .vocab_count = 1,
                                       .type = type };
    struct kernels_device *device;
    struct kernels_peak peak;
    char name[KERNELS_DETAIL_BYTES];
    enum err rc = kernels->open(&options, &device, error);
    if (rc != ERR_OK) return rc;
    rc = kernels->peak(device, &peak, error);
    if (backend->module == NULL)
        cpu_name(name, sizeof(name));
    else
        text_copy(name, sizeof(name), text_of(backend->device.name));
    kernels->close(device);
    if (rc != ERR_OK) return rc;
    writer_string(writer, "{\"backend\":");
    json_write_string(writer, kernels->name);
    writer_string(writer, ",\"device\":");
    json_write_string(writer, name);
    if (backend->module != NULL) write_device(writer, &backend->device);
    writer_format(writer,
                  ",\"threads\":%d,\"peak_flops\":%.6g,\"dtype\":\"%s\",\"source\":", threads,
                  peak.flops_per_s, type == KERNELS_BF16 ? "bf16" : "fp32");
    json_write_string(writer, peak.source);
    writer_string(writer, ",\"reason\":");
    json_write_string(writer, backend->reason);
    writer_string(writer, "}");
    return ERR_OK;
}
