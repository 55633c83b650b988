/*
 * Causal attention, forward and backward, without a matrix of T x T anywhere: tiles of scores
 * live in registers, the softmax goes on tile by tile with a running maximum, and the backward
 * pass makes the probabilities again from the log of each row's sum (Dao, "FlashAttention-2",
 * 2023, algorithms 1 and 2). Scores are taken to base 2 with the factor folded in.
 *
 * bf16 with heads of 64 or 128 numbers and rows on 16-byte borders runs on tensor cores
 * (attention_mma.cuh), everything else up to HEAD_WIDTH_MAX in plain arithmetic
 * (attention_plain.cuh).
 *
 * The gradient takes two kernels in both: dK and dV by one block for each tile of keys, dQ by one
 * for each tile of queries. That makes scores and their gradients twice, seven products where
 * five would do, but nothing is shared between blocks: no atomic sum, whose order would change
 * from run to run, and no dQ per tile of keys to be added up later, which is memory and traffic
 * that grow with T * T, where the two products work on tiles that are in shared memory anyway.
 */
#include "kernels/cuda/attention_mma.cuh"
#include "kernels/cuda/attention_plain.cuh"
#include "kernels/cuda/ops.h"

namespace
{

constexpr int HEAD_WIDTH_MAX = 256;
constexpr int CONTEXT_MAX = 1 << 30;             /* positions of whole tiles fit an int */
constexpr size_t SHARED_BYTES_PLAIN = 48 * 1024; /* what a kernel gets without asking */

/* ---- delta: the product of each output row and its gradient ---- */

constexpr int DELTA_THREADS = 256;

/* LANES lanes for each row of each head; a head's row is contiguous. PIECES: 16 bytes at a time,
 * one for each lane. */
template <class real, int LANES, bool PIECES>
__global__ void __launch_bounds__(DELTA_THREADS)
    delta_rows(const shape s, int64_t count, const real *out, const real *out_grad,
               float *delta)
{
    const int64_t index =
        (static_cast<int64_t>(blockIdx.x) * DELTA_THREADS + threadIdx.x) / LANES;
    constexpr int N = real_vector<real>;
    const int lane = static_cast<int>(threadIdx.x) % LANES;
    const bool valid = index < count;
    const int64_t at = index * s.head_width;
    float sum = 0.0f;
    if constexpr (PIECES) {
        if (valid) {
            float a[N], b[N];
            real_load<N>(out + at + lane * N, a);
            real_load<N>(out_grad + at + lane * N, b);
#pragma unroll
            for (int i = 0; i < N; i++)
                sum += a[i] * b[i];
        }
    } else if (valid) {
        for (int i = lane; i < s.head_width; i += LANES)
            sum += real_to_float(out[at + i]) * real_to_float(out_grad[at + i]);
    }
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2)
        sum += __shfl_xor_sync(FULL_MASK, sum, step);
    if (!valid || lane != 0) return;
    const int64_t row = index / s.heads, h = index % s.heads;
    const int64_t sequence = row / s.context, position = row % s.context;
    delta[(sequence * s.heads + h) * s.context + position] = sum;
}

/* ---- launches ---- */

struct shape shape_of(int64_t context, int64_t width, int64_t heads, int side)
{
    check(width % heads == 0);
    check(width / heads <= HEAD_WIDTH_MAX);
    check(context <= CONTEXT_MAX);
    const float scale = 1.0f / sqrtf(static_cast<float>(width / heads));
    return { static_cast<int>(context),
             static_cast<int>(heads),
             static_cast<int>(width / heads),
             width,
             static_cast<int>(div_ceil(context, side)),
             scale,
             scale * LOG2_E };
}

unsigned blocks_of(const struct shape &s, int64_t batch_rows)
{
    const int64_t blocks = batch_rows * s.heads * s.tiles;
    check(blocks <= INT32_MAX);
    return static_cast<unsigned>(blocks);
}

bool on_piece(const void *at)
{
    return reinterpret_cast<uintptr_t>(at) % 16 == 0;
}

/* Launches one kernel of a tile of `side` rows a block. False once the device has failed. */
template <class... Parameters, class... Arguments>
bool run(struct kernels_device *device, const char *operation, void (*kernel)(Parameters...),
         int threads, size_t shared_bytes, const struct shape &s, int64_t batch_rows,
         Arguments... arguments)
{
    if (shared_bytes > SHARED_BYTES_PLAIN) {
        cudaError_t code = cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel),
                                                cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                static_cast<int>(shared_bytes));
        cuda_device_note(device, code, operation);
        if (code != cudaSuccess) return false;
    }
    LAUNCH(kernel, blocks_of(s, batch_rows), threads, shared_bytes, cuda_device_stream(device),
           s, arguments...);
    return cuda_device_launched(device, operation);
}

template <int D>
void forward_on_tensor_cores(struct kernels_device *device,
                             const struct kernels_attention *args)
{
    using plan = forward_plan<D>;
    const struct shape s = shape_of(args->context, args->width, args->heads, plan::QUERIES);
    (void)run(device, "attention", forward_mma<D>, plan::WARPS * WARP, plan::SHARED_BYTES, s,
              args->batch_rows, static_cast<const bf16 *>(args->qkv),
              static_cast<bf16 *>(args->out), args->logsum);
}

template <class real, int WIDTH>
void forward_plainly(struct kernels_device *device, const struct kernels_attention *args)
{
    const struct shape s = shape_of(args->context, args->width, args->heads, SIDE);
    (void)run(device, "attention", forward_plain<real, WIDTH>, PLAIN_THREADS, 0, s,
              args->batch_rows, static_cast<const real *>(args->qkv),
              static_cast<real *>(args->out), args->logsum);
}

template <class real, int LANES, bool PIECES>
bool delta_run(struct kernels_device *device, const struct kernels_attention_backward *args)
{
    const struct shape s = shape_of(args->context, args->width, args->heads, SIDE);
    const int64_t count = args->batch_rows * args->context * args->heads;
    const int64_t blocks = div_ceil(count, DELTA_THREADS / LANES);
    check(blocks <= INT32_MAX);
    const auto kernel = delta_rows<real, LANES, PIECES>;
    LAUNCH(kernel, static_cast<unsigned>(blocks), DELTA_THREADS, 0, cuda_device_stream(device),
           s, count, static_cast<const real *>(args->out),
           static_cast<const real *>(args->out_grad),
           static_cast<float *>(cuda_device_scratch(device)));
    return cuda_device_launched(device, "attention_backward");
}

template <int D>
void backward_on_tensor_cores(struct kernels_device *device,
                              const struct kernels_attention_backward *args)
{
    using for_keys = key_plan<D>;
    using for_queries = query_plan<D>;
    const bf16 *qkv = static_cast<const bf16 *>(args->qkv);
    const bf16 *out_grad = static_cast<const bf16 *>(args->out_grad);
    bf16 *qkv_grad = static_cast<bf16 *>(args->qkv_grad);
    const float *delta = static_cast<const float *>(cuda_device_scratch(device));
    if (!delta_run<bf16, D / 8, true>(device, args)) return;
    if (!run(device, "attention_backward", key_grad_mma<D>, for_keys::WARPS * WARP,
             for_keys::SHARED_BYTES,
             shape_of(args->context, args->width, args->heads, for_keys::KEYS),
             args->batch_rows, qkv, out_grad, args->logsum, delta, qkv_grad))
        return;
    (void)run(device, "attention_backward", query_grad_mma<D>, for_queries::WARPS * WARP,
              for_queries::SHARED_BYTES,
              shape_of(args->context, args->width, args->heads, for_queries::QUERIES),
              args->batch_rows, qkv, out_grad, args->logsum, delta, qkv_grad);
}

template <class real, int WIDTH>
void backward_plainly(struct kernels_device *device,
                      const struct kernels_attention_backward *args)
{
    const struct shape s = shape_of(args->context, args->width, args->heads, SIDE);
    const real *qkv = static_cast<const real *>(args->qkv);
    const real *out_grad = static_cast<const real *>(args->out_grad);
    real *qkv_grad = static_cast<real *>(args->qkv_grad);
    const float *delta = static_cast<const float *>(cuda_device_scratch(device));
    if (!delta_run<real, WARP, false>(device, args)) return;
    if (!run(device, "attention_backward", key_grad_plain<real, WIDTH>, PLAIN_THREADS, 0, s,
             args->batch_rows, qkv, out_grad, args->logsum, delta, qkv_grad))
        return;
    (void)run(device, "attention_backward", query_grad_plain<real, WIDTH>, PLAIN_THREADS, 0, s,
              args->batch_rows, qkv, out_grad, args->logsum, delta, qkv_grad);
}

/* The narrow instance keeps fewer registers; more of them would be little gain for their compile
 * time. */
template <class real>
void forward_by_width(struct kernels_device *device, const struct kernels_attention *args)
{
    const int64_t width = args->width / args->heads;
    if (width <= 64)
        forward_plainly<real, 64>(device, args);
    else
        forward_plainly<real, HEAD_WIDTH_MAX>(device, args);
}

template <class real>
void backward_by_width(struct kernels_device *device,
                       const struct kernels_attention_backward *args)
{
    const int64_t width = args->width / args->heads;
    if (width <= 64)
        backward_plainly<real, 64>(device, args);
    else
        backward_plainly<real, HEAD_WIDTH_MAX>(device, args);
}

} // namespace

extern "C" size_t cuda_attention_scratch_bytes(const struct kernels_options *options)
{
    return static_cast<size_t>(options->batch_rows * options->context * options->heads) *
           sizeof(float);
}

extern "C" enum err cuda_attention_check(const struct kernels_options *options,
                                         struct error *error)
{
    const int64_t head_width = options->width / options->heads;
    if (head_width > HEAD_WIDTH_MAX)
        return error_set(error, ERR_INPUT,
                         "heads of %lld numbers are too wide: at most %d; use more heads",
                         static_cast<long long>(head_width), HEAD_WIDTH_MAX);
    if (options->context > CONTEXT_MAX)
        return error_set(error, ERR_INPUT, "context %lld is too long: at most %d",
                         static_cast<long long>(options->context), CONTEXT_MAX);
    const int64_t head_count_max = INT32_MAX / div_ceil(options->context, SIDE);
    if (options->batch_rows > head_count_max / options->heads)
        return error_set(error, ERR_INPUT,
                         "%lld rows of %lld heads are too many at context %lld: use fewer rows",
                         static_cast<long long>(options->batch_rows),
                         static_cast<long long>(options->heads),
                         static_cast<long long>(options->context));
    return ERR_OK;
}

extern "C" void cuda_attention(struct kernels_device *device,
                               const struct kernels_attention *args)
{
    if (cuda_device_options(device)->type == KERNELS_FP32) {
        forward_by_width<float>(device, args);
        return;
    }
    const int64_t head_width = args->width / args->heads;
    const bool pieces = on_piece(args->qkv) && on_piece(args->out);
    if (head_width == 64 && pieces)
        forward_on_tensor_cores<64>(device, args);
    else if (head_width == 128 && pieces)
        forward_on_tensor_cores<128>(device, args);
    else
        forward_by_width<bf16>(device, args);
}

extern "C" void cuda_attention_backward(struct kernels_device *device,
                                        const struct kernels_attention_backward *args)
{
    if (cuda_device_options(device)->type == KERNELS_FP32) {
        backward_by_width<float>(device, args);
        return;
    }
    const int64_t head_width = args->width / args->heads;
    const bool pieces = on_piece(args->qkv) && on_piece(args->out) &&
                        on_piece(args->out_grad) && on_piece(args->qkv_grad);
    if (head_width == 64 && pieces)
        backward_on_tensor_cores<64>(device, args);
    else if (head_width == 128 && pieces)
        backward_on_tensor_cores<128>(device, args);
    else
        backward_by_width<bf16>(device, args);
}
