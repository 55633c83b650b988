#include "worker/trainer/backend.h"

#include "worker/trainer/json.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MODULE "penstock_cuda.so"

typedef const struct kernels *(*kernels_fn)(void);

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

/* Opens and closes the smallest device: a module without a GPU under it is of no use. */
static enum err try_device(const struct kernels *kernels, struct error *error)
{
    struct kernels_options smallest = {
        .threads = 1, .batch_rows = 1, .context = 1, .width = 1, .heads = 1, .vocab_count = 1
    };
    struct kernels_device *device;
    enum err rc = kernels->open(&smallest, &device, error);
    if (rc == ERR_OK) kernels->close(device);
    return rc;
}

static enum err open_cuda(const struct kernels **kernels, struct error *error)
{
    char path[PATH_MAX];
    enum err rc = module_path(path, error);
    if (rc != ERR_OK) return rc;
    if (access(path, F_OK) != 0)
        return error_set(error, ERR_UNSUPPORTED, "there is no %s beside penstock-train",
                         MODULE);
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL)
        return error_set(error, ERR_UNSUPPORTED, "%s cannot be loaded: %s", MODULE, dlerror());
    kernels_fn function = NULL;
    void *symbol = dlsym(module, "kernels_cuda");
    memcpy(&function, &symbol, sizeof(function)); /* ISO C has no cast for this */
    const struct kernels *table = function == NULL ? NULL : function();
    if (table == NULL)
        rc = error_set(error, ERR_UNSUPPORTED, "%s offers no kernels", MODULE);
    else
        rc = try_device(table, error);
    if (rc != ERR_OK) {
        dlclose(module);
        return error_prefix(error, ERR_UNSUPPORTED, "no usable GPU");
    }
    *kernels = table;
    return ERR_OK;
}

static void say(struct backend *backend, const char *what, const char *why)
{
    struct writer writer = writer_of(backend->reason, sizeof(backend->reason));
    writer_string(&writer, what);
    writer_string(&writer, why);
}

enum err backend_pick(enum backend_choice choice, struct backend *backend, struct error *error)
{
    struct error why = { .code = ERR_OK };
    const struct kernels *cuda = NULL;
    if (choice != BACKEND_CPU && open_cuda(&cuda, &why) == ERR_OK) {
        backend->kernels = cuda;
        say(backend, choice == BACKEND_AUTO ? "chosen: a GPU is usable" : "as asked", "");
        return ERR_OK;
    }
    if (choice == BACKEND_CUDA)
        return error_set(error, ERR_UNSUPPORTED,
                         "--backend cuda is not available: %s; use --backend cpu or auto",
                         why.text);
    backend->kernels = kernels_cpu();
    if (choice == BACKEND_CPU)
        say(backend, "as asked", "");
    else
        say(backend, "chosen: ", why.text);
    return ERR_OK;
}

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

enum err backend_probe(const struct backend *backend, int threads, struct writer *writer,
                       struct error *error)
{
    const struct kernels *kernels = backend->kernels;
    struct kernels_options options = { .threads = threads,
                                       .batch_rows = 1,
                                       .context = 1,
                                       .width = 1,
                                       .heads = 1,
                                       .vocab_count = 1 };
    struct kernels_device *device;
    struct kernels_peak peak;
    char name[KERNELS_DETAIL_BYTES];
    enum err rc = kernels->open(&options, &device, error);
    if (rc != ERR_OK) return rc;
    rc = kernels->peak(device, &peak, error);
    if (strcmp(kernels->name, "cpu") == 0)
        cpu_name(name, sizeof(name));
    else
        kernels->describe(device, name);
    kernels->close(device);
    if (rc != ERR_OK) return rc;
    writer_string(writer, "{\"backend\":");
    json_write_string(writer, kernels->name);
    writer_string(writer, ",\"device\":");
    json_write_string(writer, name);
    writer_format(writer, ",\"threads\":%d,\"peak_flops\":%.6g,\"source\":", threads,
                  peak.flops_per_s);
    json_write_string(writer, peak.source);
    writer_string(writer, ",\"reason\":");
    json_write_string(writer, backend->reason);
    writer_string(writer, "}");
    return ERR_OK;
}
