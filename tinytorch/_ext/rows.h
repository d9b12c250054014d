/* rows.h -- operations on elements and on rows of a contiguous (R, D) array of float32, each in one pass over memory.
 * Design: (a) an inner function on restrict pointers that becomes vectors, and an outer loop that deals out rows to threads:
 * one OpenMP loop that does both loses its vectors; (b) a row never leaves its thread, and a sum over rows is cut into blocks
 * whose number depends on R alone and is added up in order: no result depends on how many threads there are; (c) the passes
 * over a row that softmax and the norms need find it in the first-level cache for D up to 8192; (d) sums along a row have
 * vector lanes of their own (`omp simd reduction`), which is more exact than one running sum, and as exact as NumPy's. */
#ifndef TT_ISA
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "threads.h"

enum { ROWS_IDENTITY, ROWS_RELU, ROWS_GELU, ROWS_GELU_TANH, ROWS_SILU };

/* Elements of a flat array are dealt out like rows of this length: 16 KiB read and 16 KiB written at a time. */
#define ROWS_CHUNK 4096

/* Rows in a block of a sum over rows: 64 or more, and at most 64 blocks. */
static inline ptrdiff_t rows_of_block(ptrdiff_t rows) { return rows <= 64 * 64 ? 64 : (rows + 63) / 64; }

/* The classes that a loss compares with, and how: losses.CrossEntropyLoss describes them. scale multiplies the gradient. */
typedef struct {
    const int64_t *labels;
    const float *weight;        /* of each class, or NULL */
    int64_t ignore_index;
    float smoothing, all_weights, scale;
} rows_target;

#define TT_TEMPLATE "rows.h"
#include "isa.h"

TT_DISPATCH(void, tt_activate, (const float *x, const float *bias, float *out, ptrdiff_t R, ptrdiff_t D, int kind, int threads),
            (x, bias, out, R, D, kind, threads))
TT_DISPATCH(void, tt_activate_backward, (const float *x, const float *bias, const float *grad, float *out, ptrdiff_t R,
                                         ptrdiff_t D, int kind, int threads), (x, bias, grad, out, R, D, kind, threads))
TT_DISPATCH(void, tt_softmax, (const float *x, float *out, ptrdiff_t R, ptrdiff_t D, int logarithm, int threads),
            (x, out, R, D, logarithm, threads))
TT_DISPATCH(void, tt_softmax_backward, (const float *y, const float *grad, float *out, ptrdiff_t R, ptrdiff_t D, int logarithm,
                                        int threads), (y, grad, out, R, D, logarithm, threads))
TT_DISPATCH(void, tt_cross_entropy, (const float *x, rows_target target, float *losses, float *grad, ptrdiff_t R, ptrdiff_t D,
                                     int threads), (x, target, losses, grad, R, D, threads))
TT_DISPATCH(int, tt_sum_rows, (const float *x, float *out, ptrdiff_t R, ptrdiff_t D, int threads), (x, out, R, D, threads))
TT_DISPATCH(void, tt_norm, (const float *x, const float *weight, const float *bias, float *out, float *mean, float *rstd,
                            ptrdiff_t R, ptrdiff_t D, float eps, int threads),
            (x, weight, bias, out, mean, rstd, R, D, eps, threads))
TT_DISPATCH(int, tt_norm_backward, (const float *x, const float *weight, const float *mean, const float *rstd, const float *grad,
                                    float *dx, float *dweight, float *dbias, ptrdiff_t R, ptrdiff_t D, int threads),
            (x, weight, mean, rstd, grad, dx, dweight, dbias, R, D, threads))

#else
#include "vmath.h"

/* Activations */

#define ROWS_EACH(expression)                                          \
    if (bias) {                                                        \
        _Pragma("omp simd") for (ptrdiff_t j = 0; j < D; j++) {        \
            float v = x[j] + bias[j];                                  \
            out[j] = expression;                                       \
        }                                                              \
    } else {                                                           \
        _Pragma("omp simd") for (ptrdiff_t j = 0; j < D; j++) {        \
            float v = x[j];                                            \
            out[j] = expression;                                       \
        }                                                              \
    }                                                                  \
    return;

static void TT(activate_row)(const float *x, const float *restrict bias, float *out, ptrdiff_t D, int kind) {
    switch (kind) {
    case ROWS_RELU: ROWS_EACH(v < 0 ? 0 : v) /* this way round, NaN stays */
    case ROWS_GELU: ROWS_EACH(TT(geluf)(v))
    case ROWS_GELU_TANH: ROWS_EACH(TT(gelu_tanhf)(v))
    case ROWS_SILU: ROWS_EACH(TT(siluf)(v))
    default: ROWS_EACH(v)
    }
}

static void TT(activate_row_backward)(const float *x, const float *restrict bias, const float *grad, float *out, ptrdiff_t D,
                                      int kind) {
    switch (kind) {
    case ROWS_RELU: ROWS_EACH(v <= 0 ? 0 : grad[j]) /* no product: infinity behind a closed gate is 0, not NaN */
    case ROWS_GELU: ROWS_EACH(grad[j] * TT(gelu_slopef)(v))
    case ROWS_GELU_TANH: ROWS_EACH(grad[j] * TT(gelu_tanh_slopef)(v))
    case ROWS_SILU: ROWS_EACH(grad[j] * TT(silu_slopef)(v))
    default: ROWS_EACH(((void)v, grad[j]))
    }
}

static inline double TT(activation_time)(ptrdiff_t n, int kind) { return n * (kind <= ROWS_RELU ? 0.05 : 0.4); }

static void TT(tt_activate)(const float *x, const float *bias, float *out, ptrdiff_t R, ptrdiff_t D, int kind, int wanted) {
    ptrdiff_t n = R * D, length = bias && D ? D : ROWS_CHUNK;
    int threads = tt_threads(wanted, TT(activation_time)(n, kind));
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (ptrdiff_t start = 0; start < n; start += length)
        TT(activate_row)(x + start, bias, out + start, n - start < length ? n - start : length, kind);
}

static void TT(tt_activate_backward)(const float *x, const float *bias, const float *grad, float *out, ptrdiff_t R, ptrdiff_t D,
                                     int kind, int wanted) {
    ptrdiff_t n = R * D, length = bias && D ? D : ROWS_CHUNK;
    int threads = tt_threads(wanted, 1.5 * TT(activation_time)(n, kind));
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (ptrdiff_t start = 0; start < n; start += length)
        TT(activate_row_backward)(x + start, bias, grad + start, out + start, n - start < length ? n - start : length, kind);
}

/* Softmax. NaN among the logits, +inf, or nothing but -inf gives a row of NaN. */

static inline float TT(largest)(const float *x, ptrdiff_t D) {
    float most = -INFINITY;
#pragma omp simd reduction(max : most)
    for (ptrdiff_t j = 0; j < D; j++) most = x[j] > most ? x[j] : most;
    return most;
}

static inline float TT(sum_of_powers)(const float *x, float shift, ptrdiff_t D) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (ptrdiff_t j = 0; j < D; j++) sum += TT(expf)(x[j] - shift);
    return sum;
}

static void TT(softmax_row)(const float *x, float *out, ptrdiff_t D) {
    float most = TT(largest)(x, D), sum = 0;
#pragma omp simd reduction(+ : sum)
    for (ptrdiff_t j = 0; j < D; j++) sum += out[j] = TT(expf)(x[j] - most);
    float scale = 1 / sum;
#pragma omp simd
    for (ptrdiff_t j = 0; j < D; j++) out[j] *= scale;
}

static void TT(log_softmax_row)(const float *x, float *out, ptrdiff_t D) {
    float most = TT(largest)(x, D), rest = logf(TT(sum_of_powers)(x, most, D));
#pragma omp simd
    for (ptrdiff_t j = 0; j < D; j++) out[j] = (x[j] - most) - rest;
}

static void TT(tt_softmax)(const float *x, float *out, ptrdiff_t R, ptrdiff_t D, int logarithm, int wanted) {
    int threads = tt_threads(wanted, 0.4 * R * D);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (ptrdiff_t r = 0; r < R; r++)
        if (logarithm) TT(log_softmax_row)(x + r * D, out + r * D, D);
        else TT(softmax_row)(x + r * D, out + r * D, D);
}

static void TT(softmax_row_backward)(const float *y, const float *grad, float *out, ptrdiff_t D, int logarithm) {
    float sum = 0;
    if (logarithm) {
#pragma omp simd reduction(+ : sum)
        for (ptrdiff_t j = 0; j < D; j++) sum += grad[j];
#pragma omp simd
        for (ptrdiff_t j = 0; j < D; j++) out[j] = grad[j] - TT(expf)(y[j]) * sum;
    } else {
#pragma omp simd reduction(+ : sum)
        for (ptrdiff_t j = 0; j < D; j++) sum += grad[j] * y[j];
#pragma omp simd
        for (ptrdiff_t j = 0; j < D; j++) out[j] = y[j] * (grad[j] - sum);
    }
}

static void TT(tt_softmax_backward)(const float *y, const float *grad, float *out, ptrdiff_t R, ptrdiff_t D, int logarithm,
                                    int wanted) {
    int threads = tt_threads(wanted, 0.3 * R * D);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (ptrdiff_t r = 0; r < R; r++) TT(softmax_row_backward)(y + r * D, grad + r * D, out + r * D, D, logarithm);
}

/* Cross entropy. With p = softmax(x), w the label's weight and s the smoothing, the loss of a row is
 *     w (1 - s) (-ln p_label) + s / D sum over c of weight_c (-ln p_c)
 * and its slope by x_j   p_j (w (1 - s) + s / D sum of weights) - s / D weight_j - [j is the label] w (1 - s). */

static void TT(cross_entropy_row)(const float *x, int64_t label, rows_target t, float *loss, float *grad, ptrdiff_t D) {
    float most = TT(largest)(x, D), sum = 0, share = t.smoothing / D;
    if (grad) {
#pragma omp simd reduction(+ : sum)
        for (ptrdiff_t j = 0; j < D; j++) sum += grad[j] = TT(expf)(x[j] - most);
    } else {
        sum = TT(sum_of_powers)(x, most, D);
    }
    float rest = logf(sum), weight = t.weight ? t.weight[label] : 1, own = weight * (rest - (x[label] - most));
    if (t.smoothing > 0) {
        float others = 0;
#pragma omp simd reduction(+ : others)
        for (ptrdiff_t j = 0; j < D; j++) others += (rest - (x[j] - most)) * (t.weight ? t.weight[j] : 1);
        own = (1 - t.smoothing) * own + share * others;
    }
    *loss = own;
    if (!grad) return;
    float kept = weight * (1 - t.smoothing), scale = t.scale * (kept + share * t.all_weights) / sum;
#pragma omp simd
    for (ptrdiff_t j = 0; j < D; j++) grad[j] *= scale;
    if (t.smoothing > 0)
#pragma omp simd
        for (ptrdiff_t j = 0; j < D; j++) grad[j] -= t.scale * share * (t.weight ? t.weight[j] : 1);
    grad[label] -= t.scale * kept;
}

static void TT(tt_cross_entropy)(const float *x, rows_target t, float *losses, float *grad, ptrdiff_t R, ptrdiff_t D,
                                 int wanted) {
    int threads = tt_threads(wanted, 0.5 * R * D);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (ptrdiff_t r = 0; r < R; r++) {
        float *row = grad ? grad + r * D : NULL;
        if (t.labels[r] != t.ignore_index) {
            TT(cross_entropy_row)(x + r * D, t.labels[r], t, losses + r, row, D);
        } else {
            losses[r] = 0;
            if (row) memset(row, 0, sizeof(float) * D);
        }
    }
}

/* Sums over rows */

static void TT(add_row)(const float *restrict x, float *restrict sum, ptrdiff_t D) {
#pragma omp simd
    for (ptrdiff_t j = 0; j < D; j++) sum[j] += x[j];
}

/* out = the sum of `blocks` arrays of D floats, in order. */
static void TT(add_blocks)(const float *parts, ptrdiff_t blocks, ptrdiff_t stride, float *out, ptrdiff_t D) {
    memset(out, 0, sizeof(float) * D);
    for (ptrdiff_t b = 0; b < blocks; b++) TT(add_row)(parts + b * stride, out, D);
}

static int TT(tt_sum_rows)(const float *x, float *out, ptrdiff_t R, ptrdiff_t D, int wanted) {
    ptrdiff_t length = rows_of_block(R), blocks = (R + length - 1) / length;
    int threads = tt_threads(wanted, 0.1 * R * D);
    float *parts = calloc(blocks * D + 1, sizeof(float));
    if (!parts) return -1;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (ptrdiff_t b = 0; b < blocks; b++)
        for (ptrdiff_t r = b * length; r < R && r < (b + 1) * length; r++) TT(add_row)(x + r * D, parts + b * D, D);
    TT(add_blocks)(parts, blocks, D, out, D);
    free(parts);
    return 0;
}

/* Norms: y = (x - mean) * rstd * weight + bias. Layer norm has a mean and a bias; RMS norm has neither (mean is NULL), and the
 * mean of x^2 in place of the variance. The variance is that of x - mean, in a second pass: sums of squares would cancel. */

static void TT(norm_row)(const float *x, const float *restrict weight, const float *restrict bias, float *out, float *mean,
                         float *rstd, ptrdiff_t D, float eps) {
    float sum = 0, squares = 0, middle = 0;
    if (mean) {
#pragma omp simd reduction(+ : sum)
        for (ptrdiff_t j = 0; j < D; j++) sum += x[j];
        *mean = middle = sum / D;
    }
#pragma omp simd reduction(+ : squares)
    for (ptrdiff_t j = 0; j < D; j++) squares += (x[j] - middle) * (x[j] - middle);
    float scale = *rstd = 1 / sqrtf(squares / D + eps);
    if (weight && bias) {
#pragma omp simd
        for (ptrdiff_t j = 0; j < D; j++) out[j] = (x[j] - middle) * scale * weight[j] + bias[j];
    } else if (weight) {
#pragma omp simd
        for (ptrdiff_t j = 0; j < D; j++) out[j] = (x[j] - middle) * scale * weight[j];
    } else {
#pragma omp simd
        for (ptrdiff_t j = 0; j < D; j++) out[j] = (x[j] - middle) * scale;
    }
}

static void TT(tt_norm)(const float *x, const float *weight, const float *bias, float *out, float *mean, float *rstd,
                        ptrdiff_t R, ptrdiff_t D, float eps, int wanted) {
    int threads = tt_threads(wanted, 0.2 * R * D);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (ptrdiff_t r = 0; r < R; r++)
        TT(norm_row)(x + r * D, weight, bias, out + r * D, mean ? mean + r : NULL, rstd + r, D, eps);
}

/* With h = (x - mean) * rstd and q = grad * weight:  dx = rstd (q - mean of q - h * mean of q h), without `mean of q` for RMS
 * norm; dweight = sum over rows of grad h, dbias = sum of grad. */
static void TT(norm_row_backward)(const float *x, const float *restrict weight, const float *mean, float rstd,
                                  const float *grad, float *dx, float *restrict dweight, float *restrict dbias, ptrdiff_t D) {
    float middle = mean ? *mean : 0, sum = 0, along = 0;
#pragma omp simd reduction(+ : sum, along)
    for (ptrdiff_t j = 0; j < D; j++) {
        float q = weight ? grad[j] * weight[j] : grad[j];
        sum += q;
        along += q * (x[j] - middle) * rstd;
    }
    float shift = mean ? sum / D : 0, slope = along / D;
    if (weight)
#pragma omp simd
        for (ptrdiff_t j = 0; j < D; j++) {
            float h = (x[j] - middle) * rstd, g = grad[j];
            dweight[j] += g * h;
            dbias[j] += g;
            dx[j] = rstd * (g * weight[j] - shift - h * slope);
        }
    else
#pragma omp simd
        for (ptrdiff_t j = 0; j < D; j++) dx[j] = rstd * (grad[j] - shift - (x[j] - middle) * rstd * slope);
}

static int TT(tt_norm_backward)(const float *x, const float *weight, const float *mean, const float *rstd, const float *grad,
                                float *dx, float *dweight, float *dbias, ptrdiff_t R, ptrdiff_t D, int wanted) {
    ptrdiff_t length = rows_of_block(R), blocks = (R + length - 1) / length;
    int threads = tt_threads(wanted, 0.3 * R * D);
    float *parts = calloc(blocks * 2 * D + 1, sizeof(float));
    if (!parts) return -1;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (ptrdiff_t b = 0; b < blocks; b++)
        for (ptrdiff_t r = b * length; r < R && r < (b + 1) * length; r++)
            TT(norm_row_backward)(x + r * D, weight, mean ? mean + r : NULL, rstd[r], grad + r * D, dx + r * D,
                                  parts + b * 2 * D, parts + b * 2 * D + D, D);
    if (dweight) TT(add_blocks)(parts, blocks, 2 * D, dweight, D);
    if (dbias) TT(add_blocks)(parts + D, blocks, 2 * D, dbias, D);
    free(parts);
    return 0;
}
#endif
