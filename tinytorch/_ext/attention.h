/* attention.h -- softmax(q k' / sqrt(D)) v without the T x S matrix of scores, its gradient, and one step of decoding.
 *
 * Design: (a) scores live in one block of BLOCK x BLOCK at a time, which stays in the first-level cache. Forward walks the
 * blocks of keys with a running maximum and sum for each query, and rescales what it has whenever the maximum grows
 * (Milakov and Gimelshein 2018; Dao et al. 2022). It keeps one number for each query, the log of the sum of exponentials,
 * from which backward makes the probabilities of any block again;
 * (b) q, k and v are read where they lie, strided, for instance side by side in one packed projection: a head's keys and
 * values are copied once, into blocks of the orders that the products read, and shared by all queries of their group;
 * (c) each product C += A B is computed in tiles of C that stay in registers: a row of B is read as vectors, A one number at a
 * time, in either order, so that only one factor may have to be transposed. Columns are padded with zeros to whole vectors,
 * so that no tile has an edge in its inner loop;
 * (d) under a causal mask query i sees keys j <= i + d inside a block, with d from the block's place. Tiles on the wrong side
 * are never computed: that saves half of each block on the diagonal, a third of all work at 128 tokens. What a tile holds
 * beyond the diagonal has weight 0, and 0 times NaN or infinity among the values is NaN, as in NumPy;
 * (e) exponentials are powers of two: one factor stands for 1 / sqrt(D) and for log2(e);
 * (f) one head's keys and values belong to one thread, so results do not depend on the number of threads;
 * (g) decoding has one query a head and is bound by reading the cache: a group's queries share each key that is read. The
 * cache is a list of pages, in any order (Kwon et al. 2023); a contiguous one is a page for each sequence. */
#ifndef TT_ISA
#ifndef TINYTORCH_ATTENTION_H
#define TINYTORCH_ATTENTION_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "transpose.h"

#define BLOCK 64
#define LOG2_E 1.44269504f
#define LN_2 0.693147181f

/* An array (B, T, H, D) somewhere in memory: steps of the first three axes in floats; D is contiguous. */
typedef struct {
    float *data;
    ptrdiff_t batch, row, head;
} tt_heads;

typedef struct {
    ptrdiff_t batch, queries, keys, heads, kv_heads, width;   /* B, T, S, H, G, D; H / G queries share a key head */
    int causal;                                               /* query i sees keys up to i + S - T */
} tt_attention;

static inline ptrdiff_t tt_least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static inline ptrdiff_t tt_most(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static inline ptrdiff_t tt_whole(ptrdiff_t n, ptrdiff_t unit) { return (n + unit - 1) / unit * unit; }

static inline float *tt_place(tt_heads x, ptrdiff_t b, ptrdiff_t t, ptrdiff_t h) {
    return x.data + b * x.batch + t * x.row + h * x.head;
}

/* How far the diagonal of the mask is shifted in the block that starts at (query, key); BLOCK lets all through. */
static inline ptrdiff_t tt_diagonal(const tt_attention *s, ptrdiff_t query, ptrdiff_t key) {
    return s->causal ? tt_least(query + s->keys - s->queries - key, BLOCK) : BLOCK;
}

/* How many keys, from the first one on, the block of queries that starts at `query` can see. */
static inline ptrdiff_t tt_visible(const tt_attention *s, ptrdiff_t query) {
    return s->causal ? tt_least(query + BLOCK + s->keys - s->queries, s->keys) : s->keys;
}

#define TT_TEMPLATE "attention.h"
#include "isa.h"
#include "threads.h"

TT_DISPATCH(ptrdiff_t, attention_scratch, (const tt_attention *s, int backward), (s, backward))
TT_DISPATCH(void, attention_forward_head,
            (const tt_attention *s, tt_heads q, tt_heads k, tt_heads v, tt_heads out, float *lse, ptrdiff_t unit, float *scratch),
            (s, q, k, v, out, lse, unit, scratch))
TT_DISPATCH(void, attention_backward_head,
            (const tt_attention *s, tt_heads q, tt_heads k, tt_heads v, tt_heads out, const float *lse, tt_heads grad,
             tt_heads dq, tt_heads dk, tt_heads dv, ptrdiff_t unit, float *scratch),
            (s, q, k, v, out, lse, grad, dq, dk, dv, unit, scratch))
TT_DISPATCH(void, attention_decode_heads,
            (const tt_attention *s, const float *q, tt_heads k, tt_heads v, const int64_t *pages, ptrdiff_t length, float *out,
             float *scratch),
            (s, q, k, v, pages, length, out, scratch))

static float *tt_scratch(ptrdiff_t floats, int threads) {
    void *memory = NULL;
    return posix_memalign(&memory, 64, (size_t)(floats * threads) * sizeof(float)) ? NULL : (float *)memory;
}

/* For the choice of threads: 32 multiplications a nanosecond, and half a nanosecond for each exponential. */
static inline double tt_attention_nanoseconds(const tt_attention *s, int products) {
    double scores = (double)s->batch * s->heads * s->queries * s->keys * (s->causal ? 0.5 : 1.0);
    return scores * (products * s->width / 32.0 + 0.5);
}

/* The functions below return 0, or -1 if there is no memory for the scratch. */
static int tt_attention_forward(const tt_attention *s, tt_heads q, tt_heads k, tt_heads v, tt_heads out, float *lse, int wanted) {
    ptrdiff_t units = s->batch * s->kv_heads, floats = attention_scratch(s, 0);
    int threads = (int)tt_least(tt_threads(wanted, tt_attention_nanoseconds(s, 2)), tt_most(units, 1));
    float *scratch = tt_scratch(floats, threads);
    if (!scratch) return -1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (ptrdiff_t unit = 0; unit < units; unit++)
        attention_forward_head(s, q, k, v, out, lse, unit, scratch + floats * tt_thread_number());
    free(scratch);
    return 0;
}

static int tt_attention_backward(const tt_attention *s, tt_heads q, tt_heads k, tt_heads v, tt_heads out, const float *lse,
                                 tt_heads grad, tt_heads dq, tt_heads dk, tt_heads dv, int wanted) {
    ptrdiff_t units = s->batch * s->kv_heads, floats = attention_scratch(s, 1);
    int threads = (int)tt_least(tt_threads(wanted, tt_attention_nanoseconds(s, 5)), tt_most(units, 1));
    float *scratch = tt_scratch(floats, threads);
    if (!scratch) return -1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (ptrdiff_t unit = 0; unit < units; unit++)
        attention_backward_head(s, q, k, v, out, lse, grad, dq, dk, dv, unit, scratch + floats * tt_thread_number());
    free(scratch);
    return 0;
}

/* q, out (B, H, D) contiguous; s->keys is the length of a page; table (B, columns) names the pages of each sequence, and NULL
 * stands for page b alone. The cache is read in the order in which it lies in memory, which decides the speed: all heads of a
 * position in one go (a range of them for each thread), or one head after the other. */
static int tt_attention_decode(const tt_attention *s, const float *q, tt_heads k, tt_heads v, const int64_t *table,
                               ptrdiff_t columns, const int64_t *lengths, float *out, int wanted) {
    ptrdiff_t group = s->heads / s->kv_heads, floats = s->heads * (BLOCK + 2), rows = 0;
    for (ptrdiff_t b = 0; b < s->batch; b++) rows += lengths[b] * s->kv_heads;
    int threads = tt_threads(wanted, 0.3 * (double)rows * s->width);
    ptrdiff_t parts = k.head < k.row ? tt_least(threads, s->kv_heads) : s->kv_heads, units = s->batch * parts;
    float *scratch = tt_scratch(floats, threads);
    if (!scratch) return -1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (ptrdiff_t unit = 0; unit < units; unit++) {
        ptrdiff_t b = unit / parts, first = unit % parts * s->kv_heads / parts, end = (unit % parts + 1) * s->kv_heads / parts;
        ptrdiff_t at = (b * s->heads + first * group) * s->width;
        int64_t own = b;
        tt_attention part = *s;
        tt_heads part_k = k, part_v = v;
        part.kv_heads = end - first, part.heads = part.kv_heads * group;
        part_k.data += first * k.head, part_v.data += first * v.head;
        attention_decode_heads(&part, q + at, part_k, part_v, table ? table + b * columns : &own, lengths[b], out + at,
                               scratch + floats * tt_thread_number());
    }
    free(scratch);
    return 0;
}
#endif
#else /* the template */

/* Rows of a tile. With two vectors a row, its sums, two vectors of B and one of A fit the 32 registers of AVX-512, or 16. */
#undef ROWS
#define ROWS (TT_VECTOR == 64 ? 8 : 4)

/* One tile, ROWS x vectors: c = A B, added to what is there if `add`. A(r, k) is at a + r * a_row + k * a_step. Inlined
 * with constants for vectors, add, and one of the two steps of A. */
static inline __attribute__((always_inline)) void TT(tile)(
    ptrdiff_t depth, const float *a, ptrdiff_t a_row, ptrdiff_t a_step, const float *b, ptrdiff_t b_step, float *c, ptrdiff_t c_row,
    int vectors, int add) {
    TT(f32v) sum[ROWS][2];
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < vectors; v++) sum[r][v] = (TT(f32v)){0};
    for (ptrdiff_t k = 0; k < depth; k++) {
        TT(f32v) row[2];
        for (int v = 0; v < vectors; v++) row[v] = *(const TT(f32v) *)(b + k * b_step + v * TT_LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < vectors; v++) sum[r][v] += a[r * a_row + k * a_step] * row[v];
    }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < vectors; v++) {
            TT(f32v) *to = (TT(f32v) *)(c + r * c_row + v * TT_LANES);
            if (add) sum[r][v] += *to;
            *to = sum[r][v];
        }
}

/* ROWS rows of C, columns `first` to `end` in whole vectors, two at a time. */
static inline __attribute__((always_inline)) void TT(strip)(
    ptrdiff_t first, ptrdiff_t end, ptrdiff_t depth, const float *a, ptrdiff_t a_row, ptrdiff_t a_step,
    const float *b, ptrdiff_t b_step, float *c, ptrdiff_t c_row, int add) {
    ptrdiff_t n = first;
    for (; n + 2 * TT_LANES <= end; n += 2 * TT_LANES)
        TT(tile)(depth, a, a_row, a_step, b + n, b_step, c + n, c_row, 2, add);
    for (; n < end; n += TT_LANES)
        TT(tile)(depth, a, a_row, a_step, b + n, b_step, c + n, c_row, 1, add);
}

/* s (queries x keys) = q kt: row i needs columns up to i + d. */
static void TT(scores)(ptrdiff_t queries, ptrdiff_t keys, ptrdiff_t width, ptrdiff_t padded, const float *q, const float *kt, float *s,
                       ptrdiff_t d) {
    for (ptrdiff_t i = 0; i < queries; i += ROWS) {
        ptrdiff_t end = tt_whole(tt_most(tt_least(keys, i + ROWS + d), 0), TT_LANES);
        TT(strip)(0, end, width, q + i * padded, padded, 1, kt, BLOCK, s + i * BLOCK, BLOCK, 0);
    }
}

/* s (keys x queries) = k qt: row j needs columns from j - d on. */
static void TT(scores_by_key)(ptrdiff_t keys, ptrdiff_t queries, ptrdiff_t width, ptrdiff_t padded, const float *k, const float *qt,
                              float *s, ptrdiff_t d) {
    for (ptrdiff_t j = 0; j < keys; j += ROWS) {
        ptrdiff_t first = tt_most(j - d, 0) / TT_LANES * TT_LANES;
        TT(strip)(first, tt_whole(queries, TT_LANES), width, k + j * padded, padded, 1, qt, BLOCK, s + j * BLOCK, BLOCK, 0);
    }
}

/* out (queries x width) += p v, p with a column for each query: row i sums over keys up to i + d. */
static void TT(mix)(ptrdiff_t queries, ptrdiff_t keys, ptrdiff_t padded, const float *p, const float *v, float *out, ptrdiff_t d) {
    for (ptrdiff_t i = 0; i < queries; i += ROWS)
        TT(strip)(0, padded, tt_most(tt_least(keys, i + ROWS + d), 0), p + i, 1, BLOCK, v, padded, out + i * padded, padded, 1);
}

/* The same, p with a row for each query. */
static void TT(mix_by_query)(ptrdiff_t queries, ptrdiff_t keys, ptrdiff_t padded, const float *p, const float *v, float *out, ptrdiff_t d) {
    for (ptrdiff_t i = 0; i < queries; i += ROWS)
        TT(strip)(0, padded, tt_most(tt_least(keys, i + ROWS + d), 0), p + i * BLOCK, BLOCK, 1, v, padded, out + i * padded, padded, 1);
}

/* out (keys x width) += p' x, p with a row for each query: row j sums over queries from j - d on. */
static void TT(mix_back)(ptrdiff_t keys, ptrdiff_t queries, ptrdiff_t padded, const float *p, const float *x, float *out, ptrdiff_t d) {
    for (ptrdiff_t j = 0; j < keys; j += ROWS) {
        ptrdiff_t first = tt_most(j - d, 0), depth = tt_most(queries - first, 0);
        TT(strip)(0, padded, depth, p + first * BLOCK + j, 1, BLOCK, x + first * padded, padded, out + j * padded, padded, 1);
    }
}

/* A block of rows, padded with zeros to BLOCK of them and to `padded` columns. */
static void TT(load_rows)(const float *x, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t width, ptrdiff_t padded, float *to) {
    for (ptrdiff_t i = 0; i < BLOCK; i++) {
        ptrdiff_t n = i < rows ? width : 0;
        if (n) memcpy(to + i * padded, x + i * step, (size_t)n * sizeof(float));
        memset(to + i * padded + n, 0, (size_t)(padded - n) * sizeof(float));
    }
}

/* The transpose (padded, BLOCK) of a block of rows; padded is a multiple of 4. */
static void TT(transpose)(const float *block, ptrdiff_t padded, float *to) {
    for (ptrdiff_t i = 0; i < BLOCK; i += 4)
        for (ptrdiff_t d = 0; d < padded; d += 4)
            transpose_block_u32((const char *)(block + i * padded + d), padded * 4, (char *)(to + d * BLOCK + i), BLOCK * 4);
}

/* Rows of a padded block, each times a factor of its own, to where they belong. */
static void TT(store_rows)(const float *block, ptrdiff_t rows, ptrdiff_t width, ptrdiff_t padded, const float *factor, float *x, ptrdiff_t step) {
    for (ptrdiff_t i = 0; i < rows; i++) {
        float f = factor[i], *to = x + i * step;
        const float *row = block + i * padded;
#pragma omp simd
        for (ptrdiff_t d = 0; d < width; d++) to[d] = row[d] * f;
    }
}

/* 2^x for x <= 0 or little more; 0 below 2^-126. 2^x = 2^n 2^r, n the nearest integer; the polynomial is the start of the
 * Taylor series of 2^r, whose next term is at most 1.2e-7. NaN stays NaN. */
static inline float TT(exp2f)(float x) {
    float clamped = x < -127.0f ? -127.0f : x;
    float shifted = clamped + 12582912.0f;              /* 1.5 * 2^23: the nearest integer is in the low bits */
    float r = clamped - (shifted - 12582912.0f);
    float p = 1.5403530e-4f;
    p = p * r + 1.3333558e-3f;
    p = p * r + 9.6181291e-3f;
    p = p * r + 5.5504109e-2f;
    p = p * r + 2.4022651e-1f;
    p = p * r + 6.9314718e-1f;
    p = p * r + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (int32_t)((uint32_t)(bits - 0x4B400000 + 127) << 23);
    float scale;
    memcpy(&scale, &bits, 4);
    return p * scale;
}

/* One block of scores, a column for each query, becomes weights e^(s / sqrt(D)) over that of the largest score so far: peak.
 * total is the running sum of each query; shrink is what its results so far are to be multiplied with. */
static void TT(soften)(float *restrict s, ptrdiff_t keys, ptrdiff_t d, float factor, float *restrict peak, float *restrict total,
                       float *restrict shrink) {
    float top[BLOCK];
    for (ptrdiff_t j = 0; j < keys; j++)
        for (ptrdiff_t i = 0; i < tt_least(j - d, BLOCK); i++) s[j * BLOCK + i] = -INFINITY;
    memcpy(top, peak, sizeof top);
    for (ptrdiff_t j = 0; j < keys; j++)
#pragma omp simd
        for (ptrdiff_t i = 0; i < BLOCK; i++) top[i] = s[j * BLOCK + i] > top[i] ? s[j * BLOCK + i] : top[i];
#pragma omp simd
    for (ptrdiff_t i = 0; i < BLOCK; i++) {
        shrink[i] = TT(exp2f)((peak[i] - top[i]) * factor);
        total[i] *= shrink[i];
        peak[i] = top[i];
    }
    for (ptrdiff_t j = 0; j < keys; j++)
#pragma omp simd
        for (ptrdiff_t i = 0; i < BLOCK; i++) {
            float p = TT(exp2f)((s[j * BLOCK + i] - top[i]) * factor);
            s[j * BLOCK + i] = p;
            total[i] += p;
        }
}

/* Floats that one thread needs. */
static ptrdiff_t TT(attention_scratch)(const tt_attention *s, int backward) {
    ptrdiff_t padded = tt_whole(s->width, TT_LANES), all = tt_whole(s->keys, BLOCK) * padded, one = BLOCK * padded;
    return backward ? 5 * all + 3 * one + 2 * BLOCK * BLOCK : 2 * all + 2 * one + BLOCK * BLOCK;
}

/* All queries of the group that shares one head of keys and values; unit counts these heads through the batch. */
static void TT(attention_forward_head)(const tt_attention *s, tt_heads q, tt_heads k, tt_heads v, tt_heads out, float *lse,
                                       ptrdiff_t unit, float *scratch) {
    ptrdiff_t b = unit / s->kv_heads, g = unit % s->kv_heads, group = s->heads / s->kv_heads;
    ptrdiff_t width = s->width, padded = tt_whole(width, TT_LANES), one = BLOCK * padded, all = tt_whole(s->keys, BLOCK) * padded;
    float *rows_k = scratch, *rows_v = rows_k + all, *qt = rows_v + all, *sum = qt + one, *p = sum + one;
    float peak[BLOCK], total[BLOCK], shrink[BLOCK], factor = LOG2_E / sqrtf((float)width);

    for (ptrdiff_t key = 0; key < s->keys; key += BLOCK) {
        ptrdiff_t rows = tt_least(BLOCK, s->keys - key), at = key * padded;
        TT(load_rows)(tt_place(k, b, key, g), k.row, rows, width, padded, rows_k + at);
        TT(load_rows)(tt_place(v, b, key, g), v.row, rows, width, padded, rows_v + at);
    }
    for (ptrdiff_t h = g * group; h < (g + 1) * group; h++)
        for (ptrdiff_t query = 0; query < s->queries; query += BLOCK) {
            ptrdiff_t rows = tt_least(BLOCK, s->queries - query), visible = tt_visible(s, query);
            TT(load_rows)(tt_place(q, b, query, h), q.row, rows, width, padded, sum);
            TT(transpose)(sum, padded, qt);
            memset(sum, 0, (size_t)one * sizeof(float));
            for (ptrdiff_t i = 0; i < BLOCK; i++) peak[i] = -INFINITY, total[i] = 0;
            for (ptrdiff_t key = 0; key < visible; key += BLOCK) {
                ptrdiff_t keys = tt_least(BLOCK, s->keys - key), d = tt_diagonal(s, query, key), at = key * padded;
                TT(scores_by_key)(keys, rows, width, padded, rows_k + at, qt, p, d);
                TT(soften)(p, keys, d, factor, peak, total, shrink);
                if (key) TT(store_rows)(sum, rows, padded, padded, shrink, sum, padded);
                TT(mix)(rows, keys, padded, p, rows_v + at, sum, d);
            }
            for (ptrdiff_t i = 0; i < rows; i++) {
                lse[(b * s->heads + h) * s->queries + query + i] = peak[i] * (factor * LN_2) + logf(total[i]);
                shrink[i] = 1.0f / total[i];
            }
            TT(store_rows)(sum, rows, width, padded, shrink, tt_place(out, b, query, h), out.row);
        }
}

/* One block of scores, a row for each query, becomes probabilities p, and the gradient dp for them that for s / sqrt(D):
 * p (dp - delta), where delta is the sum of p dp over all keys, which is that of out * grad over D. */
static void TT(harden)(float *restrict p, float *restrict dp, ptrdiff_t queries, ptrdiff_t keys, ptrdiff_t d, float factor,
                       const float *lse, const float *delta) {
    for (ptrdiff_t i = 0; i < queries; i++) {
        float *restrict pi = p + i * BLOCK, *restrict di = dp + i * BLOCK, base = lse[i] * LOG2_E, less = delta[i];
        ptrdiff_t seen = tt_most(tt_least(keys, i + d + 1), 0);
#pragma omp simd
        for (ptrdiff_t j = 0; j < seen; j++) {
            pi[j] = TT(exp2f)(pi[j] * factor - base);
            di[j] = pi[j] * (di[j] - less);
        }
        for (ptrdiff_t j = seen; j < BLOCK; j++) pi[j] = di[j] = 0;
    }
}

static inline float TT(dot)(const float *restrict x, const float *restrict y, ptrdiff_t n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (ptrdiff_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

static void TT(attention_backward_head)(const tt_attention *s, tt_heads q, tt_heads k, tt_heads v, tt_heads out, const float *lse,
                                        tt_heads grad, tt_heads dq, tt_heads dk, tt_heads dv, ptrdiff_t unit, float *scratch) {
    ptrdiff_t b = unit / s->kv_heads, g = unit % s->kv_heads, group = s->heads / s->kv_heads;
    ptrdiff_t width = s->width, padded = tt_whole(width, TT_LANES), one = BLOCK * padded, all = tt_whole(s->keys, BLOCK) * padded;
    float *kt = scratch, *vt = kt + all, *rows_k = vt + all, *sum_k = rows_k + all, *sum_v = sum_k + all;
    float *rows_q = sum_v + all, *rows_g = rows_q + one, *sum_q = rows_g + one;
    float *p = sum_q + one, *dp = p + BLOCK * BLOCK;
    float delta[BLOCK], one_each[BLOCK], scale_each[BLOCK], scale = 1.0f / sqrtf((float)width);

    for (ptrdiff_t i = 0; i < BLOCK; i++) one_each[i] = 1.0f, scale_each[i] = scale;
    for (ptrdiff_t key = 0; key < s->keys; key += BLOCK) {
        ptrdiff_t rows = tt_least(BLOCK, s->keys - key), at = key * padded;
        TT(load_rows)(tt_place(v, b, key, g), v.row, rows, width, padded, rows_q);
        TT(transpose)(rows_q, padded, vt + at);
        TT(load_rows)(tt_place(k, b, key, g), k.row, rows, width, padded, rows_k + at);
        TT(transpose)(rows_k + at, padded, kt + at);
    }
    memset(sum_k, 0, (size_t)(2 * all) * sizeof(float));
    for (ptrdiff_t h = g * group; h < (g + 1) * group; h++)
        for (ptrdiff_t query = 0; query < s->queries; query += BLOCK) {
            ptrdiff_t rows = tt_least(BLOCK, s->queries - query), visible = tt_visible(s, query);
            const float *own_lse = lse + (b * s->heads + h) * s->queries + query;
            TT(load_rows)(tt_place(q, b, query, h), q.row, rows, width, padded, rows_q);
            TT(load_rows)(tt_place(grad, b, query, h), grad.row, rows, width, padded, rows_g);
            memset(sum_q, 0, (size_t)one * sizeof(float));
            for (ptrdiff_t i = 0; i < rows; i++) delta[i] = TT(dot)(tt_place(out, b, query + i, h), rows_g + i * padded, width);
            for (ptrdiff_t key = 0; key < visible; key += BLOCK) {
                ptrdiff_t keys = tt_least(BLOCK, s->keys - key), d = tt_diagonal(s, query, key), at = key * padded;
                TT(scores)(rows, keys, width, padded, rows_q, kt + at, p, d);
                TT(scores)(rows, keys, width, padded, rows_g, vt + at, dp, d);
                TT(harden)(p, dp, rows, keys, d, scale * LOG2_E, own_lse, delta);
                TT(mix_back)(keys, rows, padded, p, rows_g, sum_v + at, d);
                TT(mix_back)(keys, rows, padded, dp, rows_q, sum_k + at, d);
                TT(mix_by_query)(rows, keys, padded, dp, rows_k + at, sum_q, d);
            }
            TT(store_rows)(sum_q, rows, width, padded, scale_each, tt_place(dq, b, query, h), dq.row);
        }
    for (ptrdiff_t key = 0; key < s->keys; key += BLOCK) {
        ptrdiff_t rows = tt_least(BLOCK, s->keys - key), at = key * padded;
        TT(store_rows)(sum_k + at, rows, width, padded, scale_each, tt_place(dk, b, key, g), dk.row);
        TT(store_rows)(sum_v + at, rows, width, padded, one_each, tt_place(dv, b, key, g), dv.row);
    }
}

/* out[r] = the product of x with row r, for up to 4 rows `step` floats apart: four sums share each load of x. */
static inline void TT(dots)(const float *restrict x, const float *restrict rows, ptrdiff_t step, ptrdiff_t count, ptrdiff_t n,
                            float *restrict out) {
    if (count < 4) {
        for (ptrdiff_t r = 0; r < count; r++) out[r] = TT(dot)(x, rows + r * step, n);
        return;
    }
    float a = 0, b = 0, c = 0, d = 0;
#pragma omp simd reduction(+ : a, b, c, d)
    for (ptrdiff_t i = 0; i < n; i++) {
        a += x[i] * rows[i];
        b += x[i] * rows[step + i];
        c += x[i] * rows[2 * step + i];
        d += x[i] * rows[3 * step + i];
    }
    out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

/* y += the sum of factors[r] times row r, for up to 4 rows: y is loaded and stored once. */
static inline void TT(add_rows)(const float *restrict factors, const float *restrict rows, ptrdiff_t step, ptrdiff_t count, ptrdiff_t n,
                                float *restrict y) {
    if (count < 4) {
        for (ptrdiff_t r = 0; r < count; r++)
#pragma omp simd
            for (ptrdiff_t i = 0; i < n; i++) y[i] += factors[r] * rows[r * step + i];
        return;
    }
    float a = factors[0], b = factors[1], c = factors[2], d = factors[3];
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++)
        y[i] += a * rows[i] + b * rows[step + i] + (c * rows[2 * step + i] + d * rows[3 * step + i]);
}

static inline void TT(scale)(float *y, float factor, ptrdiff_t n) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++) y[i] *= factor;
}

/* The running softmax of one query over n more scores, which become weights -> what its results so far shrink by. */
static float TT(soften_row)(float *s, ptrdiff_t n, float factor, float *peak, float *total) {
    float top = *peak, sum = 0;
#pragma omp simd reduction(max : top)
    for (ptrdiff_t j = 0; j < n; j++) {
        s[j] *= factor;
        top = s[j] > top ? s[j] : top;
    }
#pragma omp simd reduction(+ : sum)
    for (ptrdiff_t j = 0; j < n; j++) {
        s[j] = TT(exp2f)(s[j] - top);
        sum += s[j];
    }
    float shrink = TT(exp2f)(*peak - top);
    *total = *total * shrink + sum, *peak = top;
    return shrink;
}

/* q (H, D) against the first `length` keys of the pages, BLOCK of them at a time. */
static void TT(attention_decode_heads)(const tt_attention *s, const float *q, tt_heads k, tt_heads v, const int64_t *pages,
                                       ptrdiff_t length, float *out, float *scratch) {
    ptrdiff_t heads = s->heads, group = heads / s->kv_heads, width = s->width, page = s->keys;
    float *p = scratch, *peak = p + heads * BLOCK, *total = peak + heads, factor = LOG2_E / sqrtf((float)width);

    for (ptrdiff_t h = 0; h < heads; h++) peak[h] = -INFINITY, total[h] = 0;
    memset(out, 0, (size_t)(heads * width) * sizeof(float));
    for (ptrdiff_t start = 0, n; start < length; start += n) {
        ptrdiff_t inside = start % page, at = (ptrdiff_t)pages[start / page];
        const float *key = tt_place(k, at, inside, 0), *value = tt_place(v, at, inside, 0);
        n = tt_least(BLOCK, tt_least(page - inside, length - start));
        for (ptrdiff_t j = 0; j < n; j += 4)
            for (ptrdiff_t h = 0; h < heads; h++)
                TT(dots)(q + h * width, key + j * k.row + h / group * k.head, k.row, tt_least(4, n - j), width, p + h * BLOCK + j);
        for (ptrdiff_t h = 0; h < heads; h++)
            TT(scale)(out + h * width, TT(soften_row)(p + h * BLOCK, n, factor, peak + h, total + h), width);
        for (ptrdiff_t j = 0; j < n; j += 4)
            for (ptrdiff_t h = 0; h < heads; h++)
                TT(add_rows)(p + h * BLOCK + j, value + j * v.row + h / group * v.head, v.row, tt_least(4, n - j), width, out + h * width);
    }
    for (ptrdiff_t h = 0; h < heads; h++) TT(scale)(out + h * width, 1.0f / total[h], width);
}
#undef ROWS
#endif
