/* mlk_head.h -- what becomes of the last activations: probabilities, the likeliest class, the nearest centre. */
#ifndef MLK_HEAD_H
#define MLK_HEAD_H

#include "mlk_base.h"

/* Softmax of n bytes -> bytes of scale 1/256 and zero point -128. table[d] = round(65535 exp(-d scale of the input)), in flash.
   n <= 32768, so that the sum of n entries and a rounding half fit in 32 bits. in and out may be the same. */
MLK_FN void mlk_softmax(const int8_t *in, int8_t *out, uint16_t n, const uint16_t *table) {
  int8_t most = -128;
  uint32_t sum = 0;
  for (uint16_t i = 0; i < n; i++)
    if (in[i] > most) most = in[i];
  for (uint16_t i = 0; i < n; i++) sum += mlk_rom_u16(table + (most - in[i]));
  for (uint16_t i = 0; i < n; i++) {
    const uint32_t share = ((uint32_t)mlk_rom_u16(table + (most - in[i])) * 256 + sum / 2) / sum;
    out[i] = (int8_t)((int16_t)(share > 255 ? 255 : share) - 128);
  }
}

/* Index of the largest of n >= 1 bytes, the first of equals. */
MLK_FN uint16_t mlk_argmax(const int8_t *in, uint16_t n) {
  uint16_t best = 0;
  for (uint16_t i = 1; i < n; i++)
    if (in[i] > in[best]) best = i;
  return best;
}

/* The nearest of k centres (k, n), in flash, the first of equals -> its index; *distance: the squared distance. n <= 65535. */
MLK_FN uint16_t mlk_nearest(const int8_t *x, const int8_t *centres, uint16_t n, uint16_t k, uint32_t *distance) {
  uint16_t best = 0;
  uint32_t least = UINT32_MAX;
  for (uint16_t j = 0; j < k; j++) {
    uint32_t sum = 0;
    for (uint16_t i = 0; i < n; i++) {
      const int16_t d = (int16_t)(x[i] - mlk_rom_i8(centres++));
      const uint8_t size = (uint8_t)(d < 0 ? -d : d);
      sum += (uint16_t)((uint16_t)size * size);
    }
    if (sum < least) least = sum, best = j;
  }
  *distance = least;
  return best;
}

#endif
