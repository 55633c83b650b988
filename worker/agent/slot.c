#include "worker/agent/slot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/wire/codec.h"
#include "worker/agent/chips.h"
#include "worker/agent/json.h"
#include "worker/spawn/process.h"

enum { PROBE_BYTES = 4096 };

static void read_line(const char *path, char *to, size_t to_bytes)
{
    to[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t n = read(fd, to, to_bytes - 1);
    close(fd);
    to[n > 0 ? n : 0] = '\0';
    to[strcspn(to, "\n")] = '\0';
}

/* CPUs that this process may run on. Agents of one host share them: under a launcher that binds each
 * rank to CPUs of its own this errs on the low side. */
static uint32_t count_cpus(void)
{
    cpu_set_t set;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (sched_getaffinity(0, sizeof set, &set) == 0) return (uint32_t)CPU_COUNT(&set);
    return online > 0 ? (uint32_t)online : 1;
}

/* GPUs that this host gives to this job, as Slurm or NVIDIA's driver says; 0: nobody says. */
static uint32_t count_gpus(void)
{
    uint64_t count = 0;
    const char *slurm = getenv("SLURM_GPUS_ON_NODE");
    if (slurm && text_to_u64(text_of(slurm), &count) && count > 0 && count <= GANG_MAX)
        return (uint32_t)count;
    DIR *folder = opendir("/proc/driver/nvidia/gpus");
    if (!folder) return 0;
    count = 0;
    for (const struct dirent *entry; (entry = readdir(folder));)
        count += entry->d_name[0] != '.';
    closedir(folder);
    return (uint32_t)count;
}

/* penstock-train lies beside penstock, or in PATH. */
static void find_trainer(char *path, size_t path_bytes)
{
    char self[3072];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash) {
        *slash = '\0';
        snprintf(path, path_bytes, "%s/penstock-train", self);
        if (access(path, X_OK) == 0) return;
    }
    snprintf(path, path_bytes, "penstock-train");
}

void slot_choose_device(const char *list, uint32_t gpu_count, uint32_t index,
                        char device[NAME_MAX_BYTES])
{
    if (!list) {
        snprintf(device, NAME_MAX_BYTES, "%u", gpu_count > 0 ? index % gpu_count : index);
        return;
    }
    uint32_t count = 1;
    for (const char *c = list; *c; c++)
        count += *c == ',';
    const char *at = list;
    for (uint32_t skip = index % count; skip > 0; skip--)
        at = strchr(at, ',') + 1;
    text_copy(device, NAME_MAX_BYTES, text_trim((struct text){ at, strcspn(at, ",") }));
}

bool slot_may_show(const struct slot *slot, const char *device)
{
    if (!slot->has_device_list) return device[0] != '\0';
    for (const char *at = slot->device_list; *at;) {
        size_t n = strcspn(at, ",");
        if (n > 0 && text_is(text_trim((struct text){ at, n }), device)) return true;
        at += n + (at[n] ? 1 : 0);
    }
    return false;
}

void slot_normalize_pci(char id[NAME_MAX_BYTES])
{
    unsigned domain = 0, bus = 0, device = 0, function = 0;
    int end = -1;
    for (const char *c = id; *c; c++)
        if (!strchr("0123456789abcdefABCDEF:.", *c))
            id[0] = '\0'; /* sscanf takes blanks, signs */
    if (sscanf(id, "%8x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &end) != 4 ||
        id[end] != '\0') {
        domain = 0;
        end = -1;
        if (sscanf(id, "%2x:%2x.%1x%n", &bus, &device, &function, &end) != 3 || id[end] != '\0')
            end = -1;
    }
    if (end < 0)
        id[0] = '\0';
    else
        snprintf(id, NAME_MAX_BYTES, "%08x:%02x:%02x.%x", domain, bus, device, function);
}

void slot_init(struct slot *slot, uint32_t index, uint32_t count, const char *host,
               const char *trainer_path)
{
    char name[256] = "";
    *slot = (struct slot){ .index = index, .count = count > 0 ? count : 1 };
    if (gethostname(name, sizeof name - 1) != 0 || !name[0])
        snprintf(name, sizeof name, "host");
    text_copy(slot->host, sizeof slot->host, text_of(host ? host : name));
    read_line("/proc/sys/kernel/random/boot_id", slot->boot_id, sizeof slot->boot_id);
    slot->threads = count_cpus() / slot->count;
    if (slot->threads == 0) slot->threads = 1;
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    slot_choose_device(list, count_gpus(), index, slot->visible_devices);
    slot->has_device_list = list != NULL;
    text_copy(slot->device_list, sizeof slot->device_list, text_of(list));
    if (trainer_path)
        text_copy(slot->trainer_path, sizeof slot->trainer_path, text_of(trainer_path));
    else
        find_trainer(slot->trainer_path, sizeof slot->trainer_path);
    text_copy(slot->device_class, sizeof slot->device_class, TEXT("cpu"));
    text_copy(slot->backend, sizeof slot->backend, TEXT("cpu"));
}

/* Copies at most to_bytes - 1 bytes as one line of valid UTF-8. */
static void put_line(char *to, size_t to_bytes, const char *from)
{
    text_copy(to, to_bytes, text_of(from));
    codec_make_utf8(to);
    for (char *c = to; *c; c++)
        if (*c == '\n' || *c == '\t') *c = ' ';
}

/* The vendor's figure stands above what a short run measured. */
static void know_chip(struct slot *slot)
{
    double peak_flops = chip_peak_flops(chip_find(slot->device));
    if (strcmp(slot->device_class, "cpu") == 0 || !slot->device_class[0])
        chip_class(slot->device, slot->device_class);
    if (peak_flops <= 0) return;
    slot->peak_flops = peak_flops;
    text_copy(slot->peak_source, sizeof slot->peak_source, TEXT("table"));
}

const char *slot_gpu(const struct slot *slot)
{
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    if (slot->pci_bus_id[0]) return slot->pci_bus_id;
    return list && !list[0] ? "" : slot->visible_devices;
}

enum err slot_parse(struct slot *slot, struct text line, struct error *error)
{
    struct json_scan json = json_scan_of(line);
    struct slot read = *slot;
    char key[64], value[512];
    double peak_flops = 0, memory_bytes = 0;
    bool has_backend = false;
    struct {
        const char *key;
        char *to;
        size_t bytes;
    } strings[] = { { "backend", read.backend, sizeof read.backend },
                    { "device", read.device, sizeof read.device },
                    { "device_class", read.device_class, sizeof read.device_class },
                    { "pci_bus_id", read.pci_bus_id, sizeof read.pci_bus_id },
                    { "source", read.peak_source, sizeof read.peak_source },
                    { "reason", read.backend_reason, sizeof read.backend_reason } };
    if (json_scan_enter(&json))
        for (bool first = true; json_scan_next_key(&json, first, key, sizeof key);
             first = false) {
            bool known = false;
            for (size_t i = 0; i < ARRAY_COUNT(strings); i++) {
                if (strcmp(key, strings[i].key) != 0 || json_scan_peek(&json) != JSON_STRING)
                    continue;
                known = true;
                if (!json_scan_string(&json, value, sizeof value)) break;
                put_line(strings[i].to, strings[i].bytes, value);
                has_backend = has_backend || i == 0;
            }
            if (known) continue;
            double *number = strcmp(key, "peak_flops") == 0     ? &peak_flops
                             : strcmp(key, "memory_bytes") == 0 ? &memory_bytes
                                                                : NULL;
            if (!number || !json_scan_number(&json, number)) json_scan_skip(&json);
        }
    if (!json_scan_at_end(&json) || !has_backend || !read.backend[0])
        return error_set(error, ERR_INPUT, "penstock-train probe printed no such line");
    read.peak_flops = isfinite(peak_flops) && peak_flops > 0 ? peak_flops : 0;
    read.memory_bytes = memory_bytes > 0 && memory_bytes < 0x1p62 ? (uint64_t)memory_bytes : 0;
    slot_normalize_pci(read.pci_bus_id);
    if (strcmp(read.backend, "cpu") != 0) know_chip(&read);
    if (!read.device_class[0])
        text_copy(read.device_class, sizeof read.device_class, TEXT("cpu"));
    *slot = read;
    return ERR_OK;
}

/* Reads what the probe prints until it ends. */
struct probe {
    int fd;
    char text[PROBE_BYTES];
    size_t n;
    bool ended;
    struct launch_report report;
};

static void hear_probe(struct probe *probe)
{
    while (probe->fd >= 0) {
        char rest[256];
        bool room = probe->n < sizeof probe->text - 1;
        ssize_t got =
            room ? read(probe->fd, probe->text + probe->n, sizeof probe->text - 1 - probe->n)
                 : read(probe->fd, rest, sizeof rest);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got > 0) {
            probe->n += room ? (size_t)got : 0;
            continue;
        }
        close(probe->fd);
        probe->fd = -1;
    }
}

static enum err start_probe(const struct slot *slot, struct launcher *launcher, uint64_t id,
                            struct probe *probe, struct error *error)
{
    char threads[64], blas_threads[64], devices[NAME_MAX_BYTES + 32], out[32];
    int ends[2];
    snprintf(threads, sizeof threads, "OMP_NUM_THREADS=%u", slot->threads);
    snprintf(blas_threads, sizeof blas_threads, "OPENBLAS_NUM_THREADS=%u", slot->threads);
    snprintf(devices, sizeof devices, "CUDA_VISIBLE_DEVICES=%s", slot->visible_devices);
    snprintf(out, sizeof out, "/dev/fd/%d", LAUNCH_FD_FIRST);
    const char *argv[] = { slot->trainer_path, "probe", NULL };
    const char *env[] = { threads, blas_threads, devices, "CUDA_DEVICE_ORDER=PCI_BUS_ID",
                          NULL };
    if (pipe2(ends, O_CLOEXEC) != 0) return error_errno(error, "pipe");
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    struct launch launch = { .id = id,
                             .argv = argv,
                             .env = env,
                             .out_path = out,
                             .marker = "PENSTOCK_ATTEMPT_ID=probe",
                             .limit_ns = TIME_NEVER,
                             .fds = &ends[1],
                             .fd_count = 1 };
    enum err rc = launcher_spawn(launcher, &launch, error);
    close(ends[1]);
    if (rc != ERR_OK)
        close(ends[0]);
    else
        *probe = (struct probe){ .fd = ends[0] };
    return rc;
}

static enum err wait_for_probe(struct launcher *launcher, uint64_t id, int64_t until_ns,
                               struct probe *probe, struct error *error)
{
    bool killed = false;
    while (!probe->ended) {
        struct launch_report report;
        enum err rc = launcher_report(launcher, &report, error);
        if (rc == ERR_OK && report.id == id && report.kind != LAUNCH_STARTED) {
            probe->report = report;
            probe->ended = true;
        }
        if (rc != ERR_OK && rc != ERR_NOT_FOUND) return rc;
        hear_probe(probe);
        if (probe->ended) break;
        if (!killed && boot_clock_ns() >= until_ns) {
            killed = launcher_signal(launcher, id, SIGKILL, error) == ERR_OK;
            if (!killed) return error ? error->code : ERR_IO;
        }
        struct pollfd watch[] = { { .fd = launcher->fd, .events = POLLIN },
                                  { .fd = probe->fd, .events = POLLIN } };
        poll(watch, ARRAY_COUNT(watch), 10);
    }
    if (killed) return error_set(error, ERR_TIMEOUT, "penstock-train probe took too long");
    if (probe->report.kind == LAUNCH_FAILED)
        return error_set(error, ERR_NOT_FOUND, "%s", probe->report.text);
    if (probe->report.exit_code != 0)
        return error_set(error, ERR_DEVICE,
                         "penstock-train probe ended with status %d, signal %d",
                         probe->report.exit_code, probe->report.signal_number);
    return ERR_OK;
}

/* The last line that is not empty: libraries like to greet. */
static struct text last_line(const struct probe *probe)
{
    struct text all = text_trim((struct text){ probe->text, probe->n });
    size_t from = all.len;
    while (from > 0 && all.data[from - 1] != '\n')
        from--;
    return (struct text){ all.data + from, all.len - from };
}

void slot_probe(struct slot *slot, struct launcher *launcher, uint64_t id, int64_t timeout_ns)
{
    struct probe probe = { .fd = -1 };
    struct error error = { 0 };
    enum err rc = start_probe(slot, launcher, id, &probe, &error);
    if (rc == ERR_OK)
        rc = wait_for_probe(launcher, id, add_saturated(boot_clock_ns(), timeout_ns), &probe,
                            &error);
    if (rc == ERR_OK) rc = slot_parse(slot, last_line(&probe), &error);
    if (probe.fd >= 0) close(probe.fd);
    if (rc == ERR_OK) return;
    char reason[sizeof slot->backend_reason];
    snprintf(reason, sizeof reason, "not measured: %.200s", error.text);
    put_line(slot->backend_reason, sizeof slot->backend_reason, reason);
}
