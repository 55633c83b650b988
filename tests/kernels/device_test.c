#include "kernels/cpu/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct kernels_options good = {
    .threads = 2, .batch_rows = 2, .context = 3, .width = 8, .heads = 2, .vocab_count = 5
};

static void assert_refused(struct kernels_options options, const char *part)
{
    struct error error = { 0 };
    struct kernels_device *device = (void *)&error;
    assert_int_equal(kernels_cpu()->open(&options, &device, &error), ERR_INPUT);
    assert_null(device);
    assert_non_null(strstr(error.text, part));
    assert_int_equal(kernels_cpu()->open(&options, &device, NULL), ERR_INPUT);
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    struct kernels_options o;
    const int bad_threads[] = { -1, 0, KERNELS_THREADS_MAX + 1 };
    for (size_t i = 0; i < ARRAY_COUNT(bad_threads); i++) {
        o = good;
        o.threads = bad_threads[i];
        assert_refused(o, "threads");
    }
    int64_t *const members[] = { &o.batch_rows, &o.context, &o.width, &o.heads,
                                 &o.vocab_count };
    for (size_t i = 0; i < ARRAY_COUNT(members); i++) {
        o = good;
        *members[i] = 0;
        assert_refused(o, "at least 1");
        *members[i] = -8;
        assert_refused(o, "at least 1");
    }
    o = good;
    o.heads = 3;
    assert_refused(o, "no multiple");
    o = good;
    o.type = KERNELS_BF16;
    assert_refused(o, "fp32 alone");
    o = good;
    o.context = INT32_MAX;
    assert_refused(o, "too large");
    o = good;
    o.width = INT32_MAX - 1;
    assert_refused(o, "too large");
    o = good;
    o.batch_rows = INT32_MAX;
    assert_refused(o, "too many");
}

static void every_build_says_what_it_is(void **state)
{
    (void)state;
    const struct kernels *builds[KERNELS_BUILDS_MAX];
    int count = kernels_cpu_builds(builds);
    assert_ptr_equal(builds[0], kernels_cpu());
    char seen[KERNELS_BUILDS_MAX][KERNELS_DETAIL_BYTES];
    for (int i = 0; i < count; i++) {
        struct kernels_device *device;
        assert_string_equal(builds[i]->name, "cpu");
        assert_int_equal(builds[i]->open(&good, &device, NULL), ERR_OK);
        builds[i]->describe(device, seen[i]);
        assert_non_null(strstr(seen[i], "2 threads"));
        for (int other = 0; other < i; other++)
            assert_string_not_equal(seen[i], seen[other]);
        builds[i]->close(device);
    }
    assert_non_null(strstr(seen[count - 1], "baseline"));
}

static void memory_is_zeroed_aligned_and_copied(void **state)
{
    (void)state;
    const struct kernels *k = kernels_cpu();
    struct kernels_device *device;
    assert_int_equal(k->open(&good, &device, NULL), ERR_OK);
    const size_t sizes[] = { 0, 1, 63, 64, 65, 100000 };
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        void *memory;
        assert_int_equal(k->alloc(device, sizes[i], &memory, NULL), ERR_OK);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 64, 0);
        for (size_t at = 0; at < sizes[i]; at++)
            assert_int_equal(((const char *)memory)[at], 0);
        k->release(device, memory);
    }
    void *memory;
    char out[5] = { 0 };
    assert_int_equal(k->alloc(device, 5, &memory, NULL), ERR_OK);
    k->upload(device, memory, "word", 5);
    k->download(device, out, memory, 5);
    assert_string_equal(out, "word");
    assert_int_equal(k->sync(device, NULL), ERR_OK);
    k->release(device, memory);
    k->release(device, NULL);
    k->close(device);
    k->close(NULL);
}

static void too_much_memory_is_refused(void **state)
{
    (void)state;
    const struct kernels *k = kernels_cpu();
    struct kernels_device *device;
    struct error error;
    assert_int_equal(k->open(&good, &device, NULL), ERR_OK);
    const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 63, SIZE_MAX / 2 + 1, SIZE_MAX / 2 };
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        void *memory = &error;
        assert_int_equal(k->alloc(device, sizes[i], &memory, &error), ERR_NO_MEMORY);
        assert_null(memory);
    }
    k->close(device);
}

static void chunks_cover_the_count(void **state)
{
    (void)state;
    const int64_t counts[] = { 0, 1, 31, 32, 33, 4096, 1000003 };
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        int64_t size = device_chunk_elements(counts[i], 32, PARTIALS_MAX);
        int chunks = device_chunk_count(counts[i], size);
        assert_true(size >= 32);
        assert_true(chunks <= PARTIALS_MAX);
        assert_true(chunks * size >= counts[i]);
        assert_true((chunks - 1) * size < max_i64(counts[i], 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(every_build_says_what_it_is),
        cmocka_unit_test(memory_is_zeroed_aligned_and_copied),
        cmocka_unit_test(too_much_memory_is_refused),
        cmocka_unit_test(chunks_cover_the_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
