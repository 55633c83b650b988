#include "worker/spawn/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/text.h"

int64_t boot_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* Reads up to capacity - 1 bytes and zero-terminates; 0 when the process is gone or not ours.
 */
static size_t read_proc_file(pid_t pid, const char *name, char *data, size_t capacity)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    size_t n = 0;
    for (ssize_t got; n < capacity - 1; n += (size_t)got)
        if ((got = read(fd, data + n, capacity - 1 - n)) <= 0) break;
    close(fd);
    data[n] = '\0';
    return n;
}

/* The name in parentheses may hold anything, so the fields are counted from the last ')'. */
static bool parse_stat(const char *stat, struct process *process)
{
    const char *fields = strrchr(stat, ')');
    int parent = 0, group = 0, session = 0;
    uint64_t user = 0, kernel = 0, children_user = 0, children_kernel = 0;
    if (!fields || sscanf(fields + 1,
                          " %c %d %d %d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                          " %" SCNu64 " %" SCNu64,
                          &process->state, &parent, &group, &session, &user, &kernel,
                          &children_user, &children_kernel) != 8)
        return false;
    process->parent = parent;
    process->group = group;
    process->session = session;
    process->cpu_ticks = user + kernel + children_user + children_kernel;
    return true;
}

static bool grow(struct process_list *list)
{
    size_t capacity = list->capacity ? 2 * list->capacity : 256;
    struct process *items = realloc(list->items, capacity * sizeof *items);
    if (!items) return false;
    list->items = items;
    list->capacity = capacity;
    return true;
}

static int by_pid(const void *a, const void *b)
{
    pid_t left = ((const struct process *)a)->pid, right = ((const struct process *)b)->pid;
    return (left > right) - (left < right);
}

enum err process_list_read(struct process_list *list, struct error *error)
{
    DIR *dir = opendir("/proc");
    if (!dir) return error_errno(error, "open /proc");
    enum err rc = ERR_OK;
    list->count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char stat[1024];
        int64_t pid;
        struct process process = { 0 };
        if (!text_to_i64(text_of(entry->d_name), &pid) || pid <= 0) continue;
        process.pid = (pid_t)pid;
        if (read_proc_file(process.pid, "stat", stat, sizeof stat) == 0) continue;
        if (!parse_stat(stat, &process)) continue;
        if (list->count == list->capacity && !grow(list)) {
            rc = error_set(error, ERR_NO_MEMORY, "no memory for the list of processes");
            break;
        }
        list->items[list->count++] = process;
    }
    closedir(dir);
    if (list->count > 0) qsort(list->items, list->count, sizeof *list->items, by_pid);
    return rc;
}

int process_open_children(void)
{
    return open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
}

bool process_has_no_child_but(int children, const pid_t *known, size_t count)
{
    char text[1024];
    ssize_t bytes = pread(children, text, sizeof text, 0); /* -1 when it could not be opened */
    if (bytes < 0 || bytes == (ssize_t)sizeof text) return false;
    struct text rest = text_trim((struct text){ text, (size_t)bytes });
    while (rest.len > 0) {
        size_t blank = text_find(rest, TEXT(" "));
        struct text word = { rest.data, blank == SIZE_MAX ? rest.len : blank };
        int64_t pid = 0;
        bool is_known = false;
        if (!text_to_i64(word, &pid)) return false;
        for (size_t i = 0; i < count; i++)
            if (known[i] == pid) is_known = true;
        if (!is_known) return false;
        rest = text_trim((struct text){ rest.data + word.len, rest.len - word.len });
    }
    return true;
}

void process_list_fini(struct process_list *list)
{
    free(list->items);
    *list = (struct process_list){ 0 };
}

static const struct process *find(const struct process_list *list, pid_t pid)
{
    struct process key = { .pid = pid };
    if (list->count == 0) return NULL;
    return bsearch(&key, list->items, list->count, sizeof key, by_pid);
}

/* Environments longer than the buffer are searched piece by piece. */
static bool has_marker(pid_t pid, const char *marker)
{
    char path[64], data[16384];
    size_t marker_bytes = strlen(marker) + 1, kept = 0;
    if (marker_bytes > sizeof data / 2) return false;
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool found = false, at_start = true;
    for (ssize_t got; !found && (got = read(fd, data + kept, sizeof data - kept)) > 0;) {
        size_t n = kept + (size_t)got;
        for (size_t i = 0; !found && i + marker_bytes <= n; i++)
            found = (i > 0 ? data[i - 1] == '\0' : at_start) &&
                    memcmp(data + i, marker, marker_bytes) == 0;
        kept = n < marker_bytes ? n : marker_bytes;
        memmove(data, data + n - kept, kept);
        at_start = at_start && kept == n;
    }
    close(fd);
    return found;
}

static bool leads_another(const struct process_family *family, pid_t pid)
{
    for (size_t i = 0; i < family->other_count; i++)
        if (family->other_leaders[i] == pid) return true;
    return false;
}

static bool starts_family(const struct process *process, const struct process_family *family)
{
    if (family->leader > 0 &&
        (process->pid == family->leader || process->group == family->leader ||
         process->session == family->leader))
        return true;
    if (process->parent != family->root || leads_another(family, process->pid)) return false;
    if (process->state == 'Z') return false;
    return family->all_orphans || has_marker(process->pid, family->marker);
}

size_t process_find_family(struct process_list *list, const struct process_family *family)
{
    pid_t self = getpid();
    for (size_t i = 0; i < list->count; i++) {
        struct process *process = &list->items[i];
        process->in_family = process->pid != self && process->pid != family->root &&
                             starts_family(process, family);
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < list->count; i++) {
            struct process *process = &list->items[i];
            if (process->in_family || process->pid == self || process->pid == family->root)
                continue;
            const struct process *parent = find(list, process->parent);
            if (!parent || !parent->in_family) continue;
            process->in_family = changed = true;
        }
    }
    size_t alive = 0;
    for (size_t i = 0; i < list->count; i++)
        alive += list->items[i].in_family && list->items[i].state != 'Z';
    return alive;
}

void process_kill_family(const struct process_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].in_family && list->items[i].state != 'Z')
            kill(list->items[i].pid, SIGKILL);
}

uint64_t process_family_cpu_ns(const struct process_list *list)
{
    long rate = sysconf(_SC_CLK_TCK);
    uint64_t ticks = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].in_family) ticks += list->items[i].cpu_ticks;
    return rate > 0 ? ticks * (uint64_t)(NS_PER_S / rate) : 0;
}
