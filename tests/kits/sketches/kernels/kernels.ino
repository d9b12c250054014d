/* Runs each kernel on operands that come over the line, so that a host can compare. cases.h is made by the test. */
#include "mlk_port.h"
#include "mlk.h"
#include "cases.h"
#include "mlk_frame.h"

static uint8_t payload[260];
static mlk_frame line;

static void put(uint8_t c) { port_write(c); }

static uint32_t word(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint16_t)((uint16_t)p[2] << 8) | p[3]; }

static void send(const void *data, uint16_t n)
{
    const uint8_t *p = (const uint8_t *)data;
    uint16_t crc = mlk_frame_open(put, '<', line.command);
    crc = mlk_frame_byte(put, crc, payload[0]);
    while (n--) crc = mlk_frame_byte(put, crc, *p++);
    mlk_frame_close(put, crc);
}

static void send_word(uint32_t value)
{
    uint8_t bytes[4] = { (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value };
    send(bytes, 4);
}

void setup(void)
{
    port_begin();
    mlk_frame_begin(&line, '>', payload, sizeof payload);
}

void loop(void)
{
    const uint8_t got = mlk_frame_push(&line, (uint8_t)port_read());
    const uint8_t *p = payload + 1;
    if (got == MLK_FRAME_NONE) return;
    if (got != MLK_FRAME_READY) {
        mlk_frame_error(put, 0, got);
    } else if (line.command == 'L') {           /* case, inputs -> outputs */
        uint16_t n = 0;
        int8_t *y = run_case(p[0], (const int8_t *)p + 1, &n);
        send(y, n);
    } else if (line.command == 'R') {           /* x, multiplier, shift -> x requantised */
        send_word((uint32_t)mlk_requantize((int32_t)word(p), (int32_t)word(p + 4), (int8_t)p[8]));
    } else if (line.command == 'G') {           /* x of 64 bits -> its logarithm, the root of its low half */
        const uint64_t x = (uint64_t)word(p) << 32 | word(p + 4);
        send_word((uint32_t)(uint16_t)mlk_log2(x) << 16 | mlk_sqrt(word(p + 4)));
    } else if (line.command == 'N') {           /* a vector -> index and squared distance */
        uint32_t distance;
        const uint16_t best = mlk_nearest((const int8_t *)p, near_centres, NEAR_WIDTH, NEAR_K, &distance);
        send_word((uint32_t)best << 24 | distance);
    } else if (line.command == 'M') {           /* samples, low byte first -> logarithms of bands as bytes of a network */
        static int16_t re[FRONT_SIZE], im[FRONT_SIZE], log[FRONT_BANDS];
        static int8_t y[FRONT_BANDS];
        mlk_mel mel;
        MLK_LOAD(mel, front_mel);
        for (uint16_t i = 0; i < FRONT_SIZE; i++) re[i] = (int16_t)(p[2 * i] | (uint16_t)p[2 * i + 1] << 8);
        mlk_log_mel(&mel, re, im, log);
        for (uint16_t i = 0; i < FRONT_BANDS; i++) y[i] = mlk_feature(&mel, log[i]);
        send(y, FRONT_BANDS);
    } else {
        mlk_frame_error(put, payload[0], MLK_ERROR_COMMAND);
    }
}
