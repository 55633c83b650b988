#include "worker/trainer/data.h"

#include "proto/base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HELD_OUT_DIVISOR = 10, PERMUTE_ROUNDS = 4, SCAN_BYTES = 1 << 18 };
#define SCAN_FILE_BYTES_MAX ((uint64_t)1 << 30)

struct data {
    struct data_options options;
    char *path;
    int fd;
    size_t token_bytes;
    uint64_t token_count;
    uint64_t train_count; /* tokens before the held-out tail */
    uint64_t window_count;
    unsigned char *row; /* context + 1 tokens as they stand in the file */
};

/* What an epoch's part of the generator says. */
struct epoch_plan {
    uint64_t key;
    uint64_t shift;
};

/* ---- reading ---- */

/* All of [offset, offset + bytes) of the file, or a clear error. */
static enum err read_at(const struct data *data, void *to, size_t bytes, uint64_t offset,
                        struct error *error)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = pread(data->fd, (char *)to + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_errno(error, "read data file %s", data->path);
        if (n == 0)
            return error_set(error, ERR_INPUT,
                             "data file %s has shrunk: it ends at byte %llu, and had %llu "
                             "tokens; restore it and resume",
                             data->path, (unsigned long long)(offset + done),
                             (unsigned long long)data->token_count);
        done += (size_t)n;
    }
    return ERR_OK;
}

static int32_t token_at(const struct data *data, const unsigned char *bytes, size_t index)
{
    if (data->token_bytes == 1) return bytes[index];
    return bytes[2 * index] | bytes[2 * index + 1] << 8;
}

static enum err token_error(const struct data *data, int32_t token, uint64_t index,
                            struct error *error)
{
    return error_set(error, ERR_INPUT,
                     "data file %s holds token %d at position %llu, and the vocabulary ends at "
                     "%d; raise --vocab or fix the file",
                     data->path, (int)token, (unsigned long long)index,
                     data->options.vocab_count - 1);
}

/* One sequence and its targets, which are the same tokens one place further. */
static enum err read_row(struct data *data, uint64_t first_token, int32_t *tokens,
                         int32_t *targets, struct error *error)
{
    size_t context = (size_t)data->options.context;
    enum err rc = read_at(data, data->row, (context + 1) * data->token_bytes,
                          first_token * data->token_bytes, error);
    if (rc != ERR_OK) return rc;
    for (size_t i = 0; i <= context; i++) {
        int32_t token = token_at(data, data->row, i);
        if (token >= data->options.vocab_count)
            return token_error(data, token, first_token + i, error);
        if (i < context) tokens[i] = token;
        if (i > 0) targets[i - 1] = token;
    }
    return ERR_OK;
}

/* ---- opening ---- */

static enum err scan_tokens(const struct data *data, unsigned char *chunk, struct error *error)
{
    uint64_t bytes = data->token_count * data->token_bytes;
    for (uint64_t at = 0; at < bytes; at += SCAN_BYTES) {
        size_t n = (size_t)(bytes - at < SCAN_BYTES ? bytes - at : SCAN_BYTES);
        enum err rc = read_at(data, chunk, n, at, error);
        if (rc != ERR_OK) return rc;
        for (size_t i = 0; i < n / data->token_bytes; i++) {
            int32_t token = token_at(data, chunk, i);
            if (token >= data->options.vocab_count)
                return token_error(data, token, at / data->token_bytes + i, error);
        }
    }
    return ERR_OK;
}

static enum err check_vocabulary(const struct data *data, struct error *error)
{
    int32_t token_max = data->token_bytes == 1 ? UINT8_MAX : UINT16_MAX;
    if (token_max < data->options.vocab_count) return ERR_OK;
    if (data->token_count * data->token_bytes > SCAN_FILE_BYTES_MAX) return ERR_OK;
    unsigned char *chunk = malloc(SCAN_BYTES);
    if (chunk == NULL) return error_set(error, ERR_NO_MEMORY, "no memory to read data");
    enum err rc = scan_tokens(data, chunk, error);
    free(chunk);
    return rc;
}

static enum err open_file(struct data *data, struct error *error)
{
    struct stat info;
    /* O_NONBLOCK: opening a pipe by mistake must not wait for a writer. */
    data->fd = open(data->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (data->fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return error_set(error, ERR_NOT_FOUND,
                         "data file %s does not exist; give --data an existing file",
                         data->path);
    if (data->fd < 0) return error_errno(error, "open data file %s", data->path);
    if (fstat(data->fd, &info) != 0)
        return error_errno(error, "look at data file %s", data->path);
    if (!S_ISREG(info.st_mode))
        return error_set(error, ERR_INPUT,
                         "data file %s is not a regular file; give --data a file", data->path);
    uint64_t bytes = (uint64_t)info.st_size;
    if (bytes % data->token_bytes != 0)
        return error_set(error, ERR_INPUT,
                         "data file %s has %llu bytes, an odd number, but u16 tokens have two "
                         "each; is it --data-format text?",
                         data->path, (unsigned long long)bytes);
    data->token_count = bytes / data->token_bytes;
    return ERR_OK;
}

/* Cuts the file into windows and the held-out tail. */
static enum err plan_windows(struct data *data, struct error *error)
{
    uint64_t context = (uint64_t)data->options.context;
    uint64_t held_out = data->token_count / HELD_OUT_DIVISOR;
    if (held_out < context + 1) held_out = context + 1;
    if (data->token_count < held_out + context + 1)
        return error_set(error, ERR_INPUT,
                         "data file %s has %llu tokens, and --context %d needs at least %llu; "
                         "use a longer file or a shorter context",
                         data->path, (unsigned long long)data->token_count,
                         data->options.context, (unsigned long long)(2 * (context + 1)));
    data->train_count = data->token_count - held_out;
    uint64_t whole = (data->train_count - 1) / context;
    /* One window is given up where there are several, to have room for the shift. */
    data->window_count = whole > 1 ? whole - 1 : 1;
    return ERR_OK;
}

enum err data_open(const struct data_options *options, struct data **out, struct error *error)
{
    check(options->context >= 1);
    check(options->vocab_count >= 1);
    *out = NULL;
    struct data *data = calloc(1, sizeof(*data));
    if (data == NULL) return error_set(error, ERR_NO_MEMORY, "no memory to read data");
    enum err rc = ERR_OK;
    data->fd = -1;
    data->options = *options;
    data->token_bytes = options->format == DATA_FORMAT_U16 ? 2 : 1;
    data->path = strdup(options->path);
    data->row = malloc(((size_t)options->context + 1) * data->token_bytes);
    if (data->path == NULL || data->row == NULL) {
        rc = error_set(error, ERR_NO_MEMORY, "no memory to read data");
        goto out;
    }
    if ((rc = open_file(data, error)) != ERR_OK) goto out;
    if ((rc = plan_windows(data, error)) != ERR_OK) goto out;
    if ((rc = check_vocabulary(data, error)) != ERR_OK) goto out;
    *out = data;
    return ERR_OK;
out:
    data_close(data);
    return rc;
}

void data_close(struct data *data)
{
    if (data == NULL) return;
    int saved = errno;
    if (data->fd >= 0) close(data->fd);
    free(data->row);
    free(data->path);
    free(data);
    errno = saved;
}

uint64_t data_token_count(const struct data *data)
{
    return data->token_count;
}

uint64_t data_window_count(const struct data *data)
{
    return data->window_count;
}

/* ---- order ---- */

struct data_cursor data_cursor_of(uint64_t seed)
{
    return (struct data_cursor){ .rng = rng_of(seed) };
}

/* Draws the epoch's order and shift; leaves the generator where the next epoch begins. */
static struct epoch_plan draw_plan(const struct data *data, struct rng *rng)
{
    uint64_t context = (uint64_t)data->options.context;
    uint64_t slack = data->train_count - 1 - data->window_count * context;
    if (slack > context - 1) slack = context - 1;
    struct epoch_plan plan;
    plan.key = rng_u64(rng);
    plan.shift = rng_below(rng, slack + 1);
    return plan;
}

/* A Feistel network over 2 * half_bits bits: a bijection whatever the round function is. */
static uint64_t feistel(uint64_t value, unsigned half_bits, uint64_t key)
{
    uint64_t mask = (UINT64_C(1) << half_bits) - 1;
    uint64_t left = value >> half_bits, right = value & mask;
    for (uint64_t round = 0; round < PERMUTE_ROUNDS; round++) {
        uint64_t mixed = hash_mix(key + round, right);
        uint64_t next = (left ^ (mixed >> 32)) & mask;
        left = right;
        right = next;
    }
    return left << half_bits | right;
}

/* Place `index` of a permutation of [0, count): a value that falls outside is sent through the
 * network again until it falls inside, which keeps the map a bijection. */
static uint64_t permute(uint64_t index, uint64_t count, uint64_t key)
{
    unsigned half_bits = 1;
    while (half_bits < 31 && (UINT64_C(1) << (2 * half_bits)) < count)
        half_bits++;
    check(count <= UINT64_C(1) << (2 * half_bits));
    do
        index = feistel(index, half_bits, key);
    while (index >= count);
    return index;
}

enum err data_next(struct data *data, const struct data_rows *rows, struct data_cursor *cursor,
                   int32_t *tokens, int32_t *targets, struct error *error)
{
    check(rows->first >= 0);
    check(rows->count >= 0);
    check(rows->first + rows->count <= rows->batch_rows);
    struct data_cursor next = *cursor;
    struct rng drawn = next.rng;
    struct epoch_plan plan = draw_plan(data, &drawn);
    size_t context = (size_t)data->options.context;
    for (int row = 0; row < rows->batch_rows; row++) {
        if (next.window >= data->window_count) {
            next = (struct data_cursor){ .epoch = next.epoch + 1, .rng = drawn };
            plan = draw_plan(data, &drawn);
        }
        uint64_t place = permute(next.window++, data->window_count, plan.key);
        if (row < rows->first || row >= rows->first + rows->count) continue;
        size_t at = (size_t)(row - rows->first) * context;
        enum err rc =
            read_row(data, plan.shift + place * context, tokens + at, targets + at, error);
        if (rc != ERR_OK) return rc;
    }
    *cursor = next;
    return ERR_OK;
}

enum err data_held_out(struct data *data, const struct data_rows *rows, int index,
                       int batch_count, int32_t *tokens, int32_t *targets, struct error *error)
{
    check(index >= 0);
    check(index < batch_count);
    size_t context = (size_t)data->options.context;
    uint64_t total = (uint64_t)batch_count * (uint64_t)rows->batch_rows;
    uint64_t span = data->token_count - data->train_count - context - 1;
    for (int i = 0; i < rows->count; i++) {
        uint64_t row = (uint64_t)index * (uint64_t)rows->batch_rows;
        row += (uint64_t)(rows->first + i);
        /* span * row / (total - 1) without overflow for any file. */
        uint64_t at =
            total > 1 ? span / (total - 1) * row + span % (total - 1) * row / (total - 1) : 0;
        size_t to = (size_t)i * context;
        enum err rc = read_row(data, data->train_count + at, tokens + to, targets + to, error);
        if (rc != ERR_OK) return rc;
    }
    return ERR_OK;
}
