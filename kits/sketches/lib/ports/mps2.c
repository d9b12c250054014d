/* Start of a sketch on an MPS2 or MPS3 board: vectors, memory, setup(), loop(). */
#include <stddef.h>
#include <stdint.h>

extern uint32_t mlk_stack_top, mlk_data_load, mlk_data_start, mlk_data_end, mlk_bss_start, mlk_bss_end;
void setup(void);
void loop(void);

void Reset_Handler(void);
static void halt(void) { for (;;) { } }
void SysTick_Handler(void) __attribute__((weak, alias("halt")));

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    &mlk_stack_top, Reset_Handler, halt, halt, halt, halt, halt, 0, 0, 0, 0, halt, halt, 0, halt, SysTick_Handler,
};

void Reset_Handler(void)
{
    const uint32_t *from = &mlk_data_load;
    for (uint32_t *to = &mlk_data_start; to < &mlk_data_end;) *to++ = *from++;
    for (uint32_t *to = &mlk_bss_start; to < &mlk_bss_end;) *to++ = 0;
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;    /* CPACR: the floating-point unit on */
    __asm volatile("dsb\n\tisb" ::: "memory");
    setup();
    for (;;) loop();
}
