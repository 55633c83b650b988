/*
 * Any bytes as what a trainer says: as one JSON line, as one protobuf message, and as a stream over a pipe in
 * both encodings. Whatever comes out is bounded and plain; nothing is read beyond the input.
 */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/defs.h"
#include "proto/wire/codec.h"
#include "worker/agent/events_in.h"

static void check_event(const struct trainer_event *event)
{
    check(event->kind <= TRAINER_FAILURE);
    check(codec_is_utf8(event->text, strlen(event->text)));
    check(strchr(event->text, '\n') == NULL);
    check(codec_is_utf8(event->gate, strlen(event->gate)));
    check(codec_is_utf8(event->path, strlen(event->path)));
    check(event->step <= INT64_MAX);
    check(event->tokens <= INT64_MAX);
    check(event->flops_per_token >= 0);
}

static void stream(const uint8_t *data, size_t size, enum events_encoding encoding)
{
    int ends[2];
    struct events_in in;
    struct trainer_event event;
    struct error error;
    size_t room = size < 32768 ? size : 32768; /* what a pipe holds without being read */
    check(pipe2(ends, O_CLOEXEC) == 0);
    check(events_in_init(&in, ends[0], encoding, &error) == ERR_OK);
    check(write(ends[1], data, room) == (ssize_t)room);
    close(ends[1]);
    enum err rc;
    size_t rounds = 0;
    while ((rc = events_in_next(&in, &event, &error)) != ERR_CLOSED) {
        check(rc == ERR_OK || rc == ERR_INPUT);
        check(++rounds <= room + 1); /* every answer costs at least a byte */
        if (rc == ERR_OK) check_event(&event);
    }
    events_in_fini(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trainer_event event;
    struct error error;
    if (size > EVENT_BYTES_MAX) return 0;
    if (events_parse_json((const char *)data, size, &event, &error) == ERR_OK)
        check_event(&event);
    if (events_parse_protobuf(data, size, &event, &error) == ERR_OK) check_event(&event);
    if (size == 0) return 0;
    stream(data, size, EVENTS_JSON);
    stream(data, size, EVENTS_PROTOBUF);
    return 0;
}

size_t fuzz_example(unsigned index, uint8_t *to, size_t capacity)
{
    static const char *const lines[] = {
        "{\"ready\":true,\"step\":0,\"flops_per_token\":6e6,\"detail\":\"x\"}\n{\"step\":1}\n",
        "{\"step\":100,\"loss\":2.31,\"tokens\":819200,\"val_loss\":NaN,\"busy_ns\":5}\n",
        "{\"gate\":\"early\",\"step\":100,\"val_loss\":2.3,\"checkpoint\":\"c\\u00e9\"}\n",
        "{\"failure\":\"bad\\tdata\",\"other\":[{\"deep\":null},-1.5e3,true]}\n",
        "\x0d\x00\x00\x00\x1a\x0b\x0a\x02gg\x10\x64\x18\x05\x2a\x01p", /* a Gate, as protobuf */
    };
    enum { PROTOBUF_BYTES = 17 };
    if (index >= ARRAY_COUNT(lines)) return 0;
    size_t n = index == 4 ? PROTOBUF_BYTES : strlen(lines[index]);
    if (n > capacity) return 0;
    memcpy(to, lines[index], n);
    return n;
}
