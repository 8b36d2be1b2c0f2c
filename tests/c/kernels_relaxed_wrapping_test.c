// The relaxed matrix products on the other sort of machine. Relaxed dot products may read their second operand as signed and wrap
// (arm64), or as unsigned and clamp (x64): native builds are the latter, and this test is built with the former. Its copies of the
// kernels take the place of the library's. In WebAssembly the machine decides, so there is nothing to choose.
#if defined(NB_SIMDE) && NB_SIMDE

#define NB_RELAXED_MODEL 0
#include "../../src/kernels/rows256_relaxed.c"
#define spread spread_i16
#define add_step add_step_i16
#define stretch_sums stretch_sums_i16
#include "../../src/kernels/x8_relaxed.c"
#undef spread
#undef add_step
#undef stretch_sums
#undef VARIANT
#include "../../src/kernels/x8_relaxed_i32.c"

#include "kernels_matmul_util.h"

static void the_dot_product_is_the_wrapping_one(void) {
  int16_t out[8];
  wasm_v128_store(out, nb_relaxed_dot(wasm_i8x16_splat(-128), wasm_i8x16_splat(-128)));
  CHECK_EQ_INT(out[0], -32768);
  wasm_v128_store(out, nb_relaxed_dot(wasm_i8x16_splat(1), wasm_i8x16_splat(-128)));
  CHECK_EQ_INT(out[0], -256);
}

static void such_a_machine_takes_signed_bytes(void) { CHECK(nb_x8_relaxed_i32_works() && nb_x8_relaxed_i32_bytes() == NB_X8_SIGNED_BYTES); }

int main(void) {
  the_dot_product_is_the_wrapping_one();
  such_a_machine_takes_signed_bytes();
  every_shape_gives_the_same_bits();
  the_largest_weights_and_activations_do_not_overflow();
  sums_that_all_add_up_do_not_overflow();
  return check_result();
}

#else
#include <stdio.h>
int main(void) {
  printf("skipped: only native builds with SIMDe can choose how relaxed dot products behave\n");
  return 77;
}
#endif
