/* vmath.h -- exp, tanh, erf and their like for one float, without branches or calls, so that a loop marked
 * `#pragma omp simd` becomes vectors. Part of a template: include it inside, once for each instruction set.
 *
 *     TT(expf)(x)  TT(tanhf)(x)  TT(sigmoidf)(x)  TT(erff)(x)      NaN gives NaN; +-inf and overflow as in NumPy
 *
 * libm's functions stay scalar without -ffast-math, which we do not use: it removes NaN and infinity. */

/* Adding 1.5 * 2^23 leaves the nearest integer in the low bits of a float: rounding without SSE4's instruction. */
#define TT_ROUND_MAGIC 12582912.0f

static inline float TT(bits_as_float)(uint32_t bits) {
    float x;
    __builtin_memcpy(&x, &bits, 4);
    return x;
}

static inline int32_t TT(float_as_bits)(float x) {
    int32_t bits;
    __builtin_memcpy(&bits, &x, 4);
    return bits;
}

/* e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2; ln 2 is split in two (Cody and Waite 1980) so that r is
 * exact. The polynomial is Cephes' (Moshier): 2 ulp. 2^n is applied in two halves: each is a normal number, where n itself
 * may be 128 (overflow) or -150 (subnormal). */
static inline float TT(expf)(float x) {
    float clamped = x < -104.0f ? -104.0f : x;
    clamped = clamped > 89.0f ? 89.0f : clamped;        /* both comparisons are false for NaN, which stays */
    float shifted = clamped * 1.44269504f + TT_ROUND_MAGIC, n = shifted - TT_ROUND_MAGIC;
    float r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t whole = TT(float_as_bits)(shifted) - TT(float_as_bits)(TT_ROUND_MAGIC), half = whole >> 1;
    return p * TT(bits_as_float)((uint32_t)(half + 127) << 23) * TT(bits_as_float)((uint32_t)(whole - half + 127) << 23);
}
