/* batch_norm.h -- normalising each channel of x (N, C, P) over its N P numbers, forward and backward.
 * Design: (a) a channel never leaves its thread, and is gone through while it is in the cache: for the mean, for the variance
 * about that mean, to write; the sum of squares minus the square of the sum would be one pass less and cancels; (b) lanes are
 * added up plane by plane into a double, so that no sum of floats is longer than a plane. */
#ifndef TT_ISA
#include <math.h>
#include "threads.h"
#define TT_TEMPLATE "batch_norm.h"
#include "isa.h"

TT_DISPATCH(void, tt_batch_norm,
            (const float *x, const float *weight, const float *bias, float *out, float *mean, float *var, ptrdiff_t N,
             ptrdiff_t C, ptrdiff_t P, double eps, int training, int threads),
            (x, weight, bias, out, mean, var, N, C, P, eps, training, threads))
TT_DISPATCH(void, tt_batch_norm_backward,
            (const float *x, const float *grad, const float *weight, const float *mean, const float *var, float *dx,
             float *dweight, float *dbias, ptrdiff_t N, ptrdiff_t C, ptrdiff_t P, double eps, int training, int threads),
            (x, grad, weight, mean, var, dx, dweight, dbias, N, C, P, eps, training, threads))

#else

static float TT(sum)(const float *x, ptrdiff_t n) {
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (ptrdiff_t i = 0; i < n; i++) total += x[i];
    return total;
}

static float TT(sum_of_squares)(const float *x, ptrdiff_t n, float mean) {
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (ptrdiff_t i = 0; i < n; i++) total += (x[i] - mean) * (x[i] - mean);
    return total;
}

static void TT(scale_shift)(const float *restrict x, float *restrict out, ptrdiff_t n, float mean, float scale, float shift) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++) out[i] = (x[i] - mean) * scale + shift;
}

/* The plane's sums of grad and of grad (x - mean). */
static void TT(grad_sums)(const float *restrict x, const float *restrict grad, ptrdiff_t n, float mean, double *sum,
                          double *product) {
    float a = 0, b = 0;
#pragma omp simd reduction(+ : a, b)
    for (ptrdiff_t i = 0; i < n; i++) {
        a += grad[i];
        b += grad[i] * (x[i] - mean);
    }
    *sum += a, *product += b;
}

static void TT(write_grad)(const float *restrict x, const float *restrict grad, float *restrict dx, ptrdiff_t n, float mean,
                           float scale, float shift, float slope) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++) dx[i] = scale * (grad[i] - shift - (x[i] - mean) * slope);
}

static void TT(tt_batch_norm)(const float *x, const float *weight, const float *bias, float *out, float *mean, float *var,
                              ptrdiff_t N, ptrdiff_t C, ptrdiff_t P, double eps, int training, int wanted) {
    int threads = tt_threads(wanted, 0.3 * N * C * P);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (ptrdiff_t c = 0; c < C; c++) {
        if (training) {
            double total = 0, squares = 0;
            for (ptrdiff_t n = 0; n < N; n++) total += TT(sum)(x + (n * C + c) * P, P);
            mean[c] = (float)(total / ((double)N * P));
            for (ptrdiff_t n = 0; n < N; n++) squares += TT(sum_of_squares)(x + (n * C + c) * P, P, mean[c]);
            var[c] = (float)(squares / ((double)N * P));
        }
        float scale = (float)(weight[c] / sqrt(var[c] + eps));
        for (ptrdiff_t n = 0; n < N; n++)
            TT(scale_shift)(x + (n * C + c) * P, out + (n * C + c) * P, P, mean[c], scale, bias[c]);
    }
}

/* With h = (x - mean) r, r = 1 / sqrt(var + eps): dweight = sum grad h, dbias = sum grad, and in training
 * dx = weight r (grad - mean of grad - h mean of grad h); in evaluation mean and var are constants, so dx = weight r grad. */
static void TT(tt_batch_norm_backward)(const float *x, const float *grad, const float *weight, const float *mean, const float *var,
                                   float *dx, float *dweight, float *dbias, ptrdiff_t N, ptrdiff_t C, ptrdiff_t P, double eps,
                                   int training, int wanted) {
    int threads = tt_threads(wanted, 0.5 * N * C * P);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (ptrdiff_t c = 0; c < C; c++) {
        double sum = 0, product = 0, r = 1 / sqrt(var[c] + eps), count = (double)N * P;
        for (ptrdiff_t n = 0; n < N; n++)
            TT(grad_sums)(x + (n * C + c) * P, grad + (n * C + c) * P, P, mean[c], &sum, &product);
        dbias[c] = (float)sum, dweight[c] = (float)(product * r);
        float shift = training ? (float)(sum / count) : 0, slope = training ? (float)(product * r * r / count) : 0;
        for (ptrdiff_t n = 0; n < N; n++)
            TT(write_grad)(x + (n * C + c) * P, grad + (n * C + c) * P, dx + (n * C + c) * P, P, mean[c],
                           (float)(weight[c] * r), shift, slope);
    }
}
#endif
