// Matrix products with float activations: every type and layout, the SIMD variant bit for bit against the specification.
#include "kernels_matmul_util.h"

static const struct float_variant {
  const char *name;
  nb_matmul_fn *fn;
} FLOAT_VARIANTS[] = {
  {"dispatch", nb_matmul},
#ifdef NB_SIMD128
  {"simd128", nb_matmul_any_f32_simd128},
#endif
};
enum { N_FLOAT_VARIANTS = sizeof FLOAT_VARIANTS / sizeof FLOAT_VARIANTS[0] };

// The variants against the specification of the file's order; x has a->n vectors in a tight buffer.
static bool float_variants_agree(const test_matrix *m, const float *x, size_t n, size_t ystride, size_t row0, size_t row1) {
  const nb_act a = {.kind = NB_ACT_F32, .n = n, .cols = m->w.cols, .x = x};
  const size_t size = (n - 1) * ystride + m->w.rows;
  float *want = malloc(size * sizeof *want);
  if (!want) abort();
  for (size_t i = 0; i < size; i++) want[i] = UNTOUCHED;
  nb_matmul_any_f32_scalar(&m->w, &a, want, ystride, row0, row1);
  test_matrix packed = packed_copy(m);
  bool ok = true;
  for (size_t v = 0; v < N_FLOAT_VARIANTS; v++) {
    for (int layout = 0; layout < (packed.w.layout == NB_LAYOUT_ROWS ? 1 : 2); layout++) {
      tight got = tight_new16(size * sizeof(float));
      float *y = got.p;
      for (size_t i = 0; i < size; i++) y[i] = UNTOUCHED;
      FLOAT_VARIANTS[v].fn(layout ? &packed.w : &m->w, &a, y, ystride, row0, row1);
      const size_t at = first_difference(y, want, size);
      if (at < size) {
        printf("%s %s layout %d, %zu x %zu times %zu: y[%zu] is %a, not %a\n", nb_type_get(m->w.type)->name, FLOAT_VARIANTS[v].name, layout, m->w.rows,
               m->w.cols, n, at, (double)y[at], (double)want[at]);
      }
      ok &= at == size;
      tight_free(&got);
    }
  }
  if (packed.memory.p != m->memory.p) matrix_free(&packed);
  free(want);
  return ok;
}

static tight random_vectors(size_t n, uint64_t *state) {
  tight x = tight_new16(n * sizeof(float));
  random_floats(x.p, n, state);
  return x;
}

static void every_quantized_type_gives_the_same_bits(void) {
  uint64_t state = 21;
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) {
    for (size_t rows = 1; rows <= 8; rows += 7) {
      for (size_t blocks = 1; blocks <= 9; blocks += 4) {
        for (size_t n = 1; n <= 5; n++) {
          const size_t cols = blocks * nb_type_get(ALL_TYPES[i])->block_size;
          test_matrix m = matrix_new(ALL_TYPES[i], rows, cols, &state);
          tight x = random_vectors(n * cols, &state);
          CHECK(float_variants_agree(&m, x.p, n, rows, 0, rows));
          tight_free(&x);
          matrix_free(&m);
        }
      }
    }
  }
}

// Any number of columns: fewer than a vector holds, around the 16 partial sums, around the 256 that are decoded at a time.
static void plain_floats_of_any_width_give_the_same_bits(void) {
  static const size_t widths[] = {1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 100, 255, 256, 257, 271, 272, 511, 512, 513, 1000};
  uint64_t state = 22;
  for (size_t i = N_BLOCK_TYPES; i < N_ALL_TYPES; i++) {
    for (size_t c = 0; c < sizeof widths / sizeof widths[0]; c++) {
      for (size_t n = 1; n <= 9; n += n < 5 ? 1 : 4) {
        for (size_t rows = 3; rows <= 9; rows += 6) {  // in file order; packed, the last row without a partner
          test_matrix m = matrix_new(ALL_TYPES[i], rows, widths[c], &state);
          tight x = random_vectors(n * widths[c], &state);
          CHECK(float_variants_agree(&m, x.p, n, rows, 0, rows));
          tight_free(&x);
          matrix_free(&m);
        }
      }
    }
  }
}

static void parts_of_the_rows_touch_nothing_else(void) {
  static const size_t ranges[][2] = {{0, 0}, {0, 8}, {8, 16}, {8, 19}, {16, 19}, {19, 19}};
  uint64_t state = 23;
  for (size_t i = 0; i < N_ALL_TYPES; i++) {
    const size_t cols = 256;
    test_matrix m = matrix_new(ALL_TYPES[i], 19, cols, &state);
    tight x = random_vectors(5 * cols, &state);
    for (size_t r = 0; r < sizeof ranges / sizeof ranges[0]; r++) {
      for (size_t n = 1; n <= 5; n += 4) CHECK(float_variants_agree(&m, x.p, n, 19 + r, ranges[r][0], ranges[r][1]));
    }
    tight_free(&x);
    matrix_free(&m);
  }
}

// All 65536 halves as weights, infinities, NaN and subnormals among them: multiplied with one they must come through.
static void every_half_is_a_weight(void) {
  for (size_t i = N_BLOCK_TYPES + 1; i < N_ALL_TYPES; i++) {
    enum { COLS = 16, ROWS = 0x10000 / COLS };
    uint64_t state = 24;
    test_matrix m = matrix_new(ALL_TYPES[i], ROWS, COLS, &state);
    for (size_t h = 0; h < 0x10000; h++) put_half((uint8_t *)m.memory.p + 2 * h, (uint16_t)h);
    for (size_t c = 0; c < COLS; c++) {
      float x[5 * COLS] = {0};
      for (int t = 0; t < 5; t++) x[t * COLS + c] = 1;
      CHECK(float_variants_agree(&m, x, c == 3 ? 5 : 1, ROWS, 0, ROWS));
    }
    matrix_free(&m);
  }
}

// All halves below 128, subnormal ones and both zeros among them, in the layout that is for them.
static void every_half_below_128_is_a_weight(void) {
  enum { COLS = 16, ROWS = 2 * 0x5800 / COLS };
  uint64_t state = 27;
  test_matrix m = matrix_new(NB_TYPE_F16, ROWS, COLS, &state), packed;
  for (size_t h = 0; h < 2 * 0x5800; h++) put_half((uint8_t *)m.memory.p + 2 * h, (uint16_t)(h / 2 | (h & 1) << 15));
  packed = packed_copy(&m);
  CHECK_EQ_INT(packed.w.layout, NB_LAYOUT_F16_BELOW_128);
  matrix_free(&packed);
  for (size_t c = 0; c < COLS; c++) {
    float x[5 * COLS] = {0};
    for (int t = 0; t < 5; t++) x[t * COLS + c] = 1;
    CHECK(float_variants_agree(&m, x, c == 3 ? 5 : 1, ROWS, 0, ROWS));
  }
  matrix_free(&m);
}

// Wide rows, and more of them than are worked on together; activations too large to be scaled, and here and there weights of 128 and more,
// an infinity, a NaN.
static void wide_rows_of_halves_give_the_same_bits(void) {
  static const uint16_t odd[] = {0x4000, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0x0001, 0x83ff};
  enum { ROWS = 40, COLS = 2 * 4096 + 16 + 5, N_ODD = sizeof odd / sizeof odd[0] };
  uint64_t state = 26;
  for (size_t i = N_BLOCK_TYPES + 1; i < N_ALL_TYPES; i++) {
    test_matrix m = matrix_new(ALL_TYPES[i], ROWS, COLS, &state);
    tight x = random_vectors(3 * COLS, &state);
    CHECK(float_variants_agree(&m, x.p, 1, ROWS, 0, ROWS));
    ((float *)x.p)[4096 + 100] = 33554432.0f;
    CHECK(float_variants_agree(&m, x.p, 1, ROWS, 0, ROWS));
    ((float *)x.p)[100] = -INFINITY;
    CHECK(float_variants_agree(&m, x.p, 1, ROWS, 0, ROWS));
    for (size_t r = 0; r < N_ODD; r++) put_half((uint8_t *)m.memory.p + 2 * ((4 * r + 1) * COLS + (r * 1237 + 3000) % COLS), odd[r]);
    CHECK(float_variants_agree(&m, x.p, 1, ROWS, 0, ROWS));
    CHECK(float_variants_agree(&m, x.p, 3, ROWS + 2, 8, ROWS));
    tight_free(&x);
    matrix_free(&m);
  }
}

static void odd_numbers_give_the_same_bits(void) {
  static const float odd[] = {0.0f, -0.0f, 1e-45f, -1e-40f, 3e38f, -3e38f, INFINITY, -INFINITY, NAN};
  enum { N_ODD = sizeof odd / sizeof odd[0] };
  uint64_t state = 25;
  for (size_t i = 0; i < N_ALL_TYPES; i++) {
    test_matrix m = matrix_new(ALL_TYPES[i], 8, 512, &state);
    tight x = random_vectors(N_ODD * 512, &state);
    for (size_t t = 0; t < N_ODD; t++) ((float *)x.p)[t * 512 + (t * 59) % 512] = odd[t];
    for (size_t n = 1; n <= N_ODD; n += N_ODD - 1) CHECK(float_variants_agree(&m, x.p, n, 8, 0, 8));
    tight_free(&x);
    matrix_free(&m);
  }
}

int main(void) {
  every_quantized_type_gives_the_same_bits();
  plain_floats_of_any_width_give_the_same_bits();
  parts_of_the_rows_touch_nothing_else();
  every_half_is_a_weight();
  every_half_below_128_is_a_weight();
  wide_rows_of_halves_give_the_same_bits();
  odd_numbers_give_the_same_bits();
  return check_result();
}
