// Matrix products with int8 activations: every variant of every type and layout, bit for bit against the scalar specification, in
// buffers whose ends are guarded.
#include "kernels_matmul_util.h"

static void every_type_and_layout_has_its_variants(void) {
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) {
    size_t n = 0;
    for (size_t v = 0; v < N_VARIANTS; v++) n += VARIANTS[v].type == ALL_TYPES[i];
    CHECK(n % (ALL_TYPES[i] == NB_TYPE_Q4_0 ? 2 : 1) == 0 && n == N_VARIANTS / 13 * (ALL_TYPES[i] == NB_TYPE_Q4_0 ? 2 : 1));
  }
}

int main(void) {
  every_type_and_layout_has_its_variants();
  every_shape_gives_the_same_bits();
  parts_of_the_rows_and_wide_strides_touch_nothing_else();
  the_largest_weights_and_activations_do_not_overflow();
  sums_that_all_add_up_do_not_overflow();
  odd_scales_give_the_same_bits();
  odd_activations_give_the_same_bits();
  return check_result();
}
