/* avr -- run an AVR program in simavr with UART 0 on standard input.
 *
 *   avr MCU HZ PROGRAM.elf MAX_CYCLES MAX_BYTES
 *
 * Descriptor 0 is a connected socket: what comes in goes to the UART, what the UART sends goes out. On standard error, one line each:
 *   turn CYCLES AT      of each line that came in: from its last byte to the end of the last line sent before more came in, at cycle
 *                       AT of the run; 0 if that was sent before
 *   end REASON AT       closed (the other side has), limit (MAX_CYCLES), output (MAX_BYTES), stopped (interrupts off and asleep), crashed
 *
 * While the program waits for a byte and has nothing left to send, it is asleep with 'W' in GPIOR0 (ports/arduino.h) and simulated
 * time stands still. So the cycles of a dialogue hang on the program and on what is said, and not on when it is said. A program that
 * polls the line instead, such as one that calls Serial.available() itself, gets a byte when it has come. Bytes arrive at 115200
 * baud however fast the program takes them, and a turn ends with the last line: so no program can make its turns look shorter.
 *
 * simavr is under the GPL, version 3, and so is this program as linked. It is a process of its own; nothing else links it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>
#include <simavr/sim_irq.h>

#define GPIOR0 0x3E             /* data space; ATmega328P and ATmega2560 */
#define WAITING 'W'
#define POLLING 'P'
#define LOOK 4096               /* instructions between looks at the socket of a program that polls */
#define START 1600000           /* cycles in which a program may say that it waits rather than polls */
#define BAUD 115200
#define HELD 64                 /* bytes that its UART holds */
#define REST_MS 20              /* how long the rest of a line that has begun may take to come */

static uint8_t in[4096], out[4096];
static unsigned in_first, in_last, out_held;
static unsigned long long sent, max_bytes;
static avr_cycle_count_t last_in, last_line, pace;
static int feeding;
static int asked;               /* a whole line has come in, and nothing since */
static int waits;               /* the program has waited for a byte at least once */
static const char *reason;
static avr_uart_t *uart;
static avr_irq_t *uart_in;

static void silence(avr_t *avr, const int level, const char *format, va_list arguments)
{
    (void)avr, (void)level, (void)format, (void)arguments;
}

static void flush_out(void)
{
    unsigned done = 0;
    while (done < out_held) {
        ssize_t n = write(0, out + done, out_held - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            reason = "closed";
            break;
        }
        done += (unsigned)n;
    }
    out_held = 0;
}

static void on_output(avr_irq_t *irq, uint32_t value, void *param)
{
    avr_t *avr = param;
    (void)irq;
    if (++sent > max_bytes) {
        reason = "output";
        return;
    }
    out[out_held++] = (uint8_t)value;
    if (value == '\n') last_line = avr->cycle;
    if (value == '\n' || out_held == sizeof out) flush_out();
}

/* Take in what has come, waiting up to `ms` for it (-1: as long as it takes). */
static void look(int ms)
{
    struct pollfd line = { 0, POLLIN, 0 };
    if (in_first < in_last || poll(&line, 1, ms) <= 0) return;
    in_first = in_last = 0;
    do {
        ssize_t n = read(0, in + in_last, sizeof in - in_last);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            reason = "closed";
            return;
        }
        in_last += (unsigned)n;
    } while (in_last < sizeof in && in[in_last - 1] != '\n' && poll(&line, 1, REST_MS) > 0);
}

static void tell_turn(void)
{
    if (!asked) return;
    unsigned long long taken = last_line > last_in ? last_line - last_in : 0;
    fprintf(stderr, "turn %llu %llu\n", taken, (unsigned long long)last_line);
    asked = 0;
}

static avr_cycle_count_t feed(avr_t *avr, avr_cycle_count_t when, void *param)
{
    (void)param;
    /* simavr's UART takes a little longer for a byte than the line does; what it cannot hold it would drop. */
    if ((unsigned)(uart->input.write - uart->input.read) % HELD > HELD / 2) return when + pace;
    avr_raise_irq(uart_in, in[in_first++]);
    last_in = avr->cycle;
    asked = in[in_first - 1] == '\n';
    feeding = in_first < in_last;
    return feeding ? when + pace : 0;
}

static void begin_feeding(avr_t *avr)
{
    if (feeding || in_first == in_last || !avr_regbit_get(avr, uart->rxen)) return;
    tell_turn();
    feeding = 1;
    avr_cycle_timer_register(avr, 1, feed, 0);
}

static void on_sleep(avr_t *avr, avr_cycle_count_t cycles)
{
    (void)cycles;
    int unread = uart->input.read != uart->input.write;
    if (avr->data[GPIOR0] != WAITING || unread || feeding || avr_regbit_get(avr, uart->udrc.enable)) return;
    waits = 1;
    flush_out();
    if (!reason && in_first == in_last) look(-1);
    begin_feeding(avr);
}

int main(int count, char **argument)
{
    static elf_firmware_t firmware;
    if (count != 6) {
        fprintf(stderr, "usage: avr MCU HZ PROGRAM.elf MAX_CYCLES MAX_BYTES\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int null = open("/dev/null", O_WRONLY);
    if (null < 0 || dup2(null, 1) < 0) return 2;        /* libsimavr writes to standard output of its own accord */
    avr_global_logger_set(silence);
    unsigned long long max_cycles = strtoull(argument[4], 0, 10);
    max_bytes = strtoull(argument[5], 0, 10);

    if (elf_read_firmware(argument[3], &firmware)) {
        fprintf(stderr, "end unreadable 0\n");
        return 2;
    }
    avr_t *avr = avr_make_mcu_by_name(argument[1]);
    if (!avr) {
        fprintf(stderr, "end unknown 0\n");
        return 2;
    }
    avr_init(avr);
    firmware.frequency = (uint32_t)strtoul(argument[2], 0, 10);
    snprintf(firmware.mmcu, sizeof firmware.mmcu, "%s", argument[1]);
    avr_load_firmware(avr, &firmware);
    avr->sleep = on_sleep;
    pace = firmware.frequency * 10ull / BAUD;

    for (avr_io_t *io = avr->io_port; io; io = io->next)
        if (!strcmp(io->kind, "uart") && ((avr_uart_t *)io)->name == '0') uart = (avr_uart_t *)io;
    if (!uart) {
        fprintf(stderr, "end unknown 0\n");
        return 2;
    }
    uint32_t flags = 0;
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);      /* no lines on the console, no sleep of its own */
    uart_in = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), on_output, avr);

    for (unsigned n = 1; !reason; n++) {
        int state = avr_run(avr);
        if (state == cpu_Done) reason = "stopped";
        else if (state == cpu_Crashed) reason = "crashed";
        else if (avr->cycle >= max_cycles) reason = "limit";
        else if (n % LOOK == 0) {
            if (out_held) flush_out();
            int polls = waits ? avr->data[GPIOR0] == POLLING : avr->cycle > START;
            if (!reason && polls) look(0);
            begin_feeding(avr);
        }
    }
    if (strcmp(reason, "closed")) flush_out();
    tell_turn();
    fprintf(stderr, "end %s %llu\n", reason, (unsigned long long)avr->cycle);
    return 0;
}
