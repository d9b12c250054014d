/* Times layers one by one: command T, payload number and case, answers number and ticks (4 bytes). boardkit.calibrate writes cases.h. */
#include "mlk_port.h"
#include "cases.h"
#include "mlk_frame.h"

static uint8_t payload[4];
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
    if (got != MLK_FRAME_READY || line.command != 'T' || line.length != 2) {
        mlk_frame_error(put, 0, got != MLK_FRAME_READY ? got : MLK_ERROR_COMMAND);
        return;
    }
    port_ticks_start();
    run_case(payload[1]);
    const uint32_t ticks = port_ticks_stop();
    uint16_t crc = mlk_frame_byte(put, mlk_frame_open(put, '<', 'T'), payload[0]);
    mlk_frame_close(put, mlk_frame_u32(put, crc, ticks));
}
