/* The arena: zeroed, aligned, stable memory of any size, all released at once. */
#include "proto/base/arena.h"

#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static bool is_zero(const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != 0) return false;
    return true;
}

static void memory_is_zeroed_aligned_and_stable(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    static unsigned char *pieces[COUNT];
    static const size_t sizes[] = { 0, 1, 7, 16, 17, 100, 4096, 65535, 65536, 65537, 200000 };
    struct arena arena = { 0 };
    for (size_t i = 0; i < COUNT; i++) {
        size_t bytes = sizes[i % ARRAY_COUNT(sizes)];
        pieces[i] = (unsigned char *)arena_alloc(&arena, bytes);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % alignof(max_align_t), 0);
        assert_true(is_zero(pieces[i], bytes));
        memset(pieces[i], (int)(i % 255 + 1), bytes);
    }
    for (size_t i = 0; i < COUNT; i++) /* no piece was moved or overlaps another */
        for (size_t b = 0; b < sizes[i % ARRAY_COUNT(sizes)]; b += 511)
            assert_int_equal(pieces[i][b], i % 255 + 1);
    arena_fini(&arena);
    assert_null(arena.blocks);
}

static void fini_accepts_nothing(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    arena_fini(NULL);
    arena_fini(&arena);
    arena_fini(&arena);
    assert_non_null(arena_alloc(&arena, 1)); /* and it can be used again */
    arena_fini(&arena);
}

static void arrays_and_strings(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    int64_t *numbers = (int64_t *)arena_array(&arena, 1000, sizeof *numbers);
    assert_true(is_zero((const unsigned char *)numbers, 1000 * sizeof *numbers));
    assert_non_null(arena_array(&arena, 0, 8));
    assert_non_null(arena_array(&arena, 8, 0));

    char *copy = arena_copy(&arena, (struct text){ "abcdef", 3 });
    assert_string_equal(copy, "abc");
    assert_string_equal(arena_copy(&arena, (struct text){ NULL, 0 }), "");
    assert_string_equal(arena_format(&arena, "%s-%05d", "run", 42), "run-00042");
    assert_string_equal(arena_format(&arena, "%s", ""), "");
    assert_string_equal(copy, "abc");

    char *longest = arena_format(&arena, "%0200000d", 7); /* larger than a block */
    assert_int_equal(strlen(longest), 200000);
    assert_int_equal(longest[199999], '7');
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_aligned_and_stable),
        cmocka_unit_test(fini_accepts_nothing),
        cmocka_unit_test(arrays_and_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
