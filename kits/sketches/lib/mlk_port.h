/* mlk_port.h -- what a sketch may ask of the machine below it: one serial line, one tick counter. Included once, by the sketch.
 *
 *   void     port_begin(void)         open the line (PORT_BAUD) and stop the counter; call first, in setup()
 *   int      port_available(void)     1 if port_read() would not wait
 *   int      port_read(void)          next byte, 0..255; waits for it (a Linux process ends when the line is closed)
 *   void     port_write(uint8_t b)    send one byte; may wait for room
 *   void     port_flush(void)         wait until everything sent has left
 *   void     port_ticks_start(void)   flush, silence other interrupts of the port, count from 0
 *   uint32_t port_ticks_stop(void)    ticks since; wraps at 2^32
 *   PORT_TICK_HZ                      ticks a second
 *   PORT_TICK_UNIT                    what a tick is: "cycles", "us", "systick", "ns"
 *
 * Between start and stop nothing else runs on the processor, so on a simulator the count depends on the code alone. millis() and
 * delay() do not advance in between on AVR, and neither reading nor writing the line belongs there.
 */
#ifndef MLK_PORT_H
#define MLK_PORT_H

#include <stdint.h>
#include "mlk_rom.h"

#ifndef PORT_BAUD
#define PORT_BAUD 115200
#endif

#if defined(ARDUINO)
#include "ports/arduino.h"
#elif defined(MLK_PORT_MPS2)
#include "ports/mps2.h"
#elif defined(__linux__)
#include "ports/linux.h"
#else
#error "mlk_port.h knows no port for this machine: ports/arduino.h, ports/mps2.h and ports/linux.h are the ones there are"
#endif

#endif
