/* mlk_conv.h -- convolutions on (H, W, C): conv2d and depthwise, any kernel, stride and padding. A series is an image of one row. */
#ifndef MLK_CONV_H
#define MLK_CONV_H

#include "mlk_base.h"

/* The part of a window of k places, the first of them at `at`, that lies in [0, size): first and end, counted in the window. */
typedef struct {
  int16_t at;
  uint8_t first, end;
} mlk_span;

MLK_FN mlk_span mlk_inside(uint16_t o, uint8_t stride, uint8_t pad, uint8_t k, uint16_t size) {
  mlk_span s;
  const int32_t at = (int32_t)o * stride - pad, room = (int32_t)size - at;
  s.at = (int16_t)at;
  s.first = (uint8_t)(at < 0 ? (-at < k ? -at : k) : 0);
  s.end = (uint8_t)(room < k ? (room > 0 ? room : 0) : k);
  if (s.end < s.first) s.end = s.first;
  return s;
}

/* The first place of a window that lies inside, and how far it is from there to the place below. */
MLK_FN const int8_t *mlk_corner(const mlk_layer *q, const int8_t *in, mlk_span v, mlk_span h) {
  return in + ((size_t)(v.at + v.first) * q->in_w + (size_t)(h.at + h.first)) * q->in_c;
}

MLK_FN uint16_t mlk_pitch(const mlk_layer *q) { return (uint16_t)(q->in_w * q->in_c); }

/* In a row of the window the places inside lie side by side, in the input as in the weights: one dot product for each row. */
MLK_FN void mlk_conv2d(const mlk_layer *q, const int8_t *in, int8_t *out) {
  const uint16_t row = (uint16_t)(q->k_w * q->in_c), pitch = mlk_pitch(q);
  for (uint16_t oy = 0; oy < q->out_h; oy++) {
    const mlk_span v = mlk_inside(oy, q->stride_h, q->pad_h, q->k_h, q->in_h);
    for (uint16_t ox = 0; ox < q->out_w; ox++) {
      const mlk_span h = mlk_inside(ox, q->stride_w, q->pad_w, q->k_w, q->in_w);
      const uint16_t run = (uint16_t)((h.end - h.first) * q->in_c);
      const uint8_t rows = (uint8_t)(run ? v.end - v.first : 0);
      const int8_t *corner = rows ? mlk_corner(q, in, v, h) : in;
      const int8_t *filter = q->weight;
      for (uint16_t o = 0; o < q->out_c; o++, filter += (size_t)q->k_h * row) {
        const int8_t *x = corner, *w = filter + (size_t)v.first * row + h.first * q->in_c;
        int32_t sum = mlk_rom_i32(q->bias + o);
        for (uint8_t ky = rows; ky; ky--, x += pitch, w += row) sum = mlk_dot(x, w, run, q->in_zero, sum);
        *out++ = mlk_output(q, o, sum);
      }
    }
  }
}

MLK_FN void mlk_conv1d(const mlk_layer *q, const int8_t *in, int8_t *out) { mlk_conv2d(q, in, out); }

MLK_FN void mlk_depthwise(const mlk_layer *q, const int8_t *in, int8_t *out) {
  const uint16_t c = q->in_c, row = (uint16_t)(q->k_w * c), pitch = mlk_pitch(q);
  for (uint16_t oy = 0; oy < q->out_h; oy++) {
    const mlk_span v = mlk_inside(oy, q->stride_h, q->pad_h, q->k_h, q->in_h);
    for (uint16_t ox = 0; ox < q->out_w; ox++) {
      const mlk_span h = mlk_inside(ox, q->stride_w, q->pad_w, q->k_w, q->in_w);
      const uint8_t columns = (uint8_t)(h.end - h.first), rows = (uint8_t)(columns ? v.end - v.first : 0);
      const int8_t *corner = rows ? mlk_corner(q, in, v, h) : in;
      const int8_t *filter = q->weight + (size_t)v.first * row + h.first * c;
      for (uint16_t o = 0; o < c; o++) {
        const int8_t *left = corner + o, *above = filter + o;
        int32_t sum = mlk_rom_i32(q->bias + o);
        for (uint8_t ky = rows; ky; ky--, left += pitch, above += row) {
          const int8_t *x = left, *w = above;
          for (uint8_t kx = columns; kx; kx--, x += c, w += c) sum += (int16_t)((int16_t)(*x - q->in_zero) * mlk_rom_i8(w));
        }
        *out++ = mlk_output(q, o, sum);
      }
    }
  }
}

#endif
