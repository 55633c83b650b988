/* Events of both encodings, whole, cut into pieces, and malformed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/trainer.pb-c.h"
#include "worker/agent/events_in.h"

static enum err parse(const char *line, struct trainer_event *event)
{
    return events_parse_json(line, strlen(line), event, NULL);
}

static void test_kinds(void **state)
{
    (void)state;
    struct trainer_event event;
    assert_int_equal(parse("{\"ready\":true,\"step\":5,\"flops_per_token\":1e6,\"backend\":"
                           "\"cpu\",\"detail\":\"d\"}",
                           &event),
                     ERR_OK);
    assert_int_equal(event.kind, TRAINER_READY);
    assert_int_equal(event.step, 5);
    assert_true(event.flops_per_token == 1e6);
    assert_string_equal(event.text, "cpu d");
    assert_int_equal(parse("{\"step\":100,\"loss\":2.31,\"tokens\":819200,\"val_loss\":2.4,"
                           "\"busy_ns\":7,\"wait_ns\":8,\"collectives\":9,"
                           "\"in_collective\":true}",
                           &event),
                     ERR_OK);
    assert_int_equal(event.kind, TRAINER_PROGRESS);
    assert_true(event.has_loss && event.has_val_loss && event.has_step && event.has_tokens);
    assert_true(event.loss == 2.31 && event.val_loss == 2.4);
    assert_int_equal(event.tokens, 819200);
    assert_int_equal(event.busy_ns, 7);
    assert_int_equal(event.wait_ns, 8);
    assert_int_equal(event.collectives, 9);
    assert_true(event.in_collective);
    assert_int_equal(
        parse("{\"gate\":\"g\",\"step\":1,\"val_loss\":NaN,\"checkpoint\":\"p\"}", &event),
        ERR_OK);
    assert_int_equal(event.kind, TRAINER_GATE);
    assert_true(isnan(event.val_loss));
    assert_string_equal(event.path, "p");
    assert_false(event.has_tokens);
    assert_int_equal(parse("{\"checkpoint\":\"p\",\"step\":1,\"tokens\":2}", &event), ERR_OK);
    assert_int_equal(event.kind, TRAINER_CHECKPOINT);
    assert_int_equal(parse("{\"failure\":\"line one\\nline two\"}", &event), ERR_OK);
    assert_int_equal(event.kind, TRAINER_FAILURE);
    assert_string_equal(event.text, "line one line two");
    assert_int_equal(
        parse("{\"step\":1,\"loss\":null,\"learning_rate\":-3,\"other\":{\"deep\":[1]}}",
              &event),
        ERR_OK);
    assert_false(event.has_loss);
    assert_true(event.learning_rate == 0);
    assert_int_equal(parse("{\"comm_id\":\"00ff7a\",\"run\":0,\"attempt\":4294967295}", &event),
                     ERR_OK);
    assert_int_equal(event.kind, TRAINER_COMM_ID);
    assert_int_equal(event.run, 0);
    assert_int_equal(event.attempt, UINT32_MAX);
    assert_int_equal(event.id_bytes, 3);
    assert_memory_equal(event.id, "\x00\xff\x7a", 3);
}

static void test_not_events(void **state)
{
    (void)state;
    struct trainer_event event;
    assert_int_equal(parse("{}", &event), ERR_NOT_FOUND);
    assert_int_equal(parse("{\"message\":\"hello\"}", &event), ERR_NOT_FOUND);
    assert_int_equal(parse("{\"ready\":false}", &event), ERR_NOT_FOUND);
    char long_name[300];
    memset(long_name, 'n', sizeof long_name);
    snprintf(long_name, 40, "{\"step\":1,\"gate\":\"");
    memset(long_name + strlen(long_name), 'n', 200);
    snprintf(long_name + 200, 20, "\"}");
    const char *bad[] = { "[1]",
                          "12",
                          "\"x\"",
                          "{\"step\":-1}",
                          "{\"step\":1.5}",
                          "{\"step\":\"1\"}",
                          "{\"loss\":\"x\"}",
                          "{\"gate\":\"g\"}",
                          "{\"checkpoint\":\"p\"}",
                          "{\"gate\":5,\"step\":1}",
                          "{\"step\":1}x",
                          "{\"step\":99999999999999999999}",
                          "{\"gate\":\"a\\u0007\",\"step\":1}",
                          "{\"checkpoint\":\"a\xFF\",\"step\":1}",
                          "{\"step\":1",
                          "{\"comm_id\":\"\",\"run\":1,\"attempt\":1}",
                          "{\"comm_id\":\"0\",\"run\":1,\"attempt\":1}",
                          "{\"comm_id\":\"0G\",\"run\":1,\"attempt\":1}",
                          "{\"comm_id\":\"0A\",\"run\":1,\"attempt\":1}",
                          "{\"comm_id\":\"00\",\"run\":1,\"attempt\":0}",
                          "{\"comm_id\":\"00\",\"run\":1}",
                          "{\"comm_id\":\"00\",\"run\":4294967296,\"attempt\":1}",
                          long_name };
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        if (parse(bad[i], &event) != ERR_INPUT) fail_msg("taken: %s", bad[i]);
}

/* A pipe whose writing end is in the test's hands. */
struct pipe {
    struct events_in in;
    int to;
};

static void open_pipe(struct pipe *p, enum events_encoding encoding)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(events_in_init(&p->in, ends[0], encoding, NULL), ERR_OK);
    p->to = ends[1];
    fcntl(p->to, F_SETPIPE_SZ, 1 << 20);
}

static void put(struct pipe *p, const void *data, size_t n)
{
    assert_int_equal(write(p->to, data, n), (ssize_t)n);
}

static void puts_line(struct pipe *p, const char *line)
{
    put(p, line, strlen(line));
}

static enum err next(struct pipe *p, struct trainer_event *event)
{
    struct error error;
    return events_in_next(&p->in, event, &error);
}

static void test_lines_in_pieces(void **state)
{
    (void)state;
    struct pipe p;
    struct trainer_event event;
    open_pipe(&p, EVENTS_JSON);
    assert_int_equal(next(&p, &event), ERR_NOT_FOUND);
    puts_line(&p, "\n  \n{\"message\":1}\n{\"st");
    assert_int_equal(next(&p, &event), ERR_NOT_FOUND);
    puts_line(&p, "ep\":1}");
    assert_int_equal(next(&p, &event), ERR_NOT_FOUND);
    puts_line(&p, "\r\n{\"step\":2}\nbroken\n{\"step\":3}\n{\"step\":4}");
    assert_int_equal(next(&p, &event), ERR_OK);
    assert_int_equal(event.step, 1);
    assert_int_equal(next(&p, &event), ERR_OK);
    assert_int_equal(event.step, 2);
    assert_int_equal(next(&p, &event), ERR_INPUT);
    assert_int_equal(next(&p, &event), ERR_OK);
    assert_int_equal(event.step, 3);
    assert_int_equal(next(&p, &event), ERR_NOT_FOUND);
    close(p.to); /* ends the last line */
    assert_int_equal(next(&p, &event), ERR_OK);
    assert_int_equal(event.step, 4);
    assert_int_equal(next(&p, &event), ERR_CLOSED);
    assert_int_equal(next(&p, &event), ERR_CLOSED);
    assert_int_equal(p.in.malformed_count, 1);
    events_in_fini(&p.in);
    events_in_fini(&p.in);
    assert_int_equal(next(&p, &event), ERR_CLOSED);
}

static void test_long_lines(void **state)
{
    (void)state;
    struct pipe p;
    struct trainer_event event;
    char *block = malloc(3 * EVENT_BYTES_MAX);
    memset(block, 'x', 3 * EVENT_BYTES_MAX);
    open_pipe(&p, EVENTS_JSON);
    put(&p, block, 3 * EVENT_BYTES_MAX);
    int refused = 0;
    enum err rc;
    while ((rc = next(&p, &event)) == ERR_INPUT)
        refused++;
    assert_int_equal(rc, ERR_NOT_FOUND);
    assert_int_equal(refused, 1); /* said once for the whole line */
    puts_line(&p, "the end of it {\"step\":9}\n{\"step\":1}\n");
    assert_int_equal(next(&p, &event), ERR_OK);
    assert_int_equal(event.step, 1);
    /* Just short enough: a line of spaces around an event. */
    memset(block, ' ', EVENT_BYTES_MAX);
    memcpy(block + EVENT_BYTES_MAX - 10, "{\"step\":2}", 10);
    block[EVENT_BYTES_MAX] = '\n';
    put(&p, block, EVENT_BYTES_MAX + 1);
    assert_int_equal(next(&p, &event), ERR_OK);
    assert_int_equal(event.step, 2);
    free(block);
    close(p.to);
    events_in_fini(&p.in);
}

static size_t pack(const Penstock__Trainer__Event *message, uint8_t *to)
{
    size_t n = penstock__trainer__event__pack(message, to + 4);
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(n >> 8 * i);
    return n + 4;
}

static void test_protobuf(void **state)
{
    (void)state;
    struct pipe p;
    struct trainer_event event;
    uint8_t data[512];
    char name[] = "gate", path[] = "p";
    open_pipe(&p, EVENTS_PROTOBUF);
    Penstock__Trainer__Event message = PENSTOCK__TRAINER__EVENT__INIT;
    Penstock__Trainer__Progress progress = PENSTOCK__TRAINER__PROGRESS__INIT;
    progress.step = 5;
    progress.tokens = 50;
    progress.has_loss = true;
    progress.loss = (double)NAN;
    progress.collectives = 7;
    progress.in_collective = true;
    message.body_case = PENSTOCK__TRAINER__EVENT__BODY_PROGRESS;
    message.progress = &progress;
    size_t n = pack(&message, data);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(next(&p, &event), ERR_NOT_FOUND);
        put(&p, data + i, 1);
    }
    assert_int_equal(next(&p, &event), ERR_OK);
    assert_int_equal(event.kind, TRAINER_PROGRESS);
    assert_int_equal(event.tokens, 50);
    assert_true(event.has_loss && isnan(event.loss));
    assert_int_equal(event.collectives, 7);
    assert_true(event.in_collective);
    Penstock__Trainer__Gate gate = PENSTOCK__TRAINER__GATE__INIT;
    gate.gate = name;
    gate.step = 6;
    gate.checkpoint = path;
    message.body_case = PENSTOCK__TRAINER__EVENT__BODY_GATE;
    message.gate = &gate;
    n = pack(&message, data);
    const uint8_t empty[4] = { 0 }, garbage[] = { 3, 0, 0, 0, 0xFF, 0xFF, 0xFF };
    put(&p, empty, 4); /* an Event without a body */
    put(&p, garbage, sizeof garbage);
    put(&p, data, n);
    assert_int_equal(next(&p, &event), ERR_INPUT);
    assert_int_equal(next(&p, &event), ERR_INPUT);
    assert_int_equal(next(&p, &event), ERR_OK);
    assert_string_equal(event.gate, "gate");
    /* A length beyond the limit is skipped with its bytes, and reading goes on behind it. */
    uint8_t *big = calloc(1, 4 + EVENT_BYTES_MAX + 1);
    uint32_t big_n = EVENT_BYTES_MAX + 1;
    for (int i = 0; i < 4; i++)
        big[i] = (uint8_t)(big_n >> 8 * i);
    put(&p, big, 4 + big_n);
    put(&p, data, n);
    assert_int_equal(next(&p, &event), ERR_INPUT);
    assert_int_equal(next(&p, &event), ERR_OK);
    assert_int_equal(event.step, 6);
    put(&p, data, n - 1); /* half a message at the end is none */
    close(p.to);
    assert_int_equal(next(&p, &event), ERR_CLOSED);
    free(big);
    events_in_fini(&p.in);
}

static void test_protobuf_comm_id(void **state)
{
    (void)state;
    static uint8_t packed[COMM_ID_BYTES_MAX + 64], bytes[COMM_ID_BYTES_MAX + 1];
    const struct {
        size_t id_bytes;
        uint32_t attempt;
        enum err rc;
    } rows[] = { { 1, 1, ERR_OK },
                 { 128, 7, ERR_OK },
                 { COMM_ID_BYTES_MAX, 1, ERR_OK },
                 { COMM_ID_BYTES_MAX + 1, 1, ERR_INPUT },
                 { 0, 1, ERR_INPUT },
                 { 128, 0, ERR_INPUT } };
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 3);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct trainer_event event;
        Penstock__Trainer__Event message = PENSTOCK__TRAINER__EVENT__INIT;
        Penstock__Trainer__CommId id = PENSTOCK__TRAINER__COMM_ID__INIT;
        id.run = 9;
        id.attempt = rows[i].attempt;
        id.id.data = bytes;
        id.id.len = rows[i].id_bytes;
        message.body_case = PENSTOCK__TRAINER__EVENT__BODY_COMM_ID;
        message.comm_id = &id;
        size_t n = penstock__trainer__event__pack(&message, packed);
        assert_int_equal(events_parse_protobuf(packed, n, &event, NULL), rows[i].rc);
        if (rows[i].rc != ERR_OK) continue;
        assert_int_equal(event.kind, TRAINER_COMM_ID);
        assert_int_equal(event.run, 9);
        assert_int_equal(event.attempt, rows[i].attempt);
        assert_int_equal(event.id_bytes, rows[i].id_bytes);
        assert_memory_equal(event.id, bytes, rows[i].id_bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),           cmocka_unit_test(test_not_events),
        cmocka_unit_test(test_lines_in_pieces), cmocka_unit_test(test_protobuf_comm_id),
        cmocka_unit_test(test_long_lines),      cmocka_unit_test(test_protobuf)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
