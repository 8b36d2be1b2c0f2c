// Matrix products with int8 activations: every variant of every type and layout, bit for bit against the scalar specification, in
// buffers whose ends are guarded.
#include "kernels_matmul_util.h"

static size_t variants_of(nb_type type, nb_layout layout) {
  size_t n = 0;
  for (size_t v = 0; v < N_VARIANTS; v++) n += VARIANTS[v].type == type && VARIANTS[v].layout == layout;
  return n;
}

// As many variants for each type as for the first of its layout, in the packed layout where it has one; all in file order through nb_matmul.
static void every_type_and_layout_has_its_variants(void) {
  size_t x8_types = 0;
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) {
    const bool x8 = has_x8(ALL_TYPES[i]);
    x8_types += x8;
    CHECK_EQ_INT(variants_of(ALL_TYPES[i], x8 ? NB_LAYOUT_X8 : NB_LAYOUT_ROWS), variants_of(x8 ? NB_TYPE_Q4_0 : NB_TYPE_Q2_K, x8 ? NB_LAYOUT_X8 : NB_LAYOUT_ROWS));
    CHECK_EQ_INT(variants_of(ALL_TYPES[i], x8 ? NB_LAYOUT_ROWS : NB_LAYOUT_X8), x8 ? 1 : 0);
  }
  CHECK_EQ_INT(x8_types, N_X8_TYPES);
}

// The specification itself reads the packed layout.
static void the_specification_gives_the_same_bits_from_packed_weights(void) {
  uint64_t state = 17;
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) {
    if (!has_x8(ALL_TYPES[i])) continue;
    const variant spec = {"scalar", ALL_TYPES[i], NB_LAYOUT_X8, specification_of(ALL_TYPES[i])};
    const size_t cols = 3 * nb_type_get(ALL_TYPES[i])->block_size;
    test_matrix m = matrix_new(ALL_TYPES[i], 16, cols, &state), packed = packed_copy(&m);
    test_act a = act_random(nb_act_kind_of(ALL_TYPES[i]), 3, cols, &state);
    CHECK(agrees(&spec, &m.w, &packed.w, &a.a, 16, 0, 16));
    act_free(&a);
    free_both(&m, &packed);
  }
}

// Natively the instruction clamps, so that bytes of 128 and more are of no use, and sums in 16 bits are the default; what an engine does is
// for it to say, and the choice follows.
static void the_faster_sums_are_those_of_the_machine(void) {
#ifdef NB_RELAXED
#ifndef __wasm__
  CHECK(i32_works() && nb_x8_relaxed_i32_bytes() == NB_X8_NO_BYTES);
#endif
  if (!i32_works()) return;
  CHECK_EQ_INT(nb_matmul_sums_in_32_faster(), nb_x8_relaxed_i32_bytes() != NB_X8_NO_BYTES);
  CHECK(nb_matmul_sums_in_32(true));
  every_shape_gives_the_same_bits();
  CHECK(nb_matmul_sums_in_32(false));
#else
  CHECK(!nb_matmul_sums_in_32_faster() && !nb_matmul_sums_in_32(true));
#endif
}

int main(void) {
  every_type_and_layout_has_its_variants();
  the_specification_gives_the_same_bits_from_packed_weights();
  every_shape_gives_the_same_bits();
  parts_of_the_rows_and_wide_strides_touch_nothing_else();
  the_largest_weights_and_activations_do_not_overflow();
  sums_that_all_add_up_do_not_overflow();
  odd_scales_give_the_same_bits();
  odd_activations_give_the_same_bits();
  the_faster_sums_are_those_of_the_machine();
  return check_result();
}
