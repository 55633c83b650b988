#include "scheduler/report/tfevents.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/hash.h"
#include "proto/tfevents.pb-c.h"

enum { EVENT_BYTES_MAX = 1024, TAG_BYTES_MAX = 256 };

struct tfevents {
    FILE *to;
    char *path;
    struct error failed; /* code is ERR_OK until something failed */
};

/* TensorBoard stores checksums rotated and shifted, so that a checksum of data that holds checksums is not
 * special. */
static uint32_t masked_crc(const void *data, size_t bytes)
{
    uint32_t crc = crc32c(0, data, bytes);
    return ((crc >> 15) | (crc << 17)) + UINT32_C(0xa282ead8);
}

static void put_le(uint8_t *to, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static enum err fail(struct tfevents *file, const char *what, struct error *error)
{
    enum err rc = error_errno(&file->failed, "%s %s", what, file->path);
    if (error) *error = file->failed;
    return rc;
}

static enum err refuse(const struct tfevents *file, struct error *error)
{
    if (error) *error = file->failed;
    return file->failed.code;
}

static enum err put_event(struct tfevents *file, const Penstock__Tfevents__Event *event,
                          struct error *error)
{
    uint8_t frame[8 + 4 + EVENT_BYTES_MAX + 4];
    size_t bytes = penstock__tfevents__event__get_packed_size(event);
    check(bytes <= EVENT_BYTES_MAX);
    put_le(frame, bytes, 8);
    put_le(frame + 8, masked_crc(frame, 8), 4);
    penstock__tfevents__event__pack(event, frame + 12);
    put_le(frame + 12 + bytes, masked_crc(frame + 12, bytes), 4);
    if (fwrite(frame, 1, 16 + bytes, file->to) != 16 + bytes) return fail(file, "write", error);
    return ERR_OK;
}

static double seconds_of(int64_t wall_time_ns)
{
    int64_t whole = wall_time_ns / NS_PER_S, rest_ns = wall_time_ns % NS_PER_S;
    return (double)whole + (double)rest_ns * 1e-9;
}

static enum err put_version(struct tfevents *file, int64_t wall_time_ns, struct error *error)
{
    static char version[] = "brain.Event:2";
    Penstock__Tfevents__Event event = PENSTOCK__TFEVENTS__EVENT__INIT;
    event.wall_time = seconds_of(wall_time_ns);
    event.what_case = PENSTOCK__TFEVENTS__EVENT__WHAT_FILE_VERSION;
    event.file_version = version;
    return put_event(file, &event, error);
}

enum err tfevents_open(const char *path, int64_t wall_time_ns, struct tfevents **out,
                       struct error *error)
{
    *out = NULL;
    struct tfevents *file = calloc(1, sizeof *file);
    char *copy = strdup(path);
    if (!file || !copy) {
        free(file);
        free(copy);
        return error_set(error, ERR_NO_MEMORY, "no memory for %s", path);
    }
    file->path = copy;
    file->to = fopen(path, "wbxe");
    enum err rc =
        file->to ? put_version(file, wall_time_ns, error) : fail(file, "create", error);
    if (rc == ERR_OK) rc = tfevents_flush(file, error);
    if (rc == ERR_OK) {
        *out = file;
        return ERR_OK;
    }
    if (file->to) fclose(file->to);
    free(file->path);
    free(file);
    return rc;
}

enum err tfevents_scalar(struct tfevents *file, int64_t wall_time_ns, uint64_t step,
                         const char *tag, double value, struct error *error)
{
    if (file->failed.code != ERR_OK) return refuse(file, error);
    char name[TAG_BYTES_MAX];
    text_copy(name, sizeof name, text_of(tag));
    Penstock__Tfevents__Value scalar = PENSTOCK__TFEVENTS__VALUE__INIT;
    scalar.tag = name;
    scalar.value_case = PENSTOCK__TFEVENTS__VALUE__VALUE_SIMPLE_VALUE;
    scalar.simple_value = (float)value;
    Penstock__Tfevents__Value *values[] = { &scalar };
    Penstock__Tfevents__Summary summary = PENSTOCK__TFEVENTS__SUMMARY__INIT;
    summary.n_value = 1;
    summary.value = values;
    Penstock__Tfevents__Event event = PENSTOCK__TFEVENTS__EVENT__INIT;
    event.wall_time = seconds_of(wall_time_ns);
    event.step = step > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)step;
    event.what_case = PENSTOCK__TFEVENTS__EVENT__WHAT_SUMMARY;
    event.summary = &summary;
    return put_event(file, &event, error);
}

enum err tfevents_flush(struct tfevents *file, struct error *error)
{
    if (file->failed.code != ERR_OK) return refuse(file, error);
    if (fflush(file->to) != 0) return fail(file, "write", error);
    return ERR_OK;
}

enum err tfevents_close(struct tfevents *take_file, struct error *error)
{
    if (!take_file) return ERR_OK;
    enum err rc = tfevents_flush(take_file, error);
    if (fclose(take_file->to) != 0 && rc == ERR_OK) rc = fail(take_file, "close", error);
    free(take_file->path);
    free(take_file);
    return rc;
}
