/* transpose.h -- a 4 x 4 block of 4- or 8-byte words, transposed in registers.
 * Four contiguous words are read from each of four columns (`column` bytes apart) and written as four rows (`row` bytes
 * apart). 16-byte vectors are in the baseline of every 64-bit target, so there is nothing to choose at run time; 32-byte
 * ones would help only while both arrays fit in cache. */
#ifndef TINYTORCH_TRANSPOSE_H
#define TINYTORCH_TRANSPOSE_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 12)

typedef uint32_t tt_u32x4 __attribute__((vector_size(16)));
typedef uint64_t tt_u64x2 __attribute__((vector_size(16)));
#define TT_SHUFFLE __builtin_shufflevector

static inline void transpose_block_u32(const char *x, ptrdiff_t column, char *out, ptrdiff_t row) {
    tt_u32x4 a, b, c, d, low, high, r;
    memcpy(&a, x, 16);
    memcpy(&b, x + column, 16);
    memcpy(&c, x + 2 * column, 16);
    memcpy(&d, x + 3 * column, 16);
    low = TT_SHUFFLE(a, b, 0, 4, 1, 5), high = TT_SHUFFLE(c, d, 0, 4, 1, 5);
    r = TT_SHUFFLE(low, high, 0, 1, 4, 5), memcpy(out, &r, 16);
    r = TT_SHUFFLE(low, high, 2, 3, 6, 7), memcpy(out + row, &r, 16);
    low = TT_SHUFFLE(a, b, 2, 6, 3, 7), high = TT_SHUFFLE(c, d, 2, 6, 3, 7);
    r = TT_SHUFFLE(low, high, 0, 1, 4, 5), memcpy(out + 2 * row, &r, 16);
    r = TT_SHUFFLE(low, high, 2, 3, 6, 7), memcpy(out + 3 * row, &r, 16);
}

static inline void transpose_block_u64(const char *x, ptrdiff_t column, char *out, ptrdiff_t row) {
    for (int j = 0; j < 4; j += 2)
        for (int i = 0; i < 4; i += 2) {
            tt_u64x2 a, b, r;
            memcpy(&a, x + j * column + 8 * i, 16);
            memcpy(&b, x + (j + 1) * column + 8 * i, 16);
            r = TT_SHUFFLE(a, b, 0, 2), memcpy(out + i * row + 8 * j, &r, 16);
            r = TT_SHUFFLE(a, b, 1, 3), memcpy(out + (i + 1) * row + 8 * j, &r, 16);
        }
}

#else

static inline void transpose_block_u32(const char *x, ptrdiff_t column, char *out, ptrdiff_t row) {
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) memcpy(out + i * row + 4 * j, x + j * column + 4 * i, 4);
}

static inline void transpose_block_u64(const char *x, ptrdiff_t column, char *out, ptrdiff_t row) {
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) memcpy(out + i * row + 8 * j, x + j * column + 8 * i, 8);
}

#endif

#endif
