// The specification of matrix products against plain sums of doubles: weights as nb_dequantize_row gives them (which
// kernels_decode_test holds against llama.cpp), times the activations.
#include "kernels_matmul_util.h"

#include "../../src/kernels/unpack.h"

// For each weight of a row |d * q| + |m|: what its rounding errors are measured by where a minimum cancels most of it.
static void magnitudes(const nb_matrix *w, size_t row, double *out) {
  const nb_type_info *info = nb_type_get(w->type);
  const uint8_t *p = w->data + row * w->row_bytes;
  for (size_t c = 0; c < w->cols; c += info->block_size, p += info->block_bytes) {
    if (info->block_size == 32) {
      nb_ints32 u;
      nb_unpack32_of(w->type)(p, &u);
      for (size_t i = 0; i < 32; i++) out[c + i] = fabs((double)u.d * u.q[i]) + fabs((double)u.m);
    } else {
      nb_ints256 u;
      nb_unpack256_of(w->type)(p, &u);
      for (size_t i = 0; i < 256; i++) out[c + i] = fabs((double)u.d * u.scale[i / 16] * u.q[i]) + fabs((double)u.dmin * u.min[i / 16]);
    }
  }
}

// Every block result has at most 4 roundings on the way of its larger part, and dequantization 3; then each block is one addition.
static void int8_products_are_the_sum_within_their_roundings(void) {
  enum { ROWS = 8, N = 3, BLOCKS = 7 };
  uint64_t state = 31;
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) {
    const nb_type type = ALL_TYPES[i];
    const size_t block = nb_type_get(type)->block_size, cols = BLOCKS * block;
    test_matrix m = matrix_new(type, ROWS, cols, &state);
    test_act a = act_random(nb_act_kind_of(type), N, cols, &state);
    float y[N * ROWS], w[BLOCKS * 256];
    double size[BLOCKS * 256];
    specification_of(type)(&m.w, &a.a, y, ROWS, 0, ROWS);
    for (size_t r = 0; r < ROWS; r++) {
      nb_dequantize_row(&m.w, r, w);
      magnitudes(&m.w, r, size);
      for (size_t t = 0; t < N; t++) {
        double sum = 0, bound = 0;
        for (size_t c = 0; c < cols; c++) {
          const double x = (double)a.a.d[t * BLOCKS + c / block] * a.a.q[t * cols + c];
          sum += w[c] * x;
          bound += size[c] * fabs(x);
        }
        CHECK_NEAR(y[t * ROWS + r], sum, bound * (BLOCKS + 7) * ldexp(1, -24));
      }
    }
    act_free(&a);
    matrix_free(&m);
  }
}

// What int8 activations cost: each is off by at most half a step.
static void int8_activations_stay_within_half_a_step_of_the_floats(void) {
  enum { ROWS = 8, BLOCKS = 5 };
  uint64_t state = 32;
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) {
    const nb_type type = ALL_TYPES[i];
    const size_t block = nb_type_get(type)->block_size, cols = BLOCKS * block;
    test_matrix m = matrix_new(type, ROWS, cols, &state);
    test_act a = act_new(nb_act_kind_of(type), 1, cols);
    float x[BLOCKS * 256], y[ROWS], w[BLOCKS * 256];
    double size[BLOCKS * 256];
    random_floats(x, cols, &state);
    nb_quantize_act(&a.a, x);
    nb_matmul(&m.w, &a.a, y, ROWS, 0, ROWS);
    for (size_t r = 0; r < ROWS; r++) {
      nb_dequantize_row(&m.w, r, w);
      magnitudes(&m.w, r, size);
      double sum = 0, bound = 0;
      for (size_t c = 0; c < cols; c++) {
        sum += (double)w[c] * x[c];
        bound += fabs(w[c]) * 0.50001 * a.a.d[c / block] + size[c] * fabs(x[c]) * (BLOCKS + 7) * ldexp(1, -24);
      }
      CHECK_NEAR(y[r], sum, bound);
      CHECK(fabs(sum) > 1e-4);  // a sum of nothing would prove nothing
    }
    act_free(&a);
    matrix_free(&m);
  }
}

// cols / 16 additions and one product in each partial sum, 4 to fold them.
static void float_products_are_the_sum_within_their_roundings(void) {
  enum { ROWS = 5, N = 3, COLS = 1280 };
  uint64_t state = 33;
  for (size_t i = 0; i < N_ALL_TYPES; i++) {
    test_matrix m = matrix_new(ALL_TYPES[i], ROWS, COLS, &state);
    float x[N * COLS], y[N * ROWS], w[COLS];
    random_floats(x, N * COLS, &state);
    const nb_act a = {.kind = NB_ACT_F32, .n = N, .cols = COLS, .x = x};
    nb_matmul_any_f32_scalar(&m.w, &a, y, ROWS, 0, ROWS);
    for (size_t r = 0; r < ROWS; r++) {
      nb_dequantize_row(&m.w, r, w);
      for (size_t t = 0; t < N; t++) {
        double sum = 0, bound = 0;
        for (size_t c = 0; c < COLS; c++) {
          sum += (double)w[c] * x[t * COLS + c];
          bound += fabs((double)w[c] * x[t * COLS + c]);
        }
        CHECK_NEAR(y[t * ROWS + r], sum, bound * (COLS / 16 + 5) * ldexp(1, -24));
      }
    }
    matrix_free(&m);
  }
}

// Whole numbers within reach of floats leave nothing to round: one wrong weight or column shows, whatever its size.
static void products_of_small_integers_are_exact(void) {
  enum { ROWS = 8, N = 2 };
  uint64_t state = 34;
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) {
    const nb_type type = ALL_TYPES[i];
    const nb_type_info *info = nb_type_get(type);
    const half_offsets halves = halves_of(type);
    const size_t block = info->block_size, cols = 2 * block;
    test_matrix m = matrix_new(type, ROWS, cols, &state);
    for (size_t b = 0; b < 2 * ROWS; b++) {
      uint8_t *p = (uint8_t *)m.memory.p + b * info->block_bytes;
      put_half(p + halves.first, 0x3c00);  // one
      if (halves.second >= 0) put_half(p + halves.second, 0x4000);  // two
    }
    test_act a = act_new(nb_act_kind_of(type), N, cols);
    for (size_t c = 0; c < N * cols; c++) a.a.q[c] = (int8_t)(next_random(&state) % 15) - 7;
    for (size_t b = 0; b < act_blocks(&a.a); b++) a.a.d[b] = 1;
    act_sums(&a.a);
    float y[N * ROWS], w[512];
    specification_of(type)(&m.w, &a.a, y, ROWS, 0, ROWS);
    for (size_t r = 0; r < ROWS; r++) {
      nb_dequantize_row(&m.w, r, w);
      for (size_t t = 0; t < N; t++) {
        int64_t sum = 0;
        for (size_t c = 0; c < cols; c++) sum += (int64_t)w[c] * a.a.q[t * cols + c];
        CHECK(y[t * ROWS + r] == (float)sum && llabs(sum) < 1 << 24);
      }
    }
    act_free(&a);
    matrix_free(&m);
  }
}

int main(void) {
  int8_products_are_the_sum_within_their_roundings();
  int8_activations_stay_within_half_a_step_of_the_floats();
  float_products_are_the_sum_within_their_roundings();
  products_of_small_integers_are_exact();
  return check_result();
}
