#include "worker/trainer/shelf.h"

#include "proto/base/log.h"
#include "proto/base/text.h"
#include "worker/trainer/ckpt.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "checkpoints"
#define PREFIX "step-"
#define SUFFIX ".safetensors"

struct item {
    uint64_t step;
    bool abandoned; /* written beyond the step that this attempt starts from */
    bool pinned;    /* for a gate without a verdict */
};

struct shelf {
    char folder[PATH_MAX];
    int keep;
    size_t count, capacity;
    struct item *items;
};

void shelf_relative_path(uint64_t step, char path[PATH_MAX])
{
    struct writer writer = writer_of(path, PATH_MAX);
    writer_format(&writer, FOLDER "/" PREFIX "%08" PRIu64 SUFFIX, step);
    check(!writer.full);
}

enum err shelf_path(const struct shelf *shelf, uint64_t step, char path[PATH_MAX],
                    struct error *error)
{
    struct writer writer = writer_of(path, PATH_MAX);
    writer_format(&writer, "%s/" PREFIX "%08" PRIu64 SUFFIX, shelf->folder, step);
    if (writer.full) return error_set(error, ERR_INPUT, "the run's directory is too long");
    return ERR_OK;
}

/* The step in a checkpoint's name, written as we write it. */
static bool step_of_name(const char *name, uint64_t *step)
{
    char again[PATH_MAX];
    struct text text = text_of(name), prefix = TEXT(PREFIX), suffix = TEXT(SUFFIX);
    if (text.len < prefix.len + suffix.len || !text_starts(text, prefix)) return false;
    struct text digits = { text.data + prefix.len, text.len - prefix.len - suffix.len };
    if (!text_to_u64(digits, step)) return false;
    shelf_relative_path(*step, again);
    return strcmp(again + sizeof(FOLDER), name) == 0;
}

static enum err add_item(struct shelf *shelf, struct item item, struct error *error)
{
    if (shelf->count == shelf->capacity) {
        size_t capacity = shelf->capacity == 0 ? 32 : 2 * shelf->capacity;
        struct item *items = realloc(shelf->items, capacity * sizeof(*items));
        if (items == NULL)
            return error_set(error, ERR_NO_MEMORY, "no memory for a list of checkpoints");
        shelf->items = items;
        shelf->capacity = capacity;
    }
    shelf->items[shelf->count++] = item;
    return ERR_OK;
}

/* True when the checkpoint was written for one of the gates without a verdict. One that cannot
 * be read is of no use to a gate. */
static bool waits_for_verdict(const struct shelf *shelf, uint64_t step,
                              const struct shelf_options *options)
{
    char path[PATH_MAX];
    struct ckpt_state state;
    if (shelf_path(shelf, step, path, NULL) != ERR_OK) return false;
    if (ckpt_peek(path, &state, NULL) != ERR_OK) return false;
    for (int i = 0; i < options->gate_count; i++)
        if (strcmp(state.gate, options->gates[i]) == 0) return true;
    return false;
}

static enum err look_at(struct shelf *shelf, int folder_fd, const char *name,
                        const struct shelf_options *options, struct error *error)
{
    uint64_t step;
    if (text_starts(text_of(name), text_of(ckpt_temporary_prefix()))) {
        if (unlinkat(folder_fd, name, 0) != 0)
            log_line(LOG_LEVEL_WARN, "cannot remove half-written %s: %s", name,
                     strerror(errno));
        return ERR_OK;
    }
    if (!step_of_name(name, &step)) return ERR_OK;
    struct item item = { .step = step,
                         .abandoned = step > options->start_step,
                         .pinned = waits_for_verdict(shelf, step, options) };
    return add_item(shelf, item, error);
}

static enum err scan(struct shelf *shelf, const struct shelf_options *options,
                     struct error *error)
{
    DIR *folder = opendir(shelf->folder);
    if (folder == NULL) return error_errno(error, "open folder %s", shelf->folder);
    enum err rc = ERR_OK;
    while (rc == ERR_OK) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (entry == NULL && errno != 0)
            rc = error_errno(error, "read folder %s", shelf->folder);
        if (entry == NULL) break;
        rc = look_at(shelf, dirfd(folder), entry->d_name, options, error);
    }
    closedir(folder);
    return rc;
}

static enum err make_folder(const char *path, struct error *error)
{
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return error_errno(error, "make folder %s", path);
    return ERR_OK;
}

enum err shelf_open(const struct shelf_options *options, struct shelf **out,
                    struct error *error)
{
    *out = NULL;
    check(options->keep >= 1);
    struct shelf *shelf = calloc(1, sizeof(*shelf));
    if (shelf == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for checkpoints");
    shelf->keep = options->keep;
    struct writer writer = writer_of(shelf->folder, sizeof(shelf->folder));
    writer_format(&writer, "%s/" FOLDER, options->run_dir);
    enum err rc = ERR_OK;
    if (writer.full)
        rc = error_set(error, ERR_INPUT, "the run's directory has too long a path");
    if (rc == ERR_OK) rc = make_folder(options->run_dir, error);
    if (rc == ERR_OK) rc = make_folder(shelf->folder, error);
    if (rc == ERR_OK) rc = scan(shelf, options, error);
    if (rc != ERR_OK) {
        shelf_close(shelf);
        return rc;
    }
    *out = shelf;
    return ERR_OK;
}

void shelf_close(struct shelf *shelf)
{
    if (shelf == NULL) return;
    int saved = errno;
    free(shelf->items);
    free(shelf);
    errno = saved;
}

size_t shelf_count(const struct shelf *shelf)
{
    return shelf->count;
}

/* Newest first; what was abandoned comes after everything else. */
static int by_age(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->abandoned != y->abandoned) return x->abandoned ? 1 : -1;
    return (x->step < y->step) - (x->step > y->step);
}

void shelf_added(struct shelf *shelf, uint64_t step, bool for_gate)
{
    size_t found = 0, kept = 0;
    while (found < shelf->count && shelf->items[found].step != step)
        found++;
    if (found < shelf->count)
        shelf->items[found] = (struct item){ .step = step, .pinned = for_gate };
    else if (add_item(shelf, (struct item){ .step = step, .pinned = for_gate }, NULL) != ERR_OK)
        return; /* it stays on disk, unlisted, until the next attempt */
    qsort(shelf->items, shelf->count, sizeof(*shelf->items), by_age);
    for (size_t i = 0; i < shelf->count; i++) {
        struct item item = shelf->items[i];
        char path[PATH_MAX];
        bool keep = item.pinned || i < (size_t)shelf->keep;
        if (!keep && shelf_path(shelf, item.step, path, NULL) == ERR_OK && unlink(path) != 0 &&
            errno != ENOENT) {
            log_line(LOG_LEVEL_WARN, "cannot remove old checkpoint %s: %s", path,
                     strerror(errno));
            keep = true;
        }
        if (keep) shelf->items[kept++] = item;
    }
    shelf->count = kept;
}
