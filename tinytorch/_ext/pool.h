/* pool.h -- the largest number, or the mean, of every window of float32 planes, and the gradients.
 * Design: (a) a plane never leaves its thread; (b) tap by tap: one tap of all windows of a target row is a row of the plane,
 * moved, so that the inner loop runs along contiguous memory and becomes vectors; (c) windows of 2 x 2, two apart, have a loop
 * of their own, since they are most of all pooling: each number is read once and nothing is compared with -infinity; (d) the
 * fast loops compare with > alone, which is false for NaN: a row in which they met one is done again, window by window;
 * (e) the place of a largest number is its index in the plane, so that the gradient needs no windows at all. */
#ifndef TT_ISA
#include <math.h>
#include "threads.h"

typedef struct {
    ptrdiff_t planes, H, W, OH, OW, KH, KW, stride_h, stride_w, padding_h, padding_w;
} Pool;

static int pool_pairs(const Pool *p) {
    return p->KH == 2 && p->KW == 2 && p->stride_h == 2 && p->stride_w == 2 && p->padding_h == 0 && p->padding_w == 0;
}

/* Target columns whose tap `j` lies in the image: from *first up to the result. */
static ptrdiff_t pool_columns(const Pool *p, ptrdiff_t j, ptrdiff_t *first) {
    ptrdiff_t start = j - p->padding_w, left = start < 0 ? (-start + p->stride_w - 1) / p->stride_w : 0;
    ptrdiff_t right = start < p->W ? (p->W - start + p->stride_w - 1) / p->stride_w : 0;
    *first = left;
    return right < p->OW ? right : p->OW;
}

#define TT_TEMPLATE "pool.h"
#include "isa.h"

TT_DISPATCH(void, tt_max_pool2d, (const float *x, float *out, int32_t *index, const Pool *p, int threads),
            (x, out, index, p, threads))
TT_DISPATCH(int, tt_places_fit, (const int32_t *index, ptrdiff_t n, int32_t size), (index, n, size))
TT_DISPATCH(void, tt_max_pool2d_backward, (const float *grad, const int32_t *index, float *dx, const Pool *p, int threads),
            (grad, index, dx, p, threads))
TT_DISPATCH(void, tt_avg_pool2d, (const float *x, float *out, const Pool *p, int threads), (x, out, p, threads))
TT_DISPATCH(void, tt_avg_pool2d_backward, (const float *grad, float *dx, const Pool *p, int threads), (grad, dx, p, threads))

#else

/* Steps of 1 and 2 are constants in loops of their own: with any other one, vectors would have to be gathered. */
#define FOR_STEP(step, call, ...) ((step) == 1 ? call(__VA_ARGS__, 1) : (step) == 2 ? call(__VA_ARGS__, 2) : call(__VA_ARGS__, step))
#define INLINE static inline __attribute__((always_inline))

/* Rows `x` and `below` of a plane, and the index of the first number of x -> whether NaN may be among them. */
static int TT(max_pairs)(const float *restrict x, const float *restrict below, float *restrict out, int32_t *restrict index,
                         ptrdiff_t OW, int32_t first, int32_t W) {
    int32_t unsure = 0;
#pragma omp simd reduction(| : unsure)
    for (ptrdiff_t j = 0; j < OW; j++) {
        float a = x[2 * j], b = x[2 * j + 1], c = below[2 * j], d = below[2 * j + 1], all = (a + b) + (c + d);
        float top = b > a ? b : a, bottom = d > c ? d : c;
        int32_t upper = b > a, lower = W + (d > c), down = -(bottom > top);
        out[j] = bottom > top ? bottom : top;
        index[j] = first + 2 * (int32_t)j + ((upper & ~down) | (lower & down));    /* numbers that vectors leave over, */
        unsure |= all != all;                                                      /* too, have no branch to guess */
    }
    return unsure;
}

INLINE int TT(max_tap)(const float *restrict x, float *restrict out, int32_t *restrict index, ptrdiff_t n, int32_t first,
                       ptrdiff_t step) {
    int32_t unsure = 0;
#pragma omp simd reduction(| : unsure)
    for (ptrdiff_t j = 0; j < n; j++) {
        float value = x[j * step], best = out[j];
        int32_t at = index[j], place = first + (int32_t)(j * step), wins = -(value > best);
        out[j] = value > best ? value : best;
        index[j] = (at & ~wins) | (place & wins);
        unsure |= value != value;
    }
    return unsure;
}

/* -> whether a window held NaN, or nothing but -infinity. */
static int TT(max_taps)(const float *plane, float *out, int32_t *index, const Pool *p, ptrdiff_t i) {
    int unsure = 0;
    int32_t lowest = 0;
    for (ptrdiff_t j = 0; j < p->OW; j++) out[j] = -INFINITY, index[j] = -1;
    for (ptrdiff_t k = 0; k < p->KH; k++) {
        ptrdiff_t y = i * p->stride_h + k - p->padding_h;
        if (y < 0 || y >= p->H) continue;
        for (ptrdiff_t l = 0; l < p->KW; l++) {
            ptrdiff_t first, end = pool_columns(p, l, &first), at = y * p->W + first * p->stride_w + l - p->padding_w;
            if (first < end)
                unsure |= FOR_STEP(p->stride_w, TT(max_tap), plane + at, out + first, index + first, end - first, (int32_t)at);
        }
    }
    for (ptrdiff_t j = 0; j < p->OW; j++) lowest = index[j] < lowest ? index[j] : lowest;
    return unsure || lowest < 0;
}

/* The first of the largest numbers wins, and the first NaN over all of them. */
static void TT(max_windows)(const float *plane, float *out, int32_t *index, const Pool *p, ptrdiff_t i) {
    for (ptrdiff_t j = 0; j < p->OW; j++) {
        index[j] = -1;
        for (ptrdiff_t k = 0; k < p->KH * p->KW; k++) {
            ptrdiff_t y = i * p->stride_h + k / p->KW - p->padding_h, x = j * p->stride_w + k % p->KW - p->padding_w;
            if (y < 0 || y >= p->H || x < 0 || x >= p->W) continue;
            float value = plane[y * p->W + x];
            if (index[j] < 0 || (!(value <= out[j]) && out[j] == out[j]))
                out[j] = value, index[j] = (int32_t)(y * p->W + x);
        }
    }
}

static void TT(tt_max_pool2d)(const float *x, float *out, int32_t *index, const Pool *p, int wanted) {
    ptrdiff_t target = p->OH * p->OW;
    int threads = tt_threads(wanted, 0.2 * p->planes * target * p->KH * p->KW), pairs = pool_pairs(p);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (ptrdiff_t c = 0; c < p->planes; c++) {
        const float *plane = x + c * p->H * p->W;
        for (ptrdiff_t i = 0; i < p->OH; i++) {
            float *row = out + c * target + i * p->OW;
            int32_t *places = index + c * target + i * p->OW;
            const float *pair = plane + 2 * i * p->W;
            int unsure = pairs ? TT(max_pairs)(pair, pair + p->W, row, places, p->OW, (int32_t)(2 * i * p->W), (int32_t)p->W)
                               : TT(max_taps)(plane, row, places, p, i);
            if (unsure) TT(max_windows)(plane, row, places, p, i);
        }
    }
}

/* Whether every index is one of a plane of `size` numbers. */
static int TT(tt_places_fit)(const int32_t *index, ptrdiff_t n, int32_t size) {
    int fit = 1;
#pragma omp simd reduction(& : fit)
    for (ptrdiff_t i = 0; i < n; i++) fit &= index[i] >= 0 && index[i] < size;
    return fit;
}

/* Both rows of dx below a row of windows of 2 x 2: each number is written once. */
static void TT(max_pairs_grad)(const float *restrict grad, const int32_t *restrict index, float *restrict dx,
                               float *restrict below, ptrdiff_t OW, int32_t first, int32_t W) {
#pragma omp simd
    for (ptrdiff_t j = 0; j < OW; j++) {
        int32_t at = index[j] - first - 2 * (int32_t)j;
        float g = grad[j];
        dx[2 * j] = at == 0 ? g : 0;
        dx[2 * j + 1] = at == 1 ? g : 0;
        below[2 * j] = at == W ? g : 0;
        below[2 * j + 1] = at == W + 1 ? g : 0;
    }
}

/* What windows of 2 x 2 leave over of a plane: the last column of an odd width, the last row of an odd height. */
static void TT(zero_rest)(float *plane, const Pool *p) {
    if (p->W % 2)
        for (ptrdiff_t y = 0; y < p->H; y++) plane[y * p->W + p->W - 1] = 0;
    if (p->H % 2)
        for (ptrdiff_t x = 0; x < p->W; x++) plane[(p->H - 1) * p->W + x] = 0;
}

static void TT(tt_max_pool2d_backward)(const float *grad, const int32_t *index, float *dx, const Pool *p, int wanted) {
    ptrdiff_t target = p->OH * p->OW, source = p->H * p->W;
    int threads = tt_threads(wanted, p->planes * (0.5 * target + 0.1 * source)), pairs = pool_pairs(p);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (ptrdiff_t c = 0; c < p->planes; c++) {
        const float *g = grad + c * target;
        const int32_t *places = index + c * target;
        float *plane = dx + c * source;
        if (pairs) {
            for (ptrdiff_t i = 0; i < p->OH; i++)
                TT(max_pairs_grad)(g + i * p->OW, places + i * p->OW, plane + 2 * i * p->W, plane + (2 * i + 1) * p->W, p->OW,
                                   (int32_t)(2 * i * p->W), (int32_t)p->W);
            TT(zero_rest)(plane, p);
            continue;
        }
        for (ptrdiff_t i = 0; i < source; i++) plane[i] = 0;
        for (ptrdiff_t i = 0; i < target; i++) plane[places[i]] += g[i];
    }
}

static void TT(mean_pairs)(const float *restrict x, const float *restrict below, float *restrict out, ptrdiff_t OW) {
#pragma omp simd
    for (ptrdiff_t j = 0; j < OW; j++)
        out[j] = ((x[2 * j] + x[2 * j + 1]) + (below[2 * j] + below[2 * j + 1])) * 0.25f;
}

INLINE void TT(add_tap)(const float *restrict x, float *restrict out, ptrdiff_t n, ptrdiff_t step) {
#pragma omp simd
    for (ptrdiff_t j = 0; j < n; j++) out[j] += x[j * step];
}

static float TT(sum_row)(const float *x, ptrdiff_t n) {
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (ptrdiff_t j = 0; j < n; j++) total += x[j];
    return total;
}

static void TT(mean_row)(const float *plane, float *out, const Pool *p, ptrdiff_t i) {
    for (ptrdiff_t j = 0; j < p->OW; j++) out[j] = 0;
    for (ptrdiff_t k = 0; k < p->KH; k++) {
        ptrdiff_t y = i * p->stride_h + k - p->padding_h;
        if (y < 0 || y >= p->H) continue;
        if (p->OW == 1) {                           /* one window, often the whole image: the sum runs along it */
            ptrdiff_t end = p->KW - p->padding_w < p->W ? p->KW - p->padding_w : p->W;
            out[0] += TT(sum_row)(plane + y * p->W, end);
            continue;
        }
        for (ptrdiff_t l = 0; l < p->KW; l++) {
            ptrdiff_t first, end = pool_columns(p, l, &first);
            if (first < end)
                FOR_STEP(p->stride_w, TT(add_tap), plane + y * p->W + first * p->stride_w + l - p->padding_w, out + first,
                         end - first);
        }
    }
    float share = 1.0f / (float)(p->KH * p->KW);
    for (ptrdiff_t j = 0; j < p->OW; j++) out[j] *= share;
}

static void TT(tt_avg_pool2d)(const float *x, float *out, const Pool *p, int wanted) {
    int threads = tt_threads(wanted, 0.1 * p->planes * p->OH * p->OW * p->KH * p->KW), pairs = pool_pairs(p);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (ptrdiff_t c = 0; c < p->planes; c++) {
        const float *plane = x + c * p->H * p->W;
        for (ptrdiff_t i = 0; i < p->OH; i++) {
            float *row = out + (c * p->OH + i) * p->OW;
            if (pairs)
                TT(mean_pairs)(plane + 2 * i * p->W, plane + (2 * i + 1) * p->W, row, p->OW);
            else
                TT(mean_row)(plane, row, p, i);
        }
    }
}

static void TT(mean_pairs_grad)(const float *restrict grad, float *restrict dx, float *restrict below, ptrdiff_t OW) {
#pragma omp simd
    for (ptrdiff_t j = 0; j < OW; j++) dx[2 * j] = dx[2 * j + 1] = below[2 * j] = below[2 * j + 1] = grad[j] * 0.25f;
}

INLINE void TT(add_scaled_tap)(const float *restrict grad, float *restrict dx, ptrdiff_t n, float share, ptrdiff_t step) {
#pragma omp simd
    for (ptrdiff_t j = 0; j < n; j++) dx[j * step] += grad[j] * share;
}

static void TT(mean_row_grad)(const float *grad, float *plane, const Pool *p, ptrdiff_t i) {
    float share = 1.0f / (float)(p->KH * p->KW);
    for (ptrdiff_t k = 0; k < p->KH; k++) {
        ptrdiff_t y = i * p->stride_h + k - p->padding_h;
        if (y < 0 || y >= p->H) continue;
        for (ptrdiff_t l = 0; l < p->KW; l++) {
            ptrdiff_t first, end = pool_columns(p, l, &first);
            if (first < end)
                FOR_STEP(p->stride_w, TT(add_scaled_tap), grad + first,
                         plane + y * p->W + first * p->stride_w + l - p->padding_w, end - first, share);
        }
    }
}

static void TT(tt_avg_pool2d_backward)(const float *grad, float *dx, const Pool *p, int wanted) {
    ptrdiff_t source = p->H * p->W;
    int threads = tt_threads(wanted, 0.1 * p->planes * (source + p->OH * p->OW * p->KH * p->KW)), pairs = pool_pairs(p);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (ptrdiff_t c = 0; c < p->planes; c++) {
        float *plane = dx + c * source;
        const float *g = grad + c * p->OH * p->OW;
        if (pairs) {
            for (ptrdiff_t i = 0; i < p->OH; i++)
                TT(mean_pairs_grad)(g + i * p->OW, plane + 2 * i * p->W, plane + (2 * i + 1) * p->W, p->OW);
            TT(zero_rest)(plane, p);
            continue;
        }
        for (ptrdiff_t i = 0; i < source; i++) plane[i] = 0;
        for (ptrdiff_t i = 0; i < p->OH; i++) TT(mean_row_grad)(g + i * p->OW, plane, p, i);
    }
}
#undef FOR_STEP
#undef INLINE
#endif
