/* Every launch of every operation refused in turn: the operation must end there. What its later
 * launches read, indices among it, was never written. */
#include "kernels/kernels.h"
#include "proto/base/defs.h"
#include "tests/kernels/support.h"
#include "tests/support/standin/cudart.h"

#include <stdio.h>
#include <stdlib.h>

/* A vocabulary of two bytes, which takes two passes of the sort; heads that the tensor cores'
 * path takes in bf16; rows enough for partial sums. */
enum { B = 2, T = 40, C = 128, H = 2, V = 300, N = B * T };

enum { OPERAND_BYTES = N * 4 * C * 4, OPERANDS = 8 }; /* the largest is [N,3C] of floats */

/* An opened device, and memory that stands for every operand: nothing is computed. */
struct bench {
    const struct kernels *table;
    struct kernels_device *device;
    char *memory;
};

/* The n-th of the operands that the operations below have. */
static void *operand(const struct bench *bench, int n)
{
    return bench->memory + (size_t)n * OPERAND_BYTES;
}

static void run_embedding(const struct bench *bench)
{
    const struct kernels_embedding args = { .batch_rows = B,
                                            .context = T,
                                            .width = C,
                                            .vocab_count = V,
                                            .tokens = operand(bench, 0),
                                            .token_weight = operand(bench, 1),
                                            .position_weight = operand(bench, 2),
                                            .out = operand(bench, 3) };
    bench->table->embedding(bench->device, &args);
}

static void run_embedding_backward(const struct bench *bench)
{
    const struct kernels_embedding_backward args = { .batch_rows = B,
                                                     .context = T,
                                                     .width = C,
                                                     .vocab_count = V,
                                                     .tokens = operand(bench, 0),
                                                     .out_grad = operand(bench, 1),
                                                     .token_weight_grad = operand(bench, 2),
                                                     .position_weight_grad =
                                                         operand(bench, 3) };
    bench->table->embedding_backward(bench->device, &args);
}

static void layernorm_backward(const struct bench *bench, int64_t width)
{
    const struct kernels_layernorm_backward args = { .rows = N,
                                                     .width = width,
                                                     .in = operand(bench, 0),
                                                     .weight = operand(bench, 1),
                                                     .mean = operand(bench, 2),
                                                     .rstd = operand(bench, 3),
                                                     .out_grad = operand(bench, 4),
                                                     .in_grad = operand(bench, 5),
                                                     .weight_grad = operand(bench, 6),
                                                     .bias_grad = operand(bench, 7) };
    bench->table->layernorm_backward(bench->device, &args);
}

static void run_layernorm_backward(const struct bench *bench)
{
    layernorm_backward(bench, C);
}

/* Rows that are no whole vectors have kernels of their own. */
static void run_loose_layernorm_backward(const struct bench *bench)
{
    layernorm_backward(bench, C - 1);
}

/* With a residual there is no epilogue for GELU; a bias off its alignment has none either. */
static void run_matmul(const struct bench *bench)
{
    const struct kernels_matmul args = { .rows = N,
                                         .in_width = C,
                                         .out_width = C,
                                         .in = operand(bench, 0),
                                         .weight = operand(bench, 1),
                                         .bias = (char *)operand(bench, 2) + sizeof(float),
                                         .residual = operand(bench, 3),
                                         .out = operand(bench, 4),
                                         .gelu = operand(bench, 5) };
    bench->table->matmul(bench->device, &args);
}

static void run_matmul_backward(const struct bench *bench)
{
    const struct kernels_matmul_backward args = { .rows = N,
                                                  .in_width = C - 1, /* no epilogue */
                                                  .out_width = C,
                                                  .in = operand(bench, 0),
                                                  .weight = operand(bench, 1),
                                                  .out_grad = operand(bench, 2),
                                                  .gelu_input = operand(bench, 3),
                                                  .in_grad = operand(bench, 4),
                                                  .weight_grad = operand(bench, 5),
                                                  .bias_grad = operand(bench, 6) };
    bench->table->matmul_backward(bench->device, &args);
}

static void attention_backward(const struct bench *bench, int64_t heads)
{
    const struct kernels_attention_backward args = { .batch_rows = B,
                                                     .context = T,
                                                     .width = C,
                                                     .heads = heads,
                                                     .qkv = operand(bench, 0),
                                                     .out = operand(bench, 2),
                                                     .logsum = operand(bench, 3),
                                                     .out_grad = operand(bench, 4),
                                                     .qkv_grad = operand(bench, 5) };
    bench->table->attention_backward(bench->device, &args);
}

static void run_attention_backward(const struct bench *bench)
{
    attention_backward(bench, H);
}

/* Heads too wide for the tensor cores' path. */
static void run_plain_attention_backward(const struct bench *bench)
{
    attention_backward(bench, H * 2);
}

static void run_cross_entropy(const struct bench *bench)
{
    const struct kernels_cross_entropy args = { .rows = N,
                                                .vocab_count = V,
                                                .targets = operand(bench, 0),
                                                .grad_scale = 1.0f,
                                                .logits = operand(bench, 1),
                                                .losses = operand(bench, 7) };
    bench->table->cross_entropy(bench->device, &args);
}

/* Its result is as unusable as the launch was. */
static void run_sum_squares(const struct bench *bench)
{
    double sum = bench->table->sum_squares(bench->device, operand(bench, 0), (int64_t)N * C);
    enum err rc = bench->table->sync(bench->device, NULL);
    if (rc != ERR_OK) assert_true(isnan(sum));
}

static const struct operation {
    const char *name;
    void (*run)(const struct bench *bench);
    bool syncs;        /* tells its failure itself */
    long launches_min; /* how many it has at least, in either type */
} operations[] = {
    { "embedding", run_embedding, false, 1 },
    { "embedding_backward", run_embedding_backward, false, 9 },
    { "layernorm_backward", run_layernorm_backward, false, 2 },
    { "layernorm_backward, odd", run_loose_layernorm_backward, false, 3 },
    { "matmul", run_matmul, false, 3 },
    { "matmul_backward", run_matmul_backward, false, 4 },
    { "attention_backward", run_attention_backward, false, 3 },
    { "attention_backward, plain", run_plain_attention_backward, false, 3 },
    { "cross_entropy", run_cross_entropy, false, 1 },
    { "sum_squares", run_sum_squares, true, 2 },
};

static void refuse(long launch)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%ld", launch);
    assert_int_equal(setenv("PENSTOCK_FAKE_LAUNCH_ONCE", text, 1), 0);
    standin_reset();
}

static void check_operation(const struct bench *bench, const struct operation *operation)
{
    refuse(0);
    operation->run(bench);
    assert_int_equal(bench->table->sync(bench->device, NULL), ERR_OK);
    long launches = standin_launches();
    if (launches < operation->launches_min)
        fail_msg("%s has only %ld launches", operation->name, launches);
    for (long n = 1; n <= launches; n++) {
        refuse(n);
        operation->run(bench);
        if (standin_launches() != n)
            fail_msg("%s goes on behind its launch %ld, to %ld", operation->name, n,
                     standin_launches());
        if (!operation->syncs)
            assert_int_equal(bench->table->sync(bench->device, NULL), ERR_DEVICE);
        assert_int_equal(bench->table->sync(bench->device, NULL), ERR_OK);
    }
}

static void check_type(enum kernels_type type)
{
    const struct kernels_options options = { .threads = 1,
                                             .batch_rows = B,
                                             .context = T,
                                             .width = C,
                                             .heads = H,
                                             .vocab_count = V,
                                             .type = type,
                                             .timeout_ns = NS_PER_S };
    struct bench bench = { .table = kernels_cuda() };
    void *memory;
    assert_int_equal(bench.table->open(&options, &bench.device, NULL), ERR_OK);
    assert_int_equal(
        bench.table->alloc(bench.device, (size_t)OPERANDS * OPERAND_BYTES, &memory, NULL),
        ERR_OK);
    bench.memory = memory;
    for (size_t i = 0; i < ARRAY_COUNT(operations); i++)
        check_operation(&bench, &operations[i]);
    bench.table->release(bench.device, memory);
    bench.table->close(bench.device);
}

static void an_operation_ends_at_its_refused_launch(void **state)
{
    (void)state;
    assert_int_equal(setenv("PENSTOCK_FAKE_KERNELS", "none", 1), 0);
    check_type(KERNELS_FP32);
    check_type(KERNELS_BF16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_operation_ends_at_its_refused_launch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
