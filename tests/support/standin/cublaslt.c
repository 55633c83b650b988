/*
 * A stand-in for cuBLASLt, linked in place of it: the functions that penstock calls, with the
 * prototypes of the toolkit's header. Products are done by OpenBLAS in fp32; bf16 is widened
 * before and rounded to nearest even after. Where the real library asks for something, this one
 * refuses its absence: rows of the second matrix of GELU that are no multiple of 8, pointers
 * that are less aligned than the algorithm was chosen for, shapes that differ from the plan's.
 *
 *   PENSTOCK_FAKE_EPILOGUES=none   there is an algorithm for plain products alone
 *   PENSTOCK_FAKE_ALGORITHMS=none  there is none at all
 */
#include "proto/base/defs.h"
#include "tests/support/standin/cudart.h"

#include <cblas.h>
#include <cublasLt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VECTOR_ALIGNMENT = 16, AUX_STRIDE = 8 };

struct desc {
    cublasOperation_t a, b;
    uint32_t epilogue;
    const void *bias;
    void *aux;
    int64_t aux_stride;
};

struct layout {
    cudaDataType type;
    int64_t rows, columns, stride;
};

struct preference {
    uint32_t alignment[4];
    uint64_t workspace_bytes;
};

/* What an algorithm remembers, to find a plan that is used for something else. */
struct algorithm {
    int64_t rows, columns, inner;
    uint32_t alignment[4];
};
_Static_assert(sizeof(struct algorithm) <= sizeof(cublasLtMatmulAlgo_t), "fits into it");

static bool says_none(const char *name)
{
    const char *text = getenv(name);
    return text != NULL && strcmp(text, "none") == 0;
}

/* ---- handles and descriptions ---- */

static char library; /* what every handle points to */

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    int count = 0;
    *handle = NULL;
    if (cudaGetDeviceCount(&count) != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
    openblas_set_num_threads(1);
    *handle = (cublasLtHandle_t)(void *)&library;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    return (const void *)handle == &library ? CUBLAS_STATUS_SUCCESS
                                            : CUBLAS_STATUS_INVALID_VALUE;
}

size_t cublasLtGetVersion(void)
{
    return CUBLAS_VERSION;
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    switch ((int)status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    default: return "unknown cuBLAS status";
    }
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    *out = NULL;
    if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F)
        return CUBLAS_STATUS_INVALID_VALUE;
    struct desc *desc = calloc(1, sizeof(*desc));
    if (desc == NULL) return CUBLAS_STATUS_ALLOC_FAILED;
    desc->a = desc->b = CUBLAS_OP_N;
    desc->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    *out = (cublasLtMatmulDesc_t)(void *)desc;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    free(desc);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t take(void *to, size_t to_bytes, const void *from, size_t bytes)
{
    if (bytes != to_bytes) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, from, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t opaque,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes)
{
    struct desc *desc = (void *)opaque;
    switch ((int)attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return take(&desc->a, sizeof(desc->a), value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return take(&desc->b, sizeof(desc->b), value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return take(&desc->epilogue, sizeof(desc->epilogue), value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return take(&desc->bias, sizeof(desc->bias), value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
        return take(&desc->aux, sizeof(desc->aux), value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
        return take(&desc->aux_stride, sizeof(desc->aux_stride), value, bytes);
    default: return CUBLAS_STATUS_INVALID_VALUE;
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t stride)
{
    struct layout *layout = calloc(1, sizeof(*layout));
    if (layout == NULL) return CUBLAS_STATUS_ALLOC_FAILED;
    *layout = (struct layout){ type, (int64_t)rows, (int64_t)columns, stride };
    *out = (cublasLtMatrixLayout_t)(void *)layout;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    free(layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out)
{
    struct preference *preference = calloc(1, sizeof(*preference));
    if (preference == NULL) return CUBLAS_STATUS_ALLOC_FAILED;
    for (int i = 0; i < 4; i++)
        preference->alignment[i] = 256; /* as the header says */
    *out = (cublasLtMatmulPreference_t)(void *)preference;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    free(preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t opaque,
                                     cublasLtMatmulPreferenceAttributes_t attribute,
                                     const void *value, size_t bytes)
{
    struct preference *p = (void *)opaque;
    switch ((int)attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return take(&p->workspace_bytes, sizeof(p->workspace_bytes), value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
        return take(&p->alignment[0], sizeof(p->alignment[0]), value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
        return take(&p->alignment[1], sizeof(p->alignment[1]), value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
        return take(&p->alignment[2], sizeof(p->alignment[2]), value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        return take(&p->alignment[3], sizeof(p->alignment[3]), value, bytes);
    default: return CUBLAS_STATUS_INVALID_VALUE;
    }
}

/* ---- algorithms ---- */

static bool has_bias(uint32_t epilogue)
{
    return (epilogue & CUBLASLT_EPILOGUE_BIAS) != 0;
}

static bool has_aux(uint32_t epilogue)
{
    return (epilogue & 128) != 0;
}

static bool known_epilogue(uint32_t epilogue)
{
    return epilogue == CUBLASLT_EPILOGUE_DEFAULT || epilogue == CUBLASLT_EPILOGUE_BIAS ||
           epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS || epilogue == CUBLASLT_EPILOGUE_DGELU;
}

static bool aligned(const void *memory, uint32_t bytes)
{
    return (uintptr_t)memory % bytes == 0;
}

static size_t bytes_of(cudaDataType type)
{
    return type == CUDA_R_16BF ? 2 : sizeof(float);
}

/* m, n, k of a product, or false where its matrices do not fit together. */
static bool shape_of(const struct desc *desc, const struct layout *a, const struct layout *b,
                     const struct layout *d, struct algorithm *shape)
{
    shape->rows = desc->a == CUBLAS_OP_N ? a->rows : a->columns;
    shape->inner = desc->a == CUBLAS_OP_N ? a->columns : a->rows;
    shape->columns = desc->b == CUBLAS_OP_N ? b->columns : b->rows;
    int64_t inner = desc->b == CUBLAS_OP_N ? b->rows : b->columns;
    return inner == shape->inner && d->rows == shape->rows && d->columns == shape->columns &&
           a->stride >= a->rows && b->stride >= b->rows && d->stride >= d->rows;
}

static bool supported(const struct desc *desc, const struct layout *a, const struct layout *b,
                      const struct layout *d, const struct preference *p)
{
    bool types = a->type == b->type && (a->type == CUDA_R_32F || a->type == CUDA_R_16BF) &&
                 (d->type == CUDA_R_32F || d->type == a->type);
    if (!types || !known_epilogue(desc->epilogue)) return false;
    for (int i = 0; i < 4; i++)
        if (p->alignment[i] < (i < 2 ? bytes_of(a->type) : bytes_of(d->type))) return false;
    if (has_bias(desc->epilogue) && !aligned(desc->bias, VECTOR_ALIGNMENT)) return false;
    if (has_aux(desc->epilogue) &&
        (desc->aux_stride % AUX_STRIDE != 0 || desc->aux_stride < d->rows ||
         !aligned(desc->aux, VECTOR_ALIGNMENT)))
        return false;
    if (desc->epilogue != CUBLASLT_EPILOGUE_DEFAULT && says_none("PENSTOCK_FAKE_EPILOGUES"))
        return false;
    return !says_none("PENSTOCK_FAKE_ALGORITHMS");
}

cublasStatus_t
cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                               cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                               cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                               cublasLtMatmulPreference_t preference, int wanted,
                               cublasLtMatmulHeuristicResult_t results[], int *found)
{
    struct algorithm algorithm;
    const struct preference *p = (const void *)preference;
    *found = 0;
    if (handle == NULL || wanted < 1 || memcmp(c, d, sizeof(struct layout)) != 0)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!shape_of((const void *)desc, (const void *)a, (const void *)b, (const void *)d,
                  &algorithm))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!supported((const void *)desc, (const void *)a, (const void *)b, (const void *)d, p))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    memcpy(algorithm.alignment, p->alignment, sizeof(algorithm.alignment));
    memset(&results[0], 0, sizeof(results[0]));
    memcpy(&results[0].algo, &algorithm, sizeof(algorithm));
    results[0].state = CUBLAS_STATUS_SUCCESS;
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- products ---- */

/* Everything that a product needs when its turn on the stream comes. */
struct product {
    struct desc desc;
    struct layout a_layout, b_layout, d_layout;
    struct algorithm shape;
    const void *a, *b, *c;
    void *d;
    float alpha, beta;
};

static float bf16_widen(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint16_t bf16_round(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    if (isnan(value)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float get(const void *memory, cudaDataType type, int64_t at)
{
    return type == CUDA_R_16BF ? bf16_widen(((const uint16_t *)memory)[at])
                               : ((const float *)memory)[at];
}

static void put(void *memory, cudaDataType type, int64_t at, float value)
{
    if (type == CUDA_R_16BF)
        ((uint16_t *)memory)[at] = bf16_round(value);
    else
        ((float *)memory)[at] = value;
}

static float *floats_new(int64_t count)
{
    float *floats = malloc((size_t)(count > 0 ? count : 1) * sizeof(*floats));
    check(floats != NULL);
    return floats;
}

/* The matrix as packed floats, owned by the caller. */
static float *widened(const void *memory, const struct layout *layout)
{
    float *floats = floats_new(layout->rows * layout->columns);
    for (int64_t column = 0; column < layout->columns; column++)
        for (int64_t row = 0; row < layout->rows; row++)
            floats[column * layout->rows + row] =
                get(memory, layout->type, column * layout->stride + row);
    return floats;
}

/* GELU by tanh, and its derivative. */
static float gelu(float x)
{
    float inner = 0.7978845608f * (x + 0.044715f * x * x * x);
    return 0.5f * x * (1.0f + tanhf(inner));
}

static float gelu_slope(float x)
{
    float t = tanhf(0.7978845608f * (x + 0.044715f * x * x * x));
    float inner_slope = 0.7978845608f * (1.0f + 3.0f * 0.044715f * x * x);
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * inner_slope;
}

static float finish(const struct product *p, int64_t row, int64_t column, float sum)
{
    const struct desc *desc = &p->desc;
    cudaDataType type = p->d_layout.type;
    int64_t aux_at = column * desc->aux_stride + row;
    if (has_bias(desc->epilogue)) sum += get(desc->bias, type, row);
    switch (desc->epilogue) {
    case CUBLASLT_EPILOGUE_GELU_AUX_BIAS: put(desc->aux, type, aux_at, sum); return gelu(sum);
    case CUBLASLT_EPILOGUE_DGELU: return sum * gelu_slope(get(desc->aux, type, aux_at));
    default: return sum;
    }
}

static void product_run(void *context)
{
    const struct product *p = context;
    const struct algorithm *s = &p->shape;
    float *a = widened(p->a, &p->a_layout);
    float *b = widened(p->b, &p->b_layout);
    float *sums = floats_new(s->rows * s->columns);
    cblas_sgemm(CblasColMajor, p->desc.a == CUBLAS_OP_N ? CblasNoTrans : CblasTrans,
                p->desc.b == CUBLAS_OP_N ? CblasNoTrans : CblasTrans, (blasint)s->rows,
                (blasint)s->columns, (blasint)s->inner, p->alpha, a, (blasint)p->a_layout.rows,
                b, (blasint)p->b_layout.rows, 0.0f, sums, (blasint)s->rows);
    for (int64_t column = 0; column < s->columns; column++) {
        for (int64_t row = 0; row < s->rows; row++) {
            int64_t at = column * p->d_layout.stride + row;
            float sum = sums[column * s->rows + row];
            if (p->beta != 0.0f) sum += p->beta * get(p->c, p->d_layout.type, at);
            put(p->d, p->d_layout.type, at, finish(p, row, column, sum));
        }
    }
    free(sums);
    free(b);
    free(a);
}

static bool fits_algorithm(const struct product *p, const struct algorithm *algorithm)
{
    return p->shape.rows == algorithm->rows && p->shape.columns == algorithm->columns &&
           p->shape.inner == algorithm->inner && aligned(p->a, algorithm->alignment[0]) &&
           aligned(p->b, algorithm->alignment[1]) && aligned(p->c, algorithm->alignment[2]) &&
           aligned(p->d, algorithm->alignment[3]) &&
           (!has_bias(p->desc.epilogue) || aligned(p->desc.bias, VECTOR_ALIGNMENT)) &&
           (!has_aux(p->desc.epilogue) || aligned(p->desc.aux, VECTOR_ALIGNMENT));
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                              const void *alpha, const void *a, cublasLtMatrixLayout_t a_layout,
                              const void *b, cublasLtMatrixLayout_t b_layout, const void *beta,
                              const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    struct algorithm algorithm;
    struct product product = { .a = a, .b = b, .c = c, .d = d };
    if (handle == NULL || algo == NULL || (workspace == NULL && workspace_bytes > 0))
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(&algorithm, algo, sizeof(algorithm));
    memcpy(&product.desc, desc, sizeof(product.desc));
    memcpy(&product.a_layout, a_layout, sizeof(product.a_layout));
    memcpy(&product.b_layout, b_layout, sizeof(product.b_layout));
    memcpy(&product.d_layout, d_layout, sizeof(product.d_layout));
    memcpy(&product.alpha, alpha, sizeof(product.alpha));
    memcpy(&product.beta, beta, sizeof(product.beta));
    if (memcmp(c_layout, d_layout, sizeof(struct layout)) != 0 ||
        !shape_of(&product.desc, &product.a_layout, &product.b_layout, &product.d_layout,
                  &product.shape) ||
        !fits_algorithm(&product, &algorithm))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!standin_launch_begins(stream))
        return cudaPeekAtLastError() == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                    : CUBLAS_STATUS_EXECUTION_FAILED;
    if (standin_stream_idle(stream)) {
        product_run(&product);
        return CUBLAS_STATUS_SUCCESS;
    }
    struct product *later = malloc(sizeof(*later));
    check(later != NULL);
    *later = product;
    standin_enqueue(stream, product_run, later, free);
    return CUBLAS_STATUS_SUCCESS;
}
