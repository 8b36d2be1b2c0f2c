// Attention over half-precision keys and values: the specification.
#include <assert.h>

#include "../base/half.h"
#include "lanes.h"
#include "variants.h"

void nb_attention_scalar(float *out, const float *q, size_t n_queries, const uint16_t *k, const uint16_t *v, size_t kv_stride,
                         size_t n_heads, size_t n_kv_heads, size_t head_dim, size_t first, size_t n, float scale, float *scratch) {
  assert(n >= 1 && n_kv_heads >= 1 && n_heads % n_kv_heads == 0 && kv_stride >= n_kv_heads * head_dim);
  const size_t group = n_heads / n_kv_heads;
  for (size_t t = 0; t < n_queries; t++, n++) {
    for (size_t h = 0; h < n_heads; h++, q += head_dim, out += head_dim) {
      const uint16_t *kh = k + first * kv_stride + h / group * head_dim, *vh = v + first * kv_stride + h / group * head_dim;
      for (size_t p = 0; p < n; p++) {
        float lanes[NB_LANES] = {0};
        for (size_t i = 0; i < head_dim; i++) lanes[i % NB_LANES] += q[i] * nb_f16_to_f32(kh[p * kv_stride + i]);
        scratch[p] = nb_fold_lanes(lanes) * scale;
      }
      nb_softmax_scalar(scratch, n);
      for (size_t i = 0; i < head_dim; i++) out[i] = 0;
      for (size_t p = 0; p < n; p++) {
        for (size_t i = 0; i < head_dim; i++) out[i] += scratch[p] * nb_f16_to_f32(vh[p * kv_stride + i]);
      }
    }
  }
}
