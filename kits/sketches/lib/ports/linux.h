/* Port to a Linux process: standard input and output are the line. Ticks are the host's clock: under an emulator they say nothing
 * about the machine that is emulated. */
#ifndef MLK_PORT_LINUX_H
#define MLK_PORT_LINUX_H

#include <poll.h>
#include <time.h>
#include <unistd.h>

#define PORT_TICK_HZ 1000000000UL
#define PORT_TICK_UNIT "ns"

static struct timespec port_since;
static uint8_t port_out[256];
static unsigned port_held;

static inline void port_begin(void) { port_held = 0; }

static inline int port_available(void)
{
    struct pollfd line = { 0, POLLIN, 0 };
    return poll(&line, 1, 0) == 1;
}

static inline void port_flush(void)
{
    unsigned sent = 0;
    while (sent < port_held) {
        ssize_t n = write(1, port_out + sent, port_held - sent);
        if (n <= 0) _exit(1);
        sent += (unsigned)n;
    }
    port_held = 0;
}

static inline int port_read(void)
{
    uint8_t byte;
    port_flush();       /* whoever waits for an answer has not sent yet what this waits for */
    if (read(0, &byte, 1) != 1) _exit(0);
    return byte;
}

static inline void port_write(uint8_t byte)
{
    port_out[port_held++] = byte;
    if (byte == '\n' || port_held == sizeof port_out) port_flush();
}

static inline void port_ticks_start(void)
{
    port_flush();
    clock_gettime(CLOCK_MONOTONIC, &port_since);
}

static inline uint32_t port_ticks_stop(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((now.tv_sec - port_since.tv_sec) * 1000000000LL + (now.tv_nsec - port_since.tv_nsec));
}

#endif
