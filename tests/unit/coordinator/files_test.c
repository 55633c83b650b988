/* Small whole files, and the clock that never falls. */
#include "scheduler/coordinator/files.h"
#include "tests/unit/coordinator/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "scheduler/coordinator/clock.h"

static void what_is_replaced_is_read(void **state)
{
    (void)state;
    char dir[] = "/tmp/penstock-files-XXXXXX", data[16];
    size_t bytes = 0;
    assert_non_null(scratch_make(dir));
    assert_int_equal(file_read(dir, "a", data, sizeof data, &bytes, NULL), ERR_NOT_FOUND);
    assert_int_equal(file_replace(dir, "a", TEXT("one"), true, NULL), ERR_OK);
    assert_int_equal(file_replace(dir, "a", TEXT("three"), false, NULL), ERR_OK);
    assert_int_equal(file_read(dir, "a", data, sizeof data, &bytes, NULL), ERR_OK);
    assert_int_equal(bytes, 5);
    assert_memory_equal(data, "three", 5);
    assert_int_equal(file_replace(dir, "empty", TEXT(""), true, NULL), ERR_OK);
    assert_int_equal(file_read(dir, "empty", data, sizeof data, &bytes, NULL), ERR_OK);
    assert_int_equal(bytes, 0);
}

static void failures_leave_nothing_behind(void **state)
{
    (void)state;
    char dir[] = "/tmp/penstock-files-XXXXXX", path[64], data[4];
    size_t bytes = 77;
    struct error error;
    assert_non_null(scratch_make(dir));
    assert_int_equal(file_replace("/nowhere", "a", TEXT("x"), true, &error), ERR_IO);
    snprintf(path, sizeof path, "%s/taken", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(file_replace(dir, "taken", TEXT("x"), true, &error), ERR_IO);
    assert_int_equal(file_replace(dir, "long", TEXT("1234"), false, NULL), ERR_OK);
    assert_int_equal(file_read(dir, "long", data, sizeof data, &bytes, &error), ERR_INPUT);
    assert_int_equal(file_read(dir, "taken", data, sizeof data, &bytes, &error), ERR_INPUT);
    assert_int_equal(bytes, 77);
    snprintf(path, sizeof path, "%s/.taken.%ld", dir, (long)getpid());
    assert_int_not_equal(access(path, F_OK), 0);
}

static void folders_may_be_there_already(void **state)
{
    (void)state;
    char dir[] = "/tmp/penstock-files-XXXXXX", path[64];
    struct error error;
    assert_non_null(scratch_make(dir));
    snprintf(path, sizeof path, "%s/sub", dir);
    assert_int_equal(dir_make(path, NULL), ERR_OK);
    assert_int_equal(dir_make(path, NULL), ERR_OK);
    assert_int_equal(file_replace(dir, "plain", TEXT(""), false, NULL), ERR_OK);
    snprintf(path, sizeof path, "%s/plain", dir);
    assert_int_equal(dir_make(path, &error), ERR_IO);
    assert_non_null(strstr(error.text, "plain"));
    snprintf(path, sizeof path, "%s/none/sub", dir);
    assert_int_equal(dir_make(path, &error), ERR_IO);
}

static void time_never_falls(void **state)
{
    (void)state;
    struct steady_clock clock;
    int64_t future_ns = clock_wall_ns() + 3600 * NS_PER_S;
    steady_clock_init(&clock, future_ns);
    int64_t last_ns = steady_clock_now_ns(&clock);
    assert_true(last_ns >= future_ns);
    for (int i = 0; i < 1000; i++) {
        int64_t now_ns = steady_clock_now_ns(&clock);
        assert_true(now_ns >= last_ns);
        last_ns = now_ns;
    }
    clock.boot_start_ns += NS_PER_S; /* as if the boot clock had fallen */
    assert_true(steady_clock_now_ns(&clock) >= last_ns);
    steady_clock_init(&clock, 0);
    assert_true(steady_clock_now_ns(&clock) < future_ns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_replaced_is_read),
        cmocka_unit_test(failures_leave_nothing_behind),
        cmocka_unit_test(folders_may_be_there_already),
        cmocka_unit_test(time_never_falls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
