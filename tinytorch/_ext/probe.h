/* probe.h -- the two limits of a machine: how fast it multiplies and adds, and how fast it moves memory.
 * Design: (a) multiply_add keeps everything in registers: CHAINS independent sums, so that the next operation never waits for
 * the last (4 cycles of latency times 2 units, with room to spare); its coefficients are arguments, so nothing is folded;
 * (b) triad is McCalpin's STREAM: a[i] = b[i] + factor c[i]. 12 bytes an element are counted, as he does, not the line of a
 * that most processors read before they write it; (c) each level of instructions has its own, as all kernels do. */
#ifndef TT_ISA
#ifndef TINYTORCH_PROBE_H
#define TINYTORCH_PROBE_H
#include <stddef.h>

#define CHAINS 12

#define TT_TEMPLATE "probe.h"
#include "isa.h"
#include "threads.h"

TT_DISPATCH(double, tt_chains, (ptrdiff_t rounds, float factor, float term), (rounds, factor, term))
TT_DISPATCH(ptrdiff_t, tt_lanes, (void), ())
TT_DISPATCH(void, tt_triad_part, (float *a, const float *b, const float *c, float factor, ptrdiff_t n), (a, b, c, factor, n))

/* Every thread runs its own chains -> a number that depends on all of them. */
static double tt_multiply_add(ptrdiff_t rounds, float factor, float term, int threads) {
    double sum = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : sum)
    for (int t = 0; t < threads; t++) sum += tt_chains(rounds, factor, term);
    return sum;
}

static void tt_triad(float *a, const float *b, const float *c, float factor, ptrdiff_t n, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) {
        ptrdiff_t first = n / threads * t, end = t == threads - 1 ? n : n / threads * (t + 1);
        tt_triad_part(a + first, b + first, c + first, factor, end - first);
    }
}
#endif
#else /* the template */

static ptrdiff_t TT(tt_lanes)(void) { return TT_LANES; }

static double TT(tt_chains)(ptrdiff_t rounds, float factor, float term) {
    TT(f32v) sum[CHAINS], total = {0};
    for (int i = 0; i < CHAINS; i++) sum[i] = total + (float)i;
    for (ptrdiff_t k = 0; k < rounds; k++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * factor + term;
    for (int i = 0; i < CHAINS; i++) total += sum[i];
    double result = 0;
    for (int i = 0; i < TT_LANES; i++) result += total[i];
    return result;
}

static void TT(tt_triad_part)(float *restrict a, const float *restrict b, const float *restrict c, float factor, ptrdiff_t n) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++) a[i] = b[i] + factor * c[i];
}
#endif
