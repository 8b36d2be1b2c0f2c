// The scale of one block of quantized activations, shared by the variants.
#ifndef NB_KERNELS_ACT_H
#define NB_KERNELS_ACT_H

#include <stdint.h>

#include "../base/half.h"

#define NB_ACT_ROUND 12582912.0f  // 1.5 * 2^23: adding it rounds to an integer, ties to even, and leaves it in the low bits
#define NB_ACT_ROUND_BITS 0x4b400000u
#define NB_ACT_MIN 0x03000000u    // bits of 2^-121: below it 127 / x would not be finite, and no product with it matters

// top: the bits of the greatest magnitude in the block. Sets *d, returns what x is multiplied with. 0 means that all q are 0: a
// block of (almost) zeros, d = 0, or one with an infinity or a NaN, d = NaN, which so shows in every product.
static inline float nb_act_scale(uint32_t top, float *d) {
  if (top < NB_ACT_MIN || top >= 0x7f800000u) {
    *d = top < NB_ACT_MIN ? 0 : nb_bits_f32(0x7fc00000u);
    return 0;
  }
  *d = nb_bits_f32(top) / 127.0f;
  return 127.0f / nb_bits_f32(top);
}

#endif
