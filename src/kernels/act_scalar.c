// Quantized activations: the specification. The greatest magnitude is taken over the bits without sign, whose order is that of the
// magnitudes with infinity and NaN on top, so it does not depend on the order of comparison.
#include <assert.h>

#include "../base/half.h"
#include "act.h"
#include "variants.h"

void nb_quantize_act_scalar(nb_act *a, const float *x) {
  assert(a->kind == NB_ACT_Q8_32 || a->kind == NB_ACT_Q8_256);
  const size_t block = a->kind == NB_ACT_Q8_32 ? 32 : 256, blocks = a->n * (a->cols / block);
  for (size_t b = 0; b < blocks; b++, x += block) {
    uint32_t top = 0;
    for (size_t c = 0; c < block; c++) {
      const uint32_t bits = nb_f32_bits(x[c]) & 0x7fffffffu;
      if (bits > top) top = bits;
    }
    const float inverse = nb_act_scale(top, &a->d[b]);
    int8_t *q = a->q + b * block;
    int16_t *sums = a->sums + b * (block / 16);
    for (size_t c = 0; c < block; c++) {
      // A zero inverse marks a block without values: its q are 0 even where x is not a number.
      q[c] = inverse == 0 ? 0 : (int8_t)(nb_f32_bits(x[c] * inverse + NB_ACT_ROUND) - NB_ACT_ROUND_BITS);
    }
    for (size_t j = 0; j < block / 16; j++) {
      int sum = 0;
      for (size_t c = 16 * j; c < 16 * j + 16; c++) sum += q[c];
      sums[j] = (int16_t)sum;
    }
  }
}
