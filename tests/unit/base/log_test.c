/* Log lines, caught from stderr: their form, the level, and that long ones are cut. */
#include "proto/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char caught[4096];

/* Sends stderr into a pipe; the lines of one test fit into it. */
static int catch_begin(int *saved)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    *saved = dup(STDERR_FILENO);
    assert_true(*saved >= 0);
    assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
    close(fds[1]);
    return fds[0];
}

static void catch_end(int fd, int saved)
{
    fflush(stderr);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    size_t len = 0;
    ssize_t n;
    while (len < sizeof caught - 1 && (n = read(fd, caught + len, sizeof caught - 1 - len)) > 0)
        len += (size_t)n;
    caught[len] = '\0';
    close(fd);
}

static void a_line_has_time_level_and_name(void **state)
{
    (void)state;
    int saved, fd = catch_begin(&saved);
    log_setup(LOG_LEVEL_INFO, "agent 2");
    log_line(LOG_LEVEL_WARN, "run=%s step=%d", "a", 7);
    catch_end(fd, saved);
    int year, month, day, hour, minute, second, used = 0;
    assert_int_equal(sscanf(caught, "%4d-%2d-%2d %2d:%2d:%2dZ%n", &year, &month, &day, &hour,
                            &minute, &second, &used),
                     6);
    assert_in_range(year, 2024, 2200);
    assert_string_equal(caught + used, " warn agent 2 run=a step=7\n");
}

static void the_level_is_kept(void **state)
{
    (void)state;
    int saved, fd = catch_begin(&saved);
    log_setup(LOG_LEVEL_WARN, "x");
    log_line(LOG_LEVEL_INFO, "not this");
    log_line(LOG_LEVEL_DEBUG, "nor this");
    log_line(LOG_LEVEL_ERROR, "this");
    log_setup(LOG_LEVEL_DEBUG, "x");
    log_line(LOG_LEVEL_DEBUG, "and this");
    catch_end(fd, saved);
    assert_null(strstr(caught, "not this"));
    assert_null(strstr(caught, "nor this"));
    assert_non_null(strstr(caught, " error x this\n"));
    assert_non_null(strstr(caught, " debug x and this\n"));
}

static void a_long_line_is_cut_and_ended(void **state)
{
    (void)state;
    char longer[3000];
    memset(longer, 'y', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    int saved, fd = catch_begin(&saved);
    log_setup(LOG_LEVEL_INFO, longer);
    log_line(LOG_LEVEL_INFO, "%s", longer);
    log_line(LOG_LEVEL_INFO, "next");
    catch_end(fd, saved);
    char *end = strchr(caught, '\n');
    assert_non_null(end);
    assert_true(end - caught <= 1024);
    assert_non_null(strstr(end, "next\n"));
}

static void line_ends_inside_are_blanks(void **state)
{
    (void)state;
    int saved, fd = catch_begin(&saved);
    log_setup(LOG_LEVEL_INFO, "x");
    log_line(LOG_LEVEL_INFO, "one\ntwo\r\nthree\n");
    catch_end(fd, saved);
    assert_non_null(strstr(caught, " info x one two  three \n"));
    assert_ptr_equal(strchr(caught, '\n'), caught + strlen(caught) - 1);
}

static void level_names(void **state)
{
    (void)state;
    assert_int_equal(log_level_of("error", LOG_LEVEL_DEBUG), LOG_LEVEL_ERROR);
    assert_int_equal(log_level_of("warn", LOG_LEVEL_DEBUG), LOG_LEVEL_WARN);
    assert_int_equal(log_level_of("info", LOG_LEVEL_DEBUG), LOG_LEVEL_INFO);
    assert_int_equal(log_level_of("debug", LOG_LEVEL_ERROR), LOG_LEVEL_DEBUG);
    assert_int_equal(log_level_of("DEBUG", LOG_LEVEL_WARN), LOG_LEVEL_WARN);
    assert_int_equal(log_level_of("", LOG_LEVEL_WARN), LOG_LEVEL_WARN);
    assert_int_equal(log_level_of(NULL, LOG_LEVEL_WARN), LOG_LEVEL_WARN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_and_name),
        cmocka_unit_test(the_level_is_kept),
        cmocka_unit_test(a_long_line_is_cut_and_ended),
        cmocka_unit_test(line_ends_inside_are_blanks),
        cmocka_unit_test(level_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
