#include "encode.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "../kernels/unpack.h"
#include "encode_256.h"
#include "encode_32.h"
#include "search.h"

static uint16_t bf16_bits(float f) {
  const uint32_t bits = nb_f32_bits(f), rounded = bits + 0x7fffu + (bits >> 16 & 1u);
  return (uint16_t)((rounded & 0x7fffffffu) >= 0x7f800000u ? (bits >> 16 & 0x8000u) | 0x7f7fu : rounded >> 16);
}

// Twice the mean of the squares, in double: no finite float squared leaves its range.
static double spread_of(const float *x, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
  return n ? 2 * sum / (double)n : 0;
}

// The weights of a block, brought to a mean of about 1. None is 0: what no sample touched still keeps something like its value, as far as that costs
// the others nothing to speak of.
static void block_weights(const float *x, const float *importance, bool large, double spread, size_t n, float *w) {
  double wanted[256], sum = 0;
  for (size_t i = 0; i < n; i++) {
    wanted[i] = importance ? (double)importance[i] : 1;
    if (large) wanted[i] *= sqrt(spread + (double)x[i] * (double)x[i]);
    sum += wanted[i];
  }
  for (size_t i = 0; i < n; i++) w[i] = sum > 0 ? (float)(wanted[i] * ((double)n / sum)) + 9.31322575e-10f /* 2^-30 */ : 1;
}

// What a search minimises, by the decoder's own arithmetic.
static double block_error(nb_type type, size_t n, const void *block, const float *x, const float *w) {
  double error = 0;
  if (n == 32) {
    nb_ints32 u;
    nb_unpack32_of(type)(block, &u);
    for (size_t i = 0; i < n; i++) {
      const double rest = (double)x[i] - (double)((float)u.q[i] * u.d + u.m);
      error += (double)w[i] * rest * rest;
    }
    return error;
  }
  nb_ints256 u;
  nb_unpack256_of(type)(block, &u);
  for (size_t i = 0; i < n; i++) {
    const double rest = (double)x[i] - (double)(u.d * (float)u.scale[i / 16] * (float)u.q[i] - u.dmin * (float)u.min[i / 16]);
    error += (double)w[i] * rest * rest;
  }
  return error;
}

static void encode_block(nb_type type, bool search, size_t n, const float *x, const float *w, void *block) {
  if (n == 32) nb_encode_32(type, search, x, w, block);
  else nb_encode_256(type, search, x, w, block);
}

void nb_encode_row(nb_type type, nb_encode_method method, const float *x, const float *importance, size_t cols, void *out) {
  if (type == NB_TYPE_F32) {
    memcpy(out, x, cols * sizeof *x);
    return;
  }
  if (type == NB_TYPE_F16 || type == NB_TYPE_BF16) {
    for (size_t i = 0; i < cols; i++) ((uint16_t *)out)[i] = type == NB_TYPE_F16 ? nb_half_bits(x[i]) : bf16_bits(x[i]);
    return;
  }
  const nb_type_info *info = nb_type_get(type);
  const size_t n = info->block_size;
  assert((n == 32 || n == 256) && cols % n == 0);
  const bool large = method == NB_ENCODE_SEARCH_LARGE;
  const double spread = large ? spread_of(x, cols) : 0;
  uint8_t *to = out;
  for (size_t c = 0; c < cols; c += n, to += info->block_bytes) {
    float v[256], w[256];
    for (size_t i = 0; i < n; i++) v[i] = x[c + i] > NB_LARGEST ? NB_LARGEST : x[c + i] < -NB_LARGEST ? -NB_LARGEST : x[c + i];
    if (method == NB_ENCODE_RTN) {
      encode_block(type, false, n, v, NULL, to);
      continue;
    }
    block_weights(x + c, importance ? importance + c : NULL, large, spread, n, w);
    encode_block(type, true, n, v, w, to);
    // A search is no proof: where the plain way happens to be better, it stands.
    uint16_t plain[128];
    assert(info->block_bytes <= sizeof plain);
    encode_block(type, false, n, v, w, plain);
    if (block_error(type, n, plain, v, w) < block_error(type, n, to, v, w)) memcpy(to, plain, info->block_bytes);
  }
}
