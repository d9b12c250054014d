/* Port to an Arduino core: Serial is the line. The counter is Timer1 on AVR, one tick a clock cycle, and micros() elsewhere. */
#ifndef MLK_PORT_ARDUINO_H
#define MLK_PORT_ARDUINO_H

#include <Arduino.h>

#ifdef __AVR__
#include <avr/interrupt.h>
#include <avr/sleep.h>

#define PORT_TICK_HZ F_CPU
#define PORT_TICK_UNIT "cycles"

static volatile uint16_t port_overflows;
static uint8_t port_timer0;

ISR(TIMER1_OVF_vect) { port_overflows++; }

static inline void port_begin(void)
{
    Serial.begin(PORT_BAUD);
    TCCR1A = 0;
    TCCR1B = 0;
    TIMSK1 = _BV(TOIE1);
}

/* GPIOR0 tells a simulator what the line is to the program: 'P', it looks whether a byte has come; 'W', it sleeps until one has, so
 * that the wait need not be simulated. On a chip the register is plain storage. */
static inline int port_available(void)
{
    GPIOR0 = 'P';
    return Serial.available() > 0;
}

static inline int port_read(void)
{
    set_sleep_mode(SLEEP_MODE_IDLE);
    for (;;) {
        cli();
        if (Serial.available() > 0) break;
        GPIOR0 = 'W';
        sleep_enable();
        sei();          /* takes effect after the next instruction, so a byte cannot slip in between */
        sleep_cpu();
        sleep_disable();
        GPIOR0 = 0;
    }
    sei();
    return Serial.read();
}

static inline void port_ticks_start(void)
{
    Serial.flush();
    port_timer0 = TIMSK0;
    TIMSK0 = 0;         /* the millis() interrupt would fall into some measurements and not into others */
    port_overflows = 0;
    TCNT1 = 0;
    TIFR1 = _BV(TOV1);
    TCCR1B = _BV(CS10);
}

static inline uint32_t port_ticks_stop(void)
{
    cli();
    uint16_t low = TCNT1, high = port_overflows;
    if ((TIFR1 & _BV(TOV1)) && low < 0x8000) high++;    /* it overflowed before, and its interrupt is still pending */
    TCCR1B = 0;                         /* after the reading: simavr's stopped timer reads 0 */
    TIFR1 = _BV(TOV1);
    sei();
    TIMSK0 = port_timer0;
    return (uint32_t)high << 16 | low;
}

#else
#define PORT_TICK_HZ 1000000UL
#define PORT_TICK_UNIT "us"

static uint32_t port_since;

static inline void port_begin(void)
{
    Serial.begin(PORT_BAUD);
    while (!Serial) { }                 /* native USB: until the host opens the line */
}

static inline int port_available(void) { return Serial.available() > 0; }

static inline int port_read(void)
{
    while (Serial.available() <= 0) yield();
    return Serial.read();
}

static inline void port_ticks_start(void)
{
    Serial.flush();
    port_since = micros();
}

static inline uint32_t port_ticks_stop(void) { return (uint32_t)micros() - port_since; }
#endif

static inline void port_write(uint8_t byte) { Serial.write(byte); }

static inline void port_flush(void) { Serial.flush(); }

#endif
