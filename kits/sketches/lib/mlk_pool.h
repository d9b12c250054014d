/* mlk_pool.h -- the largest and the mean of each channel in a window. Places outside the image do not count, nor divide. */
#ifndef MLK_POOL_H
#define MLK_POOL_H

#include "mlk_conv.h"

/* The mean is rounded to the nearest, halves away from zero. A window without any place inside gives out_zero. */
MLK_FN void mlk_pool(const mlk_layer *q, const int8_t *in, int8_t *out, uint8_t mean) {
  const uint16_t pitch = mlk_pitch(q);
  for (uint16_t oy = 0; oy < q->out_h; oy++) {
    const mlk_span v = mlk_inside(oy, q->stride_h, q->pad_h, q->k_h, q->in_h);
    for (uint16_t ox = 0; ox < q->out_w; ox++) {
      const mlk_span h = mlk_inside(ox, q->stride_w, q->pad_w, q->k_w, q->in_w);
      const uint8_t columns = (uint8_t)(h.end - h.first), rows = (uint8_t)(v.end - v.first);
      const uint16_t places = (uint16_t)(columns * rows);
      const int8_t *corner = places ? mlk_corner(q, in, v, h) : in;
      for (uint16_t c = 0; c < q->in_c; c++) {
        const int8_t *left = corner + c;
        int32_t sum = 0;
        int8_t most = -128;
        for (uint8_t ky = places ? rows : 0; ky; ky--, left += pitch) {
          const int8_t *x = left;
          for (uint8_t kx = columns; kx; kx--, x += q->in_c) {
            sum += *x;
            if (*x > most) most = *x;
          }
        }
        const int32_t half = places / 2;
        int16_t y = most;
        if (!places)
          y = q->out_zero;
        else if (mean)
          y = (int16_t)((sum < 0 ? sum - half : sum + half) / places);
        *out++ = mlk_clamp(y, q->low, q->high);
      }
    }
  }
}

MLK_FN void mlk_max_pool(const mlk_layer *q, const int8_t *in, int8_t *out) { mlk_pool(q, in, out, 0); }
MLK_FN void mlk_mean_pool(const mlk_layer *q, const int8_t *in, int8_t *out) { mlk_pool(q, in, out, 1); }

#endif
