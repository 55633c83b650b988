/*
 * Matrix products by cuBLASLt. It takes matrices column after column, so a row-major product
 * out = in * weight^T is asked for as out^T = weight * in^T: the same memory, other words.
 *
 * Bias, residual, GELU and its derivative are done by the product's epilogue where cuBLASLt has
 * an algorithm for that; where it has none (odd widths, mostly) by what comes after the plain
 * product. What was found out about a product is kept in a table of plans, which is complete
 * after the first step.
 */
#include "kernels/cuda/ops.h"
#include "kernels/cuda/real.cuh"

#include <cublasLt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLANS_MAX = 256,
    ALIGNED = 16, /* bytes: what a fused epilogue asks of its vectors, and a product of none */
    EPILOGUE_STRIDE = 8, /* elements: a row of what is before GELU is a multiple of this */
    THREADS = 256,       /* of a block with one thread for each number */
    COLUMN_THREADS = 32, /* of a column sum's block, along the columns; and along the rows */
    ROW_THREADS = 8,
    SPLITS_MAX = 256, /* partial sums of a column */
    SPLIT_ROWS = 64,  /* rows that one partial sum has at least */
    PEAK_SIZE_MIN = 512,
    PEAK_SIZE_MAX = 8192,
    PEAK_WORDS = 16381, /* of noise; a prime, so that no two rows of a matrix are the same */
    PEAK_PRODUCTS = 8,  /* between two looks at the clock */
    PEAK_ROUNDS = 3
};

constexpr size_t WORKSPACE_BYTES = 32 << 20; /* cuBLAS's own choice for sm_90 */
constexpr float PEAK_MS = 10.0f;             /* of one round: long against a launch */

/* ---- plans ---- */

/* One product as cuBLASLt sees it: d[rows, columns] = a * b + beta * c, all column-major, the
 * sum over `inner`. Zeroed before it is filled in: plans are found by comparing bytes. */
struct product {
    int64_t rows, columns, inner;
    int32_t a_transposed, b_transposed;
    int32_t real; /* cudaDataType of a and b */
    int32_t sum;  /* of c and d */
    int32_t epilogue;
    int32_t alignment[4]; /* bytes, at most ALIGNED: of a, b, c, d */
    int32_t pad;
};

struct plan {
    struct product product;
    bool usable; /* cuBLASLt has an algorithm for it */
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algorithm;
};

/* What the device keeps for us. */
struct products {
    cublasLtHandle_t handle;
    void *workspace;
    struct plan plans[PLANS_MAX];
    int count; /* of plans ever made; beyond PLANS_MAX the oldest one makes room */
};

/* The memory of one product. */
struct operands {
    const void *a, *b, *c; /* c may be d, and is not read where beta is 0 */
    void *d;
    float beta;
    const void *bias; /* of the epilogues that have one */
    void *before;     /* alike: what goes into GELU, written forward, read backward */
};

static void plan_fini(struct plan *plan)
{
    if (plan->d != NULL) (void)cublasLtMatrixLayoutDestroy(plan->d);
    if (plan->b != NULL) (void)cublasLtMatrixLayoutDestroy(plan->b);
    if (plan->a != NULL) (void)cublasLtMatrixLayoutDestroy(plan->a);
    if (plan->operation != NULL) (void)cublasLtMatmulDescDestroy(plan->operation);
    memset(plan, 0, sizeof(*plan));
}

static void products_destroy(void *context, bool blocked)
{
    struct products *products = (struct products *)context;
    for (int i = 0; i < PLANS_MAX; i++)
        plan_fini(&products->plans[i]);
    if (products->workspace != NULL && !blocked) (void)cudaFree(products->workspace);
    if (products->handle != NULL && !blocked) (void)cublasLtDestroy(products->handle);
    free(products);
}

enum err cuda_matmul_open(struct kernels_device *device, struct error *error)
{
    struct products *products = (struct products *)calloc(1, sizeof(*products));
    if (products == NULL)
        return error_set(error, ERR_NO_MEMORY, "no memory for plans of products");
    enum err rc = ERR_OK;
    cublasStatus_t status = cublasLtCreate(&products->handle);
    if (status != CUBLAS_STATUS_SUCCESS) {
        products->handle = NULL;
        rc = error_set(error, ERR_DEVICE, "open cuBLASLt: %s", cublasLtGetStatusString(status));
        goto out;
    }
    if ((rc = cuda_device_alloc(device, WORKSPACE_BYTES, &products->workspace, error)) !=
        ERR_OK)
        goto out;
    cuda_device_keep(device, products, products_destroy);
    return ERR_OK;
out:
    products_destroy(products, false);
    return rc;
}

int cuda_matmul_version(void)
{
    return static_cast<int>(cublasLtGetVersion());
}

static bool wants_bias(int32_t epilogue)
{
    return epilogue == CUBLASLT_EPILOGUE_BIAS || epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
}

static bool has_before(int32_t epilogue)
{
    return epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS ||
           epilogue == CUBLASLT_EPILOGUE_GELU_AUX || epilogue == CUBLASLT_EPILOGUE_DGELU;
}

template <class T>
static void set(cublasStatus_t *status, cublasLtMatmulDesc_t operation,
                cublasLtMatmulDescAttributes_t attribute, const T &value)
{
    if (*status == CUBLAS_STATUS_SUCCESS)
        *status = cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof(value));
}

template <class T>
static void prefer(cublasStatus_t *status, cublasLtMatmulPreference_t preference,
                   cublasLtMatmulPreferenceAttributes_t attribute, const T &value)
{
    if (*status == CUBLAS_STATUS_SUCCESS)
        *status =
            cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value));
}

static void lay_out(cublasStatus_t *status, cublasLtMatrixLayout_t *layout, int32_t type,
                    int64_t rows, int64_t columns)
{
    if (*status == CUBLAS_STATUS_SUCCESS)
        *status = cublasLtMatrixLayoutCreate(layout, static_cast<cudaDataType>(type),
                                             static_cast<uint64_t>(rows),
                                             static_cast<uint64_t>(columns), rows);
}

/* The pointers of an epilogue; looking for an algorithm asks for their alignment. */
static void set_pointers(cublasStatus_t *status, struct plan *plan, const struct operands *o)
{
    if (wants_bias(plan->product.epilogue))
        set(status, plan->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, o->bias);
    if (has_before(plan->product.epilogue))
        set(status, plan->operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, o->before);
}

static void describe(cublasStatus_t *status, struct plan *plan, const struct operands *o)
{
    const struct product *p = &plan->product;
    *status = cublasLtMatmulDescCreate(&plan->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    const cublasOperation_t as_is = CUBLAS_OP_N, transposed = CUBLAS_OP_T;
    set(status, plan->operation, CUBLASLT_MATMUL_DESC_TRANSA,
        p->a_transposed != 0 ? transposed : as_is);
    set(status, plan->operation, CUBLASLT_MATMUL_DESC_TRANSB,
        p->b_transposed != 0 ? transposed : as_is);
    set(status, plan->operation, CUBLASLT_MATMUL_DESC_EPILOGUE,
        static_cast<cublasLtEpilogue_t>(p->epilogue));
    if (has_before(p->epilogue))
        set(status, plan->operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p->rows);
    set_pointers(status, plan, o);
    if (p->a_transposed != 0)
        lay_out(status, &plan->a, p->real, p->inner, p->rows);
    else
        lay_out(status, &plan->a, p->real, p->rows, p->inner);
    if (p->b_transposed != 0)
        lay_out(status, &plan->b, p->real, p->columns, p->inner);
    else
        lay_out(status, &plan->b, p->real, p->inner, p->columns);
    lay_out(status, &plan->d, p->sum, p->rows, p->columns);
}

/* Takes the algorithm that cuBLASLt thinks is the fastest; plan->usable says whether it has
 * any. Everything else is a failure. */
static cublasStatus_t choose(const struct products *products, struct plan *plan)
{
    static const cublasLtMatmulPreferenceAttributes_t alignments[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES
    };
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t result;
    int found = 0;
    cublasStatus_t status = cublasLtMatmulPreferenceCreate(&preference);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    prefer(&status, preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
           static_cast<uint64_t>(WORKSPACE_BYTES));
    for (int i = 0; i < 4; i++)
        prefer(&status, preference, alignments[i],
               static_cast<uint32_t>(plan->product.alignment[i]));
    if (status == CUBLAS_STATUS_SUCCESS) {
        status =
            cublasLtMatmulAlgoGetHeuristic(products->handle, plan->operation, plan->a, plan->b,
                                           plan->d, plan->d, preference, 1, &result, &found);
        if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) {
            status = CUBLAS_STATUS_SUCCESS;
            found = 0;
        }
    }
    (void)cublasLtMatmulPreferenceDestroy(preference);
    plan->usable =
        status == CUBLAS_STATUS_SUCCESS && found > 0 && result.state == CUBLAS_STATUS_SUCCESS;
    if (plan->usable) plan->algorithm = result.algo;
    return status;
}

/* The plan of a product, made where there is none yet. NULL after a failure, which is noted. */
static struct plan *plan_of(struct kernels_device *device, const struct product *product,
                            const struct operands *o, const char *operation)
{
    struct products *products = (struct products *)cuda_device_kept(device);
    int known = products->count < PLANS_MAX ? products->count : PLANS_MAX;
    for (int i = 0; i < known; i++)
        if (memcmp(&products->plans[i].product, product, sizeof(*product)) == 0)
            return &products->plans[i];
    struct plan *plan = &products->plans[products->count % PLANS_MAX];
    plan_fini(plan);
    plan->product = *product;
    cublasStatus_t status;
    describe(&status, plan, o);
    if (status == CUBLAS_STATUS_SUCCESS) status = choose(products, plan);
    if (status != CUBLAS_STATUS_SUCCESS) {
        plan_fini(plan);
        cuda_device_note_text(device, cublasLtGetStatusString(status), operation);
        return NULL;
    }
    products->count++;
    return plan;
}

static int32_t alignment_of(const void *memory)
{
    int32_t alignment = ALIGNED;
    while (reinterpret_cast<uintptr_t>(memory) % static_cast<uintptr_t>(alignment) != 0)
        alignment /= 2;
    return alignment;
}

/* False where this product cannot be had, with nothing done, or has failed. A plain one that
 * cannot be had is a failure of the device too; a failure is noted. */
static bool run(struct kernels_device *device, struct product product, const struct operands *o,
                const char *operation)
{
    const struct products *products = (const struct products *)cuda_device_kept(device);
    const float alpha = 1.0f;
    const void *c = o->c != NULL ? o->c : o->d;
    const void *operands[] = { o->a, o->b, c, o->d };
    for (int i = 0; i < 4; i++)
        product.alignment[i] = alignment_of(operands[i]);
    struct plan *plan = plan_of(device, &product, o, operation);
    if (plan == NULL) return false;
    if (!plan->usable) {
        if (product.epilogue == CUBLASLT_EPILOGUE_DEFAULT)
            cuda_device_note_text(device, "cuBLASLt has no algorithm for this product",
                                  operation);
        return false;
    }
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    set_pointers(&status, plan, o);
    if (status == CUBLAS_STATUS_SUCCESS)
        status =
            cublasLtMatmul(products->handle, plan->operation, &alpha, o->a, plan->a, o->b,
                           plan->b, &o->beta, c, plan->d, o->d, plan->d, &plan->algorithm,
                           products->workspace, WORKSPACE_BYTES, cuda_device_stream(device));
    if (status != CUBLAS_STATUS_SUCCESS)
        cuda_device_note_text(device, cublasLtGetStatusString(status), operation);
    return status == CUBLAS_STATUS_SUCCESS;
}

/* ---- what follows a plain product ---- */

__device__ __forceinline__ static int64_t element_of_thread()
{
    return static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
}

template <class T>
static __global__ void __launch_bounds__(THREADS)
    add_bias(int64_t count, int64_t width, const T *bias, T *out)
{
    int64_t i = element_of_thread();
    if (i < count) out[i] = real_of<T>(real_to_float(out[i]) + real_to_float(bias[i % width]));
}

template <class T>
static void add_bias_launch(struct kernels_device *device, const struct kernels_matmul *a)
{
    int64_t count = a->rows * a->out_width;
    LAUNCH(add_bias<T>, static_cast<unsigned>(div_ceil(count, THREADS)), THREADS, 0,
           cuda_device_stream(device), count, a->out_width, static_cast<const T *>(a->bias),
           static_cast<T *>(a->out));
    cuda_device_note(device, cudaGetLastError(), "add a bias");
}

/* partial[split, column] = sum of one split's rows. A block has COLUMN_THREADS threads side by
 * side, each with N neighbouring columns, and ROW_THREADS of them below each other. */
template <class T, int N>
static __global__ void __launch_bounds__(COLUMN_THREADS *ROW_THREADS)
    column_sums(int64_t rows, int64_t width, int64_t split_rows, const T *in, float *partial)
{
    __shared__ float sums[ROW_THREADS][COLUMN_THREADS * N];
    int64_t column = (static_cast<int64_t>(blockIdx.x) * COLUMN_THREADS + threadIdx.x) * N;
    int64_t begin = blockIdx.y * split_rows;
    int64_t end = begin + split_rows < rows ? begin + split_rows : rows;
    float sum[N] = {};
    if (column < width) {
        for (int64_t row = begin + threadIdx.y; row < end; row += ROW_THREADS) {
            float x[N];
            real_load<N>(in + row * width + column, x);
#pragma unroll
            for (int i = 0; i < N; i++)
                sum[i] += x[i];
        }
    }
#pragma unroll
    for (int i = 0; i < N; i++)
        sums[threadIdx.y][threadIdx.x * N + i] = sum[i];
    __syncthreads();
    for (int at = static_cast<int>(threadIdx.y * COLUMN_THREADS + threadIdx.x);
         at < COLUMN_THREADS * N; at += COLUMN_THREADS * ROW_THREADS) {
        int64_t to = static_cast<int64_t>(blockIdx.x) * COLUMN_THREADS * N + at;
        float total = 0.0f;
#pragma unroll
        for (int row = 0; row < ROW_THREADS; row++)
            total += sums[row][at];
        if (to < width) partial[blockIdx.y * width + to] = total;
    }
}

static __global__ void __launch_bounds__(THREADS)
    add_partials(int64_t width, int splits, const float *partial, float *out)
{
    int64_t column = element_of_thread();
    if (column >= width) return;
    float sum = 0.0f;
    for (int split = 0; split < splits; split++)
        sum += partial[split * width + column];
    out[column] = sum;
}

/* Partial sums of each column: as many as keep the GPU busy. Depends on the shape and the GPU
 * alone. */
static int64_t splits_of(const struct kernels_device *device, int64_t rows, int64_t blocks)
{
    int64_t wanted = div_ceil(4 * cuda_device_multiprocessors(device), blocks);
    return max_i64(1, min_i64(min_i64(wanted, SPLITS_MAX), rows / SPLIT_ROWS));
}

template <class T, int N>
static void column_sums_launch(struct kernels_device *device,
                               const struct kernels_matmul_backward *a)
{
    int64_t blocks = div_ceil(a->out_width, COLUMN_THREADS * N);
    int64_t room = static_cast<int64_t>(cuda_device_scratch_bytes(device) / sizeof(float));
    int64_t splits =
        min_i64(splits_of(device, a->rows, blocks), max_i64(1, room / a->out_width));
    int64_t split_rows = div_ceil(a->rows, splits);
    splits = div_ceil(a->rows, split_rows);
    float *partial =
        splits == 1 ? a->bias_grad : static_cast<float *>(cuda_device_scratch(device));
    LAUNCH((column_sums<T, N>),
           dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(splits)),
           dim3(COLUMN_THREADS, ROW_THREADS), 0, cuda_device_stream(device), a->rows,
           a->out_width, split_rows, static_cast<const T *>(a->out_grad), partial);
    if (!cuda_device_launched(device, "sum a bias gradient") || splits == 1) return;
    LAUNCH(add_partials, static_cast<unsigned>(div_ceil(a->out_width, THREADS)), THREADS, 0,
           cuda_device_stream(device), a->out_width, static_cast<int>(splits),
           static_cast<const float *>(partial), a->bias_grad);
    cuda_device_note(device, cudaGetLastError(), "sum a bias gradient");
}

template <class T>
static void bias_backward(struct kernels_device *device,
                          const struct kernels_matmul_backward *a)
{
    constexpr int N = real_vector<T>;
    if (a->out_width % N == 0 && real_aligned<N>(static_cast<const T *>(a->out_grad)))
        column_sums_launch<T, N>(device, a);
    else
        column_sums_launch<T, 1>(device, a);
}

/* Inner matrices may be wider than the options say: with less room than wanted the columns'
 * sums are split less. */
size_t cuda_matmul_scratch_bytes(const struct kernels_options *options)
{
    int64_t widest = 4 * options->width;
    return static_cast<size_t>(SPLITS_MAX * widest) * sizeof(float);
}

/* ---- the operations ---- */

static bool is_bf16(const struct kernels_device *device)
{
    return cuda_device_options(device)->type == KERNELS_BF16;
}

static struct product product_of(const struct kernels_device *device, int64_t rows,
                                 int64_t columns, int64_t inner)
{
    struct product p;
    memset(&p, 0, sizeof(p));
    p.rows = rows;
    p.columns = columns;
    p.inner = inner;
    p.real = is_bf16(device) ? CUDA_R_16BF : CUDA_R_32F;
    p.sum = p.real;
    p.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    return p;
}

static bool vector_fits(const void *vector)
{
    return alignment_of(vector) == ALIGNED;
}

/* Whether what is before GELU can be the epilogue's second matrix. */
static bool before_fits(const void *before, int64_t width)
{
    return width % EPILOGUE_STRIDE == 0 && vector_fits(before);
}

static void gelu_of(struct kernels_device *device, const struct kernels_matmul *a)
{
    struct kernels_gelu gelu;
    gelu.count = a->rows * a->out_width;
    gelu.in = a->out;
    gelu.out = a->gelu;
    cuda_gelu(device, &gelu);
}

/* Everything in one go: `out` becomes the epilogue's second matrix. */
static bool run_with_gelu(struct kernels_device *device, struct product product,
                          const struct kernels_matmul *a, struct operands o)
{
    if (a->gelu == NULL || a->residual != NULL || a->bias == NULL || !vector_fits(a->bias) ||
        !before_fits(a->out, a->out_width))
        return false;
    product.epilogue = CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
    o.bias = a->bias;
    o.before = a->out;
    o.d = a->gelu;
    o.c = NULL;
    return run(device, product, &o, "matmul with GELU") || cuda_device_failed(device);
}

static bool run_with_bias(struct kernels_device *device, struct product product,
                          const struct kernels_matmul *a, struct operands o)
{
    if (a->bias == NULL || !vector_fits(a->bias)) return false;
    product.epilogue = CUBLASLT_EPILOGUE_BIAS;
    o.bias = a->bias;
    return run(device, product, &o, "matmul with a bias") || cuda_device_failed(device);
}

void cuda_matmul(struct kernels_device *device, const struct kernels_matmul *args)
{
    const struct kernels_matmul *a = args;
    struct product product = product_of(device, a->out_width, a->rows, a->in_width);
    struct operands o;
    memset(&o, 0, sizeof(o));
    product.a_transposed = 1;
    o.a = a->weight;
    o.b = a->in;
    o.c = a->residual;
    o.d = a->out;
    o.beta = a->residual != NULL ? 1.0f : 0.0f;
    if (run_with_gelu(device, product, a, o)) return;
    if (!run_with_bias(device, product, a, o)) {
        if (!run(device, product, &o, "matmul")) return;
        if (a->bias != NULL && is_bf16(device))
            add_bias_launch<bf16>(device, a);
        else if (a->bias != NULL)
            add_bias_launch<float>(device, a);
    }
    if (a->gelu != NULL && !cuda_device_failed(device)) gelu_of(device, a);
}

/* in_grad = out_grad * weight, through GELU where `in` is one. */
static void in_backward(struct kernels_device *device, const struct kernels_matmul_backward *a)
{
    struct product product = product_of(device, a->in_width, a->rows, a->out_width);
    struct operands o;
    memset(&o, 0, sizeof(o));
    o.a = a->weight;
    o.b = a->out_grad;
    o.d = a->in_grad;
    if (a->gelu_input != NULL && before_fits(a->gelu_input, a->in_width)) {
        product.epilogue = CUBLASLT_EPILOGUE_DGELU;
        o.before = const_cast<void *>(a->gelu_input);
        if (run(device, product, &o, "matmul through GELU") || cuda_device_failed(device))
            return;
        product.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
        o.before = NULL;
    }
    if (!run(device, product, &o, "input gradient") || a->gelu_input == NULL) return;
    struct kernels_gelu_backward gelu;
    gelu.count = a->rows * a->in_width;
    gelu.in = a->gelu_input;
    gelu.out_grad = a->in_grad;
    gelu.in_grad = a->in_grad;
    cuda_gelu_backward(device, &gelu);
}

void cuda_matmul_backward(struct kernels_device *device,
                          const struct kernels_matmul_backward *args)
{
    const struct kernels_matmul_backward *a = args;
    struct product product = product_of(device, a->in_width, a->out_width, a->rows);
    struct operands o;
    memset(&o, 0, sizeof(o));
    product.b_transposed = 1;
    product.sum = CUDA_R_32F;
    o.a = a->in;
    o.b = a->out_grad;
    o.d = a->weight_grad;
    if (!run(device, product, &o, "weight gradient")) return;
    if (a->bias_grad != NULL && is_bf16(device))
        bias_backward<bf16>(device, a);
    else if (a->bias_grad != NULL)
        bias_backward<float>(device, a);
    if (a->in_grad != NULL && !cuda_device_failed(device)) in_backward(device, a);
}

/* ---- the peak ---- */

struct peak_run {
    void *matrices[3]; /* [size, size] each */
    int64_t size;
    cudaEvent_t begin, end;
};

static void peak_products(struct kernels_device *device, const struct peak_run *run, int count)
{
    struct kernels_matmul args;
    memset(&args, 0, sizeof(args));
    args.rows = args.in_width = args.out_width = run->size;
    args.in = run->matrices[0];
    args.weight = run->matrices[1];
    args.out = run->matrices[2];
    for (int i = 0; i < count; i++)
        cuda_matmul(device, &args);
}

/* Numbers of all sizes and both signs: a chip that multiplies zeros saves power and runs faster
 * than it ever does at work. */
static void peak_fill(struct kernels_device *device, void *matrix, size_t bytes)
{
    static const float scale = 1.0f / 65536.0f;
    uint32_t noise = 1;
    uint32_t words[PEAK_WORDS];
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        noise = noise * 1664525u + 1013904223u; /* Numerical Recipes, 3rd edition, 7.1 */
        const float x =
            scale * static_cast<float>(static_cast<int32_t>(noise >> 8) - (1 << 23));
        uint32_t bits;
        memcpy(&bits, &x, sizeof(bits));
        words[i] = is_bf16(device) ? (bits & 0xffff0000u) | (bits >> 16 ^ 0x8000u) : bits;
    }
    for (size_t at = 0; at < bytes; at += sizeof(words))
        cuda_device_upload(device, static_cast<char *>(matrix) + at, words,
                           bytes - at < sizeof(words) ? bytes - at : sizeof(words));
}

/* Milliseconds that PEAK_PRODUCTS products take. */
static enum err peak_round(struct kernels_device *device, const struct peak_run *run, float *ms,
                           struct error *error)
{
    cudaStream_t stream = cuda_device_stream(device);
    cuda_device_note(device, cudaEventRecord(run->begin, stream), "peak");
    peak_products(device, run, PEAK_PRODUCTS);
    cuda_device_note(device, cudaEventRecord(run->end, stream), "peak");
    enum err rc = cuda_device_sync(device, error);
    if (rc != ERR_OK) return rc;
    cuda_device_note(device, cudaEventElapsedTime(ms, run->begin, run->end), "peak");
    return cuda_device_sync(device, error);
}

/* The best rate of products of one size, and how long the longest round took. */
static enum err peak_of_size(struct kernels_device *device, struct peak_run *run, double *best,
                             float *longest, struct error *error)
{
    enum err rc = ERR_OK;
    size_t bytes = static_cast<size_t>(run->size * run->size) *
                   kernels_real_bytes(cuda_device_options(device)->type);
    for (void *&matrix : run->matrices) {
        rc = cuda_device_alloc(device, bytes, &matrix, error);
        if (rc != ERR_OK) return rc;
        peak_fill(device, matrix, bytes);
    }
    peak_products(device, run, 1); /* makes the plan, and warms the chip up */
    for (int round = 0; round < PEAK_ROUNDS; round++) {
        float ms = 0.0f;
        if ((rc = peak_round(device, run, &ms, error)) != ERR_OK) return rc;
        const double size = static_cast<double>(run->size);
        const double flops = 2.0 * size * size * size * PEAK_PRODUCTS;
        if (ms > 0.0f) *best = fmax(*best, 1e3 * flops / static_cast<double>(ms));
        *longest = fmaxf(*longest, ms);
    }
    return ERR_OK;
}

/* Sizes double until a round is long against a launch, or the memory is full. */
static enum err peak_of_sizes(struct kernels_device *device, struct peak_run *run, double *best,
                              struct error *error)
{
    float longest = 0.0f;
    enum err rc = ERR_OK;
    for (run->size = PEAK_SIZE_MIN; run->size <= PEAK_SIZE_MAX && longest < PEAK_MS;
         run->size *= 2) {
        rc = peak_of_size(device, run, best, &longest, error);
        for (void *&matrix : run->matrices) {
            cuda_device_release(device, matrix);
            matrix = NULL;
        }
        if (rc == ERR_NO_MEMORY && *best > 0.0) return ERR_OK;
        if (rc != ERR_OK) return rc;
    }
    if (*best > 0.0) return ERR_OK;
    return error_set(error, ERR_DEVICE, "the GPU's clock stood still while it multiplied");
}

enum err cuda_matmul_peak(struct kernels_device *device, struct kernels_peak *peak,
                          struct error *error)
{
    struct peak_run run;
    double best = 0.0;
    memset(&run, 0, sizeof(run));
    memset(peak, 0, sizeof(*peak));
    cudaError_t code = cudaEventCreate(&run.begin);
    if (code == cudaSuccess) code = cudaEventCreate(&run.end);
    cuda_device_note(device, code, "peak");
    enum err rc = cuda_device_sync(device, error);
    if (rc == ERR_OK) rc = peak_of_sizes(device, &run, &best, error);
    if (rc == ERR_OK) {
        peak->flops_per_s = best;
        peak->source = is_bf16(device) ? "gemm bf16" : "gemm fp32";
    }
    if (run.end != NULL) (void)cudaEventDestroy(run.end);
    if (run.begin != NULL) (void)cudaEventDestroy(run.begin);
    return rc;
}
