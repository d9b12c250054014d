/* conv.h -- two-dimensional correlation of float32 images, (N, C, H, W) in, (N, O, OH, OW) out, and its two gradients.
 *
 * Design: (a) a matrix product that never builds its right-hand matrix. Row k = (c, i, j) of that matrix is channel c of the
 * image, moved by tap (i, j) of the filter; it is read where it lies in a copy of the image that carries its own border of
 * zeros, at an offset from a table. (b) A vector holds VECTOR neighbouring positions of the target, so results are stored
 * as they are wanted, without a transpose; the weights are packed, ROWS target channels side by side. (c) Work proceeds in
 * windows of target rows and blocks of channels that stay in the caches, so that any image and any number of channels will
 * do. (d) The input gradient is the same correlation with the taps mirrored; a stride s cuts it into s * s of them, each
 * with its own part of the taps, and no product with a zero of "dilation" is made; a filter as large as the image is added up
 * instead. (e) The weight gradient multiplies two
 * vectors along the positions and adds up lanes at the end: nothing is transposed there either. (f) The order of each sum
 * depends on the shape alone: results are the same for any number of threads.
 *
 * A zero of the border is multiplied like any other number: an infinite weight over it gives NaN. */
#ifndef TT_ISA
#include <stdlib.h>
#include <string.h>
#include "threads.h"

typedef struct {                    /* the arguments of a convolution; C and O count all groups */
    ptrdiff_t N, C, H, W, O, OH, OW, KH, KW, groups;
    ptrdiff_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
} Conv;

typedef struct {                    /* target position (y, x) reads source (y * step_h + row[i], x * step_w + column[j]) */
    ptrdiff_t H, W, OH, OW, step_h, step_w;
    ptrdiff_t rows, columns;        /* taps */
    ptrdiff_t *row, *column;
    ptrdiff_t *place;               /* of tap (i, j) among the KH * KW weights of a filter */
} Taps;

/* How a window of the source is copied. A vector of positions must be one load, whichever tap moves it. */
enum {
    BORDERED,    /* as it is, with its border, where a target row is whole vectors; a step of 2 takes every second column */
    SHIFTED,     /* once for each column of taps, as wide as the target: its rows follow each other without a gap */
    UNROLLED     /* once for each tap (im2col) */
};

typedef struct {
    int kind;
    ptrdiff_t first_row, row_span;  /* of the taps */
    ptrdiff_t first_step, step_span;        /* of their columns, counted in steps: BORDERED has a copy for each remainder */
    ptrdiff_t copies, pitch;        /* copies of each channel, floats in a row of them */
    ptrdiff_t channels;             /* source channels in a block */
    ptrdiff_t window;               /* target rows in a window */
    ptrdiff_t plane;                /* floats for one channel */
} Layout;

#define BLOCK_BYTES (24 << 10)      /* what a tile reads of its block of channels: half of a first-level cache */
#define WINDOW_BYTES (256 << 10)    /* a block of channels: a part of the second-level cache */
#ifndef GRADIENT_POSITIONS
#define GRADIENT_POSITIONS 2048     /* that the weight gradient adds up in registers before it adds up lanes */
#endif
#ifndef GRADIENT_BYTES
#define GRADIENT_BYTES (384 << 10)  /* a block of channels of its images */
#endif
#define SPARSE 8                    /* positions of the image, for one of grad, beyond which the input gradient is scattered */
#define SLACK 64                    /* floats after an array that a vector may read and no one uses */

static ptrdiff_t least(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static ptrdiff_t most(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static ptrdiff_t parts(ptrdiff_t n, ptrdiff_t size) { return (n + size - 1) / size; }

static float *floats(ptrdiff_t n) {
    void *memory = NULL;
    return posix_memalign(&memory, 64, sizeof(float) * (n + SLACK)) ? NULL : memory;
}

static ptrdiff_t copied_rows(const Layout *l, const Taps *t, ptrdiff_t rows) {
    return l->kind == BORDERED ? (rows - 1) * t->step_h + l->row_span : l->kind == SHIFTED ? rows + l->row_span - 1 : rows;
}

/* An odd number of cache lines: channels that are a power of two apart would share one set of the cache. */
static ptrdiff_t plane_floats(const Layout *l, const Taps *t, ptrdiff_t rows) {
    return (parts(l->copies * copied_rows(l, t, rows) * l->pitch, 16) | 1) * 16;
}

static void span(const ptrdiff_t *offset, ptrdiff_t n, ptrdiff_t *first, ptrdiff_t *length) {
    ptrdiff_t low = offset[0], high = offset[0];
    for (ptrdiff_t i = 1; i < n; i++) low = least(low, offset[i]), high = most(high, offset[i]);
    *first = low, *length = high - low + 1;
}

/* The largest whole number of steps in a distance, and what remains of it. */
static ptrdiff_t whole_steps(ptrdiff_t distance, ptrdiff_t step) {
    return distance / step - (distance % step < 0);
}

static ptrdiff_t remainder_of(ptrdiff_t distance, ptrdiff_t step) { return distance - whole_steps(distance, step) * step; }

/* tile: target positions that one register tile covers, whole vectors of `lanes`. pieces: the fewest windows of an image. */
static Layout choose_layout(const Taps *t, ptrdiff_t channels, ptrdiff_t lanes, ptrdiff_t tile, ptrdiff_t pieces) {
    Layout l;
    span(t->row, t->rows, &l.first_row, &l.row_span);
    span(t->column, t->columns, &l.first_step, &l.step_span);
    ptrdiff_t last = whole_steps(l.first_step + l.step_span - 1, t->step_w);
    l.first_step = whole_steps(l.first_step, t->step_w), l.step_span = last - l.first_step + 1;
    l.kind = t->OW % lanes == 0 && t->step_w <= t->columns ? BORDERED : t->step_h == 1 ? SHIFTED : UNROLLED;
    l.copies = l.kind == BORDERED ? t->step_w : l.kind == SHIFTED ? t->columns : t->rows * t->columns;
    l.pitch = l.kind == BORDERED ? t->OW + l.step_span - 1 : t->OW;
    ptrdiff_t read = l.kind == BORDERED
                         ? l.copies * (l.row_span + (tile - 1) / t->OW * t->step_h) * least(l.pitch, tile + l.step_span)
                         : t->rows * t->columns * tile;
    l.channels = most(1, BLOCK_BYTES / (ptrdiff_t)sizeof(float) / read);
    l.channels = parts(channels, parts(channels, l.channels));
    l.window = parts(t->OH, pieces);
    while (l.window > 1 && (ptrdiff_t)sizeof(float) * l.channels * plane_floats(&l, t, l.window) > WINDOW_BYTES)
        l.window = parts(l.window, 2);
    l.plane = plane_floats(&l, t, l.window);
    return l;
}

/* For the weight gradient: as many whole planes, of GRADIENT_POSITIONS or more in `batch` images, as the cache takes. */
static Layout choose_gradient_layout(const Taps *t, ptrdiff_t channels, ptrdiff_t lanes, ptrdiff_t images, ptrdiff_t *batch) {
    Layout l = choose_layout(t, 1, lanes, lanes, 1);
    *batch = l.window < t->OH ? 1 : most(1, least(images, GRADIENT_POSITIONS / (t->OH * t->OW)));
    l.channels = most(1, least(channels, GRADIENT_BYTES / (ptrdiff_t)sizeof(float) / (*batch * l.plane)));
    l.channels = parts(channels, parts(channels, l.channels));
    return l;
}

/* Where tap k = (c, i, j) of a block begins in the copy of a window of `rows` target rows. */
static void find_offsets(const Taps *t, const Layout *l, ptrdiff_t rows, ptrdiff_t *offset) {
    ptrdiff_t copied = copied_rows(l, t, rows) * l->pitch;
    for (ptrdiff_t c = 0; c < l->channels; c++)
        for (ptrdiff_t i = 0; i < t->rows; i++)
            for (ptrdiff_t j = 0; j < t->columns; j++) {
                ptrdiff_t down = (t->row[i] - l->first_row) * l->pitch;
                *offset++ = c * l->plane
                            + (l->kind == BORDERED  ? down + remainder_of(t->column[j], t->step_w) * copied
                                                          + whole_steps(t->column[j], t->step_w) - l->first_step
                               : l->kind == SHIFTED ? down + j * copied
                                                    : (i * t->columns + j) * copied);
            }
}

/* Where vector u of a window's positions begins, relative to the offset of any tap. */
static void find_positions(const Taps *t, const Layout *l, ptrdiff_t lanes, ptrdiff_t *position) {
    for (ptrdiff_t u = 0, p = 0; p < l->window * t->OW; u++, p += lanes)
        position[u] = l->kind == BORDERED ? p / t->OW * t->step_h * l->pitch + p % t->OW : p;
}

/* Room for all taps, and for which of them a phase of the input gradient has. NULL if there is none. */
static ptrdiff_t *taps_memory(const Conv *v) { return malloc(sizeof(ptrdiff_t) * (2 * v->KH + 2 * v->KW + v->KH * v->KW)); }

/* The taps of the forward pass. */
static Taps forward_taps(const Conv *v, ptrdiff_t *memory) {
    Taps t = {v->H, v->W, v->OH, v->OW, v->stride_h, v->stride_w, v->KH, v->KW, memory, memory + v->KH, memory + v->KH + v->KW};
    for (ptrdiff_t i = 0; i < v->KH; i++) t.row[i] = i * v->dilation_h - v->padding_h;
    for (ptrdiff_t j = 0; j < v->KW; j++) t.column[j] = j * v->dilation_w - v->padding_w;
    for (ptrdiff_t k = 0; k < v->KH * v->KW; k++) t.place[k] = k;
    return t;
}

/* Input position a + stride * y was read by tap i for target y + (a + padding - i dilation) / stride, where that is whole. */
static ptrdiff_t phase_taps(ptrdiff_t a, ptrdiff_t taps, ptrdiff_t stride, ptrdiff_t padding, ptrdiff_t dilation,
                            ptrdiff_t *offset, ptrdiff_t *which) {
    ptrdiff_t n = 0;
    for (ptrdiff_t i = 0; i < taps; i++) {
        ptrdiff_t distance = a + padding - i * dilation;
        if (distance % stride == 0) offset[n] = distance / stride, which[n++] = i;
    }
    return n;
}

typedef struct {                    /* a correlation: what it reads, and where its results go */
    Taps taps;
    Layout layout;
    ptrdiff_t N, groups, C, O;      /* C source and O target channels in each group */
    ptrdiff_t weight_group, weight_source, weight_target;       /* steps through the weights */
    ptrdiff_t OH, OW, y, x, step_h, step_w;     /* (i, j) goes to (y + i step_h, x + j step_w) of an OH x OW plane */
} Correlation;

#define TT_TEMPLATE "conv.h"
#include "isa.h"

TT_DISPATCH(int, tt_conv2d, (const float *x, const float *w, const float *bias, float *out, const Conv *v, int threads),
            (x, w, bias, out, v, threads))
TT_DISPATCH(int, tt_conv2d_input_grad, (const float *grad, const float *w, float *dx, const Conv *v, int threads),
            (grad, w, dx, v, threads))
TT_DISPATCH(int, tt_conv2d_weight_grad,
            (const float *x, const float *grad, float *dw, float *db, const Conv *v, int threads),
            (x, grad, dw, db, v, threads))

#else /* ------------------------------------------------------------------------------------------------ the template */
#define V TT(f32v)
#define LANES TT_LANES
#define INLINE static inline __attribute__((always_inline))

/* The register tile of the forward pass is ROWS target channels x VECTORS of positions, that of the weight gradient is
 * GRADS target channels x TAPS taps: as many accumulators as leave registers for the operands, 32 of them or 16. One
 * target channel alone (depthwise) takes a tile of 1 x LONG. */
#undef ROWS
#undef VECTORS
#undef GRADS
#undef TAPS
#if TT_ISA >= 4
#define ROWS 8
#define VECTORS 3
#define GRADS 4
#define TAPS 6
#else
#define ROWS 4
#define VECTORS 3
#define GRADS 3
#define TAPS 3
#endif
#define LONG 8

INLINE V TT(load)(const float *x) { return *(const V *)x; }
INLINE void TT(store)(float *x, V v) { *(V *)x = v; }

INLINE void TT(copy_floats)(float *out, const float *x, ptrdiff_t n) {
    ptrdiff_t i = 0;
    for (; i + LANES <= n; i += LANES) TT(store)(out + i, TT(load)(x + i));
    for (; i < n; i++) out[i] = x[i];
}

INLINE void TT(zero_floats)(float *out, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++) out[i] = 0;
}

/* Rows first, first + row_step, ... of a source plane, each from column `start` on: n columns, `step` apart; zeros outside. */
static void TT(copy_rows)(float *out, ptrdiff_t n, const float *plane, ptrdiff_t H, ptrdiff_t W, ptrdiff_t first,
                          ptrdiff_t row_step, ptrdiff_t rows, ptrdiff_t start, ptrdiff_t step) {
    ptrdiff_t left = start >= 0 ? 0 : least(n, parts(-start, step));
    ptrdiff_t right = start >= W ? left : most(left, least(n, parts(W - start, step)));
    if (n == W && step == 1 && row_step == 1) {     /* one long row, moved; what came round the edge is cleared */
        ptrdiff_t shift = first * W + start, low = least(most(0, -shift), rows * n);
        ptrdiff_t high = most(low, least(rows * n, H * W - shift));
        TT(zero_floats)(out, low);
        TT(copy_floats)(out + low, plane + low + shift, high - low);
        TT(zero_floats)(out + high, rows * n - high);
        for (ptrdiff_t r = 0; r < rows && (left > 0 || right < n); r++, out += n) {
            for (ptrdiff_t x = 0; x < left; x++) out[x] = 0;
            for (ptrdiff_t x = right; x < n; x++) out[x] = 0;
        }
        return;
    }
    for (ptrdiff_t r = 0, y = first; r < rows; r++, y += row_step, out += n) {
        if (y < 0 || y >= H) {
            TT(zero_floats)(out, n);
            continue;
        }
        const float *row = plane + y * W + start;
        for (ptrdiff_t x = 0; x < left; x++) out[x] = 0;
        if (step == 1)
            TT(copy_floats)(out + left, row + left, right - left);
        else if (step == 2)         /* a constant becomes shuffles of vectors */
            for (ptrdiff_t x = left; x < right; x++) out[x] = row[x * 2];
        else
            for (ptrdiff_t x = left; x < right; x++) out[x] = row[x * step];
        for (ptrdiff_t x = right; x < n; x++) out[x] = 0;
    }
}

/* A channel's window of `rows` target rows, from target row y on, as the layout wants it. */
static void TT(copy_channel)(float *out, const float *plane, const Taps *t, const Layout *l, ptrdiff_t y, ptrdiff_t rows) {
    ptrdiff_t copied = copied_rows(l, t, rows), floats = copied * l->pitch;
    if (l->kind == BORDERED)
        for (ptrdiff_t j = 0; j < t->step_w; j++, out += floats)
            TT(copy_rows)(out, l->pitch, plane, t->H, t->W, y * t->step_h + l->first_row, 1, copied,
                          l->first_step * t->step_w + j, t->step_w);
    else if (l->kind == SHIFTED)
        for (ptrdiff_t j = 0; j < t->columns; j++, out += floats)
            TT(copy_rows)(out, l->pitch, plane, t->H, t->W, y + l->first_row, 1, copied, t->column[j], t->step_w);
    else
        for (ptrdiff_t i = 0; i < t->rows; i++)
            for (ptrdiff_t j = 0; j < t->columns; j++, out += floats)
                TT(copy_rows)(out, l->pitch, plane, t->H, t->W, y * t->step_h + t->row[i], t->step_h, copied, t->column[j],
                              t->step_w);
}

/* Weights of a block of C source channels as tiles of `side` target channels: (tile, c, tap, side), zeros after the last. */
static void TT(pack_weights)(const float *w, const Correlation *r, ptrdiff_t C, ptrdiff_t side, float *out) {
    ptrdiff_t taps = r->taps.rows * r->taps.columns;
    for (ptrdiff_t o = 0; o < r->O; o += side)
        for (ptrdiff_t c = 0; c < C; c++)
            for (ptrdiff_t k = 0; k < taps; k++, out += side)
                for (ptrdiff_t i = 0; i < side; i++)
                    out[i] = o + i < r->O ? w[(o + i) * r->weight_target + c * r->weight_source + r->taps.place[k]] : 0;
}

/* What a tile reads and writes: y (m, n) of row step `stride`, += or, if it is the first block, = bias + . */
typedef struct {
    const float *weights, *x, *bias;
    const ptrdiff_t *offset, *position;
    float *y;
    ptrdiff_t K, stride, m, n;
    int first;
} TT(Tile);

INLINE void TT(tile)(const TT(Tile) *t, int rows, int vectors) {
    V sum[ROWS][LONG];               /* whose indices are all constants, so it lives in registers */
    const float *w = t->weights, *x[LONG];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) x[v] = t->x + t->position[v];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) sum[i][v] = (V){0};
    for (ptrdiff_t k = 0; k < t->K; k++, w += rows) {
        ptrdiff_t offset = t->offset[k];
        V moved[LONG];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) moved[v] = TT(load)(x[v] + offset);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            float weight = w[i];
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++) sum[i][v] += weight * moved[v];
        }
    }
    if (t->m == rows && t->n == vectors * LANES) {
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            float *y = t->y + i * t->stride, bias = t->bias ? t->bias[i] : 0;
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++, y += LANES) TT(store)(y, t->first ? sum[i][v] + bias : sum[i][v] + TT(load)(y));
        }
        return;
    }
    float spilled[ROWS][LONG * LANES];              /* a tile over the edge of the target is stored number by number */
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) TT(store)(&spilled[i][v * LANES], sum[i][v]);
    for (ptrdiff_t i = 0; i < t->m; i++)
        for (ptrdiff_t j = 0; j < t->n; j++) {
            float *y = t->y + i * t->stride + j;
            *y = spilled[i][j] + (t->first ? t->bias ? t->bias[i] : 0 : *y);
        }
}

static __attribute__((noinline)) void TT(tile_3)(const TT(Tile) *t) { TT(tile)(t, ROWS, 3); }
static __attribute__((noinline)) void TT(tile_2)(const TT(Tile) *t) { TT(tile)(t, ROWS, 2); }
static __attribute__((noinline)) void TT(tile_1)(const TT(Tile) *t) { TT(tile)(t, ROWS, 1); }
static __attribute__((noinline)) void TT(line_8)(const TT(Tile) *t) { TT(tile)(t, 1, LONG); }
static __attribute__((noinline)) void TT(line_4)(const TT(Tile) *t) { TT(tile)(t, 1, 4); }
static __attribute__((noinline)) void TT(line_1)(const TT(Tile) *t) { TT(tile)(t, 1, 1); }

/* All tiles of a window: the copy that a column of tiles reads stays in the first-level cache. */
static void TT(correlate_window)(TT(Tile) t, ptrdiff_t O, ptrdiff_t positions, ptrdiff_t side) {
    ptrdiff_t vectors = parts(positions, LANES);
    const float *weights = t.weights, *bias = t.bias;
    const ptrdiff_t *position = t.position;
    float *y = t.y;
    for (ptrdiff_t u = 0, take; u < vectors; u += take) {
        ptrdiff_t left = vectors - u;
        if (side == 1)
            take = left >= LONG ? LONG : left >= 4 ? 4 : 1;
        else
            take = left == 4 ? 2 : least(left, VECTORS);        /* 4 = 2 + 2: one vector alone waits for its own sums */
        t.position = position + u, t.n = least(positions - u * LANES, take * LANES);
        for (ptrdiff_t o = 0; o < O; o += side) {
            t.weights = weights + o * t.K, t.m = least(side, O - o), t.y = y + o * t.stride + u * LANES;
            t.bias = bias ? bias + o : NULL;
            if (side == 1)
                take == LONG ? TT(line_8)(&t) : take == 4 ? TT(line_4)(&t) : TT(line_1)(&t);
            else
                take == 3 ? TT(tile_3)(&t) : take == 2 ? TT(tile_2)(&t) : TT(tile_1)(&t);
        }
    }
}

/* One window of one image and group. `copy` holds a block of channels, `dense` the window's result if it is to be spread. */
static void TT(correlate_task)(const float *x, const float *packed, const float *bias, float *out, const Correlation *r,
                               ptrdiff_t side, ptrdiff_t task, float *copy, float *dense, const ptrdiff_t *position,
                               ptrdiff_t *offset) {
    const Taps *t = &r->taps;
    const Layout *l = &r->layout;
    ptrdiff_t windows = parts(t->OH, l->window), taps = t->rows * t->columns, filters = parts(r->O, side) * side;
    ptrdiff_t y = task % windows * l->window, g = task / windows % r->groups, n = task / windows / r->groups;
    ptrdiff_t rows = least(l->window, t->OH - y), positions = rows * t->OW;
    float *plane = out + (n * r->groups + g) * r->O * r->OH * r->OW;
    TT(Tile) tile = {.x = copy, .bias = bias ? bias + g * r->O : NULL, .offset = offset, .position = position,
                     .y = dense ? dense : plane + y * t->OW, .stride = dense ? positions : t->OH * t->OW};
    find_offsets(t, l, rows, offset);
    for (ptrdiff_t c = 0; c < r->C; c += l->channels) {
        ptrdiff_t block = least(l->channels, r->C - c);
        for (ptrdiff_t i = 0; i < block; i++)
            TT(copy_channel)(copy + i * l->plane, x + ((n * r->groups + g) * r->C + c + i) * t->H * t->W, t, l, y, rows);
        tile.weights = packed + (g * r->C + c) * taps * filters, tile.K = block * taps, tile.first = c == 0;
        TT(correlate_window)(tile, r->O, positions, side);
    }
    if (dense)
        for (ptrdiff_t o = 0; o < r->O; o++)
            for (ptrdiff_t i = 0; i < rows; i++) {
                float *row = plane + (o * r->OH + r->y + (y + i) * r->step_h) * r->OW + r->x;
                for (ptrdiff_t j = 0; j < t->OW; j++) row[j * r->step_w] = *dense++;
            }
}

/* out = bias + x correlated with w, in every window of every image and group. -1 if there is no memory for the copies. */
static int TT(correlate)(const float *x, const float *w, const float *bias, float *out, Correlation *r, int wanted) {
    const Taps *t = &r->taps;
    ptrdiff_t side = r->O == 1 ? 1 : ROWS, taps = t->rows * t->columns, filters = parts(r->O, side) * side;
    double work = 2.0 * r->N * r->groups * r->O * r->C * t->OH * t->OW * taps;
    int threads = tt_threads(wanted, work / 50), spread = r->step_h > 1 || r->step_w > 1;
    /* Windows decide which positions are computed together, not how: no sum depends on them, so threads may. */
    r->layout = choose_layout(t, r->C, LANES, LANES * (side == 1 ? LONG : VECTORS), r->N * r->groups < threads ? threads : 1);
    const Layout *l = &r->layout;
    ptrdiff_t tasks = r->N * r->groups * parts(t->OH, l->window);
    threads = (int)least(threads, most(tasks, 1));
    ptrdiff_t copy = l->channels * l->plane + SLACK, dense = spread ? r->O * l->window * t->OW + SLACK : 0;
    ptrdiff_t vectors = parts(l->window * t->OW, LANES), table = l->channels * taps;
    float *packed = floats(r->groups * r->C * taps * filters), *memory = floats(threads * (copy + dense));
    ptrdiff_t *tables = malloc(sizeof(ptrdiff_t) * (vectors + threads * table));
    int done = packed && memory && tables;
    if (done) {
        for (ptrdiff_t g = 0; g < r->groups; g++)
            for (ptrdiff_t c = 0; c < r->C; c += l->channels)
                TT(pack_weights)(w + g * r->weight_group + c * r->weight_source, r, least(l->channels, r->C - c), side,
                                 packed + (g * r->C + c) * taps * filters);
        find_positions(t, l, LANES, tables);
#pragma omp parallel for num_threads(threads) schedule(static)
        for (ptrdiff_t task = 0; task < tasks; task++) {
            float *mine = memory + tt_thread_number() * (copy + dense);
            TT(correlate_task)(x, packed, bias, out, r, side, task, mine, spread ? mine + copy : NULL, tables,
                               tables + vectors + tt_thread_number() * table);
        }
    }
    free(packed), free(memory), free(tables);
    return done ? 0 : -1;
}

static int TT(tt_conv2d)(const float *x, const float *w, const float *bias, float *out, const Conv *v, int threads) {
    ptrdiff_t C = v->C / v->groups, O = v->O / v->groups, filter = v->KH * v->KW, *memory = taps_memory(v);
    if (!memory) return -1;
    Correlation r = {.taps = forward_taps(v, memory), .N = v->N, .groups = v->groups, .C = C, .O = O,
                     .weight_group = O * C * filter, .weight_source = filter, .weight_target = C * filter,
                     .OH = v->OH, .OW = v->OW, .step_h = 1, .step_w = 1};
    int failed = TT(correlate)(x, w, bias, out, &r, threads);
    free(memory);
    return failed;
}

static void TT(zero_phase)(float *dx, const Conv *v, ptrdiff_t a, ptrdiff_t b) {
    for (ptrdiff_t plane = 0; plane < v->N * v->C; plane++, dx += v->H * v->W)
        for (ptrdiff_t y = a; y < v->H; y += v->stride_h)
            for (ptrdiff_t x = b; x < v->W; x += v->stride_w) dx[y * v->W + x] = 0;
}

static void TT(add_scaled)(float *restrict out, const float *restrict x, float scale, ptrdiff_t n) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++) out[i] += scale * x[i];
}

/* One image and group of the input gradient, filter by filter: each grad adds its filter to the window that it came from. */
static void TT(scatter_filters)(const float *grad, const float *w, float *dx, const Conv *v, ptrdiff_t C, ptrdiff_t O) {
    for (ptrdiff_t i = 0; i < C * v->H * v->W; i++) dx[i] = 0;
    for (ptrdiff_t position = 0; position < O * v->OH * v->OW; position++)
        for (ptrdiff_t row = 0; row < C * v->KH; row++) {
            ptrdiff_t o = position / (v->OH * v->OW), c = row / v->KH, i = row % v->KH;
            ptrdiff_t y = position / v->OW % v->OH * v->stride_h + i * v->dilation_h - v->padding_h;
            ptrdiff_t x = position % v->OW * v->stride_w - v->padding_w;
            const float *taps = w + ((o * C + c) * v->KH + i) * v->KW;
            float *out = dx + (c * v->H + y) * v->W;
            if (y < 0 || y >= v->H) continue;
            ptrdiff_t first = x < 0 ? parts(-x, v->dilation_w) : 0, end = x < v->W ? parts(v->W - x, v->dilation_w) : 0;
            end = least(end, v->KW);
            if (v->dilation_w == 1 && first < end)
                TT(add_scaled)(out + x + first, taps + first, grad[position], end - first);
            else
                for (ptrdiff_t j = first; j < end; j++) out[x + j * v->dilation_w] += grad[position] * taps[j];
        }
}

/* The correlation goes over all of dx, whose positions outnumber those of grad where a filter is as large as the image; most
 * of its products are then with the border. */
static int TT(is_sparse)(const Conv *v) {
    return v->H * v->W > SPARSE * v->stride_h * v->stride_w * v->OH * v->OW;
}

static int TT(tt_conv2d_input_grad)(const float *grad, const float *w, float *dx, const Conv *v, int threads) {
    int failed = 0;
    ptrdiff_t *row = taps_memory(v), *column = row + v->KH, *place = column + v->KW;
    if (!row) return -1;
    ptrdiff_t *which_row = place + v->KH * v->KW, *which_column = which_row + v->KH;
    ptrdiff_t C = v->C / v->groups, O = v->O / v->groups, filter = v->KH * v->KW;
    if (TT(is_sparse)(v)) {
        int team = tt_threads(threads, 0.1 * v->N * v->O * C * v->OH * v->OW * filter);
#pragma omp parallel for num_threads(team) schedule(static)
        for (ptrdiff_t i = 0; i < v->N * v->groups; i++)
            TT(scatter_filters)(grad + i * O * v->OH * v->OW, w + i % v->groups * O * C * filter, dx + i * C * v->H * v->W, v,
                                C, O);
        free(row);
        return 0;
    }
    for (ptrdiff_t a = 0; a < least(v->stride_h, v->H); a++)
        for (ptrdiff_t b = 0; b < least(v->stride_w, v->W); b++) {
            ptrdiff_t rows = phase_taps(a, v->KH, v->stride_h, v->padding_h, v->dilation_h, row, which_row);
            ptrdiff_t columns = phase_taps(b, v->KW, v->stride_w, v->padding_w, v->dilation_w, column, which_column);
            if (rows == 0 || columns == 0) {
                TT(zero_phase)(dx, v, a, b);
                continue;
            }
            for (ptrdiff_t i = 0; i < rows; i++)
                for (ptrdiff_t j = 0; j < columns; j++) place[i * columns + j] = which_row[i] * v->KW + which_column[j];
            Correlation r = {.taps = {v->OH, v->OW, parts(v->H - a, v->stride_h), parts(v->W - b, v->stride_w), 1, 1, rows,
                                      columns, row, column, place},
                             .N = v->N, .groups = v->groups, .C = O, .O = C,
                             .weight_group = O * C * filter, .weight_source = C * filter, .weight_target = filter,
                             .OH = v->H, .OW = v->W, .y = a, .x = b, .step_h = v->stride_h, .step_w = v->stride_w};
            failed |= TT(correlate)(grad, w, NULL, dx, &r, threads);
        }
    free(row);
    return failed;
}

/* ---- the weight gradient: dw[o][k] = the sum over positions of grad[o] times the image moved by tap k */

INLINE float TT(add_lanes)(V v) {
#if TT_X86                          /* the lanes change places in a register: stored and added one by one, a sum waits for each */
    TT(i32v) lane;
#pragma GCC unroll 4
    for (int step = LANES / 2; step; step /= 2) {
        for (int i = 0; i < LANES; i++) lane[i] = (i + step) % LANES;
        v += __builtin_shuffle(v, lane);
    }
    return v[0];
#else
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
#endif
}

/* `windows` of one shape; the last vector of grad is filled up with zeros. */
typedef struct {
    const float *grad, *x;
    const ptrdiff_t *offset, *position;
    ptrdiff_t grad_window, grad_channel, x_window, windows, positions;
    ptrdiff_t m, n;                 /* channels and taps there are: those that lack repeat the last one */
} TT(Products);

INLINE void TT(products)(const TT(Products) *p, float *dw, ptrdiff_t stride, int add, int rows, int columns) {
    V sum[GRADS][TAPS];
    TT(i32v) inside;
    ptrdiff_t whole = p->positions / LANES;
    for (int i = 0; i < LANES; i++) inside[i] = i < p->positions % LANES ? -1 : 0;
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++) sum[i][j] = (V){0};
    for (ptrdiff_t window = 0; window < p->windows; window++) {
        const float *grad[GRADS], *x[TAPS];
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) grad[i] = p->grad + window * p->grad_window + least(i, p->m - 1) * p->grad_channel;
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++) x[j] = p->x + window * p->x_window + p->offset[least(j, p->n - 1)];
        for (ptrdiff_t u = 0; u < whole; u++) {
            ptrdiff_t position = p->position[u];
            V g[GRADS];
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++) g[i] = TT(load)(grad[i] + u * LANES);
#pragma GCC unroll 8
            for (int j = 0; j < columns; j++) {
                V moved = TT(load)(x[j] + position);
#pragma GCC unroll 8
                for (int i = 0; i < rows; i++) sum[i][j] += g[i] * moved;
            }
        }
        if (whole * LANES < p->positions)           /* beyond the last position x holds anything, and 0 * NaN is NaN */
#pragma GCC unroll 8
            for (int j = 0; j < columns; j++) {
                V moved = (V)((TT(i32v))TT(load)(x[j] + p->position[whole]) & inside);
#pragma GCC unroll 8
                for (int i = 0; i < rows; i++) sum[i][j] += TT(load)(grad[i] + whole * LANES) * moved;
            }
    }
    float total[GRADS][TAPS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < columns; j++) total[i][j] = TT(add_lanes)(sum[i][j]);
    for (ptrdiff_t i = 0; i < p->m; i++)
        for (ptrdiff_t j = 0; j < p->n; j++) dw[i * stride + j] = total[i][j] + (add ? dw[i * stride + j] : 0);
}

static __attribute__((noinline)) void TT(products_many)(const TT(Products) *p, float *dw, ptrdiff_t stride, int add) {
    TT(products)(p, dw, stride, add, GRADS, TAPS);
}

static __attribute__((noinline)) void TT(products_one)(const TT(Products) *p, float *dw, ptrdiff_t stride, int add) {
    TT(products)(p, dw, stride, add, 1, TAPS);
}

/* A window of one channel of grad, in whole vectors from a cache line on -> its sum. */
static float TT(copy_grad)(float *out, const float *grad, ptrdiff_t positions) {
    ptrdiff_t padded = parts(positions, LANES) * LANES, p = 0;
    V sum[4] = {{0}, {0}, {0}, {0}};
    TT(copy_floats)(out, grad, positions);
    TT(zero_floats)(out + positions, padded - positions);
    for (; p + 4 * LANES <= padded; p += 4 * LANES)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) sum[i] += TT(load)(out + p + i * LANES);
    for (; p < padded; p += LANES) sum[0] += TT(load)(out + p);
    return TT(add_lanes)((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

typedef struct {                    /* what all threads of a weight gradient read */
    const Conv *v;
    Taps taps;
    Layout layout;
    ptrdiff_t batch, line;          /* images at once, floats between channels of the copied grad */
    const ptrdiff_t *position;
    const float *x, *grad;
    float *dw, *db;
} TT(Weights);

/* Target channels first to last of group g. A thread makes its own copies of x: two passes over a small array, where sharing
 * them would make every thread wait for the slowest one, batch by batch. */
static void TT(weight_grad_channels)(const TT(Weights) *s, ptrdiff_t g, ptrdiff_t first, ptrdiff_t last, float *copies,
                                     float *grads, ptrdiff_t *offset) {
    const Conv *v = s->v;
    const Layout *l = &s->layout;
    ptrdiff_t C = v->C / v->groups, O = v->O / v->groups, side = O == 1 ? 1 : GRADS, P = v->OH * v->OW, channels = last - first;
    ptrdiff_t filter = v->KH * v->KW, copy = l->channels * l->plane, windows = parts(v->OH, l->window), known = 0;
    float *db = s->db ? s->db + g * O : NULL;
    for (ptrdiff_t o = first; db && o < last; o++) db[o] = 0;
    for (ptrdiff_t step = 0; step < parts(v->N, s->batch) * windows; step++) {
        ptrdiff_t n = step / windows * s->batch, y = step % windows * l->window, images = least(s->batch, v->N - n);
        ptrdiff_t rows = least(l->window, v->OH - y), positions = rows * v->OW;
        if (rows != known) find_offsets(&s->taps, l, rows, offset);
        known = rows;
        for (ptrdiff_t i = 0; i < images; i++)
            for (ptrdiff_t o = first; o < last; o++) {
                const float *grad = s->grad + ((n + i) * v->O + g * O + o) * P + y * v->OW;
                float sum = TT(copy_grad)(grads + (i * channels + o - first) * s->line, grad, positions);
                if (db) db[o] += sum;
            }
        for (ptrdiff_t c = 0; c < C; c += l->channels) {
            ptrdiff_t block = least(l->channels, C - c), K = block * filter;
            for (ptrdiff_t i = 0; i < images; i++)
                for (ptrdiff_t j = 0; j < block; j++)
                    TT(copy_channel)(copies + i * copy + j * l->plane,
                                     s->x + ((n + i) * v->C + g * C + c + j) * v->H * v->W, &s->taps, l, y, rows);
            for (ptrdiff_t o = first; o < last; o += side)
                for (ptrdiff_t k = 0; k < K; k += TAPS) {
                    TT(Products) p = {.grad = grads + (o - first) * s->line, .x = copies, .offset = offset + k,
                                      .position = s->position, .grad_window = channels * s->line, .grad_channel = s->line,
                                      .x_window = copy, .windows = images, .positions = positions,
                                      .m = least(side, last - o), .n = least(TAPS, K - k)};
                    float *place = s->dw + (g * O + o) * C * filter + c * filter + k;
                    (side == 1 ? TT(products_one) : TT(products_many))(&p, place, C * filter, step > 0);
                }
        }
    }
}

static int TT(tt_conv2d_weight_grad)(const float *x, const float *grad, float *dw, float *db, const Conv *v, int wanted) {
    ptrdiff_t C = v->C / v->groups, O = v->O / v->groups, filter = v->KH * v->KW, *memory = taps_memory(v);
    if (!memory) return -1;
    TT(Weights) s = {.v = v, .taps = forward_taps(v, memory), .x = x, .grad = grad, .dw = dw, .db = db};
    const Layout *l = &s.layout;
    s.layout = choose_gradient_layout(&s.taps, C, LANES, v->N, &s.batch);
    s.line = (parts(l->window * v->OW, 16) | 1) * 16;       /* an odd number of cache lines, as for planes */
    /* Tiles of target channels, those of all groups in a row, are dealt out in as many runs as there are threads. */
    ptrdiff_t side = O == 1 ? 1 : GRADS, tiles = parts(O, side), vectors = parts(l->window * v->OW, LANES);
    int threads = (int)least(tt_threads(wanted, 2.0 * v->N * v->O * C * v->OH * v->OW * filter / 50), v->groups * tiles);
    ptrdiff_t run = parts(v->groups * tiles, threads), copy = s.batch * l->channels * l->plane + SLACK;
    ptrdiff_t grads = s.batch * least(O, run * side) * s.line, table = l->channels * filter;
    float *copies = floats(threads * (copy + grads));
    ptrdiff_t *tables = malloc(sizeof(ptrdiff_t) * (vectors + threads * table));
    int done = copies && tables;
    if (v->N == 0) {
        memset(dw, 0, sizeof(float) * v->O * C * filter);
        if (db) memset(db, 0, sizeof(float) * v->O);
    } else if (done) {
        find_positions(&s.taps, l, LANES, tables);
        s.position = tables;
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int t = 0; t < threads; t++)
            for (ptrdiff_t tile = t * run, next; tile < least((t + 1) * run, v->groups * tiles); tile = next) {
                ptrdiff_t g = tile / tiles;
                next = least((g + 1) * tiles, least((t + 1) * run, v->groups * tiles));
                TT(weight_grad_channels)(&s, g, (tile - g * tiles) * side, least(O, (next - g * tiles) * side),
                                         copies + t * (copy + grads), copies + t * (copy + grads) + copy,
                                         tables + vectors + t * table);
            }
    }
    free(copies), free(tables), free(memory);
    return done ? 0 : -1;
}
#undef V
#undef LANES
#undef INLINE
#endif
