/* gemm.h -- C = A B for matrices of any strides, with a bias and an activation on the way out.
 * Design: (a) C is computed in tiles that stay in registers (gemm_tile.h); (b) around them, K is cut in blocks of BLOCK_K so
 * that a panel of B stays in the first-level cache, M in blocks of BLOCK_M so that those rows of A stay in the second, and N
 * in blocks of BLOCK_N for the third; (c) a panel is packed, that is copied to consecutive memory, only where it is used often
 * enough to pay for that, or where its strides do not suit the tile: small and thin products run on the operands as they
 * are; (d) bias and activation are applied to a panel of C that has just been written and is still in cache; (e) threads
 * share out rows or columns of C: every element is summed by one thread in the same order, however many there are. */
#ifndef TT_ISA
#include <stdlib.h>
#include <string.h>
#include "threads.h"
#include "transpose.h"

/* A matrix whose element (i, j) is data[i * row + j * column]. */
typedef struct { const void *data; ptrdiff_t row, column; } tt_matrix;

enum { TT_NO_ACTIVATION, TT_RELU, TT_GELU, TT_GELU_TANH, TT_SILU };

/* What happens to each element after the sum: bias[j] is added if there is one, the result is stored in before (laid out as
 * C) if that is wanted, and the activation is applied. */
typedef struct { const void *bias; void *before; int activation; } tt_epilogue;

/* 384 rows of B of 32 floats are 48 KiB. 168 rows of A (12 tiles) of 384 floats are 252 KiB. */
#define BLOCK_K 384
#define BLOCK_M 168
#define BLOCK_N 1536

#define TT_TEMPLATE "gemm.h"
#include "isa.h"

TT_DISPATCH(int, tt_gemm_f32, (ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, tt_matrix a, tt_matrix b, float *c, ptrdiff_t c_row,
                               int add, tt_epilogue end, int threads), (m, n, k, a, b, c, c_row, add, end, threads))
TT_DISPATCH(int, tt_gemm_f64, (ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, tt_matrix a, tt_matrix b, double *c, ptrdiff_t c_row,
                               int add, tt_epilogue end, int threads), (m, n, k, a, b, c, c_row, add, end, threads))

#else
#include "vmath.h"
#define GEMM_REAL float
#define GEMM_TYPE _f32
#include "gemm_tile.h"
#include "gemm_blocks.h"
#undef GEMM_REAL
#undef GEMM_TYPE
#define GEMM_REAL double
#define GEMM_TYPE _f64
#include "gemm_tile.h"
#include "gemm_blocks.h"
#undef GEMM_REAL
#undef GEMM_TYPE
#endif
