#include "kernels/cuda/device.h"
#include "tests/support/standin/cudart.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct kernels_options small = { .threads = 1,
                                              .batch_rows = 2,
                                              .context = 3,
                                              .width = 4,
                                              .heads = 2,
                                              .vocab_count = 5,
                                              .timeout_ns = 60 * NS_PER_S };

/* One variable of the environment for one test; teardown clears all of them. */
static void fake(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
    standin_reset();
}

static int clear_faults(void **state)
{
    (void)state;
    static const char *const names[] = { "PENSTOCK_FAKE_GPUS",   "PENSTOCK_FAKE_DRIVER",
                                         "PENSTOCK_FAKE_MEMORY", "PENSTOCK_FAKE_CAPABILITY",
                                         "PENSTOCK_FAKE_ALLOC",  "PENSTOCK_FAKE_PINNED",
                                         "PENSTOCK_FAKE_LAUNCH", "PENSTOCK_FAKE_LAUNCH_ONCE",
                                         "PENSTOCK_FAKE_STALL",  "PENSTOCK_FAKE_BUS_ID" };
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        assert_int_equal(unsetenv(names[i]), 0);
    standin_reset();
    return 0;
}

static struct kernels_device *open_with(const struct kernels_options *options,
                                        size_t scratch_bytes)
{
    struct kernels_device *device;
    struct error error;
    enum err rc = cuda_device_open(options, scratch_bytes, &device, &error);
    if (rc != ERR_OK) fail_msg("open: %s", error.text);
    return device;
}

static struct kernels_device *open_device(size_t scratch_bytes)
{
    return open_with(&small, scratch_bytes);
}

/* One that will run into its deadline. */
static struct kernels_device *open_hasty(size_t scratch_bytes)
{
    struct kernels_options hasty = small;
    hasty.timeout_ns = 50 * NS_PER_MS;
    return open_with(&hasty, scratch_bytes);
}

static void assert_text(const struct error *error, const char *part)
{
    if (strstr(error->text, part) == NULL) fail_msg("\"%s\" lacks \"%s\"", error->text, part);
}

/* Opening fails with the code and a text that has the part; nothing is left behind. */
static void assert_refused(const struct kernels_options *options, size_t scratch_bytes,
                           enum err code, const char *part)
{
    struct kernels_device *device = (void *)1;
    struct error error;
    int blocks = standin_blocks(), objects = standin_objects();
    assert_int_equal(cuda_device_open(options, scratch_bytes, &device, &error), code);
    assert_null(device);
    assert_text(&error, part);
    assert_int_equal(standin_blocks(), blocks);
    assert_int_equal(standin_objects(), objects);
}

static void describes_the_gpu(void **state)
{
    (void)state;
    struct kernels_device *device = open_device(1000);
    char text[KERNELS_DETAIL_BYTES], bus_id[CUDA_BUS_ID_BYTES];
    unsigned char uuid[CUDA_UUID_BYTES];
    cuda_device_describe(device, text);
    assert_memory_equal(text, "stand-in GPU, sm_90, fp32, driver 13.", 37);
    cuda_device_pci_bus_id(device, bus_id);
    assert_string_equal(bus_id, "0000:1b:00.0");
    cuda_device_uuid(device, uuid);
    assert_int_equal(uuid[0], 1);
    assert_int_equal(uuid[15], 16);
    assert_int_equal(cuda_device_capability(device), 90);
    assert_int_equal(cuda_device_multiprocessors(device), 3);
    assert_int_equal(cuda_device_memory_bytes(device), INT64_C(8) << 30);
    assert_int_equal(cuda_device_scratch_bytes(device), 1000);
    assert_int_equal((uintptr_t)cuda_device_scratch(device) % CUDA_ALIGNMENT, 0);
    cuda_device_close(device);
    cuda_device_close(NULL);
    assert_int_equal(standin_blocks(), 0);
    assert_int_equal(standin_objects(), 0);
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct kernels_options options;
        const char *part;
    } rows[] = {
        { { .batch_rows = 0, .context = 1, .width = 1, .heads = 1, .vocab_count = 1 },
          "at least 1" },
        { { .batch_rows = 1, .context = -1, .width = 1, .heads = 1, .vocab_count = 1 },
          "at least 1" },
        { { .batch_rows = 1, .context = 1, .width = 10, .heads = 3, .vocab_count = 1 },
          "no multiple" },
        { { .batch_rows = 1, .context = 1, .width = 1, .heads = 1, .vocab_count = 0 },
          "at least 1" },
        { { .batch_rows = INT32_MAX, .context = 2, .width = 1, .heads = 1, .vocab_count = 1 },
          "too large" },
        { { .batch_rows = 1,
            .context = 1,
            .width = 1,
            .heads = 1,
            .vocab_count = INT64_C(1) << 33 },
          "too large" },
        { { .batch_rows = 1,
            .context = 1,
            .width = 1,
            .heads = 1,
            .vocab_count = 1,
            .timeout_ns = -1 },
          "timeout" },
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        assert_refused(&rows[i].options, 0, ERR_INPUT, rows[i].part);
}

static void no_gpu_is_said(void **state)
{
    (void)state;
    fake("PENSTOCK_FAKE_GPUS", "0");
    assert_refused(&small, 0, ERR_DEVICE, "no CUDA-capable device is detected");
    clear_faults(NULL);
    fake("PENSTOCK_FAKE_DRIVER", "none");
    assert_refused(&small, 0, ERR_DEVICE, "driver version is insufficient");
    clear_faults(NULL);
    fake("PENSTOCK_FAKE_CAPABILITY", "75");
    assert_refused(&small, 0, ERR_DEVICE, "7.5: 8.0 or newer is needed");
}

static void out_of_memory_says_how_much(void **state)
{
    (void)state;
    fake("PENSTOCK_FAKE_MEMORY", "1000000");
    assert_refused(&small, 1000001, ERR_NO_MEMORY,
                   "1000001 bytes of scratch, 1000000 of 1000000");
    struct kernels_device *device = open_device(600000);
    void *memory = (void *)1;
    struct error error;
    assert_int_equal(cuda_device_alloc(device, 500000, &memory, &error), ERR_NO_MEMORY);
    assert_null(memory);
    assert_text(&error, "500000 bytes of tensors, 400000 of 1000000 are free");
    /* It harms nothing else. */
    assert_int_equal(cuda_device_sync(device, &error), ERR_OK);
    assert_int_equal(cuda_device_alloc(device, 400000, &memory, &error), ERR_OK);
    cuda_device_release(device, memory);
    cuda_device_close(device);
}

/* Whichever allocation fails, open leaves nothing behind. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    fake("PENSTOCK_FAKE_ALLOC", "1");
    assert_refused(&small, 64, ERR_NO_MEMORY, "64 bytes of scratch");
    clear_faults(NULL);
    for (int n = 1; n <= 2; n++) {
        fake("PENSTOCK_FAKE_PINNED", n == 1 ? "1" : "2");
        assert_refused(&small, 64, ERR_NO_MEMORY, "pinned memory");
    }
    fake("PENSTOCK_FAKE_PINNED", "3");
    cuda_device_close(open_device(64));
}

static void memory_is_zeroed_and_copied(void **state)
{
    (void)state;
    struct kernels_device *device = open_device(0);
    const size_t sizes[] = { 0, 1, 4095, 4 << 20, (4 << 20) + 1, (9 << 20) + 7 };
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        size_t bytes = sizes[i];
        unsigned char *host = malloc(bytes + 1), *back = malloc(bytes + 1);
        void *memory;
        assert_non_null(host);
        assert_non_null(back);
        assert_int_equal(cuda_device_alloc(device, bytes, &memory, NULL), ERR_OK);
        assert_int_equal((uintptr_t)memory % CUDA_ALIGNMENT, 0);
        memset(back, 1, bytes + 1);
        cuda_device_download(device, back, memory, bytes);
        for (size_t b = 0; b < bytes; b++)
            assert_int_equal(back[b], 0);
        assert_int_equal(back[bytes], 1);
        for (size_t b = 0; b < bytes; b++)
            host[b] = (unsigned char)(b * 7 + (b >> 12));
        cuda_device_upload(device, memory, host, bytes);
        memcpy(back, host, bytes);
        memset(host, 0xaa, bytes); /* the caller's memory may be used again at once */
        cuda_device_download(device, host, memory, bytes);
        assert_memory_equal(host, back, bytes);
        cuda_device_release(device, memory);
        free(host);
        free(back);
    }
    cuda_device_release(device, NULL);
    assert_int_equal(cuda_device_sync(device, NULL), ERR_OK);
    cuda_device_close(device);
    assert_int_equal(standin_blocks(), 0);
}

static bool countdown(void *context, cudaError_t *error)
{
    (void)error;
    int *left = context;
    return (*left)-- <= 0;
}

/* A busy stream delays copies, and nothing is lost or reordered. */
static void copies_wait_for_the_stream(void **state)
{
    (void)state;
    struct kernels_device *device = open_device(0);
    void *memory;
    enum { FLOATS = 3 << 20 };
    float *host = calloc(FLOATS, sizeof(*host)), *back = calloc(FLOATS, sizeof(*back));
    assert_non_null(host);
    assert_non_null(back);
    assert_int_equal(cuda_device_alloc(device, FLOATS * sizeof(*host), &memory, NULL), ERR_OK);
    for (int i = 0; i < FLOATS; i++)
        host[i] = (float)i;
    int looks = 1000;
    standin_enqueue_poll(cuda_device_stream(device), countdown, &looks, NULL);
    cuda_device_upload(device, memory, host, FLOATS * sizeof(*host));
    cuda_device_download(device, back, memory, FLOATS * sizeof(*host));
    assert_memory_equal(host, back, FLOATS * sizeof(*host));
    assert_true(looks < 0);
    cuda_device_release(device, memory);
    cuda_device_close(device);
    free(host);
    free(back);
}

static bool never(void *context, cudaError_t *error)
{
    (void)context;
    (void)error;
    return false;
}

/* Everything ends at once, again and again. Only a GPU that does not answer keeps its memory:
 * a stage for each of two copies, and the scratch. */
static void assert_lost(struct kernels_device *device, enum err code, const char *part)
{
    int blocks = standin_blocks() - 3;
    struct error error;
    void *memory = (void *)1;
    float value = 0.0f;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cuda_device_sync(device, &error), code);
        assert_text(&error, part);
    }
    assert_true(cuda_device_failed(device));
    assert_int_equal(cuda_device_alloc(device, 8, &memory, &error), code);
    assert_null(memory);
    cuda_device_download(device, &value, cuda_device_scratch(device), sizeof(value));
    assert_true(isnan(value));
    cuda_device_upload(device, cuda_device_scratch(device), &value, sizeof(value));
    cuda_device_release(device, NULL);
    cuda_device_close(device);
    assert_int_equal(standin_blocks(), code == ERR_TIMEOUT ? blocks + 3 : blocks);
    assert_int_equal(standin_objects(), 0);
}

static void a_wait_ends_at_its_deadline(void **state)
{
    (void)state;
    struct kernels_device *device = open_hasty(64);
    standin_enqueue_poll(cuda_device_stream(device), never, NULL, NULL);
    assert_lost(device, ERR_TIMEOUT, "wait: the GPU was not done within 0.05 s");
    device = open_hasty(64);
    float value = 0.0f;
    standin_enqueue_poll(cuda_device_stream(device), never, NULL, NULL);
    cuda_device_download(device, &value, cuda_device_scratch(device), sizeof(value));
    assert_true(isnan(value));
    assert_lost(device, ERR_TIMEOUT, "download: the GPU was not done within 0.05 s");
}

/* An error that leaves the context whole is told once, with the first operation's name. */
static void a_passing_error_is_told_once(void **state)
{
    (void)state;
    struct kernels_device *device = open_device(64);
    struct error error;
    fake("PENSTOCK_FAKE_LAUNCH_ONCE", "1");
    assert_false(standin_launch_begins(cuda_device_stream(device)));
    cuda_device_note(device, cudaGetLastError(), "layernorm");
    cuda_device_note(device, cudaErrorInvalidValue, "gelu");
    assert_true(cuda_device_failed(device));
    double sum = 0.0;
    cuda_device_download(device, &sum, cuda_device_scratch(device), sizeof(sum));
    assert_true(isnan(sum));
    assert_int_equal(cuda_device_sync(device, &error), ERR_DEVICE);
    assert_text(&error, "layernorm: invalid configuration argument");
    assert_int_equal(cuda_device_sync(device, &error), ERR_OK);
    assert_false(cuda_device_failed(device));
    cuda_device_note_text(device, "no such product", "matmul");
    cuda_device_note(device, cudaSuccess, "gelu");
    assert_int_equal(cuda_device_sync(device, &error), ERR_DEVICE);
    assert_text(&error, "matmul: no such product");
    cuda_device_close(device);
    assert_int_equal(standin_blocks(), 0);
}

static bool fails(void *context, cudaError_t *error)
{
    (void)context;
    *error = cudaErrorIllegalAddress;
    return true;
}

static void a_lost_context_stays_lost(void **state)
{
    (void)state;
    struct kernels_device *device = open_device(64);
    fake("PENSTOCK_FAKE_LAUNCH", "1");
    assert_false(standin_launch_begins(cuda_device_stream(device)));
    cuda_device_note(device, cudaGetLastError(), "attention");
    assert_lost(device, ERR_DEVICE, "attention: an illegal memory access");
    clear_faults(NULL);
    /* Found by whoever looks next. */
    device = open_device(64);
    standin_enqueue_poll(cuda_device_stream(device), fails, NULL, NULL);
    assert_lost(device, ERR_DEVICE, "wait: an illegal memory access");
}

static void destroy_counts(void *products, bool blocked)
{
    assert_false(blocked);
    ++*(int *)products;
}

static void products_are_kept_and_destroyed(void **state)
{
    (void)state;
    int destroyed = 0;
    struct kernels_device *device = open_device(0);
    assert_null(cuda_device_kept(device));
    cuda_device_keep(device, &destroyed, destroy_counts);
    assert_ptr_equal(cuda_device_kept(device), &destroyed);
    cuda_device_close(device);
    assert_int_equal(destroyed, 1);
}

static bool is_open(void *context, cudaError_t *error)
{
    (void)error;
    return *(const bool *)context;
}

/* The stand-in itself: streams wait for each other's events, in order. */
static void the_stand_in_keeps_order_between_streams(void **state)
{
    (void)state;
    cudaStream_t a, b;
    cudaEvent_t event;
    bool gate = false;
    int host = 1, from = 7;
    assert_int_equal(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking), cudaSuccess);
    assert_int_equal(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking), cudaSuccess);
    assert_int_equal(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
    standin_enqueue_poll(a, is_open, &gate, NULL);
    assert_int_equal(cudaEventRecord(event, a), cudaSuccess);
    assert_int_equal(cudaEventQuery(event), cudaErrorNotReady);
    assert_int_equal(cudaStreamWaitEvent(b, event, 0), cudaSuccess);
    assert_int_equal(cudaMemcpyAsync(&host, &from, sizeof(host), cudaMemcpyDefault, b),
                     cudaSuccess);
    assert_int_equal(host, 1);
    assert_int_equal(cudaStreamQuery(b), cudaErrorNotReady);
    assert_int_equal(host, 1);
    gate = true;
    assert_int_equal(cudaStreamQuery(b), cudaSuccess);
    assert_int_equal(cudaEventQuery(event), cudaSuccess);
    assert_int_equal(host, 7);
    assert_int_equal(cudaEventDestroy(event), cudaSuccess);
    assert_int_equal(cudaStreamDestroy(a), cudaSuccess);
    assert_int_equal(cudaStreamDestroy(b), cudaSuccess);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(describes_the_gpu, clear_faults),
        cmocka_unit_test_teardown(options_out_of_range_are_refused, clear_faults),
        cmocka_unit_test_teardown(no_gpu_is_said, clear_faults),
        cmocka_unit_test_teardown(out_of_memory_says_how_much, clear_faults),
        cmocka_unit_test_teardown(every_allocation_may_fail, clear_faults),
        cmocka_unit_test_teardown(memory_is_zeroed_and_copied, clear_faults),
        cmocka_unit_test_teardown(copies_wait_for_the_stream, clear_faults),
        cmocka_unit_test_teardown(a_passing_error_is_told_once, clear_faults),
        cmocka_unit_test_teardown(products_are_kept_and_destroyed, clear_faults),
        cmocka_unit_test_teardown(the_stand_in_keeps_order_between_streams, clear_faults),
        /* What these lose stays with the process. */
        cmocka_unit_test_teardown(a_wait_ends_at_its_deadline, clear_faults),
        cmocka_unit_test_teardown(a_lost_context_stays_lost, clear_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
