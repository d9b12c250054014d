/* rows.h -- operations on elements and rows, of float32.
 * Design: (a) a plain inner function on restrict pointers, so that it becomes vectors, and an outer loop that deals out
 * chunks of CHUNK elements, or rows, to threads: one OpenMP loop that does both loses its vectors; (b) an element or a row
 * never leaves its thread, so results do not depend on how many there are. */
#ifndef TT_ISA
#define TT_TEMPLATE "rows.h"
#include "isa.h"
#include "threads.h"

TT_DISPATCH(void, tt_relu, (const float *x, float *out, ptrdiff_t n, int threads), (x, out, n, threads))

#else
#include "vmath.h"

#ifndef CHUNK
#define CHUNK 4096 /* elements: 16 KiB read and 16 KiB written, the first-level cache of small processors */
#endif

static void TT(relu_chunk)(const float *restrict x, float *restrict out, ptrdiff_t n) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++) out[i] = x[i] < 0 ? 0 : x[i]; /* this way round, NaN stays */
}

static void TT(tt_relu)(const float *x, float *out, ptrdiff_t n, int wanted) {
    int threads = tt_threads(wanted, 0.1 * n);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (ptrdiff_t start = 0; start < n; start += CHUNK)
        TT(relu_chunk)(x + start, out + start, n - start < CHUNK ? n - start : CHUNK);
}
#endif
