// The tile of stats.c: 4 x 8 sums in 8 registers, twice. A vector of the chunk costs two loads of b and four of one number of a each.
//
//            b 0..3   b 4..7
//     a 0      s0       s1
//     a 1      s2       s3
//     a 2      s4       s5
//     a 3      s6       s7
#include "../kernels/simd.h"
#include "stats.h"

#ifdef NB_SIMD128

NB_INLINE void outer_4x8(const float *a, const float *b, size_t n, float *sum) {
  v128_t s[8];
  const v128_t first0 = wasm_v128_load(b), first1 = wasm_v128_load(b + 4);
  for (int i = 0; i < 4; i++) {
    const v128_t x = wasm_v128_load32_splat(a + i);
    s[2 * i] = wasm_f32x4_mul(x, first0);
    s[2 * i + 1] = wasm_f32x4_mul(x, first1);
  }
  for (size_t t = 1; t < n; t++) {
    a += 8;
    b += 8;
    const v128_t b0 = wasm_v128_load(b), b1 = wasm_v128_load(b + 4);
    for (int i = 0; i < 4; i++) {
      const v128_t x = wasm_v128_load32_splat(a + i);
      s[2 * i] = wasm_f32x4_add(s[2 * i], wasm_f32x4_mul(x, b0));
      s[2 * i + 1] = wasm_f32x4_add(s[2 * i + 1], wasm_f32x4_mul(x, b1));
    }
  }
  for (int i = 0; i < 8; i++) wasm_v128_store(sum + 4 * i, s[i]);
}

void nb_outer_8x8_simd128(const float *a, const float *b, size_t n, float sum[64]) {
  outer_4x8(a, b, n, sum);
  outer_4x8(a + 4, b, n, sum + 32);
}

#else
typedef int nb_stats_simd128_unused;
#endif
