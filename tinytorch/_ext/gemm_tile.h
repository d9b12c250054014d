/* gemm_tile.h -- a tile of C += a panel of A x a panel of B, held in registers; and how panels are packed.
 * Part of a template: inside it, define GEMM_REAL (float or double) and GEMM_TYPE (_f32 or _f64), then include this; both may
 * be had one after the other. Functions are called TG(name).
 *
 *     TG(tile)(rows, columns, k, a, a_row, a_step, b, b_step, c, c_row, add)
 *
 * adds (add=1) or writes (add=0) sum over p < k of a[i * a_row + p * a_step] * b[p * b_step + j] to c[i * c_row + j], for any
 * number of rows and for columns <= GEMM_COLUMNS. One row of B has to be readable for a whole number of vectors.
 *
 * The tile is as large as the registers allow: each step loads GEMM_VECTORS vectors of B and GEMM_ROWS numbers of A for
 * GEMM_ROWS * GEMM_VECTORS multiply-adds, so that arithmetic and not loading sets the pace. (Goto and van de Geijn 2008.) */
#undef TG
#undef GEMM_VECTOR
#undef GEMM_LANES
#undef GEMM_COLUMNS
#define TG(name) TT_JOIN(TT_JOIN(name, GEMM_TYPE), TT_SUFFIX)
#define GEMM_VECTOR TG(gemm_vector)
#define GEMM_LANES ((ptrdiff_t)(TT_VECTOR / sizeof(GEMM_REAL)))
#define GEMM_VECTORS 2
#define GEMM_COLUMNS (GEMM_VECTORS * GEMM_LANES)

/* 28 of 32 registers hold the tile under AVX-512, 12 of 16 under AVX2; SSE2 needs some for products as well. */
#undef GEMM_ROWS
#if TT_ISA >= 4
#define GEMM_ROWS 14
#elif TT_ISA == 3
#define GEMM_ROWS 6
#else
#define GEMM_ROWS 4
#endif

/* Rows of A are reached from one pointer for each three: base, base + row and base + 2 * row are addresses that the processor
 * adds up itself, where a pointer for each row would need more registers than there are. */
#define GEMM_GROUP 3
#define GEMM_GROUPS ((GEMM_ROWS + GEMM_GROUP - 1) / GEMM_GROUP)

typedef GEMM_REAL GEMM_VECTOR __attribute__((vector_size(TT_VECTOR), aligned(sizeof(GEMM_REAL)), may_alias));

/* The tile for constant `rows` and `vectors`: inlined, every loop over them is unrolled and `sum` lives in registers. */
static inline __attribute__((always_inline)) void TG(fixed_tile)(
    const int rows, const int vectors, ptrdiff_t columns, ptrdiff_t k, const GEMM_REAL *a, ptrdiff_t a_row, ptrdiff_t a_step,
    const GEMM_REAL *b, ptrdiff_t b_step, GEMM_REAL *c, ptrdiff_t c_row, int add) {
    GEMM_VECTOR sum[GEMM_ROWS][GEMM_VECTORS];
    const GEMM_REAL *group[GEMM_GROUPS];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++) sum[i][j] = (GEMM_VECTOR){0};
#pragma GCC unroll 16
    for (int g = 0; g < GEMM_GROUPS; g++) group[g] = a + g * GEMM_GROUP * a_row;

    for (ptrdiff_t p = 0; p < k; p++) {
        GEMM_VECTOR b0 = *(const GEMM_VECTOR *)b, b1 = b0;
        if (vectors == 2) b1 = *(const GEMM_VECTOR *)(b + GEMM_LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            GEMM_REAL x = group[i / GEMM_GROUP][(i % GEMM_GROUP) * a_row];
            sum[i][0] += x * b0;
            if (vectors == 2) sum[i][1] += x * b1;
        }
#pragma GCC unroll 16
        for (int g = 0; g < GEMM_GROUPS; g++) group[g] += a_step;
        b += b_step;
    }

    if (columns == vectors * GEMM_LANES) {
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < vectors; j++) {
                GEMM_VECTOR *out = (GEMM_VECTOR *)(c + i * c_row + j * GEMM_LANES);
                if (add) sum[i][j] += *out;
                *out = sum[i][j];
            }
        return;
    }
    GEMM_REAL whole[GEMM_ROWS][GEMM_COLUMNS];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++) *(GEMM_VECTOR *)(whole[i] + j * GEMM_LANES) = sum[i][j];
    for (int i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j++) c[i * c_row + j] = add ? c[i * c_row + j] + whole[i][j] : whole[i][j];
}

/* Any number of rows is a sum of a few sizes for which there is code, so that nothing outside A is ever read. */
#define GEMM_FIXED(rows)                                                                                                     \
    while (m >= rows) {                                                                                                      \
        if (columns > GEMM_LANES) TG(fixed_tile)(rows, 2, columns, k, a, a_row, a_step, b, b_step, c, c_row, add);           \
        else TG(fixed_tile)(rows, 1, columns, k, a, a_row, a_step, b, b_step, c, c_row, add);                                \
        a += rows * a_row, c += rows * c_row, m -= rows;                                                                     \
    }

static void TG(tile)(ptrdiff_t m, ptrdiff_t columns, ptrdiff_t k, const GEMM_REAL *a, ptrdiff_t a_row, ptrdiff_t a_step,
                     const GEMM_REAL *b, ptrdiff_t b_step, GEMM_REAL *c, ptrdiff_t c_row, int add) {
    GEMM_FIXED(GEMM_ROWS)
#if GEMM_ROWS > 8
    GEMM_FIXED(8)
#endif
#if GEMM_ROWS > 4
    GEMM_FIXED(4)
#endif
    GEMM_FIXED(2)
    GEMM_FIXED(1)
}

/* How many numbers of a packed row of B: whole vectors, so that one of `columns` <= GEMM_LANES takes half the width. */
static inline ptrdiff_t TG(packed_width)(ptrdiff_t columns) { return columns > GEMM_LANES ? GEMM_COLUMNS : GEMM_LANES; }

/* Columns of x that lie in memory as rows do, `column` apart, written as rows of `out`, 4 x 4 at a time in registers. */
static void TG(turn)(const GEMM_REAL *x, ptrdiff_t column, ptrdiff_t rows, ptrdiff_t columns, GEMM_REAL *out, ptrdiff_t out_row) {
    ptrdiff_t j = 0;
    for (; j + 4 <= columns; j += 4) {
        ptrdiff_t i = 0;
        for (; i + 4 <= rows; i += 4) {
            const char *from = (const char *)(x + j * column + i);
            char *to = (char *)(out + i * out_row + j);
            if (sizeof(GEMM_REAL) == 4) transpose_block_u32(from, 4 * column, to, 4 * out_row);
            else transpose_block_u64(from, 8 * column, to, 8 * out_row);
        }
        for (; i < rows; i++)
            for (int v = 0; v < 4; v++) out[i * out_row + j + v] = x[(j + v) * column + i];
    }
    for (; j < columns; j++)
        for (ptrdiff_t i = 0; i < rows; i++) out[i * out_row + j] = x[j * column + i];
}

/* B (k rows, columns <= GEMM_COLUMNS), of any strides, to rows of packed_width(columns), the rest of each 0. */
static void TG(pack_b)(const GEMM_REAL *b, ptrdiff_t row, ptrdiff_t column, ptrdiff_t k, ptrdiff_t columns, GEMM_REAL *out) {
    ptrdiff_t width = TG(packed_width)(columns);
    if (columns < width) memset(out, 0, sizeof(GEMM_REAL) * width * k);
    if (column == 1) {
        if (columns == GEMM_COLUMNS)
            for (ptrdiff_t p = 0; p < k; p++) memcpy(out + p * width, b + p * row, sizeof(GEMM_REAL) * GEMM_COLUMNS);
        else
            for (ptrdiff_t p = 0; p < k; p++)
                for (ptrdiff_t j = 0; j < columns; j++) out[p * width + j] = b[p * row + j];
        return;
    }
    if (row == 1) {
        TG(turn)(b, column, k, columns, out, width);
        return;
    }
    for (ptrdiff_t j = 0; j < columns; j++)
        for (ptrdiff_t p = 0; p < k; p++) out[p * width + j] = b[p * row + j * column];
}

/* A (m rows, k) as it lies, closer together: rows stay rows (step 1) unless they are next to each other in memory (row 1). */
static void TG(pack_a)(const GEMM_REAL *a, ptrdiff_t row, ptrdiff_t step, ptrdiff_t m, ptrdiff_t k, GEMM_REAL *out) {
    if (step == 1)
        for (ptrdiff_t i = 0; i < m; i++) memcpy(out + i * k, a + i * row, sizeof(GEMM_REAL) * k);
    else if (row == 1)
        for (ptrdiff_t p = 0; p < k; p++) memcpy(out + p * m, a + p * step, sizeof(GEMM_REAL) * m);
    else
        for (ptrdiff_t i = 0; i < m; i++)
            for (ptrdiff_t p = 0; p < k; p++) out[i * k + p] = a[i * row + p * step];
}
