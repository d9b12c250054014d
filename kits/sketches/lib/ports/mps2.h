/* Port to Arm's MPS2 and MPS3 FPGA boards AN386 (M4), AN500 (M7) and AN547 (M55): CMSDK UART 0 and SysTick.
 *
 * Addresses: Arm DAI 0386, DAI 0500 and DAI 0547, memory maps. QEMU models both parts and counts instructions, not cycles: under
 * -icount shift=5 an instruction takes 32 ns of its clock, and SysTick counts that clock at PORT_TICK_HZ.
 */
#ifndef MLK_PORT_MPS2_H
#define MLK_PORT_MPS2_H

#if MLK_PORT_MPS2 == 547
#define PORT_TICK_HZ 32000000UL
#define PORT_UART 0x59303000u       /* secure alias; the board starts in the secure state */
#define PORT_UART_RX_IRQ 33
#else
#define PORT_TICK_HZ 25000000UL
#define PORT_UART 0x40004000u
#define PORT_UART_RX_IRQ 0
#endif
#define PORT_TICK_UNIT "systick"

#define PORT_REG(address) (*(volatile uint32_t *)(address))
#define PORT_UART_DATA PORT_REG(PORT_UART)
#define PORT_UART_STATE PORT_REG(PORT_UART + 4)         /* bit 0: transmitter full, bit 1: a byte has come */
#define PORT_UART_CTRL PORT_REG(PORT_UART + 8)
#define PORT_UART_INTERRUPT PORT_REG(PORT_UART + 12)
#define PORT_UART_DIVIDER PORT_REG(PORT_UART + 16)
#define PORT_SYST_CSR PORT_REG(0xE000E010u)
#define PORT_SYST_RVR PORT_REG(0xE000E014u)
#define PORT_SYST_CVR PORT_REG(0xE000E018u)
#define PORT_NVIC(base) PORT_REG((base) + PORT_UART_RX_IRQ / 32 * 4)
#define PORT_NVIC_BIT (1u << PORT_UART_RX_IRQ % 32)

static volatile uint32_t port_wraps;

void SysTick_Handler(void) { port_wraps++; }

static inline void port_begin(void)
{
    __asm volatile("cpsid i" ::: "memory");             /* the line's interrupt has no handler: pending, it ends a sleep */
    PORT_UART_DIVIDER = PORT_TICK_HZ / PORT_BAUD;
    PORT_UART_CTRL = 1 | 2 | 8;                         /* transmit, receive, interrupt on receive */
    PORT_NVIC(0xE000E100u) = PORT_NVIC_BIT;
    PORT_SYST_CSR = 0;
}

static inline int port_available(void) { return PORT_UART_STATE >> 1 & 1; }

static inline int port_read(void)
{
    while (!port_available()) {
        __asm volatile("wfi" ::: "memory");
    }
    int byte = PORT_UART_DATA & 0xFF;
    PORT_UART_INTERRUPT = 2;
    PORT_NVIC(0xE000E280u) = PORT_NVIC_BIT;
    return byte;
}

static inline void port_write(uint8_t byte)
{
    while (PORT_UART_STATE & 1) { }
    PORT_UART_DATA = byte;
}

static inline void port_flush(void)
{
    while (PORT_UART_STATE & 1) { }
}

static inline void port_ticks_start(void)
{
    port_flush();
    PORT_NVIC(0xE000E180u) = PORT_NVIC_BIT;             /* the line's interrupt off, SysTick's on */
    port_wraps = 0;
    PORT_SYST_RVR = 0xFFFFFF;
    PORT_SYST_CVR = 0;
    __asm volatile("dsb\n\tisb\n\tcpsie i" ::: "memory");       /* the line's interrupt is off before any may come */
    PORT_SYST_CSR = 7;
}

static inline uint32_t port_ticks_stop(void)
{
    uint32_t left, wraps;
    do {
        wraps = port_wraps;
        left = PORT_SYST_CVR;
    } while (wraps != port_wraps);
    PORT_SYST_CSR = 0;
    __asm volatile("cpsid i" ::: "memory");
    PORT_NVIC(0xE000E100u) = PORT_NVIC_BIT;
    return (wraps << 24) + (0xFFFFFF - left);
}

#endif
