/* One frame of sound through the front end: command F, payload number and FRONT_SIZE samples (low byte first), answers number,
   FRONT_BANDS bytes of a network's input and ticks (4). boardkit.dsp.LogMel.header writes front.h. */
#include "mlk_port.h"
#include "front.h"
#include "mlk_frame.h"

static uint8_t payload[1 + 2 * FRONT_SIZE + 2];
static int16_t re[FRONT_SIZE], im[FRONT_SIZE], logs[FRONT_BANDS];
static int8_t out[FRONT_BANDS];
static mlk_frame line;

static void put(uint8_t c) { port_write(c); }

void setup(void)
{
    port_begin();
    mlk_frame_begin(&line, '>', payload, sizeof payload);
}

void loop(void)
{
    const uint8_t got = mlk_frame_push(&line, (uint8_t)port_read());
    if (got == MLK_FRAME_NONE) return;
    if (got != MLK_FRAME_READY) {
        mlk_frame_error(put, 0, got);
        return;
    }
    if (line.command != 'F' || line.length != 1 + 2 * FRONT_SIZE) {
        mlk_frame_error(put, 0, line.command == 'F' ? MLK_ERROR_SIZE : MLK_ERROR_COMMAND);
        return;
    }
    for (uint16_t i = 0; i < FRONT_SIZE; i++)
        re[i] = (int16_t)(uint16_t)(payload[1 + 2 * i] | (uint16_t)payload[2 + 2 * i] << 8);
    mlk_mel front;
    MLK_LOAD(front, front_mel);
    port_ticks_start();
    mlk_log_mel(&front, re, im, logs);
    for (uint16_t i = 0; i < FRONT_BANDS; i++) out[i] = mlk_feature(&front, logs[i]);
    const uint32_t ticks = port_ticks_stop();
    uint16_t crc = mlk_frame_byte(put, mlk_frame_open(put, '<', 'F'), payload[0]);
    for (uint16_t i = 0; i < FRONT_BANDS; i++) crc = mlk_frame_byte(put, crc, (uint8_t)out[i]);
    mlk_frame_close(put, mlk_frame_u32(put, crc, ticks));
}
