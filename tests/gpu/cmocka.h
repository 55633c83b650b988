/*
 * cmocka.h - the few assertions of cmocka that the kernel tests use, for machines that have a
 * GPU and no cmocka. A test that fails ends by longjmp and the rest go on; the output has the
 * shape of cmocka's.
 *
 * Found only where the real one is not: the GPU build puts this folder last on the path.
 */
#ifndef TESTS_GPU_CMOCKA_H
#define TESTS_GPU_CMOCKA_H

#include <math.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*mini_test_fn)(void **state);
typedef int (*mini_fixture_fn)(void **state);

struct CMUnitTest {
    const char *name;
    mini_test_fn run;
    mini_fixture_fn teardown; /* or NULL */
};

extern jmp_buf mini_failed; /* defined in cmocka.c: the tests' parts share them */
extern bool mini_skipped;

#define cmocka_unit_test_teardown(function, after)                                             \
    {                                                                                          \
#function, function, after                                                             \
    }
#define cmocka_unit_test(function) cmocka_unit_test_teardown(function, NULL)

_Noreturn static inline void mini_fail(const char *file, int line)
{
    fprintf(stderr, "\n%s:%d: error: Failure!\n", file, line);
    longjmp(mini_failed, 1);
}

_Noreturn static inline void mini_skip(void)
{
    mini_skipped = true;
    longjmp(mini_failed, 1);
}

#define fail() mini_fail(__FILE__, __LINE__)
#define skip() mini_skip()
#define fail_msg(...) (fprintf(stderr, __VA_ARGS__), mini_fail(__FILE__, __LINE__))
#define mini_demand(condition)                                                                 \
    ((condition) ? (void)0                                                                     \
                 : (fprintf(stderr, "%s\n", #condition), mini_fail(__FILE__, __LINE__)))

#define assert_true(value) mini_demand(value)
#define assert_false(value) mini_demand(!(value))
#define assert_null(pointer) mini_demand((pointer) == NULL)
#define assert_non_null(pointer) mini_demand((pointer) != NULL)
#define assert_ptr_equal(a, b) mini_demand((const void *)(a) == (const void *)(b))
#define assert_int_equal(a, b) mini_demand((intmax_t)(a) == (intmax_t)(b))
#define assert_int_not_equal(a, b) mini_demand((intmax_t)(a) != (intmax_t)(b))
#define assert_in_range(value, low, high) mini_demand((value) >= (low) && (value) <= (high))
#define assert_string_equal(a, b) mini_demand(strcmp((a), (b)) == 0)
#define assert_string_not_equal(a, b) mini_demand(strcmp((a), (b)) != 0)
#define assert_memory_equal(a, b, bytes) mini_demand(memcmp((a), (b), (bytes)) == 0)
#define assert_memory_not_equal(a, b, bytes) mini_demand(memcmp((a), (b), (bytes)) != 0)
#define assert_float_equal(a, b, tolerance)                                                    \
    mini_demand(fabs((double)(a) - (double)(b)) <= (double)(tolerance))

static inline int mini_run(const struct CMUnitTest *test)
{
    void *state = NULL;
    mini_skipped = false;
    printf("[ RUN      ] %s\n", test->name);
    bool failed = setjmp(mini_failed) != 0;
    if (!failed) test->run(&state);
    bool skipped = failed && mini_skipped;
    if (test->teardown != NULL && test->teardown(&state) != 0) failed = true;
    printf("[  %s ] %s\n", skipped ? "SKIPPED" : failed ? "FAILED " : "     OK", test->name);
    return failed && !skipped ? 1 : 0;
}

static inline int mini_run_all(const struct CMUnitTest *tests, size_t test_count)
{
    int failed = 0;
    for (size_t i = 0; i < test_count; i++) {
        failed += mini_run(&tests[i]);
        fflush(stdout);
    }
    printf("[  %s  ] %zu test(s), %d failed\n", failed == 0 ? "PASSED" : "FAILED", test_count,
           failed);
    return failed;
}

#define cmocka_run_group_tests(tests, setup, teardown)                                         \
    mini_run_all((tests), sizeof(tests) / sizeof((tests)[0]))

#endif
