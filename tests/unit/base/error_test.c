/* Errors, integer helpers, and what a failed check() does to its process. */
#include "proto/base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void set(void **state)
{
    (void)state;
    struct error error = { 0 };
    errno = EACCES;
    assert_int_equal(error_set(&error, ERR_INPUT, "%s:%d: no", "file", 3), ERR_INPUT);
    assert_int_equal(error.code, ERR_INPUT);
    assert_int_equal(error.sys_errno, 0);
    assert_string_equal(error.text, "file:3: no");
    errno = EACCES;
    error_set(&error, ERR_IO, "x");
    assert_int_equal(error.sys_errno, EACCES);
    assert_int_equal(error_set(NULL, ERR_FULL, "%d", 1), ERR_FULL);
}

static void set_cuts_long_texts(void **state)
{
    (void)state;
    struct error error = { 0 };
    char longer[sizeof error.text + 100];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    error_set(&error, ERR_INPUT, "%s", longer);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    assert_int_equal(error_prefix(&error, ERR_INPUT, "%s", "file"), ERR_INPUT);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    assert_int_equal(strncmp(error.text, "file: xxx", 9), 0);
    errno = EIO;
    assert_int_equal(error_errno(&error, "%s", longer), ERR_IO);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
}

static void system_errors(void **state)
{
    (void)state;
    const struct {
        int sys_errno;
        enum err code;
    } cases[] = { { ENOSPC, ERR_NO_SPACE }, { EDQUOT, ERR_NO_SPACE }, { EIO, ERR_IO },
                  { EACCES, ERR_IO },       { ENOENT, ERR_IO },       { 0, ERR_IO } };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct error error = { 0 };
        errno = cases[i].sys_errno;
        assert_int_equal(error_errno(&error, "write %s", "f"), cases[i].code);
        assert_int_equal(errno, cases[i].sys_errno);
        assert_int_equal(error.sys_errno, cases[i].sys_errno);
        assert_int_equal(error.code, cases[i].code);
        char expect[128];
        snprintf(expect, sizeof expect, "write f: %s", strerror(cases[i].sys_errno));
        assert_string_equal(error.text, expect);
        errno = cases[i].sys_errno;
        assert_int_equal(error_errno(NULL, "x"), cases[i].code);
    }
}

static void prefix(void **state)
{
    (void)state;
    struct error error = { 0 };
    errno = EIO;
    error_errno(&error, "read");
    assert_int_equal(error_prefix(&error, ERR_IO, "%s:%d", "a.yaml", 7), ERR_IO);
    char expect[128];
    snprintf(expect, sizeof expect, "a.yaml:7: read: %s", strerror(EIO));
    assert_string_equal(error.text, expect);
    assert_int_equal(error.sys_errno, EIO);
    assert_int_equal(error_prefix(NULL, ERR_IO, "x"), ERR_IO);
}

static void names(void **state)
{
    (void)state;
    static const enum err codes[] = {
#define X(id, text) ERR_##id,
        ERRORS(X)
#undef X
    };
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++) {
        assert_string_not_equal(err_name(codes[i]), "unknown error");
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(err_name(codes[i]), err_name(codes[j]));
    }
    assert_int_equal(ERR_OK, 0);
    assert_string_equal(err_name((enum err)ARRAY_COUNT(codes)), "unknown error");
}

static void integer_helpers(void **state)
{
    (void)state;
    const struct {
        int64_t a, b, floor, ceil;
    } cases[] = {
        { 7, 2, 3, 4 },
        { -7, 2, -4, -3 },
        { 6, 2, 3, 3 },
        { -6, 2, -3, -3 },
        { 0, 5, 0, 0 },
        { 1, INT64_MAX, 0, 1 },
        { -1, INT64_MAX, -1, 0 },
        { INT64_MAX, 1, INT64_MAX, INT64_MAX },
        { INT64_MIN, 1, INT64_MIN, INT64_MIN },
        { INT64_MAX, 2, INT64_MAX / 2, INT64_MAX / 2 + 1 },
        { INT64_MIN, INT64_MAX, -2, -1 },
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_true(div_floor(cases[i].a, cases[i].b) == cases[i].floor);
        assert_true(div_ceil(cases[i].a, cases[i].b) == cases[i].ceil);
    }
    assert_true(add_saturated(1, 2) == 3);
    assert_true(add_saturated(INT64_MAX, 0) == INT64_MAX);
    assert_true(add_saturated(INT64_MAX, 1) == INT64_MAX);
    assert_true(add_saturated(INT64_MAX - 1, 1) == INT64_MAX);
    assert_true(add_saturated(INT64_MAX, INT64_MAX) == INT64_MAX);
    assert_true(min_i64(INT64_MIN, 3) == INT64_MIN);
    assert_true(max_i64(INT64_MIN, 3) == 3);
}

/* Runs check(ok) in a child; returns its wait status and what it wrote on stderr. */
static int status_of_check(bool ok, char *text, size_t text_bytes)
{
    int fds[2], status = 0;
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = { 0, 0 };
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        dup2(fds[1], STDERR_FILENO);
        check(ok);
        _exit(0);
    }
    close(fds[1]);
    ssize_t n = read(fds[0], text, text_bytes - 1);
    text[n > 0 ? n : 0] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void a_failed_check_aborts_and_says_where(void **state)
{
    (void)state;
    char text[256];
    int status = status_of_check(true, text, sizeof text);
    assert_true(WIFEXITED(status));
    assert_string_equal(text, "");
    status = status_of_check(false, text, sizeof text);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "error_test.c:"));
    assert_non_null(strstr(text, ": check failed: ok\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set),
        cmocka_unit_test(set_cuts_long_texts),
        cmocka_unit_test(system_errors),
        cmocka_unit_test(prefix),
        cmocka_unit_test(names),
        cmocka_unit_test(integer_helpers),
        cmocka_unit_test(a_failed_check_aborts_and_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
