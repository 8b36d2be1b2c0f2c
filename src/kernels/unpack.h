// Blocks to integers: the one scalar statement of where each format keeps its bits. Dequantization, the scalar dot products and the
// tests build on these; the SIMD twins decode on their own and are compared with them.
//
// Formats are those of GGUF files (ggml's block definitions).
#ifndef NB_KERNELS_UNPACK_H
#define NB_KERNELS_UNPACK_H

#include <stdbool.h>
#include <stdint.h>

#include "../base/half.h"
#include "../format/types.h"

// The 16 values of IQ4_NL and IQ4_XS.
#define NB_IQ4_TABLE {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// ---- blocks of 32: w = d * q + m, with m = 0 for the formats without one ------------------------------------------------------

typedef struct nb_ints32 {
  int8_t q[32];
  float d, m;
} nb_ints32;

typedef void nb_unpack32_fn(const void *block, nb_ints32 *out);

static inline void nb_unpack_nibbles(const uint8_t qs[16], int8_t q[32]) {
  for (int i = 0; i < 16; i++) {
    q[i] = (int8_t)(qs[i] & 15);
    q[i + 16] = (int8_t)(qs[i] >> 4);
  }
}

// Fifth bit of the weight c at bit c of the 32-bit number qh.
static inline void nb_unpack_fifth_bits(const uint8_t qh[4], int8_t q[32]) {
  for (int c = 0; c < 32; c++) q[c] = (int8_t)(q[c] | (qh[c / 8] >> (c % 8) & 1) << 4);
}

static inline void nb_unpack_q4_0(const void *block, nb_ints32 *out) {
  const nb_block_q4_0 *b = block;
  out->d = nb_f16_to_f32(b->d);
  out->m = 0;
  nb_unpack_nibbles(b->qs, out->q);
  for (int c = 0; c < 32; c++) out->q[c] = (int8_t)(out->q[c] - 8);
}

static inline void nb_unpack_q4_1(const void *block, nb_ints32 *out) {
  const nb_block_q4_1 *b = block;
  out->d = nb_f16_to_f32(b->d);
  out->m = nb_f16_to_f32(b->m);
  nb_unpack_nibbles(b->qs, out->q);
}

static inline void nb_unpack_q5_0(const void *block, nb_ints32 *out) {
  const nb_block_q5_0 *b = block;
  out->d = nb_f16_to_f32(b->d);
  out->m = 0;
  nb_unpack_nibbles(b->qs, out->q);
  nb_unpack_fifth_bits(b->qh, out->q);
  for (int c = 0; c < 32; c++) out->q[c] = (int8_t)(out->q[c] - 16);
}

static inline void nb_unpack_q5_1(const void *block, nb_ints32 *out) {
  const nb_block_q5_1 *b = block;
  out->d = nb_f16_to_f32(b->d);
  out->m = nb_f16_to_f32(b->m);
  nb_unpack_nibbles(b->qs, out->q);
  nb_unpack_fifth_bits(b->qh, out->q);
}

static inline void nb_unpack_q8_0(const void *block, nb_ints32 *out) {
  const nb_block_q8_0 *b = block;
  out->d = nb_f16_to_f32(b->d);
  out->m = 0;
  for (int c = 0; c < 32; c++) out->q[c] = b->qs[c];
}

static inline void nb_unpack_iq4_nl(const void *block, nb_ints32 *out) {
  static const int8_t table[16] = NB_IQ4_TABLE;
  const nb_block_iq4_nl *b = block;
  out->d = nb_f16_to_f32(b->d);
  out->m = 0;
  nb_unpack_nibbles(b->qs, out->q);
  for (int c = 0; c < 32; c++) out->q[c] = table[out->q[c]];
}

// ---- blocks of 256: w = (d * scale) * q - dmin * min, scale and min for each 16 weights ---------------------------------------

typedef struct nb_ints256 {
  int8_t q[256];
  int16_t scale[16], min[16];  // min is set, and dmin is not 0, only for Q2_K, Q4_K, Q5_K
  float d, dmin;
} nb_ints256;

typedef void nb_unpack256_fn(const void *block, nb_ints256 *out);

static inline void nb_unpack_no_mins(nb_ints256 *out) {
  out->dmin = 0;
  for (int j = 0; j < 16; j++) out->min[j] = 0;
}

static inline void nb_unpack_q2_k(const void *block, nb_ints256 *out) {
  const nb_block_q2_k *b = block;
  out->d = nb_f16_to_f32(b->d);
  out->dmin = nb_f16_to_f32(b->dmin);
  for (int j = 0; j < 16; j++) {
    out->scale[j] = b->scales[j] & 15;
    out->min[j] = b->scales[j] >> 4;
  }
  for (int c = 0; c < 256; c++) out->q[c] = (int8_t)(b->qs[c / 128 * 32 + c % 32] >> (c % 128 / 32 * 2) & 3);
}

static inline void nb_unpack_q3_k(const void *block, nb_ints256 *out) {
  const nb_block_q3_k *b = block;
  out->d = nb_f16_to_f32(b->d);
  nb_unpack_no_mins(out);
  for (int j = 0; j < 16; j++) {
    const int low = b->scales[j % 8] >> (j / 8 * 4) & 15, high = b->scales[8 + j % 4] >> (j / 4 * 2) & 3;
    out->scale[j] = (int16_t)((low | high << 4) - 32);
  }
  for (int c = 0; c < 256; c++) {
    const int low = b->qs[c / 128 * 32 + c % 32] >> (c % 128 / 32 * 2) & 3, high = b->hmask[c % 32] >> (c / 32) & 1;
    out->q[c] = (int8_t)((low | high << 2) - 4);
  }
}

// The 8 scales and 8 minimums of 6 bits that Q4_K and Q5_K keep in 12 bytes: the first 4 of each in the low 6 bits of bytes 0..3
// and 4..7; of the others the low nibbles in bytes 8..11 and the upper 2 bits on top of bytes 0..7.
static inline void nb_unpack_scales_k4(const uint8_t s[12], nb_ints256 *out) {
  for (int j = 0; j < 8; j++) {
    const int scale = j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
    const int min = j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;
    out->scale[2 * j] = out->scale[2 * j + 1] = (int16_t)scale;
    out->min[2 * j] = out->min[2 * j + 1] = (int16_t)min;
  }
}

static inline void nb_unpack_q4_k(const void *block, nb_ints256 *out) {
  const nb_block_q4_k *b = block;
  out->d = nb_f16_to_f32(b->d);
  out->dmin = nb_f16_to_f32(b->dmin);
  nb_unpack_scales_k4(b->scales, out);
  for (int c = 0; c < 256; c++) out->q[c] = (int8_t)(b->qs[c / 64 * 32 + c % 32] >> (c % 64 / 32 * 4) & 15);
}

static inline void nb_unpack_q5_k(const void *block, nb_ints256 *out) {
  const nb_block_q5_k *b = block;
  out->d = nb_f16_to_f32(b->d);
  out->dmin = nb_f16_to_f32(b->dmin);
  nb_unpack_scales_k4(b->scales, out);
  for (int c = 0; c < 256; c++) {
    const int low = b->qs[c / 64 * 32 + c % 32] >> (c % 64 / 32 * 4) & 15, high = b->qh[c % 32] >> (c / 32) & 1;
    out->q[c] = (int8_t)(low | high << 4);
  }
}

static inline void nb_unpack_q6_k(const void *block, nb_ints256 *out) {
  const nb_block_q6_k *b = block;
  out->d = nb_f16_to_f32(b->d);
  nb_unpack_no_mins(out);
  for (int j = 0; j < 16; j++) out->scale[j] = b->scales[j];
  for (int c = 0; c < 256; c++) {
    const int half = c / 128, part = c % 128 / 32, i = c % 32;
    const int low = b->ql[half * 64 + part % 2 * 32 + i] >> (part / 2 * 4) & 15, high = b->qh[half * 32 + i] >> (part * 2) & 3;
    out->q[c] = (int8_t)((low | high << 4) - 32);
  }
}

static inline void nb_unpack_iq4_xs(const void *block, nb_ints256 *out) {
  static const int8_t table[16] = NB_IQ4_TABLE;
  const nb_block_iq4_xs *b = block;
  out->d = nb_f16_to_f32(b->d);
  nb_unpack_no_mins(out);
  for (int j = 0; j < 8; j++) {
    const int low = b->scales_l[j / 2] >> (j % 2 * 4) & 15, high = b->scales_h >> (2 * j) & 3;
    out->scale[2 * j] = out->scale[2 * j + 1] = (int16_t)((low | high << 4) - 32);
  }
  for (int c = 0; c < 256; c++) out->q[c] = table[b->qs[c / 32 * 16 + c % 16] >> (c % 32 / 16 * 4) & 15];
}

// ---- tables by type -----------------------------------------------------------------------------------------------------------

// NULL for types without blocks of this size.
static inline nb_unpack32_fn *nb_unpack32_of(nb_type type) {
  switch (type) {
    case NB_TYPE_Q4_0: return nb_unpack_q4_0;
    case NB_TYPE_Q4_1: return nb_unpack_q4_1;
    case NB_TYPE_Q5_0: return nb_unpack_q5_0;
    case NB_TYPE_Q5_1: return nb_unpack_q5_1;
    case NB_TYPE_Q8_0: return nb_unpack_q8_0;
    case NB_TYPE_IQ4_NL: return nb_unpack_iq4_nl;
    default: return 0;
  }
}

static inline nb_unpack256_fn *nb_unpack256_of(nb_type type) {
  switch (type) {
    case NB_TYPE_Q2_K: return nb_unpack_q2_k;
    case NB_TYPE_Q3_K: return nb_unpack_q3_k;
    case NB_TYPE_Q4_K: return nb_unpack_q4_k;
    case NB_TYPE_Q5_K: return nb_unpack_q5_k;
    case NB_TYPE_Q6_K: return nb_unpack_q6_k;
    case NB_TYPE_IQ4_XS: return nb_unpack_iq4_xs;
    default: return 0;
  }
}

static inline bool nb_has_mins(nb_type type) {
  return type == NB_TYPE_Q4_1 || type == NB_TYPE_Q5_1 || type == NB_TYPE_Q2_K || type == NB_TYPE_Q4_K || type == NB_TYPE_Q5_K;
}

#endif
