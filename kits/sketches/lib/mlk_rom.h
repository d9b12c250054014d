/* mlk_rom.h -- constants that stay in flash.
 *
 * An AVR has two address spaces: a constant without PROGMEM is copied to RAM at start, and one with it must be read by its own
 * instruction. Everywhere else flash is ordinary memory, and these macros vanish.
 */
#ifndef MLK_ROM_H
#define MLK_ROM_H

#include <stdint.h>

#ifdef __AVR__
#include <avr/pgmspace.h>
#define MLK_ROM PROGMEM
#define mlk_rom_i8(p) ((int8_t)pgm_read_byte(p))
#define mlk_rom_u8(p) ((uint8_t)pgm_read_byte(p))
#define mlk_rom_i16(p) ((int16_t)pgm_read_word(p))
#define mlk_rom_i32(p) ((int32_t)pgm_read_dword(p))
#else
#define MLK_ROM
#define mlk_rom_i8(p) (*(const int8_t *)(p))
#define mlk_rom_u8(p) (*(const uint8_t *)(p))
#define mlk_rom_i16(p) (*(const int16_t *)(p))
#define mlk_rom_i32(p) (*(const int32_t *)(p))
#endif

#endif
