// Blocks of the file to the layout that the kernels read fastest, and back. pack.h describes it.
#include "pack.h"

#include <assert.h>
#include <string.h>

#include "unpack.h"

#define NIBBLES 0x0f0f0f0fu
#define ONES 0x01010101u
#define TWOS 0x03030303u

static uint32_t load32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static void store32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }

// Word g of row r in a part that keeps one word a row.
static uint8_t *word_at(uint8_t *part, size_t g, size_t r) { return part + 32 * g + 4 * r; }

static uint32_t word_of(const uint8_t *part, size_t g, size_t r) { return load32(part + 32 * g + 4 * r); }

// ---- halves ---------------------------------------------------------------------------------------------------------------------

#define HALF_128 0x5800u   // 128 as a half
#define HALF_NORMAL 0x400u // the smallest half that is not subnormal
#define TEN_EXPONENTS 0x2800u

static uint16_t below_128(uint16_t h) {
  const uint32_t sign = h & 0x8000u, magnitude = h & 0x7fffu;
  if (magnitude == 0) return h;
  if (magnitude >= HALF_NORMAL) return (uint16_t)(h + TEN_EXPONENTS);
  uint32_t top = 9;  // highest bit
  while (!(magnitude >> top)) top--;
  return (uint16_t)(sign | (top + 1) << 10 | (magnitude << (10 - top) & 0x3ffu));
}

static uint16_t from_below_128(uint16_t code) { return nb_f32_to_f16(nb_below_128_to_f32(code)); }

static bool is_below_128(uint16_t h) { return (h & 0x7fffu) < HALF_128; }

// ---- the parts, one row at a time: put_ writes the packed form, take_ the file's ----------------------------------------------

static uint16_t load16(const void *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static void store16(void *p, uint16_t v) { memcpy(p, &v, 2); }

static void put_half(uint8_t *to, const void *half, size_t r) { store16(to + 2 * r, below_128(load16(half))); }
static void take_half(void *half, const uint8_t *from, size_t r) { store16(half, from_below_128(load16(from + 2 * r))); }

// Nibbles that the file pairs as the layout does.
static void put_nibbles(uint8_t *to, const uint8_t qs[16], size_t r) {
  for (size_t g = 0; g < 4; g++) memcpy(word_at(to, g, r), qs + 4 * g, 4);
}

static void take_nibbles(uint8_t qs[16], const uint8_t *from, size_t r) {
  for (size_t g = 0; g < 4; g++) store32(qs + 4 * g, word_of(from, g, r));
}

// Q4_K and Q5_K pair columns 32 apart: the low halves of 32 bytes make one part, the high ones another, `apart` bytes from it.
static void put_nibbles_k(uint8_t *to, size_t apart, const uint8_t qs[32], size_t r) {
  for (size_t g = 0; g < 4; g++) {
    const uint32_t a = load32(qs + 4 * g), b = load32(qs + 16 + 4 * g);
    store32(word_at(to, g, r), (a & NIBBLES) | (b & NIBBLES) << 4);
    store32(word_at(to + apart, g, r), (a >> 4 & NIBBLES) | (b & ~NIBBLES));
  }
}

static void take_nibbles_k(uint8_t qs[32], const uint8_t *from, size_t apart, size_t r) {
  for (size_t g = 0; g < 4; g++) {
    const uint32_t low = word_of(from, g, r), high = word_of(from + apart, g, r);
    store32(qs + 4 * g, (low & NIBBLES) | (high & NIBBLES) << 4);
    store32(qs + 16 + 4 * g, (low >> 4 & NIBBLES) | (high & ~NIBBLES));
  }
}

// Fifth bits of the blocks of 32: bit c of the file's 32 belongs to column c.
static void put_fifths(uint8_t *to, const uint8_t qh[4], size_t r) {
  const uint32_t bits = load32(qh);
  uint32_t word = 0;
  for (int g = 0; g < 8; g++) word |= ((bits >> (4 * g) & 15) * 0x00204081u & ONES) << g;  // 4 bits to the lowest of 4 bytes
  store32(word_at(to, 0, r), word);
}

static void take_fifths(uint8_t qh[4], const uint8_t *from, size_t r) {
  const uint32_t word = word_of(from, 0, r);
  uint32_t bits = 0;
  for (int g = 0; g < 8; g++) bits |= ((word >> g & ONES) * 0x10204080u >> 28) << (4 * g);
  store32(qh, bits);
}

// Fifth bits of Q5_K: bit j of the file's byte c belongs to column c of the j-th 32.
static void put_fifths_k(uint8_t *to, size_t apart, const uint8_t qh[32], size_t r) {
  for (size_t j = 0; j < 8; j++) {
    uint32_t word = 0;
    for (size_t g = 0; g < 8; g++) word |= (load32(qh + 4 * g) >> j & ONES) << g;
    store32(word_at(to + j * apart, 0, r), word);
  }
}

static void take_fifths_k(uint8_t qh[32], const uint8_t *from, size_t apart, size_t r) {
  for (size_t g = 0; g < 8; g++) {
    uint32_t word = 0;
    for (size_t j = 0; j < 8; j++) word |= (word_of(from + j * apart, 0, r) >> g & ONES) << j;
    store32(qh + 4 * g, word);
  }
}

static void put_bytes(uint8_t *to, const int8_t qs[32], size_t r) {
  for (size_t g = 0; g < 8; g++) store32(word_at(to, g, r), load32((const uint8_t *)qs + 4 * g) ^ 0x80808080u);
}

static void take_bytes(int8_t qs[32], const uint8_t *from, size_t r) {
  for (size_t g = 0; g < 8; g++) store32((uint8_t *)qs + 4 * g, word_of(from, g, r) ^ 0x80808080u);
}

// 6-bit weights of Q6_K. Word i (0..31) of each half of a block: its low nibbles, and two bits more in word i % 8 of qh.
static uint32_t q6_k_word(const nb_block_q6_k *b, size_t half, size_t i) {
  const uint32_t low = load32(b->ql + 64 * half + 4 * (i % 16)) >> (i / 16 * 4) & NIBBLES;
  return low | (load32(b->qh + 32 * half + 4 * (i % 8)) >> (i / 8 * 2) & TWOS) << 4;
}

static void put_weights6(uint8_t *to, const nb_block_q6_k *b, size_t r) {
  for (size_t p = 0; p < 16; p++, to += NB_X8_WEIGHTS6) {
    const size_t half = p / 8, first = p % 8 * 4;
    const uint32_t top = q6_k_word(b, half, first + 3);
    for (size_t g = 0; g < 3; g++) store32(word_at(to, g, r), q6_k_word(b, half, first + g) | (top >> (2 * g) & TWOS) << 6);
  }
}

static void take_weights6(nb_block_q6_k *b, const uint8_t *from, size_t r) {
  memset(b->ql, 0, sizeof b->ql);
  memset(b->qh, 0, sizeof b->qh);
  for (size_t p = 0; p < 16; p++, from += NB_X8_WEIGHTS6) {
    uint32_t word[4] = {0};
    for (size_t g = 0; g < 3; g++) {
      word[g] = word_of(from, g, r) & 0x3f3f3f3fu;
      word[3] |= (word_of(from, g, r) >> 6 & TWOS) << (2 * g);
    }
    for (size_t g = 0; g < 4; g++) {
      const size_t half = p / 8, i = p % 8 * 4 + g;
      uint8_t *ql = b->ql + 64 * half + 4 * (i % 16), *qh = b->qh + 32 * half + 4 * (i % 8);
      store32(ql, load32(ql) | (word[g] & NIBBLES) << (i / 16 * 4));
      store32(qh, load32(qh) | (word[g] >> 4 & TWOS) << (i / 8 * 2));
    }
  }
}

// 8 numbers of 6 bits of one row. The part must hold zeros before the first row is put.
static void put_sixes(uint8_t *to, const uint8_t x[8], size_t r) {
  for (size_t j = 0; j < 6; j++) to[8 * j + r] |= x[j];
  for (size_t j = 0; j < 6; j++) to[8 * j + r] |= (uint8_t)((x[6 + j % 2] >> (j / 2 * 2) & 3) << 6);
}

static void take_sixes(uint8_t x[8], const uint8_t *from, size_t r) {
  x[6] = x[7] = 0;
  for (size_t j = 0; j < 6; j++) {
    x[j] = from[8 * j + r] & 63;
    x[6 + j % 2] |= (uint8_t)(from[8 * j + r] >> 6 << (j / 2 * 2));
  }
}

// Scales and minimums of Q4_K and Q5_K; unpack.h tells how the file keeps them.
static void put_scales_k4(uint8_t *to, const uint8_t s[12], size_t r) {
  uint8_t scale[8], min[8];
  for (size_t j = 0; j < 4; j++) {
    scale[j] = s[j] & 63;
    min[j] = s[j + 4] & 63;
    scale[j + 4] = (uint8_t)((s[j + 8] & 15) | s[j] >> 6 << 4);
    min[j + 4] = (uint8_t)(s[j + 8] >> 4 | s[j + 4] >> 6 << 4);
  }
  put_sixes(to, scale, r);
  put_sixes(to + NB_X8_SIXES, min, r);
}

static void take_scales_k4(uint8_t s[12], const uint8_t *from, size_t r) {
  uint8_t scale[8], min[8];
  take_sixes(scale, from, r);
  take_sixes(min, from + NB_X8_SIXES, r);
  for (size_t j = 0; j < 4; j++) {
    s[j] = (uint8_t)(scale[j] | scale[j + 4] >> 4 << 6);
    s[j + 4] = (uint8_t)(min[j] | min[j + 4] >> 4 << 6);
    s[j + 8] = (uint8_t)((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
  }
}

static void put_scales_iq4_xs(uint8_t *to, const nb_block_iq4_xs *b, size_t r) {
  uint8_t scale[8];
  for (size_t j = 0; j < 8; j++) scale[j] = (uint8_t)((b->scales_l[j / 2] >> (j % 2 * 4) & 15) | (b->scales_h >> (2 * j) & 3) << 4);
  put_sixes(to, scale, r);
}

static void take_scales_iq4_xs(nb_block_iq4_xs *b, const uint8_t *from, size_t r) {
  uint8_t scale[8];
  take_sixes(scale, from, r);
  b->scales_h = 0;
  for (size_t j = 0; j < 8; j++) b->scales_h = (uint16_t)(b->scales_h | scale[j] >> 4 << (2 * j));
  for (size_t j = 0; j < 4; j++) b->scales_l[j] = (uint8_t)((scale[2 * j] & 15) | (scale[2 * j + 1] & 15) << 4);
}

// ---- whole blocks -------------------------------------------------------------------------------------------------------------

#define HALF_0 0
#define HALF_1 NB_X8_HALVES
#define HALF_2 (2 * NB_X8_HALVES)
#define NIBBLES_K5 (NB_X8_FIFTHS + NB_X8_NIBBLES)
#define PREFIX_K4 (HALF_2 + 2 * NB_X8_SIXES)

static bool halves_fit(nb_type type, const uint8_t *block) {
  const size_t d = type == NB_TYPE_Q6_K ? offsetof(nb_block_q6_k, d) : 0;
  return is_below_128(load16(block + d)) && (!nb_has_mins(type) || is_below_128(load16(block + 2)));
}

// Row r's block into a packed one.
static void put_block(nb_type type, uint8_t *to, const void *block, size_t r) {
  put_half(to, block, r);  // every type but Q6_K begins with d, and where it has a second half, that is next
  switch (type) {
    case NB_TYPE_Q4_0:
    case NB_TYPE_IQ4_NL: put_nibbles(to + HALF_1, ((const nb_block_q4_0 *)block)->qs, r); break;
    case NB_TYPE_Q4_1: {
      const nb_block_q4_1 *b = block;
      put_half(to + HALF_1, &b->m, r);
      put_nibbles(to + HALF_2, b->qs, r);
      break;
    }
    case NB_TYPE_Q5_0: {
      const nb_block_q5_0 *b = block;
      put_fifths(to + HALF_1, b->qh, r);
      put_nibbles(to + HALF_1 + NB_X8_FIFTHS, b->qs, r);
      break;
    }
    case NB_TYPE_Q5_1: {
      const nb_block_q5_1 *b = block;
      put_half(to + HALF_1, &b->m, r);
      put_fifths(to + HALF_2, b->qh, r);
      put_nibbles(to + HALF_2 + NB_X8_FIFTHS, b->qs, r);
      break;
    }
    case NB_TYPE_Q8_0: put_bytes(to + HALF_1, ((const nb_block_q8_0 *)block)->qs, r); break;
    case NB_TYPE_Q4_K: {
      const nb_block_q4_k *b = block;
      put_half(to + HALF_1, &b->dmin, r);
      put_scales_k4(to + HALF_2, b->scales, r);
      for (size_t k = 0; k < 4; k++) put_nibbles_k(to + PREFIX_K4 + 2 * k * NB_X8_NIBBLES, NB_X8_NIBBLES, b->qs + 32 * k, r);
      break;
    }
    case NB_TYPE_Q5_K: {
      const nb_block_q5_k *b = block;
      put_half(to + HALF_1, &b->dmin, r);
      put_scales_k4(to + HALF_2, b->scales, r);
      put_fifths_k(to + PREFIX_K4, NIBBLES_K5, b->qh, r);
      for (size_t k = 0; k < 4; k++) put_nibbles_k(to + PREFIX_K4 + NB_X8_FIFTHS + 2 * k * NIBBLES_K5, NIBBLES_K5, b->qs + 32 * k, r);
      break;
    }
    case NB_TYPE_IQ4_XS: {
      const nb_block_iq4_xs *b = block;
      put_scales_iq4_xs(to + HALF_1, b, r);
      for (size_t j = 0; j < 8; j++) put_nibbles(to + HALF_1 + NB_X8_SIXES + j * NB_X8_NIBBLES, b->qs + 16 * j, r);
      break;
    }
    case NB_TYPE_Q6_K: {
      const nb_block_q6_k *b = block;
      put_half(to, &b->d, r);
      for (size_t j = 0; j < 16; j++) to[HALF_1 + 8 * j + r] = (uint8_t)b->scales[j];
      put_weights6(to + HALF_1 + 128, b, r);
      break;
    }
    default: assert(!"a type with this layout");
  }
}

static void take_block(nb_type type, void *block, const uint8_t *from, size_t r) {
  take_half(block, from, r);
  switch (type) {
    case NB_TYPE_Q4_0:
    case NB_TYPE_IQ4_NL: take_nibbles(((nb_block_q4_0 *)block)->qs, from + HALF_1, r); break;
    case NB_TYPE_Q4_1: {
      nb_block_q4_1 *b = block;
      take_half(&b->m, from + HALF_1, r);
      take_nibbles(b->qs, from + HALF_2, r);
      break;
    }
    case NB_TYPE_Q5_0: {
      nb_block_q5_0 *b = block;
      take_fifths(b->qh, from + HALF_1, r);
      take_nibbles(b->qs, from + HALF_1 + NB_X8_FIFTHS, r);
      break;
    }
    case NB_TYPE_Q5_1: {
      nb_block_q5_1 *b = block;
      take_half(&b->m, from + HALF_1, r);
      take_fifths(b->qh, from + HALF_2, r);
      take_nibbles(b->qs, from + HALF_2 + NB_X8_FIFTHS, r);
      break;
    }
    case NB_TYPE_Q8_0: take_bytes(((nb_block_q8_0 *)block)->qs, from + HALF_1, r); break;
    case NB_TYPE_Q4_K: {
      nb_block_q4_k *b = block;
      take_half(&b->dmin, from + HALF_1, r);
      take_scales_k4(b->scales, from + HALF_2, r);
      for (size_t k = 0; k < 4; k++) take_nibbles_k(b->qs + 32 * k, from + PREFIX_K4 + 2 * k * NB_X8_NIBBLES, NB_X8_NIBBLES, r);
      break;
    }
    case NB_TYPE_Q5_K: {
      nb_block_q5_k *b = block;
      take_half(&b->dmin, from + HALF_1, r);
      take_scales_k4(b->scales, from + HALF_2, r);
      take_fifths_k(b->qh, from + PREFIX_K4, NIBBLES_K5, r);
      for (size_t k = 0; k < 4; k++) take_nibbles_k(b->qs + 32 * k, from + PREFIX_K4 + NB_X8_FIFTHS + 2 * k * NIBBLES_K5, NIBBLES_K5, r);
      break;
    }
    case NB_TYPE_IQ4_XS: {
      nb_block_iq4_xs *b = block;
      take_scales_iq4_xs(b, from + HALF_1, r);
      for (size_t j = 0; j < 8; j++) take_nibbles(b->qs + 16 * j, from + HALF_1 + NB_X8_SIXES + j * NB_X8_NIBBLES, r);
      break;
    }
    case NB_TYPE_Q6_K: {
      nb_block_q6_k *b = block;
      take_half(&b->d, from, r);
      for (size_t j = 0; j < 16; j++) b->scales[j] = (int8_t)from[HALF_1 + 8 * j + r];
      take_weights6(b, from + HALF_1 + 128, r);
      break;
    }
    default: assert(!"a type with this layout");
  }
}

// ---- rows of halves -------------------------------------------------------------------------------------------------------------

static bool pack_below_128(uint16_t *window, size_t cols, uint16_t *file) {
  const size_t n = NB_BELOW_128_ROWS * cols;
  uint32_t greatest = 0;
  for (size_t i = 0; i < n; i++) greatest = (window[i] & 0x7fffu) > greatest ? window[i] & 0x7fffu : greatest;
  if (!is_below_128((uint16_t)greatest)) return false;
  memcpy(file, window, n * sizeof *file);
  for (size_t row = 0; row < NB_BELOW_128_ROWS; row++) {
    const uint16_t *from = file + row * cols;
    for (size_t c0 = 0; c0 < cols; c0 += NB_BELOW_128_COLS) {
      uint16_t *to = window + nb_below_128_at(cols, row, c0);
      const size_t count = cols - c0 < NB_BELOW_128_COLS ? cols - c0 : NB_BELOW_128_COLS;
      uint16_t least = 0x7fff;
      for (size_t i = 0; i < count; i++) least = (from[c0 + i] & 0x7fff) < least ? from[c0 + i] & 0x7fff : least;
      if (least >= HALF_NORMAL) {
        for (size_t i = 0; i < count; i++) to[i] = (uint16_t)(from[c0 + i] + TEN_EXPONENTS);
      } else {
        for (size_t i = 0; i < count; i++) to[i] = below_128(from[c0 + i]);
      }
    }
  }
  return true;
}

// ---- the contract of kernels.h --------------------------------------------------------------------------------------------------

bool nb_x8_exists(nb_type type) {
  switch (type) {
    case NB_TYPE_Q4_0: case NB_TYPE_Q4_1: case NB_TYPE_Q5_0: case NB_TYPE_Q5_1: case NB_TYPE_Q8_0:
    case NB_TYPE_IQ4_NL: case NB_TYPE_Q4_K: case NB_TYPE_Q5_K: case NB_TYPE_Q6_K: case NB_TYPE_IQ4_XS: return true;
    default: return false;
  }
}

nb_layout nb_pack_layout(nb_type type, size_t rows, size_t cols) {
  if (rows < NB_X8_ROWS) return NB_LAYOUT_ROWS;
  if (type == NB_TYPE_F16) return NB_LAYOUT_F16_BELOW_128;
  return nb_x8_exists(type) && cols % nb_type_get(type)->block_size == 0 ? NB_LAYOUT_X8 : NB_LAYOUT_ROWS;
}

size_t nb_pack_group_rows(nb_layout layout) { return layout == NB_LAYOUT_X8 ? NB_X8_ROWS : layout == NB_LAYOUT_F16_BELOW_128 ? NB_BELOW_128_ROWS : 1; }

bool nb_pack_group(nb_type type, nb_layout layout, size_t row_bytes, uint8_t *window, uint8_t *scratch) {
  if (layout == NB_LAYOUT_ROWS) return true;
  if (layout == NB_LAYOUT_F16_BELOW_128) return pack_below_128((uint16_t *)window, row_bytes / 2, (uint16_t *)scratch);
  const size_t block_bytes = nb_type_get(type)->block_bytes;
  assert(nb_x8_exists(type) && layout == NB_LAYOUT_X8 && row_bytes % block_bytes == 0);
  for (size_t at = 0; at < row_bytes * NB_X8_ROWS; at += block_bytes) {
    if (!halves_fit(type, window + at)) return false;
  }
  memcpy(scratch, window, row_bytes * NB_X8_ROWS);
  memset(window, 0, row_bytes * NB_X8_ROWS);
  for (size_t at = 0; at < row_bytes; at += block_bytes) {
    for (size_t r = 0; r < NB_X8_ROWS; r++) put_block(type, window + at * NB_X8_ROWS, scratch + r * row_bytes + at, r);
  }
  return true;
}

void nb_unpack_group(nb_type type, nb_layout layout, size_t row_bytes, uint8_t *window, uint8_t *scratch) {
  if (layout == NB_LAYOUT_ROWS) return;
  memcpy(scratch, window, nb_pack_group_rows(layout) * row_bytes);
  if (layout == NB_LAYOUT_F16_BELOW_128) {
    const size_t cols = row_bytes / 2;
    for (size_t i = 0; i < NB_BELOW_128_ROWS * cols; i++) {
      ((uint16_t *)window)[i] = from_below_128(((const uint16_t *)scratch)[nb_below_128_at(cols, i / cols, i % cols)]);
    }
    return;
  }
  const size_t block_bytes = nb_type_get(type)->block_bytes;
  for (size_t at = 0; at < row_bytes; at += block_bytes) {
    for (size_t r = 0; r < NB_X8_ROWS; r++) take_block(type, window + r * row_bytes + at, scratch + at * NB_X8_ROWS, r);
  }
}

const uint8_t *nb_file_block(const nb_matrix *w, size_t row, size_t b, nb_block_buffer *buffer) {
  const size_t block_bytes = nb_type_get(w->type)->block_bytes;
  if (w->layout == NB_LAYOUT_ROWS || row >= w->rows / NB_X8_ROWS * NB_X8_ROWS) return w->data + row * w->row_bytes + b * block_bytes;
  const uint8_t *group = w->data + row / NB_X8_ROWS * NB_X8_ROWS * w->row_bytes;
  take_block(w->type, buffer->bytes, group + b * NB_X8_ROWS * block_bytes, row % NB_X8_ROWS);
  return buffer->bytes;
}
