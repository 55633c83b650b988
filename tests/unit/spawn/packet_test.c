/* What agent and launcher say to each other, whole and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/spawn/packet.h"

static void assert_read(const struct launch_body *body)
{
    assert_string_equal(body->argv[0], "prog");
    assert_string_equal(body->argv[1], "");
    assert_string_equal(body->argv[2], "two words");
    assert_null(body->argv[3]);
    assert_string_equal(body->env[1], "B");
    assert_null(body->env[2]);
    assert_string_equal(body->directory, "/d");
    assert_string_equal(body->out_path, "");
    assert_string_equal(body->err_path, "e");
    assert_string_equal(body->lock_path, "");
    assert_string_equal(body->marker, "M=1");
}

static const char *const argv_of_three[] = { "prog", "", "two words", NULL };
static const char *const env_of_two[] = { "A=1", "B", NULL };
static const struct launch example = { .argv = argv_of_three,
                                       .env = env_of_two,
                                       .directory = "/d",
                                       .err_path = "e",
                                       .marker = "M=1" };

static void test_body_round_trip(void **state)
{
    (void)state;
    struct launch_body body;
    struct error error;
    char *bytes = NULL;
    size_t count = 0;
    assert_int_equal(body_pack(&example, &bytes, &count, &error), ERR_OK);
    assert_int_equal(body_unpack(bytes, count, &body, &error), ERR_OK);
    assert_read(&body);
    body_fini(&body);
    body_fini(&body);
}

static void test_body_refusals(void **state)
{
    (void)state;
    struct error error;
    char *bytes = NULL;
    size_t count = 0;
    const char *none[] = { NULL };
    struct launch launch = { .argv = none };
    assert_int_equal(body_pack(&launch, &bytes, &count, &error), ERR_INPUT);
    char *huge = malloc(5 << 20);
    memset(huge, 'x', (5 << 20) - 1);
    huge[(5 << 20) - 1] = '\0';
    const char *argv[] = { huge, NULL };
    launch.argv = argv;
    assert_int_equal(body_pack(&launch, &bytes, &count, &error), ERR_INPUT);
    assert_null(bytes);
    free(huge);
}

/* Hands over a copy, which ends where it is cut: a sanitizer sees every byte that is read beyond. */
static enum err unpack_copy(const char *bytes, size_t count, struct launch_body *body)
{
    struct error error;
    char *copy = malloc(count > 0 ? count : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, count);
    return body_unpack(copy, count, body, &error);
}

/* Every prefix of a good request, and every changed byte of its head, is refused or read; never more. */
static void test_body_damage(void **state)
{
    (void)state;
    struct error error;
    struct launch_body body;
    char *bytes = NULL;
    size_t count = 0;
    assert_int_equal(body_pack(&example, &bytes, &count, &error), ERR_OK);
    assert_true(count > 8);
    for (size_t cut = 0; cut < count; cut++) {
        assert_int_equal(unpack_copy(bytes, cut, &body), ERR_INPUT);
        assert_null(body.block);
    }
    assert_int_equal(unpack_copy(bytes, count, &body), ERR_OK);
    body_fini(&body);
    for (size_t at = 0; at < 8; at++)
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] = (char)(bytes[at] ^ (1 << bit));
            if (unpack_copy(bytes, count, &body) == ERR_OK) body_fini(&body);
            bytes[at] = (char)(bytes[at] ^ (1 << bit));
        }
    free(bytes);
}

static void test_requests_carry_descriptors(void **state)
{
    (void)state;
    int pair[2], ends[2];
    struct error error;
    struct launch_body body;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(pipe(ends), 0);
    struct request request = { .id = 9, .kind = REQUEST_SPAWN, .grace_ns = 5 }, got;
    assert_int_equal(request_receive(pair[1], &got, &body, &error), ERR_NOT_FOUND);
    struct launch launch = example;
    launch.fds = &ends[1];
    launch.fd_count = 1;
    assert_int_equal(request_send(pair[0], &request, &launch, &error), ERR_OK);
    assert_int_equal(request_receive(pair[1], &got, &body, &error), ERR_OK);
    assert_int_equal(got.id, 9);
    assert_int_equal(got.grace_ns, 5);
    assert_read(&body);
    assert_int_equal(body.fd_count, 1);
    assert_true(fcntl(body.fds[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(write(body.fds[0], "x", 1), 1);
    char byte = 0;
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(byte, 'x');
    body_fini(&body);
    request.kind = REQUEST_SIGNAL;
    assert_int_equal(request_send(pair[0], &request, NULL, &error), ERR_OK);
    assert_int_equal(request_receive(pair[1], &got, &body, &error), ERR_OK);
    assert_null(body.block);
    assert_int_equal(send(pair[1], "short", 5, 0), 5);
    struct launch_report report;
    assert_int_equal(report_receive(pair[0], &report, &error), ERR_INPUT);
    close(pair[1]);
    assert_int_equal(report_receive(pair[0], &report, &error), ERR_CLOSED);
    assert_int_equal(request_send(pair[0], &request, NULL, &error), ERR_CLOSED);
    close(pair[0]);
    close(ends[0]);
    close(ends[1]);
}

/* What is too long for a packet goes through a memory file. The number of descriptors tells which it was: none
 * of ours is lost or doubled either way. */
static void test_long_requests(void **state)
{
    (void)state;
    static const size_t lengths[] = { 1, 16000, 16384, 16385, 200000, 4000000 };
    int pair[2];
    struct error error;
    struct launch_body body;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        char *word = malloc(lengths[i] + 1);
        assert_non_null(word);
        memset(word, 'x', lengths[i]);
        word[lengths[i]] = '\0';
        const char *argv[] = { "prog", word, NULL };
        struct launch launch = { .argv = argv, .fds = &pair[0], .fd_count = 1 };
        struct request request = { .id = i + 1, .kind = REQUEST_SPAWN }, got;
        assert_int_equal(request_send(pair[0], &request, &launch, &error), ERR_OK);
        assert_int_equal(request_receive(pair[1], &got, &body, &error), ERR_OK);
        assert_int_equal(got.id, i + 1);
        assert_string_equal(body.argv[1], word);
        assert_int_equal(body.fd_count, 1);
        body_fini(&body);
        free(word);
    }
    close(pair[0]);
    close(pair[1]);
}

/* A damaged request gives its id, when that much is whole, so that its failure can be told. */
static void test_damaged_requests(void **state)
{
    (void)state;
    int pair[2];
    struct error error;
    struct launch_body body;
    struct request request = { .id = 7, .kind = REQUEST_SPAWN }, got = { .id = 1 };
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(send(pair[0], "short", 5, 0), 5);
    assert_int_equal(request_receive(pair[1], &got, &body, &error), ERR_INPUT);
    assert_int_equal(got.id, 0);
    assert_int_equal(send(pair[0], &request, sizeof request, 0), sizeof request);
    assert_int_equal(request_receive(pair[1], &got, &body, &error), ERR_INPUT);
    assert_int_equal(got.id, 7);
    request.in_file = true;
    assert_int_equal(send(pair[0], &request, sizeof request, 0), sizeof request);
    assert_int_equal(request_receive(pair[1], &got, &body, &error), ERR_INPUT);
    assert_int_equal(got.id, 7);
    assert_null(body.block);
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body_round_trip),
        cmocka_unit_test(test_body_refusals),
        cmocka_unit_test(test_body_damage),
        cmocka_unit_test(test_requests_carry_descriptors),
        cmocka_unit_test(test_long_requests),
        cmocka_unit_test(test_damaged_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
