/* embedding.h -- rows of a table by number, and its transpose: rows added up by number.
 * Design: (a) gather deals out rows to threads: each writes rows of its own; (b) scatter_add cannot, since several rows may go
 * to the same place: a thread takes a range of columns instead and walks all rows in order, so that each sum has the same
 * order, and the same bits, for any number of threads; (c) the edge has checked that all numbers are in range. */
#ifndef TT_ISA
#ifndef TINYTORCH_EMBEDDING_H
#define TINYTORCH_EMBEDDING_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TT_TEMPLATE "embedding.h"
#include "isa.h"
#include "threads.h"

TT_DISPATCH(void, tt_add_rows,
            (const float *rows, ptrdiff_t row, const int64_t *index, ptrdiff_t n, ptrdiff_t width, float *out),
            (rows, row, index, n, width, out))

#define TT_LINE 16 /* floats of one cache line: threads that write to the same one would pass it to and fro */

/* The first number that is not 0 to `rows` - 1, as its place; n if there is none. */
static ptrdiff_t tt_first_outside(const int64_t *index, ptrdiff_t n, ptrdiff_t rows) {
    for (ptrdiff_t i = 0; i < n; i++)
        if ((uint64_t)index[i] >= (uint64_t)rows) return i;
    return n;
}

static void tt_gather(const float *table, const int64_t *index, ptrdiff_t n, ptrdiff_t width, float *out, int wanted) {
    int threads = tt_threads(wanted, n * (0.1 * (double)width + 2));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (ptrdiff_t i = 0; i < n; i++) memcpy(out + i * width, table + index[i] * width, (size_t)width * sizeof(float));
}

static void tt_scatter_add(const float *rows, const int64_t *index, ptrdiff_t n, ptrdiff_t width, float *out, int wanted) {
    ptrdiff_t lines = (width + TT_LINE - 1) / TT_LINE;
    int threads = tt_threads(wanted, n * (0.2 * (double)width + 2));
    if (threads > lines) threads = lines > 0 ? (int)lines : 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) {
        ptrdiff_t first = t * lines / threads * TT_LINE, end = (t + 1) * lines / threads * TT_LINE;
        if (end > width) end = width;
        tt_add_rows(rows + first, width, index, n, end - first, out + first);
    }
}
#endif
#else /* the template */

/* out[index[i]] += rows[i], `width` columns of both, which are `row` floats apart. */
static void TT(tt_add_rows)(const float *rows, ptrdiff_t row, const int64_t *index, ptrdiff_t n, ptrdiff_t width, float *out) {
    for (ptrdiff_t i = 0; i < n; i++) {
        const float *restrict from = rows + i * row;
        float *restrict to = out + index[i] * row;
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++) to[j] += from[j];
    }
}
#endif
