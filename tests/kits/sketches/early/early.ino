/* Asks whether a byte has come, and reads none until one has; then sends back what comes. */
#include "mlk_port.h"

void setup(void)
{
    port_begin();
    while (!port_available()) { }
}

void loop(void)
{
    port_write((uint8_t)port_read());
    port_flush();
}
