/* Does what its line says, and none of it is what a sketch should do. */
#include "mlk_port.h"

static void say(const char *text)
{
    while (*text) port_write((uint8_t)*text++);
}

static void busy(uint16_t rounds)
{
    for (volatile uint16_t n = 0; n < rounds; n++) { }
}

void setup(void)
{
    port_begin();
}

void loop(void)
{
    const int what = port_read();
    if (what == 'e') busy(20000);           /* before it takes the end of the line */
    while (port_read() != '\n') { }
    if (what == 'l') say("first\n");        /* an early line that is no answer */
    if (what == 'l' || what == 'b') busy(20000);
    if (what == 'h') for (;;) busy(1);
    if (what == 'f') for (;;) say("flood ");
#ifdef __AVR__
    if (what == 's') {
        cli();
        sleep_enable();
        sleep_cpu();
    }
    if (what == 'c') ((void (*)(void))0x3F00)();        /* where there is nothing but the end of the flash */
#endif
    say("done\n");
}
