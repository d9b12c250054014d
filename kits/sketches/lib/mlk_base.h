/* mlk_base.h -- what every kernel rests on: constants in flash, the layer record, requantisation.

   C99 that also compiles as C++. No allocation, no undefined behaviour for any operands that mlk_layer allows.
   Semantics, to the bit, are those of kits/boardkit/quantize.py; kits/boardkit/reference.py computes the same in NumPy. */
#ifndef MLK_BASE_H
#define MLK_BASE_H

#include <stdint.h>
#include <string.h>
#include "mlk_rom.h"

/* A record of constants, copied out of flash. Constants are declared MLK_ROM and read by mlk_rom_*: see mlk_rom.h.
   Loads reach the first 64 KiB of an AVR's flash. */
#ifdef __AVR__
#define MLK_LOAD(to, from) memcpy_P(&(to), &(from), sizeof(to))
#else
#define MLK_LOAD(to, from) memcpy(&(to), &(from), sizeof(to))
#endif
#define mlk_rom_u16(p) ((uint16_t)mlk_rom_i16(p))

/* A header that defines functions for one program: those that a sketch does not call are no mistake. */
#if defined(__GNUC__)
#define MLK_FN static __attribute__((unused))
#else
#define MLK_FN static
#endif
#ifdef __AVR__
#define MLK_LOOP static __attribute__((unused, noinline))
#else
#define MLK_LOOP MLK_FN
#endif

/* One layer. Activations are (H, W, C), channels innermost; a vector is (1, 1, C), a series (1, T, C).
   multiplier and shift have out_c entries if per_channel is 1, else one. Pointers point into flash.
   Weights: dense (out_c, in_c), conv (out_c, k_h, k_w, in_c), depthwise (k_h, k_w, in_c); pools have none.
   A window that hangs over the border sees no input there: pad_* are the rows and columns before the first. */
typedef struct {
  const int8_t *weight;
  const int32_t *bias;
  const int32_t *multiplier;
  const int8_t *shift;
  uint16_t in_h, in_w, in_c, out_h, out_w, out_c;
  uint8_t k_h, k_w, stride_h, stride_w, pad_h, pad_w, per_channel;
  int8_t in_zero, out_zero, low, high;
} mlk_layer;

#ifdef __AVR__
/* High and low half of a * b: 16 products of bytes, a column of equal weight at a time, its sum in three bytes. What the
   compiler makes of a 64-bit product takes three times as long. */
#define MLK_COLUMN(a, b, p, q, r) "mul %" #a "[x], %" #b "[y]\n\tadd %" p ", r0\n\tadc %" q ", r1\n\tadc %" r ", %[o]\n\t"
#define MLK_CLEAR(p) "clr %" p "\n\t"

MLK_LOOP int32_t mlk_high_mul(int32_t a, int32_t b) {
  uint32_t low, high;
  const uint8_t zero = 0;
  __asm__(MLK_CLEAR("A[l]") MLK_CLEAR("B[l]") MLK_CLEAR("C[l]") MLK_COLUMN(A, A, "A[l]", "B[l]", "C[l]")
          MLK_CLEAR("D[l]") MLK_COLUMN(A, B, "B[l]", "C[l]", "D[l]") MLK_COLUMN(B, A, "B[l]", "C[l]", "D[l]")
          MLK_CLEAR("A[h]") MLK_COLUMN(A, C, "C[l]", "D[l]", "A[h]") MLK_COLUMN(B, B, "C[l]", "D[l]", "A[h]")
          MLK_COLUMN(C, A, "C[l]", "D[l]", "A[h]")
          MLK_CLEAR("B[h]") MLK_COLUMN(A, D, "D[l]", "A[h]", "B[h]") MLK_COLUMN(B, C, "D[l]", "A[h]", "B[h]")
          MLK_COLUMN(C, B, "D[l]", "A[h]", "B[h]") MLK_COLUMN(D, A, "D[l]", "A[h]", "B[h]")
          MLK_CLEAR("C[h]") MLK_COLUMN(B, D, "A[h]", "B[h]", "C[h]") MLK_COLUMN(C, C, "A[h]", "B[h]", "C[h]")
          MLK_COLUMN(D, B, "A[h]", "B[h]", "C[h]")
          MLK_CLEAR("D[h]") MLK_COLUMN(C, D, "B[h]", "C[h]", "D[h]") MLK_COLUMN(D, C, "B[h]", "C[h]", "D[h]")
          "mul %D[x], %D[y]\n\tadd %C[h], r0\n\tadc %D[h], r1\n\tclr r1\n\t"
          : [l] "=&r"(low), [h] "=&r"(high)
          : [x] "r"(a), [y] "r"(b), [o] "r"(zero)
          : "r0");
  if (a < 0) high -= (uint32_t)b; /* the product above takes a for a + 2^32 */
  return (int32_t)((high << 1) + (uint8_t)(((uint16_t)(uint8_t)(low >> 24) + 0x40) >> 7));
}
#else
/* a * b / 2^31, to the nearest, halves upwards; b >= 0. Equals gemmlowp's SaturatingRoundingDoublingHighMul there. */
MLK_FN int32_t mlk_high_mul(int32_t a, int32_t b) { return (int32_t)(((int64_t)a * b + (INT64_C(1) << 30)) >> 31); }
#endif

/* x / 2^e, to the nearest, halves away from zero, so that the sign does not matter; 0 <= e <= 31. gemmlowp's RoundingDivideByPOT. */
MLK_FN int32_t mlk_shift_right(int32_t x, uint8_t e) {
  if (!e) return x;
  uint32_t size = x < 0 ? 0 - (uint32_t)x : (uint32_t)x;
  size = ((size >> (e - 1)) + 1) >> 1;
  return x < 0 ? -(int32_t)size : (int32_t)size;
}

/* x * 2^e, saturated to 32 bits; 0 <= e <= 30. */
MLK_FN int32_t mlk_shift_left(int32_t x, uint8_t e) {
  const int32_t most = INT32_MAX >> e;
  if (x > most) return INT32_MAX;
  if (x < -most - 1) return INT32_MIN;
  return (int32_t)((uint32_t)x << e);
}

/* x * multiplier * 2^(shift - 31) with two roundings, as TensorFlow Lite's MultiplyByQuantizedMultiplier. -31 <= shift <= 30. */
MLK_FN int32_t mlk_requantize(int32_t x, int32_t multiplier, int8_t shift) {
  if (shift > 0) return mlk_high_mul(mlk_shift_left(x, (uint8_t)shift), multiplier);
  return mlk_shift_right(mlk_high_mul(x, multiplier), (uint8_t)-shift);
}

MLK_FN int8_t mlk_clamp(int16_t y, int8_t low, int8_t high) { return (int8_t)(y < low ? low : y > high ? high : y); }

/* The sum of output channel o as a byte. Clipped to 16 bits first, so that adding the zero point cannot overflow. */
MLK_FN int8_t mlk_output(const mlk_layer *q, uint16_t o, int32_t sum) {
  const uint16_t i = q->per_channel ? o : 0;
  int32_t y = mlk_requantize(sum, mlk_rom_i32(q->multiplier + i), mlk_rom_i8(q->shift + i));
  if (y > 16384) y = 16384;
  if (y < -16384) y = -16384;
  return mlk_clamp((int16_t)((int16_t)y + q->out_zero), q->low, q->high);
}

/* Sum of (x - zero) * w over n places. |x - zero| <= 255 and |w| <= 128, so each product fits in 16 bits.
   Not inlined on AVR: inside a convolution's loops it would find no register free, and take half as long again. */
MLK_LOOP int32_t mlk_dot(const int8_t *x, const int8_t *w, uint16_t n, int8_t zero, int32_t sum) {
  for (uint16_t i = 0; i < n; i++) sum += (int16_t)((int16_t)(x[i] - zero) * mlk_rom_i8(w + i));
  return sum;
}

#endif
