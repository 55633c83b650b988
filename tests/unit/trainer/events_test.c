#include "worker/trainer/events.h"

#include "proto/trainer.pb-c.h"
#include "tests/unit/trainer/support.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct outlet {
    int read_fd, write_fd;
    char path[32];
};

static void outlet_open(struct outlet *outlet)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    outlet->read_fd = fds[0];
    outlet->write_fd = fds[1];
    snprintf(outlet->path, sizeof(outlet->path), "/dev/fd/%d", fds[1]);
}

static void outlet_close(struct outlet *outlet)
{
    if (outlet->read_fd >= 0) close(outlet->read_fd);
    close(outlet->write_fd);
}

/* What can be read now. */
static size_t drain(const struct outlet *outlet, char *to, size_t to_bytes)
{
    size_t length = 0;
    ssize_t n;
    while (length < to_bytes - 1 &&
           (n = read(outlet->read_fd, to + length, to_bytes - 1 - length)) > 0)
        length += (size_t)n;
    to[length] = '\0';
    return length;
}

static struct events *open_json(const struct outlet *outlet)
{
    struct events *events;
    struct events_options options = { .json_path = outlet->path };
    assert_int_equal(events_open(&options, &events, NULL), ERR_OK);
    return events;
}

static void send_all(struct events *events)
{
    struct events_ready ready = { 7, 1.5e6, 1000, "cpu", "2 threads \"fast\"" };
    struct events_progress progress = { .step = 8,
                                        .tokens = 4096,
                                        .has_loss = true,
                                        .loss = 2.5,
                                        .has_val_loss = true,
                                        .val_loss = NAN,
                                        .grad_norm = 0.25,
                                        .learning_rate = 0.001,
                                        .busy_ns = 11,
                                        .wait_ns = 12,
                                        .collectives = 34,
                                        .in_collective = true };
    struct events_gate gate = { "early", 8, 4096, 2.25, "checkpoints/a" };
    events_ready(events, &ready);
    events_progress(events, &progress, false);
    events_gate(events, &gate);
    events_checkpoint(events, 9, 5000, "checkpoints/b");
    events_failure(events, "loss is nan;\nstop");
    const uint8_t id[] = { 0x00, 0xFF, 0x7A };
    events_comm_id(events,
                   &(struct comm_frame){ .run = 3, .attempt = 2, .id = id, .id_bytes = 3 });
}

static void test_json_lines(void **unused)
{
    (void)unused;
    char text[4096];
    struct outlet outlet;
    outlet_open(&outlet);
    struct events *events = open_json(&outlet);
    send_all(events);
    drain(&outlet, text, sizeof(text));
    assert_string_equal(
        text, "{\"ready\":true,\"step\":7,\"flops_per_token\":1500000,\"parameters\":1000,"
              "\"backend\":\"cpu\",\"detail\":\"2 threads \\\"fast\\\"\"}\n"
              "{\"step\":8,\"loss\":2.5,\"tokens\":4096,\"val_loss\":NaN,\"grad_norm\":0.25,"
              "\"learning_rate\":0.001,\"busy_ns\":11,\"wait_ns\":12,"
              "\"collectives\":34,\"in_collective\":true}\n"
              "{\"gate\":\"early\",\"step\":8,\"tokens\":4096,\"val_loss\":2.25,"
              "\"checkpoint\":\"checkpoints/a\"}\n"
              "{\"checkpoint\":\"checkpoints/b\",\"step\":9,\"tokens\":5000}\n"
              "{\"failure\":\"loss is nan;\\u000astop\"}\n"
              "{\"comm_id\":\"00ff7a\",\"run\":3,\"attempt\":2}\n");
    events_close(events);
    outlet_close(&outlet);
}

static void test_infinite_losses(void **unused)
{
    (void)unused;
    char text[1024];
    struct outlet outlet;
    outlet_open(&outlet);
    struct events *events = open_json(&outlet);
    struct events_progress progress = {
        .has_loss = true, .loss = HUGE_VAL, .has_val_loss = true, .val_loss = -HUGE_VAL
    };
    events_progress(events, &progress, true);
    drain(&outlet, text, sizeof(text));
    assert_non_null(strstr(text, "\"loss\":Infinity,"));
    assert_non_null(strstr(text, "\"val_loss\":-Infinity,"));
    events_close(events);
    outlet_close(&outlet);
}

static void test_protobuf(void **unused)
{
    (void)unused;
    char bytes[4096];
    struct outlet outlet;
    struct events *events;
    outlet_open(&outlet);
    /* Protobuf wins where both are offered. */
    struct events_options options = { .protobuf_path = outlet.path,
                                      .json_path = "/nowhere/at/all" };
    assert_int_equal(events_open(&options, &events, NULL), ERR_OK);
    send_all(events);
    size_t length = drain(&outlet, bytes, sizeof(bytes)), at = 0;
    for (int i = 0; i < 6; i++) {
        const unsigned char *head = (const unsigned char *)bytes + at;
        size_t size = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;
        assert_true(at + 4 + size <= length);
        Penstock__Trainer__Event *event =
            penstock__trainer__event__unpack(NULL, size, head + 4);
        assert_non_null(event);
        if (i == 0) {
            assert_int_equal(event->body_case, PENSTOCK__TRAINER__EVENT__BODY_READY);
            assert_int_equal(event->ready->step, 7);
            assert_string_equal(event->ready->detail, "2 threads \"fast\"");
        } else if (i == 1) {
            assert_int_equal(event->body_case, PENSTOCK__TRAINER__EVENT__BODY_PROGRESS);
            assert_true(event->progress->has_loss);
            assert_true(event->progress->loss == 2.5);
            assert_true(isnan(event->progress->val_loss));
            assert_int_equal(event->progress->wait_ns, 12);
            assert_int_equal(event->progress->collectives, 34);
            assert_true(event->progress->in_collective);
        } else if (i == 2) {
            assert_int_equal(event->body_case, PENSTOCK__TRAINER__EVENT__BODY_GATE);
            assert_string_equal(event->gate->gate, "early");
            assert_true(event->gate->has_val_loss);
        } else if (i == 3) {
            assert_int_equal(event->body_case, PENSTOCK__TRAINER__EVENT__BODY_CHECKPOINT);
            assert_int_equal(event->checkpoint->tokens, 5000);
        } else if (i == 4) {
            assert_int_equal(event->body_case, PENSTOCK__TRAINER__EVENT__BODY_FAILURE);
        } else {
            assert_int_equal(event->body_case, PENSTOCK__TRAINER__EVENT__BODY_COMM_ID);
            assert_int_equal(event->comm_id->run, 3);
            assert_int_equal(event->comm_id->attempt, 2);
            assert_int_equal(event->comm_id->id.len, 3);
            assert_memory_equal(event->comm_id->id.data, "\x00\xff\x7a", 3);
        }
        penstock__trainer__event__free_unpacked(event, NULL);
        at += 4 + size;
    }
    assert_int_equal(at, length);
    events_close(events);
    outlet_close(&outlet);
}

/* Nobody reads: progress is dropped and never waits; a gate arrives once somebody reads. */
static void test_a_slow_reader(void **unused)
{
    (void)unused;
    enum { TEXT_BYTES = 1 << 20 };
    struct outlet outlet;
    char *text = malloc(TEXT_BYTES);
    assert_non_null(text);
    outlet_open(&outlet);
    struct events *events = open_json(&outlet);
    struct events_progress progress = { .has_loss = true, .loss = 1 };
    for (progress.step = 0; progress.step < 5000; progress.step++)
        events_progress(events, &progress, false);
    struct events_gate gate = { "late", 5000, 1, 2.0, "c" };
    events_gate(events, &gate);
    drain(&outlet, text, TEXT_BYTES);
    assert_null(strstr(text, "\"step\":4999,"));
    events_progress(events, &progress, false);
    drain(&outlet, text, TEXT_BYTES);
    char *late = strstr(text, "{\"gate\":\"late\"");
    assert_non_null(late);
    assert_non_null(strstr(late, "}\n"));
    /* After the reader has caught up, progress flows again. */
    events_progress(events, &progress, false);
    drain(&outlet, text, TEXT_BYTES);
    assert_non_null(strstr(text, "\"step\":5000,"));
    events_close(events);
    outlet_close(&outlet);
    free(text);
}

static void test_a_reader_that_is_gone(void **unused)
{
    (void)unused;
    struct outlet outlet;
    signal(SIGPIPE, SIG_IGN);
    outlet_open(&outlet);
    struct events *events = open_json(&outlet);
    close(outlet.read_fd);
    outlet.read_fd = -1;
    send_all(events);
    send_all(events);
    events_close(events);
    outlet_close(&outlet);
}

static void test_outlets_that_cannot_be_opened(void **unused)
{
    (void)unused;
    static const char *const paths[] = { "/nowhere/at/all", "/dev/fd/", "/dev/fd/9999",
                                         "/dev/fd/x", "/dev/fd/99999999999999999999" };
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        struct events *events;
        struct error error = { .code = ERR_OK };
        struct events_options options = { .json_path = paths[i] };
        assert_int_equal(events_open(&options, &events, &error), ERR_IO);
        assert_null(events);
        options = (struct events_options){ .protobuf_path = paths[i] };
        assert_int_equal(events_open(&options, &events, &error), ERR_IO);
    }
    events_close(NULL);
}

/* The contract says "append": what was in a file stays. */
static void test_a_file_is_appended_to(void **unused)
{
    (void)unused;
    char folder[PATH_MAX], path[PATH_MAX];
    folder_make(folder);
    path_join(path, folder, "events");
    file_write(path, "before\n", 7);
    struct events *events;
    struct events_options options = { .json_path = path };
    assert_int_equal(events_open(&options, &events, NULL), ERR_OK);
    events_failure(events, "x");
    events_close(events);
    char *text = file_read(path, NULL);
    assert_string_equal(text, "before\n{\"failure\":\"x\"}\n");
    free(text);
    folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_lines),
        cmocka_unit_test(test_infinite_losses),
        cmocka_unit_test(test_protobuf),
        cmocka_unit_test(test_a_slow_reader),
        cmocka_unit_test(test_a_reader_that_is_gone),
        cmocka_unit_test(test_outlets_that_cannot_be_opened),
        cmocka_unit_test(test_a_file_is_appended_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
