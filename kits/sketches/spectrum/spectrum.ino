/* Octave bands of a frame in fixed point. dsp.h has tables and, written by a student, mul_q15, butterfly and log2_q8.

   command  payload, numbers low byte first                     answer
   M        number, a (2), b (2)                                number, mul_q15(a, b) (2)
   B        number, ar, ai, br, bi, c, s (2 each)               number, ar, ai, br, bi (2 each) after butterfly
   G        number, x (4)                                       number, log2_q8(x) (2)
   S        number, FRAME samples (2 each)                      number, BANDS logarithms (2 each), ticks (4) */
#include "mlk_port.h"
#include "mlk_base.h"
#include "dsp.h"
#include "mlk_frame.h"

static uint8_t payload[1 + 2 * FRAME + 2];
static int16_t re[FRAME], im[FRAME], out[BANDS];
static mlk_frame line;

static void put(uint8_t c) { port_write(c); }

static int16_t word_at(uint16_t i) { return (int16_t)(uint16_t)(payload[1 + 2 * i] | (uint16_t)payload[2 + 2 * i] << 8); }

static uint16_t put_words(uint16_t crc, const int16_t *words, uint8_t n)
{
    for (uint8_t i = 0; i < n; i++) {
        crc = mlk_frame_byte(put, crc, (uint8_t)words[i]);
        crc = mlk_frame_byte(put, crc, (uint8_t)((uint16_t)words[i] >> 8));
    }
    return crc;
}

/* re: the samples, used up. Each stage halves, so that bands of power stay below 2^30 (Parseval). */
static void spectrum(void)
{
    for (uint16_t i = 0; i < FRAME; i++) re[i] = mul_q15(re[i], mlk_rom_i16(dsp_window + i)), im[i] = 0;
    for (uint16_t i = 1, j = 0; i < FRAME; i++) { /* j counts with its bits reversed; im is still 0 */
        uint16_t bit = FRAME >> 1;
        for (; j & bit; bit >>= 1) j ^= bit;
        j ^= bit;
        if (i < j) {
            const int16_t r = re[i];
            re[i] = re[j], re[j] = r;
        }
    }
    for (uint16_t half = 1; half < FRAME; half = (uint16_t)(half << 1)) {
        const uint16_t step = (uint16_t)(FRAME / 2 / half);
        for (uint16_t k = 0; k < half; k++) {
            const int16_t c = mlk_rom_i16(dsp_twiddle + 2 * k * step), s = mlk_rom_i16(dsp_twiddle + 2 * k * step + 1);
            for (uint16_t i = k; i < FRAME; i = (uint16_t)(i + 2 * half)) butterfly(re + i, im + i, re + i + half, im + i + half, c, s);
        }
    }
    for (uint8_t b = 0; b < BANDS; b++) {
        uint32_t power = 0;
        for (uint16_t i = (uint16_t)1 << b; i < (uint16_t)2 << b; i++)
            power += (uint32_t)((int32_t)re[i] * re[i]) + (uint32_t)((int32_t)im[i] * im[i]);
        out[b] = log2_q8(power);
    }
}

void setup(void)
{
    port_begin();
    mlk_frame_begin(&line, '>', payload, sizeof payload);
}

void loop(void)
{
    const uint8_t got = mlk_frame_push(&line, (uint8_t)port_read());
    if (got == MLK_FRAME_NONE) return;
    const uint8_t command = got == MLK_FRAME_READY ? line.command : 0;
    uint32_t ticks = 0;
    uint8_t n = 0;
    if (command == 'M' && line.length == 5) {
        out[0] = mul_q15(word_at(0), word_at(1)), n = 1;
    } else if (command == 'B' && line.length == 13) {
        int16_t ar = word_at(0), ai = word_at(1), br = word_at(2), bi = word_at(3);
        butterfly(&ar, &ai, &br, &bi, word_at(4), word_at(5));
        out[0] = ar, out[1] = ai, out[2] = br, out[3] = bi, n = 4;
    } else if (command == 'G' && line.length == 5) {
        out[0] = log2_q8((uint32_t)(uint16_t)word_at(1) << 16 | (uint16_t)word_at(0)), n = 1;
    } else if (command == 'S' && line.length == 1 + 2 * FRAME) {
        for (uint16_t i = 0; i < FRAME; i++) re[i] = word_at(i);
        port_ticks_start();
        spectrum();
        ticks = port_ticks_stop();
        n = BANDS;
    } else {
        mlk_frame_error(put, 0, got != MLK_FRAME_READY ? got : (uint8_t)MLK_ERROR_COMMAND);
        return;
    }
    uint16_t crc = put_words(mlk_frame_byte(put, mlk_frame_open(put, '<', command), payload[0]), out, n);
    if (command == 'S') crc = mlk_frame_u32(put, crc, ticks);
    mlk_frame_close(put, crc);
}
