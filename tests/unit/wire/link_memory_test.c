/* The in-process link, and what all links share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/wire/link_memory.h"

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int set_up(void **state)
{
    struct link_memory *office = NULL;
    if (link_memory_create(&office, 3, 4, NULL) != ERR_OK) return -1;
    *state = office;
    return 0;
}

static int tear_down(void **state)
{
    link_memory_destroy(*state);
    link_memory_destroy(NULL);
    return 0;
}

static void test_order_and_sender(void **state)
{
    struct link zero = link_memory_of(*state, 0), one = link_memory_of(*state, 1),
                two = link_memory_of(*state, 2);
    char text[8];
    uint32_t from = 9;
    size_t n = 0;
    assert_int_equal(link_send(&one, 0, "a", 1, NULL), ERR_OK);
    assert_int_equal(link_send(&two, 0, "bc", 2, NULL), ERR_OK);
    assert_int_equal(link_send(&one, 0, "d", 1, NULL), ERR_OK);
    bool arrived = false;
    assert_int_equal(link_poll(&zero, &arrived, NULL), ERR_OK);
    assert_true(arrived);
    assert_int_equal(link_receive(&zero, &from, text, sizeof text, &n, NULL), ERR_OK);
    assert_true(from == 1 && n == 1 && text[0] == 'a');
    assert_int_equal(link_receive(&zero, &from, text, sizeof text, &n, NULL), ERR_OK);
    assert_true(from == 2 && n == 2 && text[1] == 'c');
    assert_int_equal(link_receive(&zero, &from, text, sizeof text, &n, NULL), ERR_OK);
    assert_true(from == 1 && text[0] == 'd');
    assert_int_equal(link_receive(&zero, &from, text, sizeof text, &n, NULL), ERR_NOT_FOUND);
    assert_int_equal(link_pending(&zero), 0);
    assert_int_equal(link_flush(&zero, 0, NULL), ERR_OK);
}

static void test_refusals(void **state)
{
    struct link zero = link_memory_of(*state, 0), one = link_memory_of(*state, 1);
    struct error error;
    char byte;
    uint32_t from = 9;
    size_t n = 7;
    assert_int_equal(link_send(&zero, 0, "x", 1, &error), ERR_INPUT);
    assert_int_equal(link_send(&zero, 3, "x", 1, &error), ERR_INPUT);
    assert_int_equal(link_send(&zero, 1, "x", 0, &error), ERR_INPUT);
    assert_int_equal(link_send(&zero, 1, "x", (size_t)LINK_MESSAGE_BYTES_MAX + 1, &error),
                     ERR_INPUT);
    for (int i = 0; i < 4; i++)
        assert_int_equal(link_send(&zero, 1, "xy", 2, &error), ERR_OK);
    assert_int_equal(link_send(&zero, 1, "x", 1, &error), ERR_FULL);
    assert_int_equal(link_receive(&one, &from, &byte, 1, &n, &error),
                     ERR_INPUT); /* too long: dropped */
    assert_int_equal(from, 9);
    assert_int_equal(n, 7);
    assert_int_equal(link_send(&zero, 1, "z", 1, &error), ERR_OK); /* room again */
}

static void test_cut_and_double(void **state)
{
    struct link zero = link_memory_of(*state, 0), one = link_memory_of(*state, 1);
    char byte;
    uint32_t from;
    size_t n;
    link_memory_cut(*state, 1, true);
    assert_int_equal(link_send(&zero, 1, "x", 1, NULL), ERR_OK);
    assert_int_equal(link_send(&one, 0, "x", 1, NULL), ERR_OK);
    assert_int_equal(link_receive(&one, &from, &byte, 1, &n, NULL), ERR_NOT_FOUND);
    assert_int_equal(link_receive(&zero, &from, &byte, 1, &n, NULL), ERR_NOT_FOUND);
    link_memory_cut(*state, 1, false);
    link_memory_double(*state, 1, true);
    assert_int_equal(link_send(&zero, 1, "y", 1, NULL), ERR_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(link_receive(&one, &from, &byte, 1, &n, NULL), ERR_OK);
        assert_int_equal(byte, 'y');
    }
    assert_int_equal(link_receive(&one, &from, &byte, 1, &n, NULL), ERR_NOT_FOUND);
}

static void test_wait(void **state)
{
    struct link zero = link_memory_of(*state, 0), one = link_memory_of(*state, 1);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct pollfd watch[3] = { { .fd = -1, .events = POLLIN, .revents = POLLERR },
                               { .fd = ends[0], .events = POLLIN },
                               { .fd = -1 } };
    int64_t start_ns = now_ns();
    assert_int_equal(link_wait(&zero, 15 * NS_PER_MS, watch, 3, NULL), ERR_OK);
    assert_true(now_ns() - start_ns >= 15 * NS_PER_MS);
    assert_int_equal(watch[0].revents, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(link_wait(&zero, 20 * NS_PER_S, watch, 3, NULL), ERR_OK);
    assert_true(watch[1].revents & POLLIN);
    char byte;
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(link_send(&one, 0, "x", 1, NULL), ERR_OK);
    assert_int_equal(link_wait(&zero, 20 * NS_PER_S, watch, 3, NULL), ERR_OK);
    assert_int_equal(watch[1].revents, 0);
    assert_true(now_ns() - start_ns < 10 * NS_PER_S); /* neither wait took its 20 s */
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = { ROW(test_order_and_sender), ROW(test_refusals),
                                        ROW(test_cut_and_double), ROW(test_wait) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
