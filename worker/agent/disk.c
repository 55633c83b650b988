#include "worker/agent/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/text.h"
#include "proto/wire/codec.h"

static enum err make_folder(const char *path, struct error *error)
{
    if (mkdir(path, 0750) == 0 || errno == EEXIST) return ERR_OK;
    return error_errno(error, "make folder %s", path);
}

enum err disk_make_run(const char *run_dir, struct error *error)
{
    char path[DISK_PATH_BYTES];
    if (!disk_full_path(run_dir, "checkpoints", path))
        return error_set(error, ERR_INPUT, "path too long: %s", run_dir);
    /* Its parent is nearly always there. */
    if (mkdir(run_dir, 0750) == 0 || errno == EEXIST) return make_folder(path, error);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        enum err rc = make_folder(path, error);
        *slash = '/';
        if (rc != ERR_OK) return rc;
    }
    return make_folder(path, error);
}

bool disk_full_path(const char *run_dir, const char *name, char path[DISK_PATH_BYTES])
{
    struct writer writer = writer_of(path, DISK_PATH_BYTES);
    if (name[0] != '/') writer_format(&writer, "%s/", run_dir);
    writer_string(&writer, name);
    return !writer.full;
}

bool disk_is_file(const char *path)
{
    struct stat facts;
    return stat(path, &facts) == 0 && S_ISREG(facts.st_mode);
}

/* Whether a component of the path is "..". */
static bool leads_out(const char *path)
{
    for (const char *at = path; (at = strstr(at, "..")); at += 2)
        if ((at == path || at[-1] == '/') && (at[2] == '/' || at[2] == '\0')) return true;
    return false;
}

bool disk_name_checkpoint(const char *run_dir, const char *path, char name[PATH_MAX_BYTES])
{
    char full[DISK_PATH_BYTES];
    struct text kept = text_of(path), dir = text_of(run_dir);
    if (leads_out(path) || !disk_full_path(run_dir, path, full) || !disk_is_file(full))
        return false;
    if (text_starts(kept, dir) && kept.len > dir.len && path[dir.len] == '/') {
        kept.data += dir.len;
        kept.len -= dir.len;
        while (kept.len > 0 && kept.data[0] == '/') {
            kept.data++;
            kept.len--;
        }
    }
    return kept.len > 0 && text_copy(name, PATH_MAX_BYTES, kept);
}

/* ---- checkpoint.latest ---- */

static enum err write_synced(const char *path, const char *text, size_t n, struct error *error)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0) return error_errno(error, "open %s", path);
    enum err rc = ERR_OK;
    ssize_t written = write(fd, text, n);
    if (written != (ssize_t)n) {
        if (written >= 0) errno = ENOSPC;
        rc = error_errno(error, "write %s", path);
    }
    if (rc == ERR_OK && fsync(fd) != 0) rc = error_errno(error, "sync %s", path);
    if (close(fd) != 0 && rc == ERR_OK) rc = error_errno(error, "close %s", path);
    return rc;
}

enum err disk_put_latest(const char *run_dir, const struct checkpoint *latest,
                         struct error *error)
{
    char path[DISK_PATH_BYTES], temporary[DISK_PATH_BYTES], text[PATH_MAX_BYTES + 64];
    struct writer writer = writer_of(text, sizeof text);
    writer_format(&writer, "%llu %llu %s\n", (unsigned long long)latest->step,
                  (unsigned long long)latest->tokens, latest->path);
    if (writer.full || !disk_full_path(run_dir, "checkpoint.latest", path) ||
        !disk_full_path(run_dir, ".checkpoint.latest.new", temporary))
        return error_set(error, ERR_INPUT, "path too long: %s", run_dir);
    enum err rc = write_synced(temporary, text, writer.len, error);
    if (rc == ERR_OK && rename(temporary, path) != 0)
        rc = error_errno(error, "rename %s", temporary);
    if (rc != ERR_OK) {
        unlink(temporary);
        return rc;
    }
    int dir = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
        fsync(dir); /* without it the older name may come back: an older checkpoint, not none */
        close(dir);
    }
    return ERR_OK;
}

/* The text up to the blank; moves `rest` behind it. */
static struct text word_of(struct text *rest)
{
    size_t n = text_find(*rest, TEXT(" "));
    if (n == SIZE_MAX) return (struct text){ rest->data, 0 };
    struct text word = { rest->data, n };
    rest->data += n + 1;
    rest->len -= n + 1;
    return word;
}

enum err disk_get_latest(const char *run_dir, struct checkpoint *latest, struct error *error)
{
    char path[DISK_PATH_BYTES], text[PATH_MAX_BYTES + 64];
    *latest = (struct checkpoint){ 0 };
    if (!disk_full_path(run_dir, "checkpoint.latest", path))
        return error_set(error, ERR_INPUT, "path too long: %s", run_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return error_set(error, ERR_NOT_FOUND, "no %s", path);
    if (fd < 0) return error_errno(error, "open %s", path);
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    if (n < 0) return error_errno(error, "read %s", path);
    struct text rest = { text, (size_t)n };
    struct checkpoint found = { 0 };
    bool whole = n > 0 && (size_t)n < sizeof text && text[n - 1] == '\n';
    if (whole) rest.len--;
    whole = whole && text_to_u64(word_of(&rest), &found.step) &&
            text_to_u64(word_of(&rest), &found.tokens) && rest.len > 0 &&
            found.step <= INT64_MAX && found.tokens <= INT64_MAX &&
            codec_is_utf8(rest.data, rest.len) && !memchr(rest.data, 0, rest.len) &&
            text_copy(found.path, sizeof found.path, rest);
    if (!whole)
        return error_set(error, ERR_DAMAGED, "%s is not \"STEP TOKENS PATH\"; ignored", path);
    *latest = found;
    return ERR_OK;
}

void disk_drop_latest(const char *run_dir)
{
    char path[DISK_PATH_BYTES];
    if (disk_full_path(run_dir, "checkpoint.latest", path)) unlink(path);
}

/* ---- lock and tail ---- */

enum err disk_is_unlocked(const char *lock_path, bool *unlocked, struct error *error)
{
    int fd = open(lock_path, O_RDWR | O_CLOEXEC);
    *unlocked = fd < 0 && errno == ENOENT;
    if (*unlocked) return ERR_OK;
    if (fd < 0) return error_errno(error, "open %s", lock_path);
    *unlocked = flock(fd, LOCK_EX | LOCK_NB) == 0;
    enum err rc = ERR_OK;
    if (!*unlocked && errno != EWOULDBLOCK) rc = error_errno(error, "lock %s", lock_path);
    close(fd);
    return rc;
}

void disk_read_tail(const char *path, char *tail, size_t tail_bytes)
{
    check(tail_bytes > 1);
    tail[0] = '\0';
    struct stat facts;
    if (stat(path, &facts) != 0 || (S_ISREG(facts.st_mode) && facts.st_size == 0)) return;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return;
    off_t size = lseek(fd, 0, SEEK_END);
    off_t from = size > (off_t)tail_bytes - 1 ? size - ((off_t)tail_bytes - 1) : 0;
    ssize_t n = size > 0 ? pread(fd, tail, tail_bytes - 1, from) : 0;
    close(fd);
    if (n <= 0) return;
    for (ssize_t i = 0; i < n; i++) /* a progress bar's returns end lines; zeros end strings */
        if (tail[i] == '\r' || tail[i] == '\0') tail[i] = tail[i] == '\r' ? '\n' : '?';
    tail[n] = '\0';
    char *newline = from > 0 ? strchr(tail, '\n') : NULL;
    if (newline && newline[1]) memmove(tail, newline + 1, strlen(newline + 1) + 1);
    while (from > 0 && !newline && ((unsigned char)tail[0] & 0xC0) == 0x80)
        memmove(tail, tail + 1, strlen(tail + 1) + 1);
    codec_make_utf8(tail);
}
