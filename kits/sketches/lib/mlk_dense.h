/* mlk_dense.h -- out = requantise(W (in - zero) + bias): the plain kernel, and one for AVR that is several times as fast.

   mlk_dense_fast takes a layer whose zero point of the input is 0. Exported headers compile to such layers where MLK_FOLD
   is defined: sum (x - z) w + b = sum x w + (b - z sum w), and the bracket is a constant of the layer. */
#ifndef MLK_DENSE_H
#define MLK_DENSE_H

#include "mlk_base.h"

MLK_FN void mlk_dense(const mlk_layer *q, const int8_t *in, int8_t *out) {
  const int8_t *w = q->weight;
  for (uint16_t o = 0; o < q->out_c; o++, w += q->in_c)
    out[o] = mlk_output(q, o, mlk_dot(in, w, q->in_c, q->in_zero, mlk_rom_i32(q->bias + o)));
}

#ifdef __AVR__
/* Sum of x[i] w[i] for 1 <= n <= 255, in 24 bits: 255 products of at most 2^14 stay below 2^22. A turn takes 15 cycles,
   2 to load x, 3 for w from flash, 2 for MULS, 5 to add 16 signed bits to 24, 3 for the loop; eight in a row share one
   loop, which leaves 12.4. The sign of the product is added as 0 or -1: ADC of zero takes the carry, SBRC skips the DEC. */
#define MLK_MAC "ld %[a], X+\n\tlpm %[b], Z+\n\tmuls %[a], %[b]\n\tadd %A[s], r0\n\tadc %B[s], r1\n\tadc %C[s], %[o]\n\tsbrc r1, 7\n\tdec %C[s]\n\t"

MLK_FN int32_t mlk_dot_avr(const int8_t *x, const int8_t *w, uint8_t n) {
  __int24 sum = 0;
  uint8_t eights = n >> 3, ones = n & 7, a, b;
  const uint8_t zero = 0;
  __asm__ volatile(
      "tst %[e]\n\tbrne 1f\n\trjmp 2f\n\t" /* conditional branches reach 63 words */
      "1:\n\t" MLK_MAC MLK_MAC MLK_MAC MLK_MAC MLK_MAC MLK_MAC MLK_MAC MLK_MAC
      "dec %[e]\n\tbreq 2f\n\trjmp 1b\n\t"
      "2:\n\ttst %[n]\n\tbreq 4f\n\t"
      "3:\n\t" MLK_MAC "dec %[n]\n\tbrne 3b\n\t"
      "4:\n\tclr r1\n\t" /* the compiler keeps zero in r1 */
      : [s] "+r"(sum), [e] "+r"(eights), [n] "+r"(ones), "+x"(x), "+z"(w), [a] "=&d"(a), [b] "=&d"(b)
      : [o] "r"(zero)
      : "r0", "memory");
  return sum;
}

MLK_FN void mlk_dense_fast(const mlk_layer *q, const int8_t *in, int8_t *out) {
  const int8_t *w = q->weight;
  for (uint16_t o = 0; o < q->out_c; o++) {
    int32_t sum = mlk_rom_i32(q->bias + o);
    const int8_t *x = in;
    for (uint16_t left = q->in_c; left;) {
      const uint8_t n = left > 248 ? 248 : (uint8_t)left;
      sum += mlk_dot_avr(x, w, n);
      x += n, w += n, left -= n;
    }
    out[o] = mlk_output(q, o, sum);
  }
}
#else
MLK_FN void mlk_dense_fast(const mlk_layer *q, const int8_t *in, int8_t *out) { mlk_dense(q, in, out); }
#endif

#endif
