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
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/spawn/packet.h"

static void test_body_round_trip(void **state)
{
    (void)state;
    const char *argv[] = { "prog", "", "two words", NULL };
    const char *env[] = { "A=1", "B", NULL };
    struct launch launch = {
        .argv = argv, .env = env, .directory = "/d", .err_path = "e", .marker = "M=1"
    };
    struct launch_body body;
    struct error error;
    int fd = -1;
    assert_int_equal(body_write(&launch, &fd, &error), ERR_OK);
    assert_int_equal(body_read(fd, &body, &error), ERR_OK);
    assert_string_equal(body.argv[0], "prog");
    assert_string_equal(body.argv[1], "");
    assert_string_equal(body.argv[2], "two words");
    assert_null(body.argv[3]);
    assert_string_equal(body.env[1], "B");
    assert_null(body.env[2]);
    assert_string_equal(body.directory, "/d");
    assert_string_equal(body.out_path, "");
    assert_string_equal(body.err_path, "e");
    assert_string_equal(body.lock_path, "");
    assert_string_equal(body.marker, "M=1");
    body_fini(&body);
    body_fini(&body);
    close(fd);
}

static void test_body_refusals(void **state)
{
    (void)state;
    struct error error;
    int fd = -1;
    const char *none[] = { NULL };
    struct launch launch = { .argv = none };
    assert_int_equal(body_write(&launch, &fd, &error), ERR_INPUT);
    char *huge = malloc(5 << 20);
    memset(huge, 'x', (5 << 20) - 1);
    huge[(5 << 20) - 1] = '\0';
    const char *argv[] = { huge, NULL };
    launch.argv = argv;
    assert_int_equal(body_write(&launch, &fd, &error), ERR_INPUT);
    assert_int_equal(fd, -1);
    free(huge);
}

/* Every prefix of a good request, and every changed byte of its head, is refused or read; never more. */
static void test_body_damage(void **state)
{
    (void)state;
    const char *argv[] = { "a", "b", NULL };
    const char *env[] = { "C=d", NULL };
    struct launch launch = { .argv = argv, .env = env, .marker = "M=1" };
    struct error error;
    struct launch_body body;
    int fd = -1;
    char data[256];
    assert_int_equal(body_write(&launch, &fd, &error), ERR_OK);
    ssize_t n = pread(fd, data, sizeof data, 0);
    assert_true(n > 12);
    for (ssize_t cut = 0; cut < n; cut++) {
        assert_int_equal(ftruncate(fd, cut), 0);
        assert_int_equal(body_read(fd, &body, &error), ERR_INPUT);
        assert_null(body.block);
    }
    assert_int_equal(pwrite(fd, data, (size_t)n, 0), n);
    assert_int_equal(body_read(fd, &body, &error), ERR_OK);
    body_fini(&body);
    for (size_t at = 0; at < 12; at++)
        for (int bit = 0; bit < 8; bit++) {
            char changed = (char)(data[at] ^ (1 << bit));
            assert_int_equal(pwrite(fd, &changed, 1, (off_t)at), 1);
            if (body_read(fd, &body, &error) == ERR_OK) body_fini(&body);
            assert_int_equal(pwrite(fd, &data[at], 1, (off_t)at), 1);
        }
    close(fd);
}

static void test_requests_carry_descriptors(void **state)
{
    (void)state;
    int pair[2], ends[2];
    struct error error;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(pipe(ends), 0);
    struct request request = { .id = 9, .kind = REQUEST_SPAWN, .grace_ns = 5 }, got;
    int body_fd = -1, fds[LAUNCH_FDS_MAX];
    size_t count = 0;
    assert_int_equal(request_receive(pair[1], &got, &body_fd, fds, &count, &error),
                     ERR_NOT_FOUND);
    assert_int_equal(request_send(pair[0], &request, ends[0], &ends[1], 1, &error), ERR_OK);
    assert_int_equal(request_receive(pair[1], &got, &body_fd, fds, &count, &error), ERR_OK);
    assert_int_equal(got.id, 9);
    assert_int_equal(got.grace_ns, 5);
    assert_true(body_fd >= 0);
    assert_int_equal(count, 1);
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(write(fds[0], "x", 1), 1);
    char byte = 0;
    assert_int_equal(read(body_fd, &byte, 1), 1);
    assert_int_equal(byte, 'x');
    close(body_fd);
    close(fds[0]);
    assert_int_equal(send(pair[0], "short", 5, 0), 5);
    assert_int_equal(request_receive(pair[1], &got, &body_fd, fds, &count, &error), ERR_INPUT);
    assert_int_equal(send(pair[1], "short", 5, 0), 5);
    struct launch_report report;
    assert_int_equal(report_receive(pair[0], &report, &error), ERR_INPUT);
    close(pair[1]);
    assert_int_equal(report_receive(pair[0], &report, &error), ERR_CLOSED);
    assert_int_equal(request_send(pair[0], &request, -1, NULL, 0, &error), ERR_CLOSED);
    close(pair[0]);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body_round_trip),
        cmocka_unit_test(test_body_refusals),
        cmocka_unit_test(test_body_damage),
        cmocka_unit_test(test_requests_carry_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
