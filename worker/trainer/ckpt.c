#include "worker/trainer/ckpt.h"

#include "proto/base/hash.h"
#include "worker/trainer/ckpt_header.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_BYTES = 1 << 20 };

const char *ckpt_temporary_prefix(void)
{
    return ".writing-";
}

/* ---- files ---- */

static enum err write_at(int fd, const void *from, size_t bytes, uint64_t offset,
                         struct error *error)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = pwrite(fd, (const char *)from + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return error_errno(error, "write at byte %llu",
                               (unsigned long long)(offset + done));
        done += (size_t)n;
    }
    return ERR_OK;
}

static enum err read_at(int fd, void *to, size_t bytes, uint64_t offset, struct error *error)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = pread(fd, (char *)to + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return error_errno(error, "read at byte %llu", (unsigned long long)(offset + done));
        if (n == 0)
            return error_set(error, ERR_DAMAGED, "it ends at byte %llu",
                             (unsigned long long)(offset + done));
        done += (size_t)n;
    }
    return ERR_OK;
}

/* Length of the folder's part of a path, without the last slash; 0 when there is none. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (size_t)(slash - path);
}

/* Makes the rename durable. */
static enum err sync_folder(const char *path, struct error *error)
{
    char folder[PATH_MAX];
    size_t length = folder_length(path);
    const char *name = length > 0 ? path : path[0] == '/' ? "/" : ".";
    if (length == 0) length = 1;
    if (!text_copy(folder, sizeof(folder), (struct text){ name, length }))
        return error_set(error, ERR_INPUT, "the path is too long");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return error_errno(error, "open folder %s", folder);
    enum err rc = ERR_OK;
    /* EINVAL: a file system that has nothing to sync for folders. */
    if (fsync(fd) != 0 && errno != EINVAL) rc = error_errno(error, "sync folder %s", folder);
    close(fd);
    return rc;
}

static enum err temporary_name(const char *path, char temporary[PATH_MAX], struct error *error)
{
    size_t folder = folder_length(path);
    bool slash = strchr(path, '/') != NULL;
    struct writer writer = writer_of(temporary, PATH_MAX);
    writer_text(&writer, (struct text){ path, slash ? folder + 1 : 0 });
    writer_format(&writer, "%s%s", ckpt_temporary_prefix(), path + (slash ? folder + 1 : 0));
    if (writer.full) return error_set(error, ERR_INPUT, "the path is too long");
    return ERR_OK;
}

/* ---- writing ---- */

/* The numbers of all arrays, one after the other, from `offset` on; *crc is theirs. */
static enum err write_arrays(int fd, const struct ckpt_arrays *arrays, uint64_t offset,
                             uint32_t *crc, struct error *error)
{
    enum err rc = ERR_OK;
    void *chunk = malloc(CHUNK_BYTES);
    if (chunk == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for a checkpoint");
    *crc = 0;
    for (int array = 0; array < CKPT_ARRAYS && rc == ERR_OK; array++)
        for (int i = 0; i < arrays->tensor_count && rc == ERR_OK; i++) {
            const struct gpt_tensor *tensor = arrays->tensors[i];
            size_t bytes = (size_t)tensor->count * sizeof(float);
            const char *from = (const char *)(arrays->arrays[array] + tensor->offset);
            for (size_t at = 0; at < bytes && rc == ERR_OK; at += CHUNK_BYTES) {
                size_t n = bytes - at < CHUNK_BYTES ? bytes - at : CHUNK_BYTES;
                arrays->kernels->download(arrays->device, chunk, from + at, n);
                *crc = crc32c(*crc, chunk, n);
                rc = write_at(fd, chunk, n, offset, error);
                offset += n;
            }
        }
    free(chunk);
    return rc;
}

static enum err write_file(int fd, struct ckpt_draft *draft, const struct ckpt_arrays *arrays,
                           struct error *error)
{
    uint32_t crc = 0;
    unsigned char length[CKPT_LENGTH_BYTES];
    for (int i = 0; i < CKPT_LENGTH_BYTES; i++)
        length[i] = (unsigned char)((uint64_t)draft->bytes >> (8 * i));
    enum err rc = write_arrays(fd, arrays, CKPT_LENGTH_BYTES + draft->bytes, &crc, error);
    if (rc != ERR_OK) return rc;
    ckpt_draft_seal(draft, crc);
    if ((rc = write_at(fd, length, sizeof(length), 0, error)) != ERR_OK) return rc;
    rc = write_at(fd, draft->text, draft->bytes, CKPT_LENGTH_BYTES, error);
    if (rc != ERR_OK) return rc;
    if (fsync(fd) != 0) return error_errno(error, "sync");
    return ERR_OK;
}

static enum err write_and_rename(const char *path, const char *temporary,
                                 struct ckpt_draft *draft, const struct ckpt_arrays *arrays,
                                 struct error *error)
{
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0) return error_errno(error, "create %s", temporary);
    enum err rc = write_file(fd, draft, arrays, error);
    if (close(fd) != 0 && rc == ERR_OK) rc = error_errno(error, "close");
    if (rc == ERR_OK && rename(temporary, path) != 0) rc = error_errno(error, "rename");
    if (rc != ERR_OK) {
        unlink(temporary);
        return rc;
    }
    return sync_folder(path, error);
}

enum err ckpt_write(const char *path, const struct ckpt_arrays *arrays,
                    const struct ckpt_state *state, const struct ckpt_note *notes,
                    size_t note_count, struct error *error)
{
    char temporary[PATH_MAX];
    struct ckpt_draft draft;
    enum err rc = temporary_name(path, temporary, error);
    if (rc == ERR_OK) rc = ckpt_draft_make(&draft, arrays, state, notes, note_count, error);
    if (rc == ERR_OK) {
        rc = write_and_rename(path, temporary, &draft, arrays, error);
        free(draft.text);
    }
    if (rc != ERR_OK) return error_prefix(error, rc, "cannot write checkpoint %s", path);
    return ERR_OK;
}

/* ---- reading ---- */

struct opened {
    int fd;
    uint64_t data_at; /* where the tensors begin */
    uint64_t data_bytes;
    struct ckpt_header header;
};

static enum err read_header(int fd, uint64_t file_bytes, struct opened *opened,
                            struct error *error)
{
    unsigned char raw[CKPT_LENGTH_BYTES];
    uint64_t length = 0;
    enum err rc = read_at(fd, raw, sizeof(raw), 0, error);
    if (rc != ERR_OK) return rc;
    for (int i = CKPT_LENGTH_BYTES; i-- > 0;)
        length = length << 8 | raw[i];
    if (length < 2 || length > CKPT_HEADER_BYTES_MAX || length > file_bytes - CKPT_LENGTH_BYTES)
        return error_set(error, ERR_DAMAGED,
                         "its header would have %llu bytes, in a file of %llu",
                         (unsigned long long)length, (unsigned long long)file_bytes);
    char *text = malloc((size_t)length);
    if (text == NULL) return error_set(error, ERR_NO_MEMORY, "no memory for its header");
    opened->data_at = CKPT_LENGTH_BYTES + length;
    opened->data_bytes = file_bytes - opened->data_at;
    rc = read_at(fd, text, (size_t)length, CKPT_LENGTH_BYTES, error);
    if (rc == ERR_OK)
        rc =
            ckpt_header_parse(&opened->header, text, (size_t)length, opened->data_bytes, error);
    free(text);
    return rc;
}

static enum err open_checked(const char *path, struct opened *opened, struct error *error)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return error_set(error, ERR_NOT_FOUND, "it does not exist");
    if (fd < 0) return error_errno(error, "open");
    enum err rc;
    if (fstat(fd, &info) != 0)
        rc = error_errno(error, "look at it");
    else if (!S_ISREG(info.st_mode))
        rc = error_set(error, ERR_DAMAGED, "it is not a regular file");
    else if (info.st_size < CKPT_LENGTH_BYTES)
        rc = error_set(error, ERR_DAMAGED, "it has only %lld bytes", (long long)info.st_size);
    else
        rc = read_header(fd, (uint64_t)info.st_size, opened, error);
    if (rc != ERR_OK) {
        close(fd);
        return rc;
    }
    opened->fd = fd;
    return ERR_OK;
}

static enum err check_config(const struct gpt_config *stored, const struct gpt_config *wanted,
                             struct error *error)
{
    if (stored->layers == wanted->layers && stored->width == wanted->width &&
        stored->heads == wanted->heads && stored->context == wanted->context &&
        stored->vocab_count == wanted->vocab_count)
        return ERR_OK;
    return error_set(error, ERR_INPUT,
                     "it holds a model with layers %d, width %d, heads %d, context %d, vocab "
                     "%d, but asked for are %d, %d, %d, %d, %d",
                     stored->layers, stored->width, stored->heads, stored->context,
                     stored->vocab_count, wanted->layers, wanted->width, wanted->heads,
                     wanted->context, wanted->vocab_count);
}

/* Each tensor of the model is there with its shape, and there are no others. */
static enum err check_tensors(const struct ckpt_header *header,
                              const struct ckpt_arrays *arrays, struct error *error)
{
    size_t wanted = (size_t)arrays->tensor_count * CKPT_ARRAYS;
    if (header->entry_count != wanted)
        return error_set(error, ERR_DAMAGED, "it holds %zu tensors, and the model has %zu",
                         header->entry_count, wanted);
    for (int array = 0; array < CKPT_ARRAYS; array++)
        for (int i = 0; i < arrays->tensor_count; i++) {
            const struct gpt_tensor *tensor = arrays->tensors[i];
            const struct ckpt_entry *entry = ckpt_header_find(header, tensor, array);
            if (entry == NULL)
                return error_set(error, ERR_DAMAGED, "it lacks tensor %s of array %d",
                                 tensor->name, array);
            if (entry->dims != tensor->dims || entry->shape[0] != (uint64_t)tensor->shape[0] ||
                entry->shape[1] != (uint64_t)tensor->shape[1])
                return error_set(error, ERR_DAMAGED, "tensor %s has another shape",
                                 entry->name);
        }
    return ERR_OK;
}

static enum err check_data(const struct opened *opened, unsigned char *chunk,
                           struct error *error)
{
    uint32_t crc = 0;
    for (uint64_t at = 0; at < opened->data_bytes; at += CHUNK_BYTES) {
        uint64_t left = opened->data_bytes - at;
        size_t n = (size_t)(left < CHUNK_BYTES ? left : CHUNK_BYTES);
        enum err rc = read_at(opened->fd, chunk, n, opened->data_at + at, error);
        if (rc != ERR_OK) return rc;
        crc = crc32c(crc, chunk, n);
    }
    if (crc != opened->header.data_crc)
        return error_set(error, ERR_DAMAGED,
                         "its data's checksum is %08x, and %08x was written", crc,
                         opened->header.data_crc);
    return ERR_OK;
}

static enum err take_arrays(const struct opened *opened, const struct ckpt_arrays *arrays,
                            unsigned char *chunk, struct error *error)
{
    for (int array = 0; array < CKPT_ARRAYS; array++)
        for (int i = 0; i < arrays->tensor_count; i++) {
            const struct gpt_tensor *tensor = arrays->tensors[i];
            const struct ckpt_entry *entry = ckpt_header_find(&opened->header, tensor, array);
            char *to = (char *)(arrays->arrays[array] + tensor->offset);
            size_t bytes = (size_t)tensor->count * sizeof(float);
            for (size_t at = 0; at < bytes; at += CHUNK_BYTES) {
                size_t n = bytes - at < CHUNK_BYTES ? bytes - at : CHUNK_BYTES;
                uint64_t from = opened->data_at + entry->begin + at;
                enum err rc = read_at(opened->fd, chunk, n, from, error);
                if (rc != ERR_OK) return rc;
                arrays->kernels->upload(arrays->device, to + at, chunk, n);
            }
        }
    return ERR_OK;
}

static enum err load_opened(struct opened *opened, const struct ckpt_arrays *arrays,
                            struct error *error)
{
    enum err rc = check_config(&opened->header.config, arrays->config, error);
    if (rc != ERR_OK) return rc;
    if ((rc = check_tensors(&opened->header, arrays, error)) != ERR_OK) return rc;
    unsigned char *chunk = malloc(CHUNK_BYTES);
    if (chunk == NULL) return error_set(error, ERR_NO_MEMORY, "no memory to read it");
    rc = check_data(opened, chunk, error);
    if (rc == ERR_OK) rc = take_arrays(opened, arrays, chunk, error);
    free(chunk);
    return rc;
}

enum err ckpt_load(const char *path, const struct ckpt_arrays *arrays, struct ckpt_state *state,
                   struct error *error)
{
    struct opened opened;
    enum err rc = open_checked(path, &opened, error);
    if (rc == ERR_OK) {
        rc = load_opened(&opened, arrays, error);
        if (rc == ERR_OK) *state = opened.header.state;
        ckpt_header_fini(&opened.header);
        close(opened.fd);
    }
    if (rc != ERR_OK) return error_prefix(error, rc, "cannot use checkpoint %s", path);
    return ERR_OK;
}

enum err ckpt_peek(const char *path, struct ckpt_state *state, struct error *error)
{
    struct opened opened;
    enum err rc = open_checked(path, &opened, error);
    if (rc != ERR_OK) return error_prefix(error, rc, "cannot use checkpoint %s", path);
    *state = opened.header.state;
    ckpt_header_fini(&opened.header);
    close(opened.fd);
    return ERR_OK;
}
