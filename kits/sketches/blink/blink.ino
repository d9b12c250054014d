/* A lamp that is told over the line when to be lit. led.h, written by a student, says whether it is.

   command  payload                                             answer
   L        number, on (2 bytes, ms), off (2), times (1), t (4)     number, 1 if the lamp is lit t ms after the command, else 0
   P        number, on, off, times                              number, changes that the lamp made (2), ms that it took (4)

   P lights the lamp of an Arduino. Machines without a lamp or a clock of milliseconds run through the same states at once. */
#include "mlk_port.h"
#include "led.h"
#include "mlk_frame.h"

static uint8_t payload[12];
static mlk_frame line;

static void put(uint8_t c) { port_write(c); }

static uint32_t number_at(uint8_t at, uint8_t bytes)
{
    uint32_t value = 0;
    while (bytes--) value = value << 8 | payload[at++];
    return value;
}

#ifdef ARDUINO
static void lamp(uint8_t lit) { digitalWrite(LED_BUILTIN, lit ? HIGH : LOW); }
static uint32_t clock_ms(void) { return millis(); }
#else
static uint32_t now;
static void lamp(uint8_t lit) { (void)lit; }
static uint32_t clock_ms(void) { return now++; }
#endif

static void answer_play(uint16_t on, uint16_t off, uint8_t times)
{
    const uint32_t whole = ((uint32_t)on + off) * times, start = clock_ms();
    uint32_t since = 0;
    uint16_t changes = 0;
    uint8_t lit = 0;
    while (since <= whole) {
        const uint8_t next = led_at(since, on, off, times) != 0;
        if (next != lit) {
            lamp(next);
            changes++;
        }
        lit = next;
        since = clock_ms() - start;
    }
    lamp(0);
    uint16_t crc = mlk_frame_byte(put, mlk_frame_open(put, '<', 'P'), payload[0]);
    crc = mlk_frame_byte(put, crc, (uint8_t)(changes >> 8));
    crc = mlk_frame_byte(put, crc, (uint8_t)changes);
    mlk_frame_close(put, mlk_frame_u32(put, crc, since));
}

void setup(void)
{
    port_begin();
#ifdef ARDUINO
    pinMode(LED_BUILTIN, OUTPUT);
#endif
    mlk_frame_begin(&line, '>', payload, sizeof payload);
}

void loop(void)
{
    const uint8_t got = mlk_frame_push(&line, (uint8_t)port_read());
    if (got == MLK_FRAME_NONE) return;
    const uint16_t on = (uint16_t)number_at(1, 2), off = (uint16_t)number_at(3, 2);
    if (got == MLK_FRAME_READY && line.command == 'L' && line.length == 10) {
        const uint8_t lit = led_at(number_at(6, 4), on, off, payload[5]) != 0;
        mlk_frame_close(put, mlk_frame_byte(put, mlk_frame_byte(put, mlk_frame_open(put, '<', 'L'), payload[0]), lit));
    } else if (got == MLK_FRAME_READY && line.command == 'P' && line.length == 6) {
        answer_play(on, off, payload[5]);
    } else {
        mlk_frame_error(put, 0, got != MLK_FRAME_READY ? got : (uint8_t)MLK_ERROR_COMMAND);
    }
}
