#include "blocks.h"

#include <assert.h>
#include <string.h>

// ---- blocks of 32 ---------------------------------------------------------------------------------------------------------------

static void put_nibbles(const uint8_t q[32], uint8_t qs[16]) {
  for (int i = 0; i < 16; i++) qs[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

static void put_fifth_bits(const uint8_t q[32], uint8_t qh[4]) {
  for (int c = 0; c < 32; c++) qh[c / 8] = (uint8_t)(qh[c / 8] | (q[c] >> 4) << (c % 8));
}

void nb_block_put_32(nb_type type, const nb_codes32 *codes, void *block) {
  memset(block, 0, nb_type_get(type)->block_bytes);
  switch (type) {
    case NB_TYPE_Q4_0: {
      nb_block_q4_0 *b = block;
      b->d = codes->d;
      put_nibbles(codes->q, b->qs);
      return;
    }
    case NB_TYPE_Q4_1: {
      nb_block_q4_1 *b = block;
      b->d = codes->d;
      b->m = codes->m;
      put_nibbles(codes->q, b->qs);
      return;
    }
    case NB_TYPE_Q5_0: {
      nb_block_q5_0 *b = block;
      b->d = codes->d;
      put_nibbles(codes->q, b->qs);
      put_fifth_bits(codes->q, b->qh);
      return;
    }
    case NB_TYPE_Q5_1: {
      nb_block_q5_1 *b = block;
      b->d = codes->d;
      b->m = codes->m;
      put_nibbles(codes->q, b->qs);
      put_fifth_bits(codes->q, b->qh);
      return;
    }
    case NB_TYPE_Q8_0: {
      nb_block_q8_0 *b = block;
      b->d = codes->d;
      for (int c = 0; c < 32; c++) b->qs[c] = (int8_t)(codes->q[c] - 127);
      return;
    }
    case NB_TYPE_IQ4_NL: {
      nb_block_iq4_nl *b = block;
      b->d = codes->d;
      put_nibbles(codes->q, b->qs);
      return;
    }
    default: assert(!"a type with blocks of 32");
  }
}

// ---- blocks of 256 --------------------------------------------------------------------------------------------------------------

// 2 bits a weight: 32 bytes for each 128 weights.
static void put_pairs(const uint8_t q[256], uint8_t qs[64]) {
  for (int c = 0; c < 256; c++) qs[c / 128 * 32 + c % 32] = (uint8_t)(qs[c / 128 * 32 + c % 32] | (q[c] & 3) << (c % 128 / 32 * 2));
}

// 4 bits a weight: 32 bytes for each 64 weights.
static void put_nibbles_k4(const uint8_t q[256], uint8_t qs[128]) {
  for (int c = 0; c < 256; c++) qs[c / 64 * 32 + c % 32] = (uint8_t)(qs[c / 64 * 32 + c % 32] | (q[c] & 15) << (c % 64 / 32 * 4));
}

static void put_scales_k4(const nb_codes256 *codes, uint8_t s[12]) {
  for (int j = 0; j < 8; j++) {
    const int scale = codes->scale[j], min = codes->min[j];
    if (j < 4) {
      s[j] = (uint8_t)(s[j] | scale);
      s[j + 4] = (uint8_t)(s[j + 4] | min);
    } else {
      s[j + 4] = (uint8_t)((scale & 15) | (min & 15) << 4);
      s[j - 4] = (uint8_t)(s[j - 4] | (scale >> 4) << 6);
      s[j] = (uint8_t)(s[j] | (min >> 4) << 6);
    }
  }
}

static void put_q2_k(const nb_codes256 *codes, nb_block_q2_k *b) {
  b->d = codes->d;
  b->dmin = codes->dmin;
  for (int j = 0; j < 16; j++) b->scales[j] = (uint8_t)(codes->scale[j] | codes->min[j] << 4);
  put_pairs(codes->q, b->qs);
}

static void put_q3_k(const nb_codes256 *codes, nb_block_q3_k *b) {
  b->d = codes->d;
  for (int j = 0; j < 16; j++) {
    const int scale = codes->scale[j] + 32;
    b->scales[j % 8] = (uint8_t)(b->scales[j % 8] | (scale & 15) << (j / 8 * 4));
    b->scales[8 + j % 4] = (uint8_t)(b->scales[8 + j % 4] | (scale >> 4) << (j / 4 * 2));
  }
  put_pairs(codes->q, b->qs);
  for (int c = 0; c < 256; c++) b->hmask[c % 32] = (uint8_t)(b->hmask[c % 32] | (codes->q[c] >> 2) << (c / 32));
}

static void put_q4_k(const nb_codes256 *codes, nb_block_q4_k *b) {
  b->d = codes->d;
  b->dmin = codes->dmin;
  put_scales_k4(codes, b->scales);
  put_nibbles_k4(codes->q, b->qs);
}

static void put_q5_k(const nb_codes256 *codes, nb_block_q5_k *b) {
  b->d = codes->d;
  b->dmin = codes->dmin;
  put_scales_k4(codes, b->scales);
  put_nibbles_k4(codes->q, b->qs);
  for (int c = 0; c < 256; c++) b->qh[c % 32] = (uint8_t)(b->qh[c % 32] | (codes->q[c] >> 4) << (c / 32));
}

static void put_q6_k(const nb_codes256 *codes, nb_block_q6_k *b) {
  b->d = codes->d;
  for (int j = 0; j < 16; j++) b->scales[j] = (int8_t)codes->scale[j];
  for (int c = 0; c < 256; c++) {
    const int half = c / 128, part = c % 128 / 32, i = c % 32, low = half * 64 + part % 2 * 32 + i, high = half * 32 + i;
    b->ql[low] = (uint8_t)(b->ql[low] | (codes->q[c] & 15) << (part / 2 * 4));
    b->qh[high] = (uint8_t)(b->qh[high] | (codes->q[c] >> 4) << (part * 2));
  }
}

static void put_iq4_xs(const nb_codes256 *codes, nb_block_iq4_xs *b) {
  b->d = codes->d;
  for (int j = 0; j < 8; j++) {
    const int scale = codes->scale[j] + 32;
    b->scales_l[j / 2] = (uint8_t)(b->scales_l[j / 2] | (scale & 15) << (j % 2 * 4));
    b->scales_h = (uint16_t)(b->scales_h | (scale >> 4) << (2 * j));
  }
  for (int c = 0; c < 256; c++) b->qs[c / 32 * 16 + c % 16] = (uint8_t)(b->qs[c / 32 * 16 + c % 16] | codes->q[c] << (c % 32 / 16 * 4));
}

void nb_block_put_256(nb_type type, const nb_codes256 *codes, void *block) {
  memset(block, 0, nb_type_get(type)->block_bytes);
  switch (type) {
    case NB_TYPE_Q2_K: put_q2_k(codes, block); return;
    case NB_TYPE_Q3_K: put_q3_k(codes, block); return;
    case NB_TYPE_Q4_K: put_q4_k(codes, block); return;
    case NB_TYPE_Q5_K: put_q5_k(codes, block); return;
    case NB_TYPE_Q6_K: put_q6_k(codes, block); return;
    case NB_TYPE_IQ4_XS: put_iq4_xs(codes, block); return;
    default: assert(!"a type with blocks of 256");
  }
}
