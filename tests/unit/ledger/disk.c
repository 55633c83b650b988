#include "tests/unit/ledger/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512, FOLDER = DISK_FILES };

/* ---- faults ---- */

/* Counts a call. Returns what is to go wrong with it. */
static enum disk_fault next_fault(struct disk *disk)
{
    if (disk->down) {
        errno = EIO;
        return DISK_FAIL;
    }
    disk->calls++;
    if (disk->calls != disk->fault_call) return DISK_NO_FAULT;
    errno = disk->fault == DISK_SHORT ? EINTR : disk->fault_errno;
    if (disk->fault == DISK_CRASH) {
        disk->down = true;
        errno = EIO;
    }
    return disk->fault;
}

void disk_plan(struct disk *disk, uint32_t n, enum disk_fault fault, int fault_errno)
{
    disk->fault_call = n == 0 ? 0 : disk->calls + n;
    disk->fault = fault;
    disk->fault_errno = fault_errno;
}

/* ---- files ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

struct disk_file *disk_find(struct disk *disk, const char *name)
{
    for (int i = 0; i < DISK_FILES; i++)
        if (disk->files[i].used && strcmp(disk->files[i].name, name) == 0)
            return &disk->files[i];
    return NULL;
}

void disk_resize(struct disk_file *file, size_t bytes)
{
    if (bytes > file->capacity) {
        file->capacity = 2 * bytes;
        file->data = realloc(file->data, file->capacity);
        check(file->data != NULL);
    }
    if (bytes > file->bytes) memset(file->data + file->bytes, 0, bytes - file->bytes);
    file->bytes = bytes;
}

static void file_sync(struct disk_file *file)
{
    file->synced = realloc(file->synced, file->bytes + 1);
    check(file->synced != NULL);
    if (file->bytes > 0) memcpy(file->synced, file->data, file->bytes);
    file->synced_bytes = file->bytes;
}

static void file_free(struct disk_file *file)
{
    free(file->data);
    free(file->synced);
    *file = (struct disk_file){ .lock_fd = -1 };
}

static struct disk_file *file_new(struct disk *disk, const char *name)
{
    for (int i = 0; i < DISK_FILES; i++) {
        struct disk_file *file = &disk->files[i];
        if (file->used) continue;
        *file = (struct disk_file){ .used = true, .lock_fd = -1 };
        check(text_copy(file->name, sizeof(file->name), text_of(name)));
        return file;
    }
    unreachable("disk with enough files");
}

static struct disk_file *file_of(struct disk *disk, int fd)
{
    check(fd >= 0);
    check(fd < DISK_FDS);
    check(disk->fds[fd] >= 0);
    return disk->fds[fd] == FOLDER ? NULL : &disk->files[disk->fds[fd]];
}

void disk_remove(struct disk *disk, const char *name)
{
    struct disk_file *file = disk_find(disk, name);
    if (file != NULL) file_free(file);
}

/* ---- calls ---- */

static int disk_open(void *context, const char *path, int flags, mode_t mode)
{
    struct disk *disk = context;
    (void)mode;
    if (next_fault(disk) != DISK_NO_FAULT) return -1;
    int fd = 0;
    while (fd < DISK_FDS && disk->fds[fd] >= 0)
        fd++;
    check(fd < DISK_FDS); /* a leak of descriptors ends here */
    if ((flags & O_DIRECTORY) != 0) {
        disk->fds[fd] = FOLDER;
        return fd;
    }
    struct disk_file *file = disk_find(disk, base_name(path));
    if (file == NULL && (flags & O_CREAT) == 0) {
        errno = ENOENT;
        return -1;
    }
    if (file == NULL) file = file_new(disk, base_name(path));
    if ((flags & O_TRUNC) != 0) file->bytes = 0;
    disk->fds[fd] = (int)(file - disk->files);
    return fd;
}

static int disk_close(void *context, int fd)
{
    struct disk *disk = context;
    struct disk_file *file = file_of(disk, fd);
    if (file != NULL && file->lock_fd == fd) file->lock_fd = -1;
    disk->fds[fd] = -1;
    return 0;
}

static ssize_t disk_pread(void *context, int fd, void *data, size_t bytes, int64_t offset)
{
    struct disk *disk = context;
    struct disk_file *file = file_of(disk, fd);
    enum disk_fault fault = next_fault(disk);
    if (fault != DISK_NO_FAULT && (fault != DISK_SHORT || bytes < 2)) return -1;
    if (fault == DISK_SHORT) bytes /= 2;
    if ((uint64_t)offset >= file->bytes) return 0;
    size_t left = file->bytes - (size_t)offset;
    if (bytes > left) bytes = left;
    if (bytes > 0) memcpy(data, file->data + offset, bytes);
    return (ssize_t)bytes;
}

static ssize_t disk_pwrite(void *context, int fd, const void *data, size_t bytes,
                           int64_t offset)
{
    struct disk *disk = context;
    struct disk_file *file = file_of(disk, fd);
    enum disk_fault fault = next_fault(disk);
    if (fault == DISK_FAIL || (fault == DISK_SHORT && bytes < 2)) return -1;
    disk->writes++;
    if (fault == DISK_SHORT) bytes /= 2;
    if (fault == DISK_CRASH) bytes = (size_t)rng_below(&disk->rng, bytes + 1);
    size_t end = (size_t)offset + bytes;
    if (end > file->bytes && disk->room_bytes >= 0) {
        size_t grows = end - file->bytes;
        if (disk->room_bytes == 0) {
            errno = ENOSPC;
            return -1;
        }
        if (grows > (size_t)disk->room_bytes) {
            bytes -= grows - (size_t)disk->room_bytes;
            grows = (size_t)disk->room_bytes;
            end = (size_t)offset + bytes;
        }
        disk->room_bytes -= (int64_t)grows;
    }
    if (end > file->bytes) disk_resize(file, end);
    if (bytes > 0) memcpy(file->data + offset, data, bytes);
    return fault == DISK_CRASH ? -1 : (ssize_t)bytes;
}

static int disk_fdatasync(void *context, int fd)
{
    struct disk *disk = context;
    struct disk_file *file = file_of(disk, fd);
    if (next_fault(disk) != DISK_NO_FAULT) return -1;
    disk->data_syncs++;
    file_sync(file);
    return 0;
}

static int disk_fsync(void *context, int fd)
{
    struct disk *disk = context;
    struct disk_file *file = file_of(disk, fd);
    if (next_fault(disk) != DISK_NO_FAULT) return -1;
    if (file != NULL) {
        file_sync(file);
        return 0;
    }
    for (int i = 0; i < DISK_FILES; i++) {
        struct disk_file *each = &disk->files[i];
        if (each->used) memcpy(each->synced_name, each->name, sizeof(each->name));
    }
    return 0;
}

static int disk_ftruncate(void *context, int fd, int64_t bytes)
{
    struct disk *disk = context;
    struct disk_file *file = file_of(disk, fd);
    if (next_fault(disk) != DISK_NO_FAULT) return -1;
    if (disk->room_bytes >= 0 && (size_t)bytes < file->bytes)
        disk->room_bytes += (int64_t)(file->bytes - (size_t)bytes);
    disk_resize(file, (size_t)bytes);
    return 0;
}

static int disk_size(void *context, int fd, int64_t *bytes)
{
    struct disk *disk = context;
    struct disk_file *file = file_of(disk, fd);
    if (next_fault(disk) != DISK_NO_FAULT) return -1;
    if (file->name[0] == 0) {
        errno = ESTALE;
        return -1;
    }
    *bytes = (int64_t)file->bytes;
    return 0;
}

static int disk_rename(void *context, const char *from, const char *to)
{
    struct disk *disk = context;
    if (next_fault(disk) != DISK_NO_FAULT) return -1;
    struct disk_file *file = disk_find(disk, base_name(from));
    check(file != NULL);
    check(disk_find(disk, base_name(to)) == NULL);
    memset(file->name, 0, sizeof(file->name));
    check(text_copy(file->name, sizeof(file->name), text_of(base_name(to))));
    return 0;
}

static int disk_unlink(void *context, const char *path)
{
    struct disk *disk = context;
    if (next_fault(disk) != DISK_NO_FAULT) return -1;
    struct disk_file *file = disk_find(disk, base_name(path));
    if (file == NULL) {
        errno = ENOENT;
        return -1;
    }
    if (disk->room_bytes >= 0) disk->room_bytes += (int64_t)file->bytes;
    memset(file->name, 0, sizeof(file->name));
    return 0;
}

static int disk_lock(void *context, int fd)
{
    struct disk *disk = context;
    struct disk_file *file = file_of(disk, fd);
    if (next_fault(disk) != DISK_NO_FAULT) return -1;
    if (file->lock_fd >= 0 && file->lock_fd != fd) {
        errno = EAGAIN;
        return -1;
    }
    file->lock_fd = fd;
    return 0;
}

static int disk_locked(void *context, int fd)
{
    struct disk *disk = context;
    struct disk_file *file = file_of(disk, fd);
    if (next_fault(disk) != DISK_NO_FAULT) return -1;
    return file->lock_fd >= 0 && file->lock_fd != fd;
}

/* ---- lives ---- */

void disk_init(struct disk *disk, uint64_t seed)
{
    *disk = (struct disk){
        .io = { .context = disk,
                .open = disk_open,
                .close = disk_close,
                .pread = disk_pread,
                .pwrite = disk_pwrite,
                .fdatasync = disk_fdatasync,
                .fsync = disk_fsync,
                .ftruncate = disk_ftruncate,
                .size = disk_size,
                .rename = disk_rename,
                .unlink = disk_unlink,
                .lock = disk_lock,
                .locked = disk_locked },
        .rng = rng_of(seed),
        .room_bytes = -1,
    };
    for (int i = 0; i < DISK_FILES; i++)
        disk->files[i].lock_fd = -1;
    for (int i = 0; i < DISK_FDS; i++)
        disk->fds[i] = -1;
}

void disk_fini(struct disk *disk)
{
    for (int i = 0; i < DISK_FILES; i++)
        file_free(&disk->files[i]);
}

void disk_flush(struct disk *disk)
{
    for (int i = 0; i < DISK_FILES; i++) {
        struct disk_file *file = &disk->files[i];
        if (!file->used) continue;
        file_sync(file);
        memcpy(file->synced_name, file->name, sizeof(file->name));
    }
}

/* A sector keeps what it had, or has what was written; so does the size, at any point between.
 */
static void file_cut(struct disk *disk, struct disk_file *file)
{
    size_t low = file->synced_bytes < file->bytes ? file->synced_bytes : file->bytes;
    size_t high = file->synced_bytes < file->bytes ? file->bytes : file->synced_bytes;
    size_t size = low + (size_t)rng_below(&disk->rng, high - low + 1);
    if (rng_below(&disk->rng, 4) == 0) size = high;
    disk_resize(file, high);
    for (size_t at = 0; at < size; at += SECTOR) {
        size_t end = at + SECTOR < size ? at + SECTOR : size;
        if (rng_below(&disk->rng, 2) == 0) continue; /* it was written */
        size_t kept = file->synced_bytes > at ? file->synced_bytes - at : 0;
        if (kept > end - at) kept = end - at;
        if (kept > 0) memcpy(file->data + at, file->synced + at, kept);
        memset(file->data + at + kept, 0, end - at - kept);
    }
    disk_resize(file, size);
}

static void name_cut(struct disk *disk, struct disk_file *file)
{
    if (strcmp(file->name, file->synced_name) == 0) return;
    if (rng_below(&disk->rng, 2) == 0)
        memcpy(file->name, file->synced_name, sizeof(file->name));
}

void disk_restart(struct disk *disk, bool power_cut)
{
    disk->down = false;
    disk->fault_call = 0;
    for (int i = 0; i < DISK_FDS; i++)
        disk->fds[i] = -1;
    for (int i = 0; i < DISK_FILES; i++) {
        struct disk_file *file = &disk->files[i];
        if (!file->used) continue;
        file->lock_fd = -1;
        if (power_cut) {
            file_cut(disk, file);
            name_cut(disk, file);
        }
        if (file->name[0] == 0) file_free(file);
    }
    if (power_cut) disk_flush(disk);
}
