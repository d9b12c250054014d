/* quant.h -- products of small integers: int8 matrices and vectors, exact in int32; and 4-bit weights with a vector of floats.
 *
 * Design: (a) one 32-bit word holds GROUP neighbours along K, four bytes or two 16-bit numbers, and one instruction adds all
 * their products to a 32-bit lane: vpdpbusd (VNNI) or pmaddwd (since SSE2; elsewhere two multiplications). pmaddubsw, four at
 * a time without VNNI, saturates at 16 bits and is of no use here. (b) vpdpbusd takes an unsigned and a signed byte. A byte
 * b of the right matrix becomes b + 128, which is one flipped bit, and 128 times the sum of a row of the left one is taken
 * off again: sums wrap around 2^32 on the way and come out right if the result fits. (c) The right matrix is packed panel by
 * panel, COLUMNS wide and DEPTH deep, and stays in the first-level cache while all rows of the left one pass over it.
 * (d) A 4-bit number is taken from its word by a shift and a table of 16 floats in a register (vpermps); where there is no
 * such instruction, by a mask and a conversion. */
#ifndef TT_ISA
#include <stdlib.h>
#include <string.h>
#include "threads.h"
#if TT_X86
#include <immintrin.h>
#endif

#define DEPTH 512               /* of a block along K: 48 columns of it are 24 KiB */
#define ROW_BLOCK 512           /* rows of one task */
#define INT4_BLOCK 128          /* weights in 64 bytes: lane l, nibble t of 16 little-endian words is weight 16 t + l */
#define INT4_GROUP 32           /* weights with one scale: two nibbles of each lane */

#define TT_WITH_VNNI
#define TT_TEMPLATE "quant.h"
#include "isa.h"

TT_DISPATCH(int, tt_gemm_int8,
            (const int8_t *a, const int8_t *b, ptrdiff_t b_row, ptrdiff_t b_column, int32_t *out, ptrdiff_t M, ptrdiff_t N,
             ptrdiff_t K, int threads),
            (a, b, b_row, b_column, out, M, N, K, threads))
TT_DISPATCH(void, tt_gemv_int8, (const int8_t *w, const int8_t *x, int32_t *out, ptrdiff_t N, ptrdiff_t K, int threads),
            (w, x, out, N, K, threads))
TT_DISPATCH(void, tt_gemv_int4,
            (const uint8_t *w, const float *scales, const float *x, float *out, ptrdiff_t N, ptrdiff_t blocks, int threads),
            (w, scales, x, out, N, blocks, threads))

#else
#define INLINE static inline __attribute__((always_inline))
#define W TT(i32v)
#define V TT(f32v)
#define LANES TT_LANES
#undef GROUP
#undef ROWS
#undef VECTORS
#undef COLUMNS
#if TT_ISA == 5
#define GROUP 4
#else
#define GROUP 2
#endif
#if TT_ISA >= 4
#define ROWS 8
#else
#define ROWS 4
#endif
#define VECTORS 3
#define COLUMNS (VECTORS * LANES)

/* sum + the products of the GROUP numbers in each lane of b with those in the word a. */
INLINE W TT(dot)(W sum, W b, int32_t a) {
#if TT_ISA == 5
    return (W)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)b, _mm512_set1_epi32(a));
#elif TT_ISA == 4
    return sum + (W)_mm512_madd_epi16((__m512i)b, _mm512_set1_epi32(a));
#elif TT_ISA == 3
    return sum + (W)_mm256_madd_epi16((__m256i)b, _mm256_set1_epi32(a));
#elif TT_X86
    return sum + (W)_mm_madd_epi16((__m128i)b, _mm_set1_epi32(a));
#else
    return sum + ((b << 16) >> 16) * (int32_t)(int16_t)a + (b >> 16) * (a >> 16);
#endif
}

/* GROUP numbers as a word, the first one lowest. */
INLINE int32_t TT(word)(const int8_t *x, ptrdiff_t step, ptrdiff_t there) {
    uint32_t word = 0;
    for (int i = 0; i < GROUP && i < there; i++)
        word |= GROUP == 4 ? (uint32_t)(uint8_t)x[i * step] << 8 * i : (uint32_t)(uint16_t)x[i * step] << 16 * i;
    return (int32_t)word;
}

/* What makes signed bytes of the right matrix unsigned. */
#define FLIP (GROUP == 4 ? (int32_t)0x80808080u : 0)

static void TT(pack_line)(const int8_t *restrict b, ptrdiff_t row, int32_t *restrict out, ptrdiff_t n) {
#pragma omp simd
    for (ptrdiff_t j = 0; j < n; j++)
        out[j] = GROUP == 4 ? ((uint8_t)b[j] | (uint8_t)b[row + j] << 8 | (uint8_t)b[2 * row + j] << 16
                               | (int32_t)((uint32_t)(uint8_t)b[(GROUP - 1) * row + j] << 24)) ^ FLIP
                            : (int32_t)((uint32_t)(uint16_t)b[j] | (uint32_t)(uint16_t)b[row + j] << 16);
}

/* K x n numbers of the right matrix as words (K / GROUP, COLUMNS). What lacks meets zeros of the left one, or is not stored. */
static void TT(pack_panel)(const int8_t *b, ptrdiff_t row, ptrdiff_t column, ptrdiff_t K, ptrdiff_t n, int32_t *out) {
    ptrdiff_t whole = K / GROUP * GROUP;
    if (n < COLUMNS) memset(out, 0, sizeof(int32_t) * COLUMNS * ((K + GROUP - 1) / GROUP));
    if (column == 1)
        for (ptrdiff_t k = 0; k < whole; k += GROUP) TT(pack_line)(b + k * row, row, out + k / GROUP * COLUMNS, n);
    else
        for (ptrdiff_t j = 0; j < n; j++)
            for (ptrdiff_t k = 0; k < whole; k += GROUP)
                out[k / GROUP * COLUMNS + j] = TT(word)(b + k * row + j * column, row, GROUP) ^ FLIP;
    for (ptrdiff_t j = 0; j < n && whole < K; j++)
        out[whole / GROUP * COLUMNS + j] = TT(word)(b + whole * row + j * column, row, K - whole) ^ FLIP;
}

/* The left matrix as words (tile, K / GROUP, ROWS), zeros beyond M and K; offset (M to a whole tile) is what b + 128 adds. */
static void TT(pack_rows)(const int8_t *a, ptrdiff_t M, ptrdiff_t K, int32_t *out, int32_t *offset) {
    ptrdiff_t words = (K + GROUP - 1) / GROUP;
    for (ptrdiff_t m = 0; m < (M + ROWS - 1) / ROWS * ROWS; m++) {
        int32_t *tile = out + m / ROWS * words * ROWS + m % ROWS, sum = 0;
        offset[m] = 0;
        for (ptrdiff_t k = 0; k < words; k++)
            tile[k * ROWS] = m < M ? TT(word)(a + m * K + k * GROUP, 1, K - k * GROUP) : 0;
        if (GROUP == 2 || m >= M) continue;
        for (ptrdiff_t k = 0; k < K; k++) sum += a[m * K + k];
        offset[m] = (int32_t)((uint32_t)sum * 128u);
    }
}

/* out (m, n) of N columns = or += `words` words of ROWS rows times those of COLUMNS columns. */
static void TT(tile)(const int32_t *a, const int32_t *b, ptrdiff_t words, const int32_t *offset, int32_t *out, ptrdiff_t N,
                     ptrdiff_t m, ptrdiff_t n, int add) {
    W sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 3
        for (int v = 0; v < VECTORS; v++) sum[i][v] = (W){0};
    for (ptrdiff_t k = 0; k < words; k++, a += ROWS, b += COLUMNS) {
        W right[VECTORS];
#pragma GCC unroll 3
        for (int v = 0; v < VECTORS; v++) right[v] = *(const W *)(b + v * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 3
            for (int v = 0; v < VECTORS; v++) sum[i][v] = TT(dot)(sum[i][v], right[v], a[i]);
    }
    int32_t spilled[ROWS][COLUMNS];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 3
        for (int v = 0; v < VECTORS; v++) *(W *)&spilled[i][v * LANES] = sum[i][v];
    for (ptrdiff_t i = 0; i < m; i++) {
        uint32_t *row = (uint32_t *)out + i * N, shift = add ? 0 : (uint32_t)offset[i];
        for (ptrdiff_t j = 0; j < n; j++) row[j] = (add ? row[j] : 0) + (uint32_t)spilled[i][j] - shift;
    }
}

/* One panel of columns, one block of rows. */
static void TT(gemm_task)(const int32_t *left, const int32_t *offset, const int8_t *b, ptrdiff_t b_row, ptrdiff_t b_column,
                          int32_t *out, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, ptrdiff_t first, ptrdiff_t last, ptrdiff_t j,
                          int32_t *panel) {
    ptrdiff_t n = N - j < COLUMNS ? N - j : COLUMNS, all = (K + GROUP - 1) / GROUP;
    for (ptrdiff_t k = 0; k < K; k += DEPTH) {
        ptrdiff_t depth = K - k < DEPTH ? K - k : DEPTH, words = (depth + GROUP - 1) / GROUP;
        TT(pack_panel)(b + k * b_row + j * b_column, b_row, b_column, depth, n, panel);
        for (ptrdiff_t i = first; i < last; i += ROWS)
            TT(tile)(left + i * all + k / GROUP * ROWS, panel, words, offset + i, out + i * N + j, N,
                     M - i < ROWS ? M - i : ROWS, n, k > 0);
    }
}

static int TT(tt_gemm_int8)(const int8_t *a, const int8_t *b, ptrdiff_t b_row, ptrdiff_t b_column, int32_t *out, ptrdiff_t M,
                            ptrdiff_t N, ptrdiff_t K, int wanted) {
    ptrdiff_t words = (K + GROUP - 1) / GROUP, rows = (M + ROWS - 1) / ROWS * ROWS, panel = (DEPTH / GROUP) * COLUMNS;
    ptrdiff_t blocks = (M + ROW_BLOCK - 1) / ROW_BLOCK, tasks = blocks * ((N + COLUMNS - 1) / COLUMNS);
    int threads = tt_threads(wanted, 2.0 * M * N * K / 200);
    void *memory = NULL;
    if (posix_memalign(&memory, 64, sizeof(int32_t) * (threads * panel + rows * words + rows))) return -1;
    if (K == 0) memset(out, 0, sizeof(int32_t) * M * N);
    int32_t *panels = memory, *left = panels + threads * panel, *offset = left + rows * words;
    TT(pack_rows)(a, M, K, left, offset);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (ptrdiff_t task = 0; task < tasks; task++) {
        ptrdiff_t i = task % blocks * ROW_BLOCK, last = i + ROW_BLOCK < M ? i + ROW_BLOCK : M;
        TT(gemm_task)(left, offset, b, b_row, b_column, out, M, N, K, i, last, task / blocks * COLUMNS,
                      panels + tt_thread_number() * panel);
    }
    free(memory);
    return 0;
}

static int32_t TT(dot_int8)(const int8_t *restrict w, const int8_t *restrict x, ptrdiff_t K) {
    int32_t total = 0;
    ptrdiff_t k = 0;
#if TT_ISA == 5                     /* four sums, since each instruction waits four cycles for the last one on its own */
    W sum[4] = {{0}, {0}, {0}, {0}};
    for (; k + 256 <= K; k += 256)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            W flipped = *(const W *)(w + k + 64 * i) ^ FLIP;
            sum[i] = (W)_mm512_dpbusd_epi32((__m512i)sum[i], (__m512i)flipped, *(const __m512i_u *)(x + k + 64 * i));
        }
    total = _mm512_reduce_add_epi32((__m512i)(sum[0] + sum[1] + sum[2] + sum[3]));
#endif
    int32_t rest = 0;
#pragma omp simd reduction(+ : rest)
    for (ptrdiff_t i = k; i < K; i++) rest += (int32_t)w[i] * x[i];
    return (int32_t)((uint32_t)total + (uint32_t)rest);
}

static void TT(tt_gemv_int8)(const int8_t *w, const int8_t *x, int32_t *out, ptrdiff_t N, ptrdiff_t K, int wanted) {
    int threads = tt_threads(wanted, (double)N * K / 50);
    uint32_t offset = 0;
    for (ptrdiff_t k = 0; GROUP == 4 && k < K / 256 * 256; k++) offset += 128u * (uint32_t)x[k];
#pragma omp parallel for num_threads(threads) schedule(static)
    for (ptrdiff_t n = 0; n < N; n++) out[n] = (int32_t)((uint32_t)TT(dot_int8)(w + n * K, x, K) - offset);
}

/* Nibbles t of the words, as the floats -8 to 7. */
INLINE V TT(nibbles)(W words, int t) {
#if TT_ISA >= 4
    const V table = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
    return __builtin_shuffle(table, words >> 4 * t);
#else
    return __builtin_convertvector(((words >> 4 * t) & 15) - 8, V);
#endif
}

/* `rows` rows at once: each vector of x is loaded for all of them. */
INLINE void TT(gemv_int4_rows)(const uint8_t *w, const float *scales, const float *x, float *out, ptrdiff_t blocks, int rows) {
    V sum[4] = {{0}, {0}, {0}, {0}};
    for (ptrdiff_t block = 0; block < blocks; block++, x += INT4_BLOCK)
        for (int part = 0; part < 16; part += LANES) {
            W words[4];
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++) words[i] = *(const W *)(w + (i * blocks + block) * (INT4_BLOCK / 2) + 4 * part);
#pragma GCC unroll 4
            for (int group = 0; group < 4; group++) {
                V low = *(const V *)(x + 32 * group + part), high = *(const V *)(x + 32 * group + 16 + part);
#pragma GCC unroll 4
                for (int i = 0; i < rows; i++)
                    sum[i] += (TT(nibbles)(words[i], 2 * group) * low + TT(nibbles)(words[i], 2 * group + 1) * high)
                              * scales[(i * blocks + block) * 4 + group];
            }
        }
    for (int i = 0; i < rows; i++) {
        float total = 0;
        for (int lane = 0; lane < LANES; lane++) total += sum[i][lane];
        out[i] = total;
    }
}

static __attribute__((noinline)) void TT(gemv_int4_four)(const uint8_t *w, const float *scales, const float *x, float *out,
                                                         ptrdiff_t blocks) {
    TT(gemv_int4_rows)(w, scales, x, out, blocks, 4);
}

static __attribute__((noinline)) void TT(gemv_int4_one)(const uint8_t *w, const float *scales, const float *x, float *out,
                                                        ptrdiff_t blocks) {
    TT(gemv_int4_rows)(w, scales, x, out, blocks, 1);
}

static void TT(tt_gemv_int4)(const uint8_t *w, const float *scales, const float *x, float *out, ptrdiff_t N, ptrdiff_t blocks,
                             int wanted) {
    int threads = tt_threads(wanted, (double)N * blocks * 3);
    ptrdiff_t row = blocks * (INT4_BLOCK / 2), groups = blocks * (INT4_BLOCK / INT4_GROUP);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (ptrdiff_t n = 0; n < N; n += 4) {
        if (n + 4 <= N)
            TT(gemv_int4_four)(w + n * row, scales + n * groups, x, out + n, blocks);
        else
            for (ptrdiff_t i = n; i < N; i++) TT(gemv_int4_one)(w + i * row, scales + i * groups, x, out + i, blocks);
    }
}
#undef INLINE
#undef W
#undef V
#undef LANES
#undef FLIP
#endif
