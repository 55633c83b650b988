/*
 * The harness's tensor cores, matrix loads and asynchronous copies against plain loops: what they
 * do stands in the PTX ISA, and attention is only as right as they are.
 */
#include "tests/support/cuda_emu.h"

#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/real.cuh"
#include "proto/base/rng.h"
#include "tests/support/standin/cudart.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include <cmocka.h>
}

namespace
{

constexpr int ROWS = 16, COLUMNS = 8, INNER = 16;

/* sum[16, 8] = start + a[16, 16] b, with the fragments as the PTX ISA draws them and no other
 * function of mma.cuh. b is [16, 8]. */
__global__ void product(const bf16 *a, const bf16 *b, const float *start, float *sum)
{
    const int row = static_cast<int>(threadIdx.x) / 4;
    const int quad = static_cast<int>(threadIdx.x) % 4;
    auto pair = [](bf16 low, bf16 high) {
        return pack_bf16(real_to_float(low), real_to_float(high));
    };
    uint32_t a_part[4], b_part[2];
    for (int i = 0; i < 4; i++) {
        const bf16 *at = a + (row + i % 2 * 8) * INNER + quad * 2 + i / 2 * 8;
        a_part[i] = pair(at[0], at[1]);
    }
    for (int i = 0; i < 2; i++) {
        const bf16 *at = b + (quad * 2 + i * 8) * COLUMNS + row;
        b_part[i] = pair(at[0], at[COLUMNS]);
    }
    float part[4];
    for (int i = 0; i < 4; i++)
        part[i] = start[(row + i / 2 * 8) * COLUMNS + quad * 2 + i % 2];
    mma_bf16(part, a_part, b_part[0], b_part[1]);
    for (int i = 0; i < 4; i++)
        sum[(row + i / 2 * 8) * COLUMNS + quad * 2 + i % 2] = part[i];
}

/* out[matrix][row][column] of four 8 x 8 matrices, each found again from the registers. */
__global__ void matrices(const uint16_t *in, uint16_t *out, bool transposed)
{
    DYNAMIC_SHARED(uint16_t, shared);
    const int lane = static_cast<int>(threadIdx.x);
    copy_async_16(shared + lane * 8, in + lane * 8, true);
    copy_async_commit();
    copy_async_wait<0>();
    __syncwarp();
    uint32_t part[4];
    if (transposed)
        ldmatrix_transposed(part, shared_address_of(shared + lane * 8));
    else
        ldmatrix(part, shared_address_of(shared + lane * 8));
    for (int m = 0; m < 4; m++) {
        uint16_t *at = out + m * 64 + lane / 4 * 8 + lane % 4 * 2;
        at[0] = static_cast<uint16_t>(part[m] & 0xffff);
        at[1] = static_cast<uint16_t>(part[m] >> 16);
    }
}

/* What a thread sees of two groups of copies: before it waits, after the first has come, after
 * the second; and zeros in place of what is not valid. */
__global__ void copies(const uint32_t *in, uint32_t *out)
{
    DYNAMIC_SHARED(uint32_t, shared);
    copy_async_4(shared, in, true);
    copy_async_16(shared + 4, in + 4, true);
    copy_async_commit();
    copy_async_4(shared + 1, in + 1, true);
    copy_async_4(shared + 2, in + 2, false);
    copy_async_commit();
    copy_async_wait<2>();
    out[0] = shared[0];
    copy_async_wait<1>();
    out[1] = shared[0];
    out[2] = shared[7];
    out[3] = shared[1];
    copy_async_wait<0>();
    out[4] = shared[1];
    out[5] = shared[2];
}

float *normals_new(struct rng *rng, int count)
{
    float *x = static_cast<float *>(calloc(static_cast<size_t>(count), sizeof(float)));
    for (int i = 0; i < count; i++)
        x[i] = __bfloat162float(__float2bfloat16_rn(rng_normal(rng)));
    return x;
}

bf16 *rounded_new(const float *x, int count)
{
    bf16 *y = static_cast<bf16 *>(calloc(static_cast<size_t>(count), sizeof(bf16)));
    for (int i = 0; i < count; i++)
        y[i] = __float2bfloat16_rn(x[i]);
    return y;
}

void product_equals_a_double_loop(void **)
{
    struct rng rng = rng_of(3);
    for (int round = 0; round < 20; round++) {
        float *a = normals_new(&rng, ROWS * INNER), *b = normals_new(&rng, INNER * COLUMNS);
        float *start = normals_new(&rng, ROWS * COLUMNS), sum[ROWS * COLUMNS];
        bf16 *a16 = rounded_new(a, ROWS * INNER), *b16 = rounded_new(b, INNER * COLUMNS);
        LAUNCH(product, 1, 32, 0, nullptr, a16, b16, start, sum);
        for (int r = 0; r < ROWS; r++) {
            for (int c = 0; c < COLUMNS; c++) {
                double want = static_cast<double>(start[r * COLUMNS + c]);
                for (int k = 0; k < INNER; k++)
                    want += static_cast<double>(a[r * INNER + k]) *
                            static_cast<double>(b[k * COLUMNS + c]);
                double got = static_cast<double>(sum[r * COLUMNS + c]);
                if (!(std::fabs(got - want) <= 1e-5)) fail_msg("%d %d: %g %g", r, c, got, want);
            }
        }
        for (void *memory :
             { static_cast<void *>(a), static_cast<void *>(b), static_cast<void *>(start),
               static_cast<void *>(a16), static_cast<void *>(b16) })
            free(memory);
    }
}

void matrices_are_loaded_as_they_are_or_transposed(void **)
{
    alignas(16) uint16_t in[256], out[256];
    for (int i = 0; i < 256; i++)
        in[i] = static_cast<uint16_t>(i * 7 + 1);
    for (bool transposed : { false, true }) {
        LAUNCH(matrices, 1, 32, sizeof(in), nullptr, in, out, transposed);
        for (int m = 0; m < 4; m++)
            for (int r = 0; r < 8; r++)
                for (int c = 0; c < 8; c++)
                    assert_int_equal(out[m * 64 + r * 8 + c], transposed
                                                                  ? in[m * 64 + c * 8 + r]
                                                                  : in[m * 64 + r * 8 + c]);
    }
}

void copies_come_when_they_are_waited_for(void **)
{
    alignas(16) uint32_t in[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    uint32_t out[6];
    LAUNCH(copies, 1, 1, 64, nullptr, in, out);
    const uint32_t want[6] = { 0xffffffffu, 1, 8, 0xffffffffu, 2, 0 };
    assert_memory_equal(out, want, sizeof(want));
}

/* ---- misuse, which ends the program ---- */

__global__ void copies_left_under_way(const uint32_t *in)
{
    DYNAMIC_SHARED(uint32_t, shared);
    copy_async_4(shared, in, true);
    copy_async_commit();
}

__global__ void copies_off_their_border(const uint32_t *in)
{
    DYNAMIC_SHARED(uint32_t, shared);
    copy_async_16(shared + 1, in, true);
}

__global__ void rows_off_their_border(const uint32_t *)
{
    DYNAMIC_SHARED(uint16_t, shared);
    uint32_t part[4];
    ldmatrix(part, shared_address_of(shared + 1));
}

__global__ void product_of_some_lanes(const uint32_t *)
{
    float sum[4] = {};
    const uint32_t a[4] = {};
    if (threadIdx.x < 16) mma_bf16(sum, a, 0, 0);
}

__global__ void product_of_a_short_warp(const uint32_t *)
{
    float sum[4] = {};
    const uint32_t a[4] = {};
    mma_bf16(sum, a, 0, 0);
}

struct misuse {
    void (*kernel)(const uint32_t *in);
    unsigned threads;
    const char *text;
};

void misuse_run(const misuse &m)
{
    alignas(16) static const uint32_t in[8] = {};
    LAUNCH(m.kernel, 1, m.threads, 256, nullptr, in);
}

/* Runs it in a child and demands that it aborts and says the text. */
void assert_aborts(const misuse &m)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        misuse_run(m);
        _exit(0);
    }
    close(ends[1]);
    char text[512] = "";
    size_t length = 0;
    for (ssize_t n; length < sizeof(text) - 1 &&
                    (n = read(ends[0], text + length, sizeof(text) - 1 - length)) > 0;)
        length += static_cast<size_t>(n);
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || strstr(text, m.text) == nullptr)
        fail_msg("status %d, \"%s\" lacks \"%s\"", status, text, m.text);
}

void misuse_is_named(void **)
{
    static const misuse rows[] = {
        { copies_left_under_way, 1, "a thread returned with copies under way" },
        { copies_off_their_border, 1, "an asynchronous copy that is not aligned to its size" },
        { rows_off_their_border, 32, "ldmatrix: a row not on 16 bytes" },
        { product_of_some_lanes, 32, "warp" }, /* that returned, or waits for ever */
        { product_of_a_short_warp, 16,
          "an instruction for whole warps, in a warp that is not" },
    };
    for (const misuse &m : rows)
        assert_aborts(m);
}

} // namespace

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(product_equals_a_double_loop),
        cmocka_unit_test(matrices_are_loaded_as_they_are_or_transposed),
        cmocka_unit_test(copies_come_when_they_are_waited_for),
        cmocka_unit_test(misuse_is_named),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
