/* mlk_frame.h -- frames over a serial line: one text line each, checked by a CRC, found again after any noise.

       > command hex-payload crc LF        to the board      >I01F07F1D2C
       < command hex-payload crc LF        from the board    <I01057F00001234ABCD

   command: one character. payload: bytes as pairs of hex digits, the first of them a number that the answer repeats.
   crc: CRC-16 CCITT (polynomial 1021, start FFFF, not reflected) of the command and the payload's bytes, two bytes, high
   first. The start mark stands nowhere else, so it begins a frame wherever it comes; what is outside a frame is passed
   over. A frame that cannot be used is answered by < ! number code crc, with a code below; number is 0 where it is unknown.
   CR is passed over. kits/boardkit/protocol.py is the other end. */
#ifndef MLK_FRAME_H
#define MLK_FRAME_H

#include <stdint.h>

enum {
  MLK_FRAME_NONE = 0,    /* nothing yet */
  MLK_FRAME_READY = 1,   /* command, data[0..length) hold a frame */
  MLK_ERROR_CRC = 2,     /* also a frame that was cut off: at least its CRC is missing */
  MLK_ERROR_LONG = 3,    /* more payload than the board has room for */
  MLK_ERROR_TEXT = 4,    /* a character that is no hex digit, or half a byte */
  MLK_ERROR_COMMAND = 5, /* a command that this firmware does not know */
  MLK_ERROR_SIZE = 6     /* a payload of another size than the command takes */
};

typedef struct {
  uint8_t *data; /* room for capacity bytes: payload and CRC */
  uint16_t capacity, length;
  uint16_t crc;
  uint8_t mark, command, state, fault, high;
} mlk_frame;

static inline uint16_t mlk_crc16(uint16_t crc, uint8_t byte) {
  crc = (uint16_t)(crc ^ (uint16_t)((uint16_t)byte << 8));
  for (uint8_t i = 0; i < 8; i++) crc = (uint16_t)(crc & 0x8000 ? (uint16_t)(crc << 1) ^ 0x1021 : crc << 1);
  return crc;
}

/* mark: '>' on a board, '<' on a host. data is where payloads arrive, two bytes larger than the longest. */
static inline void mlk_frame_begin(mlk_frame *f, uint8_t mark, uint8_t *data, uint16_t capacity) {
  f->data = data, f->capacity = capacity, f->mark = mark, f->state = 0, f->length = 0;
}

/* One character of the line -> MLK_FRAME_NONE, MLK_FRAME_READY or an error, at the end of a frame. */
static inline uint8_t mlk_frame_push(mlk_frame *f, uint8_t c) {
  enum { OUTSIDE, COMMAND, FIRST, SECOND }; /* HIGH and LOW are macros of Arduino's */
  if (c == f->mark) {
    f->state = COMMAND, f->length = 0, f->fault = 0, f->crc = 0xFFFF;
    return MLK_FRAME_NONE;
  }
  if (f->state == OUTSIDE || c == '\r') return MLK_FRAME_NONE;
  if (c == '\n') {
    const uint8_t state = f->state;
    f->state = OUTSIDE;
    if (state == COMMAND) return MLK_ERROR_TEXT;
    if (f->fault) return f->fault;
    if (state == SECOND) return MLK_ERROR_TEXT;
    if (f->length < 2 || f->crc) return MLK_ERROR_CRC; /* the CRC of bytes with their own CRC behind them is 0 */
    f->length = (uint16_t)(f->length - 2);
    return MLK_FRAME_READY;
  }
  if (f->state == COMMAND) {
    f->command = c, f->crc = mlk_crc16(f->crc, c), f->state = FIRST;
    return MLK_FRAME_NONE;
  }
  uint8_t digit;
  if (c >= '0' && c <= '9')
    digit = (uint8_t)(c - '0');
  else if (c >= 'A' && c <= 'F')
    digit = (uint8_t)(c - 'A' + 10);
  else if (c >= 'a' && c <= 'f')
    digit = (uint8_t)(c - 'a' + 10);
  else {
    if (!f->fault) f->fault = MLK_ERROR_TEXT;
    return MLK_FRAME_NONE;
  }
  if (f->fault) return MLK_FRAME_NONE;
  if (f->state == FIRST) {
    f->high = (uint8_t)(digit << 4), f->state = SECOND;
    return MLK_FRAME_NONE;
  }
  f->state = FIRST;
  if (f->length == f->capacity) {
    f->fault = MLK_ERROR_LONG;
    return MLK_FRAME_NONE;
  }
  digit = (uint8_t)(f->high | digit);
  f->data[f->length++] = digit;
  f->crc = mlk_crc16(f->crc, digit);
  return MLK_FRAME_NONE;
}

/* Writing. put sends one character. */
typedef void (*mlk_put)(uint8_t);

static inline void mlk_hex(mlk_put put, uint8_t byte) {
  const uint8_t high = byte >> 4, low = byte & 15;
  put((uint8_t)(high + (high < 10 ? '0' : 'A' - 10)));
  put((uint8_t)(low + (low < 10 ? '0' : 'A' - 10)));
}

static inline uint16_t mlk_frame_open(mlk_put put, uint8_t mark, uint8_t command) {
  put(mark);
  put(command);
  return mlk_crc16(0xFFFF, command);
}

static inline uint16_t mlk_frame_byte(mlk_put put, uint16_t crc, uint8_t byte) {
  mlk_hex(put, byte);
  return mlk_crc16(crc, byte);
}

static inline uint16_t mlk_frame_u32(mlk_put put, uint16_t crc, uint32_t word) {
  for (uint8_t i = 4; i--;) crc = mlk_frame_byte(put, crc, (uint8_t)(word >> (8 * i)));
  return crc;
}

static inline void mlk_frame_close(mlk_put put, uint16_t crc) {
  mlk_hex(put, (uint8_t)(crc >> 8));
  mlk_hex(put, (uint8_t)crc);
  put('\n');
}

static inline void mlk_frame_error(mlk_put put, uint8_t number, uint8_t code) {
  uint16_t crc = mlk_frame_open(put, '<', '!');
  crc = mlk_frame_byte(put, crc, number);
  crc = mlk_frame_byte(put, crc, code);
  mlk_frame_close(put, crc);
}

#endif
