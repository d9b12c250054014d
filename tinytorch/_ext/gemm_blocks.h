/* gemm_blocks.h -- the blocks around the tile, for GEMM_REAL: see gemm.h. Part of its template. */

/* Rows of C (m, columns) that are complete. float only: float64 has no activations of its own. */
static void TG(finish)(ptrdiff_t m, ptrdiff_t columns, GEMM_REAL *c, ptrdiff_t c_row, ptrdiff_t place, tt_epilogue end) {
    const GEMM_REAL *bias = end.bias ? (const GEMM_REAL *)end.bias + place % c_row : NULL;
    for (ptrdiff_t i = 0; i < m; i++) {
        GEMM_REAL *restrict x = c + i * c_row;
        if (bias)
            for (ptrdiff_t j = 0; j < columns; j++) x[j] += bias[j];
        if (end.before) memcpy((GEMM_REAL *)end.before + place + i * c_row, x, sizeof(GEMM_REAL) * columns);
        switch (end.activation) {
        case TT_RELU:
#pragma omp simd
            for (ptrdiff_t j = 0; j < columns; j++) x[j] = x[j] < 0 ? 0 : x[j];
            break;
        case TT_GELU:
#pragma omp simd
            for (ptrdiff_t j = 0; j < columns; j++) x[j] = TT(geluf)(x[j]);
            break;
        case TT_GELU_TANH:
#pragma omp simd
            for (ptrdiff_t j = 0; j < columns; j++) x[j] = TT(gelu_tanhf)(x[j]);
            break;
        case TT_SILU:
#pragma omp simd
            for (ptrdiff_t j = 0; j < columns; j++) x[j] = TT(siluf)(x[j]);
            break;
        }
    }
}

static inline ptrdiff_t TG(least)(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* Where the operands lie during one product, and what is packed of them. */
typedef struct {
    const GEMM_REAL *a, *b;
    ptrdiff_t a_row, a_step, b_row, b_column;
    int pack_a, pack_b;
    GEMM_REAL *a_space, *b_space;
} TG(operands);

/* A packed panel of A is used once for each panel of B, and the other way round; packing costs about as much as two uses.
 * Below 32 KiB an operand stays in the first-level cache wherever it lies. */
static TG(operands) TG(plan)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, tt_matrix a, tt_matrix b) {
    const ptrdiff_t small = 32 * 1024 / sizeof(GEMM_REAL);
    return (TG(operands)){
        .a = a.data, .a_row = a.row, .a_step = a.column, .b = b.data, .b_row = b.row, .b_column = b.column,
        .pack_a = (a.row != 1 && a.column != 1) || (m * k > small && n > 3 * GEMM_COLUMNS),
        .pack_b = b.column != 1 || (n * k > small && m > 5 * GEMM_ROWS),
    };
}

/* Panels of B: columns j0 to j0 + n of the block of k rows from p0. A panel that is not full is packed in any case, since
 * vectors would read past its end. */
static void TG(pack_panels)(const TG(operands) *o, ptrdiff_t p0, ptrdiff_t k, ptrdiff_t j0, ptrdiff_t n) {
    for (ptrdiff_t j = 0; j < n; j += GEMM_COLUMNS) {
        ptrdiff_t columns = TG(least)(n - j, GEMM_COLUMNS);
        if (o->pack_b || columns < GEMM_COLUMNS)
            TG(pack_b)(o->b + p0 * o->b_row + (j0 + j) * o->b_column, o->b_row, o->b_column, k, columns, o->b_space + j * k);
    }
}

/* Rows i0 to i0 + m, columns j0 to j0 + n, over the block of k from p0. */
static void TG(block)(const TG(operands) *o, ptrdiff_t i0, ptrdiff_t m, ptrdiff_t j0, ptrdiff_t n, ptrdiff_t p0, ptrdiff_t k,
                      GEMM_REAL *c, ptrdiff_t c_row, int add, const tt_epilogue *end) {
    const GEMM_REAL *a = o->a + i0 * o->a_row + p0 * o->a_step;
    ptrdiff_t a_row = o->a_row, a_step = o->a_step;
    if (o->pack_a) {
        TG(pack_a)(a, a_row, a_step, m, k, o->a_space);
        a = o->a_space;
        a_step = a_step != 1 && a_row == 1 ? m : 1, a_row = a_step == 1 ? k : 1;
    }
    for (ptrdiff_t j = 0; j < n; j += GEMM_COLUMNS) {
        ptrdiff_t columns = TG(least)(n - j, GEMM_COLUMNS), place = i0 * c_row + j0 + j;
        if (o->pack_b || columns < GEMM_COLUMNS)
            TG(tile)(m, columns, k, a, a_row, a_step, o->b_space + j * k, TG(packed_width)(columns), c + place, c_row, add);
        else
            TG(tile)(m, columns, k, a, a_row, a_step, o->b + p0 * o->b_row + j0 + j, o->b_row, c + place, c_row, add);
        if (end) TG(finish)(m, columns, c + place, c_row, place, *end);
    }
}

/* One thread's part of C: rows i0 to i1, columns j0 to j1. -> 0, or -1 if there is no memory to pack in. */
static int TG(part)(ptrdiff_t i0, ptrdiff_t i1, ptrdiff_t j0, ptrdiff_t j1, ptrdiff_t k, tt_matrix a, tt_matrix b, GEMM_REAL *c,
                    ptrdiff_t c_row, int add, const tt_epilogue *end) {
    TG(operands) o = TG(plan)(i1 - i0, j1 - j0, k, a, b);
    ptrdiff_t block_k = TG(least)(k, BLOCK_K), block_m = TG(least)(i1 - i0, BLOCK_M), block_n = TG(least)(j1 - j0, BLOCK_N);
    ptrdiff_t a_space = o.pack_a ? block_m * block_k : 0, b_space = (block_n + GEMM_COLUMNS) * block_k;
    if (posix_memalign((void **)&o.b_space, 64, sizeof(GEMM_REAL) * (a_space + b_space + GEMM_LANES))) return -1;
    o.a_space = o.b_space + b_space;
    for (ptrdiff_t j = j0; j < j1; j += BLOCK_N) {
        ptrdiff_t n = TG(least)(j1 - j, BLOCK_N);
        for (ptrdiff_t p = 0; p < k || p == 0; p += BLOCK_K) {      /* once even for k = 0, which writes zeros */
            ptrdiff_t depth = TG(least)(k - p, BLOCK_K);
            int last = p + depth >= k;
            TG(pack_panels)(&o, p, depth, j, n);
            for (ptrdiff_t i = i0; i < i1; i += BLOCK_M)
                TG(block)(&o, i, TG(least)(i1 - i, BLOCK_M), j, n, p, depth, c, c_row, add || p > 0, last ? end : NULL);
        }
    }
    free(o.b_space);
    return 0;
}

/* The transpose of C, by way of a copy. It pays where C has so few columns that most of a vector would be idle, and where B
 * would have to be transposed to be packed and A is much the smaller of the two: x W' of a layer with few rows of x. */
static int TG(flipped)(ptrdiff_t i0, ptrdiff_t i1, ptrdiff_t j0, ptrdiff_t j1, ptrdiff_t k, tt_matrix a, tt_matrix b, GEMM_REAL *c,
                       ptrdiff_t c_row, int add, const tt_epilogue *end) {
    ptrdiff_t m = i1 - i0, n = j1 - j0, place = i0 * c_row + j0;
    GEMM_REAL *transpose = malloc(sizeof(GEMM_REAL) * m * n);
    tt_matrix left = {(const GEMM_REAL *)b.data + j0 * b.column, b.column, b.row};
    tt_matrix right = {(const GEMM_REAL *)a.data + i0 * a.row, a.column, a.row};
    if (!transpose || TG(part)(0, n, 0, m, k, left, right, transpose, m, 0, NULL)) {
        free(transpose);
        return -1;
    }
    if (add)
        for (ptrdiff_t i = 0; i < m; i++)
            for (ptrdiff_t j = 0; j < n; j++) c[place + i * c_row + j] += transpose[j * m + i];
    else
        TG(turn)(transpose, m, m, n, c + place, c_row);
    free(transpose);
    if (end) TG(finish)(m, n, c + place, c_row, place, *end);
    return 0;
}

/* One row of A times rows of memory: WIDE vectors of the result at a time, so that B is read in long runs. */
#define GEMM_WIDE 8
static void TG(row_times_rows)(ptrdiff_t n, ptrdiff_t k, const GEMM_REAL *a, ptrdiff_t a_step, const GEMM_REAL *b,
                               ptrdiff_t b_row, GEMM_REAL *c, int add) {
    ptrdiff_t j = 0;
    for (; j + GEMM_WIDE * GEMM_LANES <= n; j += GEMM_WIDE * GEMM_LANES) {
        GEMM_VECTOR sum[GEMM_WIDE] = {{0}};
        for (ptrdiff_t p = 0; p < k; p++)
#pragma GCC unroll 8
            for (int v = 0; v < GEMM_WIDE; v++)
                sum[v] += a[p * a_step] * *(const GEMM_VECTOR *)(b + p * b_row + j + v * GEMM_LANES);
        for (int v = 0; v < GEMM_WIDE; v++) {
            GEMM_VECTOR *out = (GEMM_VECTOR *)(c + j + v * GEMM_LANES);
            if (add) sum[v] += *out;
            *out = sum[v];
        }
    }
    for (; j < n; j++) {
        GEMM_REAL sum = 0;
        for (ptrdiff_t p = 0; p < k; p++) sum += a[p * a_step] * b[p * b_row + j];
        c[j] = add ? c[j] + sum : sum;
    }
}

/* One row of A times columns that lie in memory as rows do: dot products, DOTS at a time so that additions overlap. */
#define GEMM_DOTS 4
static inline GEMM_REAL TG(total)(GEMM_VECTOR v) {
    GEMM_REAL sum = 0;
    for (ptrdiff_t lane = 0; lane < GEMM_LANES; lane++) sum += v[lane];
    return sum;
}

static void TG(row_times_columns)(ptrdiff_t n, ptrdiff_t k, const GEMM_REAL *a, const GEMM_REAL *b, ptrdiff_t b_column,
                                  GEMM_REAL *c, int add) {
    for (ptrdiff_t j = 0; j < n; j += GEMM_DOTS) {
        GEMM_VECTOR sum[GEMM_DOTS] = {{0}};
        const GEMM_REAL *column[GEMM_DOTS];
        ptrdiff_t p = 0, count = TG(least)(n - j, GEMM_DOTS);
        for (int v = 0; v < GEMM_DOTS; v++) column[v] = b + (j + TG(least)(v, count - 1)) * b_column;
        for (; p + GEMM_LANES <= k; p += GEMM_LANES) {
            GEMM_VECTOR x = *(const GEMM_VECTOR *)(a + p);
#pragma GCC unroll 4
            for (int v = 0; v < GEMM_DOTS; v++) sum[v] += x * *(const GEMM_VECTOR *)(column[v] + p);
        }
        for (ptrdiff_t v = 0; v < count; v++) {
            GEMM_REAL dot = TG(total)(sum[v]);
            for (ptrdiff_t rest = p; rest < k; rest++) dot += a[rest] * column[v][rest];
            c[j + v] = add ? c[j + v] + dot : dot;
        }
    }
}

/* Up to FEW rows of A do not pay for packing B. */
#define GEMM_FEW 2
static int TG(few_rows)(ptrdiff_t m, ptrdiff_t j0, ptrdiff_t j1, ptrdiff_t k, tt_matrix a, tt_matrix b, GEMM_REAL *c,
                        ptrdiff_t c_row, int add, const tt_epilogue *end) {
    const GEMM_REAL *right = (const GEMM_REAL *)b.data + j0 * b.column;
    for (ptrdiff_t i = 0; i < m; i++) {
        const GEMM_REAL *left = (const GEMM_REAL *)a.data + i * a.row;
        if (b.column == 1) TG(row_times_rows)(j1 - j0, k, left, a.column, right, b.row, c + i * c_row + j0, add);
        else TG(row_times_columns)(j1 - j0, k, left, right, b.column, c + i * c_row + j0, add);
    }
    if (end) TG(finish)(m, j1 - j0, c + j0, c_row, j0, *end);
    return 0;
}

/* A product, and which of the three ways it goes: chosen for all of it, so that every thread goes the same. */
typedef struct {
    ptrdiff_t m, n, k, c_row;
    tt_matrix a, b;
    GEMM_REAL *c;
    int add, few, flip;
    const tt_epilogue *end;
} TG(product);

/* Rows i0 to i1 and columns j0 to j1 of C. */
static int TG(share)(const TG(product) *x, ptrdiff_t i0, ptrdiff_t i1, ptrdiff_t j0, ptrdiff_t j1) {
    if (x->few) return TG(few_rows)(x->m, j0, j1, x->k, x->a, x->b, x->c, x->c_row, x->add, x->end);
    if (x->flip) return TG(flipped)(i0, i1, j0, j1, x->k, x->a, x->b, x->c, x->c_row, x->add, x->end);
    return TG(part)(i0, i1, j0, j1, x->k, x->a, x->b, x->c, x->c_row, x->add, x->end);
}

static int TT_JOIN(TT_JOIN(tt_gemm, GEMM_TYPE), TT_SUFFIX)(
    ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, tt_matrix a, tt_matrix b, GEMM_REAL *c, ptrdiff_t c_row, int add, tt_epilogue end,
    int wanted) {
    TG(product) x = {m, n, k, c_row, a, b, c, add, 0, 0, end.bias || end.activation || end.before ? &end : NULL};
    if (n == 1 && c_row == 1 && m > GEMM_FEW && !x.end) {           /* a column lies in memory as the transpose, a row, does */
        x.a = (tt_matrix){b.data, b.column, b.row}, x.b = (tt_matrix){a.data, a.column, a.row};
        x.m = 1, x.n = m, x.c_row = m;
    }
    x.few = x.m <= GEMM_FEW && (x.b.column == 1 || (x.b.row == 1 && x.a.column == 1));
    int thin = x.a.row == 1 && x.n <= GEMM_ROWS && 4 * x.n <= 3 * TG(packed_width)(x.n) && x.m >= 2 * GEMM_COLUMNS;
    x.flip = thin || (x.a.column == 1 && x.b.column != 1 && 2 * x.m <= x.n && x.m >= GEMM_COLUMNS);
    int by_rows = x.m >= x.n && !x.few, threads = tt_threads(wanted, (double)m * n * k / 50), failed = 0;
    if (threads == 1) return TG(share)(&x, 0, x.m, 0, x.n);
    ptrdiff_t whole = by_rows ? x.m : x.n, unit = by_rows ? GEMM_ROWS : GEMM_COLUMNS;
    ptrdiff_t length = ((whole + threads - 1) / threads + unit - 1) / unit * unit;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(| : failed)
    for (int t = 0; t < threads; t++) {
        ptrdiff_t from = TG(least)(t * length, whole), to = TG(least)(from + length, whole);
        if (from < to) failed |= by_rows ? TG(share)(&x, from, to, 0, x.n) : TG(share)(&x, 0, x.m, from, to);
    }
    return failed;
}
