/* vmath.h -- exp, tanh, erf and their like for one float, without branches or calls, so that a loop marked
 * `#pragma omp simd` becomes vectors. Part of a template: include it inside, once for each instruction set.
 *
 *     TT(expf)  TT(sigmoidf)  TT(tanhf)  TT(normal_cdff)       of x; NaN gives NaN, overflow gives infinity as in NumPy
 *     TT(geluf)  TT(gelu_tanhf)  TT(siluf)  and their derivatives TT(gelu_slopef), ...
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

/* 1 / (1 + e^-x) by e^-|x|, which does not overflow, so that small values keep their digits. */
static inline float TT(sigmoidf)(float x) {
    float e = TT(expf)(x < 0 ? x : -x), top = x < 0 ? e : 1.0f;
    return top / (1.0f + e);
}

/* Near 0 an odd polynomial (a Chebyshev fit on |x| <= 0.625, relative error 4e-8), else 1 - 2 / (e^2|x| + 1). */
static inline float TT(tanhf)(float x) {
    float size = x < 0 ? -x : x, z = x * x, p = -6.110187731e-3f;
    p = p * z + 2.099363584e-2f;
    p = p * z - 5.384506443e-2f;
    p = p * z + 1.333264990e-1f;
    p = p * z - 3.333332360e-1f;
    float far = 1.0f - 2.0f / (TT(expf)(2.0f * size) + 1.0f);
    float signed_far = x < 0 ? -far : far;
    return size < 0.625f ? x + x * z * p : signed_far;
}

/* The normal distribution function: erfc(-x / sqrt 2) / 2, where erfc(z) = t exp(p(2t - 1) - z^2) and t = 2 / (2 + z) for
 * z >= 0. In this form the left tail keeps its digits. p is what module 02 computes (tinytorch.activations.POWERS). */
static inline float TT(normal_cdff)(float x) {
    float scaled = x * 0.70710678f, z = scaled < 0 ? -scaled : scaled;
    float t = 2.0f / (2.0f + z), y = 2.0f * t - 1.0f, p = -8.728381022e-05f;
    p = p * y + 8.000738162e-06f;
    p = p * y + 5.737663720e-04f;
    p = p * y - 2.279109660e-04f;
    p = p * y - 2.288765239e-03f;
    p = p * y + 1.794066250e-03f;
    p = p * y + 8.808825369e-03f;
    p = p * y - 9.880019324e-03f;
    p = p * y - 4.689364056e-02f;
    p = p * y + 4.734388761e-02f;
    p = p * y + 6.726431548e-01f;
    p = p * y - 6.717940917e-01f;
    float tail = 0.5f * t * TT(expf)(p - z * z);
    return x < 0 ? tail : 1.0f - tail;
}

#define TT_GELU_SCALE 1.5957691216f /* 2 sqrt(2 / pi): (1 + tanh u) / 2 is sigmoid(2u) */
#define TT_GELU_CUBIC 0.044715f
#define TT_NORMAL_DENSITY 0.3989422804f /* 1 / sqrt(2 pi) */

static inline float TT(geluf)(float x) { return x * TT(normal_cdff)(x); }

static inline float TT(gelu_slopef)(float x) {
    float density = TT_NORMAL_DENSITY * TT(expf)(-0.5f * x * x);
    return TT(normal_cdff)(x) + x * density;
}

static inline float TT(gelu_tanhf)(float x) {
    return x * TT(sigmoidf)(TT_GELU_SCALE * (x + TT_GELU_CUBIC * x * x * x));
}

static inline float TT(gelu_tanh_slopef)(float x) {
    float s = TT(sigmoidf)(TT_GELU_SCALE * (x + TT_GELU_CUBIC * x * x * x));
    return s + x * s * (1.0f - s) * TT_GELU_SCALE * (1.0f + 3.0f * TT_GELU_CUBIC * x * x);
}

static inline float TT(siluf)(float x) { return x * TT(sigmoidf)(x); }

static inline float TT(silu_slopef)(float x) {
    float s = TT(sigmoidf)(x);
    return s + x * s * (1.0f - s);
}
