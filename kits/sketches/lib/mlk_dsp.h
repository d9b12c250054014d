/* mlk_dsp.h -- a spectral front end in fixed point: window, FFT, power, mel bands, logarithm, root.

   Tables are made, and the same is computed in NumPy, by kits/boardkit/dsp.py. Q15: an integer over 32768. */
#ifndef MLK_DSP_H
#define MLK_DSP_H

#include "mlk_base.h"

typedef struct {
  const int16_t *window;   /* (size) Q15, in flash */
  const int16_t *twiddle;  /* (size / 2, 2) Q15: cos and -sin of 2 pi i / size, in flash */
  const uint16_t *first;   /* (bands) bin of the first weight of a band */
  const uint16_t *count;   /* (bands) weights of a band */
  const uint16_t *weight;  /* of all bands in a row, over 4096 */
  uint16_t size, bands;    /* size: a power of two from 2 to 4096 */
  int32_t multiplier;      /* of what is left when offset is taken from a logarithm */
  int16_t offset;
  int8_t shift, zero;
} mlk_mel;

MLK_FN int16_t mlk_clip16(int32_t x) { return (int16_t)(x > 32767 ? 32767 : x < -32768 ? -32768 : x); }

/* Product of two Q15 numbers, to the nearest, halves upwards. */
MLK_FN int16_t mlk_mul_q15(int16_t a, int16_t b) { return mlk_clip16(((int32_t)a * b + 16384) >> 15); }

/* FFT in place, divided by its size: each of the log2(size) stages halves what it makes, rounding down, so nothing grows. */
MLK_FN void mlk_fft(int16_t *re, int16_t *im, uint16_t size, const int16_t *twiddle) {
  for (uint16_t i = 1, j = 0; i < size; i++) { /* j counts with its bits reversed */
    uint16_t bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      const int16_t r = re[i], m = im[i];
      re[i] = re[j], im[i] = im[j], re[j] = r, im[j] = m;
    }
  }
  for (uint16_t half = 1; half < size; half = (uint16_t)(half << 1)) {
    const uint16_t step = (uint16_t)(size / 2 / half);
    for (uint16_t k = 0; k < half; k++) {
      const int32_t c = mlk_rom_i16(twiddle + 2 * (size_t)(k * step)), s = mlk_rom_i16(twiddle + 2 * (size_t)(k * step) + 1);
      for (uint16_t i = k; i < size; i = (uint16_t)(i + 2 * half)) {
        const uint16_t j = (uint16_t)(i + half);
        const int32_t r = (c * re[j] - s * im[j] + 16384) >> 15, m = (c * im[j] + s * re[j] + 16384) >> 15;
        const int32_t a = re[i], b = im[i];
        re[i] = mlk_clip16((a + r) >> 1), im[i] = mlk_clip16((b + m) >> 1);
        re[j] = mlk_clip16((a - r) >> 1), im[j] = mlk_clip16((b - m) >> 1);
      }
    }
  }
}

MLK_FN uint32_t mlk_power(int16_t re, int16_t im) { return (uint32_t)((int32_t)re * re) + (uint32_t)((int32_t)im * im); }

/* 256 log2(x), rounded down to what eight squarings of 16 bits of x give; 0 for x = 0. */
MLK_FN int16_t mlk_log2(uint64_t x) {
  if (!x) return 0;
  uint8_t n = 0;
  for (uint64_t rest = x; rest >>= 1;) n++;
  uint32_t m = (uint32_t)(n > 15 ? x >> (n - 15) : x << (15 - n));
  int16_t log = n;
  for (uint8_t i = 0; i < 8; i++) {
    m = (m * m) >> 15;
    const uint8_t bit = (uint8_t)(m >> 16);
    m >>= bit;
    log = (int16_t)(2 * log + bit);
  }
  return log;
}

/* Integer square root, rounded down. */
MLK_FN uint16_t mlk_sqrt(uint32_t x) {
  uint32_t root = 0;
  for (uint32_t bit = UINT32_C(1) << 30; bit; bit >>= 2) {
    const uint32_t try_ = root + bit;
    root >>= 1;
    if (x >= try_) x -= try_, root += bit;
  }
  return (uint16_t)root;
}

/* Logarithms of the mel bands of one frame. re: the size samples, used up; im: room for as many; out: (bands) of 256 log2. */
MLK_FN void mlk_log_mel(const mlk_mel *q, int16_t *re, int16_t *im, int16_t *out) {
  for (uint16_t i = 0; i < q->size; i++) re[i] = mlk_mul_q15(re[i], mlk_rom_i16(q->window + i)), im[i] = 0;
  mlk_fft(re, im, q->size, q->twiddle);
  const uint16_t *w = q->weight;
  for (uint16_t b = 0; b < q->bands; b++) {
    uint64_t sum = 0;
    uint16_t i = mlk_rom_u16(q->first + b);
    for (uint16_t n = mlk_rom_u16(q->count + b); n; n--, i++) sum += (uint64_t)mlk_power(re[i], im[i]) * mlk_rom_u16(w++);
    out[b] = mlk_log2(sum);
  }
}

/* A logarithm as a byte of a network's input. */
MLK_FN int8_t mlk_feature(const mlk_mel *q, int16_t log) {
  int32_t y = mlk_requantize((int32_t)log - q->offset, q->multiplier, q->shift);
  if (y > 16384) y = 16384;
  if (y < -16384) y = -16384;
  return mlk_clamp((int16_t)((int16_t)y + q->zero), -128, 127);
}

#endif
