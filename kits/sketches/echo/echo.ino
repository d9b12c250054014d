/* Sends back every byte that it receives: the least that shows toolchain, target and line to work. */
#include "mlk_port.h"

void setup(void)
{
    port_begin();
}

void loop(void)
{
    port_write((uint8_t)port_read());
}
