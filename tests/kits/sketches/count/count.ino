/* For each line of digits, that many steps of a generator, between the ticks: "STATE TICKS". */
#include "mlk_port.h"

static void put(uint32_t value)
{
    char digits[10];
    uint8_t n = 0;
    do digits[n++] = (char)('0' + value % 10); while (value /= 10);
    while (n) port_write((uint8_t)digits[--n]);
}

void setup(void)
{
    port_begin();
}

void loop(void)
{
    uint32_t steps = 0, state = 1, ticks;
    int byte;
    while ((byte = port_read()) != '\n') steps = steps * 10 + (uint32_t)(byte - '0');
    port_ticks_start();
    while (steps--) state = state * 1664525u + 1013904223u;
    ticks = port_ticks_stop();
    put(state);
    port_write(' ');
    put(ticks);
    port_write('\n');
}
