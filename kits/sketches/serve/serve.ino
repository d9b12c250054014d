/* Serves an exported network over the serial line: vectors in, outputs and the ticks they took out. Frames: mlk_frame.h.

   command  payload                 answer
   ?        number                  number, version 1, digest (4 bytes), inputs (2), outputs (2), ticks a second (4), unit, "/", name
   I        number, inputs          number, outputs, ticks (4)
   E        number, anything        the same

   model.h is put beside this file by whoever compiles it: boardkit.export.header(model). */
#include "mlk_port.h"
#include "model.h"
#include "mlk_frame.h"

/* Room for the number, the inputs and the CRC; an echo may be as long. */
static uint8_t payload[1 + MODEL_INPUTS + 2];
static mlk_frame line;

static void put(uint8_t c) { port_write(c); }

static uint16_t put_text(uint16_t crc, const char *text)
{
    while (*text) crc = mlk_frame_byte(put, crc, (uint8_t)*text++);
    return crc;
}

static void answer_info(void)
{
    uint16_t crc = mlk_frame_open(put, '<', '?');
    crc = mlk_frame_byte(put, crc, payload[0]);
    crc = mlk_frame_byte(put, crc, 1);
    crc = mlk_frame_u32(put, crc, MODEL_DIGEST);
    crc = mlk_frame_u32(put, crc, ((uint32_t)MODEL_INPUTS << 16) | MODEL_OUTPUTS);
    crc = mlk_frame_u32(put, crc, PORT_TICK_HZ);
    crc = put_text(crc, PORT_TICK_UNIT "/" MODEL_NAME);
    mlk_frame_close(put, crc);
}

static void answer_infer(void)
{
    const int8_t *y = MODEL_OUTPUT;
    memcpy(MODEL_INPUT, payload + 1, MODEL_INPUTS);
    port_ticks_start();
    model_run();
    const uint32_t ticks = port_ticks_stop();
    uint16_t crc = mlk_frame_open(put, '<', 'I');
    crc = mlk_frame_byte(put, crc, payload[0]);
    for (uint16_t i = 0; i < MODEL_OUTPUTS; i++) crc = mlk_frame_byte(put, crc, (uint8_t)y[i]);
    mlk_frame_close(put, mlk_frame_u32(put, crc, ticks));
}

static void answer_echo(void)
{
    uint16_t crc = mlk_frame_open(put, '<', 'E');
    for (uint16_t i = 0; i < line.length; i++) crc = mlk_frame_byte(put, crc, payload[i]);
    mlk_frame_close(put, crc);
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
    if (got != MLK_FRAME_READY)
        mlk_frame_error(put, 0, got); /* the number came with the fault and cannot be trusted */
    else if (line.length == 0)
        mlk_frame_error(put, 0, MLK_ERROR_SIZE);
    else if (line.command == '?' && line.length == 1)
        answer_info();
    else if (line.command == 'I' && line.length == 1 + MODEL_INPUTS)
        answer_infer();
    else if (line.command == 'E')
        answer_echo();
    else
        mlk_frame_error(put, payload[0], line.command == '?' || line.command == 'I' ? MLK_ERROR_SIZE : MLK_ERROR_COMMAND);
}
