// What the tests of int8 matrix products share: the list of variants, and the comparison of one with the specification.
#ifndef NB_TESTS_KERNELS_MATMUL_UTIL_H
#define NB_TESTS_KERNELS_MATMUL_UTIL_H

#include "../../src/kernels/simd.h"
#include "../../src/kernels/variants.h"
#include "check.h"
#include "kernels_util.h"

typedef struct variant {
  const char *name;
  nb_type type;
  nb_layout layout;
  nb_matmul_fn *fn;
} variant;

// Every type in file order through nb_matmul, the types without a packed layout by themselves, the others in it.
// clang-format off
#define EACH_ROWS(X, name, suffix) X(name, Q2_K, q2_k, suffix) X(name, Q3_K, q3_k, suffix)
#define EACH_TYPE(X, name) \
  X(name, Q4_0) X(name, Q4_1) X(name, Q5_0) X(name, Q5_1) X(name, Q8_0) X(name, IQ4_NL) X(name, Q2_K) X(name, Q3_K) X(name, Q4_K) X(name, Q5_K) \
  X(name, Q6_K) X(name, IQ4_XS)
#define EACH_X8(X, name, fn) \
  X(name, Q4_0, fn) X(name, Q4_1, fn) X(name, Q5_0, fn) X(name, Q5_1, fn) X(name, Q8_0, fn) X(name, IQ4_NL, fn) X(name, Q4_K, fn) X(name, Q5_K, fn) \
  X(name, Q6_K, fn) X(name, IQ4_XS, fn)
enum { N_X8_TYPES = 10 };
#define DISPATCHED(name, type) {name, NB_TYPE_##type, NB_LAYOUT_ROWS, nb_matmul},
#define IN_ROWS(name, type, lower, suffix) {name, NB_TYPE_##type, NB_LAYOUT_ROWS, nb_matmul_##lower##_q8_##suffix},
#define IN_X8(name, type, fn) {name, NB_TYPE_##type, NB_LAYOUT_X8, fn},

#ifdef NB_RELAXED
// Asked once, at the start, as engines are asked in use: Node 20's computes the instruction wrongly until it has optimised a function.
static inline bool i32_works(void) {
  static int answer = -1;
  if (answer < 0) answer = nb_x8_relaxed_i32_works();
  return answer == 1;
}

static inline void matmul_x8_relaxed_i32(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  // Engines that compute the instruction wrongly never get to use it.
  (i32_works() ? nb_matmul_x8_relaxed_i32 : nb_matmul_x8_relaxed)(w, a, y, ystride, row0, row1);
}

// Natively both sorts of machines are played.
static inline bool takes(nb_relaxed_bytes bytes) {
#ifdef __wasm__
  return i32_works() && nb_x8_relaxed_i32_bytes() == bytes;
#else
  (void)bytes;
  return true;
#endif
}

static inline void matmul_x8_relaxed_i32_signed(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  (takes(NB_X8_SIGNED_BYTES) ? nb_matmul_x8_relaxed_i32_signed : nb_matmul_x8_relaxed)(w, a, y, ystride, row0, row1);
}

static inline void matmul_x8_relaxed_i32_unsigned(const nb_matrix *w, const nb_act *a, float *y, size_t ystride, size_t row0, size_t row1) {
  (takes(NB_X8_UNSIGNED_BYTES) ? nb_matmul_x8_relaxed_i32_unsigned : nb_matmul_x8_relaxed)(w, a, y, ystride, row0, row1);
}
#endif

static const variant VARIANTS[] = {
  EACH_TYPE(DISPATCHED, "dispatch") EACH_X8(IN_X8, "dispatch", nb_matmul)
#ifdef NB_SIMD128
  EACH_ROWS(IN_ROWS, "simd128", simd128) EACH_X8(IN_X8, "simd128", nb_matmul_x8_simd128)
#endif
#ifdef NB_RELAXED
  EACH_ROWS(IN_ROWS, "relaxed", relaxed) EACH_X8(IN_X8, "relaxed", nb_matmul_x8_relaxed)
  EACH_X8(IN_X8, "relaxed_i32", matmul_x8_relaxed_i32) EACH_X8(IN_X8, "relaxed_i32_signed", matmul_x8_relaxed_i32_signed)
  EACH_X8(IN_X8, "relaxed_i32_unsigned", matmul_x8_relaxed_i32_unsigned)
#endif
};
// clang-format on
enum { N_VARIANTS = sizeof VARIANTS / sizeof VARIANTS[0] };

static inline bool has_x8(nb_type type) { return nb_pack_layout(type, 8, 256) == NB_LAYOUT_X8; }

static inline nb_matmul_fn *specification_of(nb_type type) {
  return nb_act_kind_of(type) == NB_ACT_Q8_32 ? nb_matmul_block32_q8_scalar : nb_matmul_block256_q8_scalar;
}

// ---- activations in tight buffers -----------------------------------------------------------------------------------------------

typedef struct test_act {
  nb_act a;
  tight q, d, sums;
} test_act;

static inline test_act act_new(nb_act_kind kind, size_t n, size_t cols) {
  const size_t block = kind == NB_ACT_Q8_32 ? 32 : 256;
  test_act t = {.a = {.kind = kind, .n = n, .cols = cols}};
  t.q = tight_new16(n * cols);
  t.d = tight_new16(n * (cols / block) * sizeof(float));
  t.sums = tight_new16(n * (cols / 16) * sizeof(int16_t));
  t.a.q = t.q.p;
  t.a.d = t.d.p;
  t.a.sums = t.sums.p;
  return t;
}

static inline void act_free(test_act *t) {
  tight_free(&t->q);
  tight_free(&t->d);
  tight_free(&t->sums);
}

static inline void act_sums(nb_act *a) {
  for (size_t j = 0; j < a->n * a->cols / 16; j++) {
    int s = 0;
    for (size_t i = 0; i < 16; i++) s += a->q[16 * j + i];
    a->sums[j] = (int16_t)s;
  }
}

static inline size_t act_blocks(const nb_act *a) { return a->n * (a->cols / (a->kind == NB_ACT_Q8_32 ? 32 : 256)); }

// Quantized random vectors.
static inline test_act act_random(nb_act_kind kind, size_t n, size_t cols, uint64_t *state) {
  test_act t = act_new(kind, n, cols);
  float *x = malloc(n * cols * sizeof *x);
  if (!x) abort();
  random_floats(x, n * cols, state);
  nb_quantize_act_scalar(&t.a, x);
  free(x);
  return t;
}

// Every q is 127 in magnitude, with the signs of a pattern: 0 all plus, 1 all minus, 2 and 3 alternating, 4 and 5 by halves of 16,
// 6 and above at random.
enum { N_SIGN_PATTERNS = 8 };
static inline test_act act_extreme(nb_act_kind kind, size_t n, size_t cols, int pattern, uint64_t *state) {
  test_act t = act_new(kind, n, cols);
  for (size_t i = 0; i < n * cols; i++) {
    const size_t bit = pattern < 2 ? 0 : pattern < 4 ? i & 1 : pattern < 6 ? i >> 3 & 1 : next_random(state) >> 33 & 1;
    t.a.q[i] = bit ^ (size_t)(pattern & 1) ? -127 : 127;
  }
  for (size_t i = 0; i < act_blocks(&t.a); i++) t.a.d[i] = 1.0f / 127.0f;
  act_sums(&t.a);
  return t;
}

// ---- the comparison -------------------------------------------------------------------------------------------------------------

#define UNTOUCHED 12345.678f

// Runs a variant over rows row0 .. row1 - 1 into a tight buffer and compares every float of it, also those that must stay untouched.
static inline bool agrees(const variant *v, const nb_matrix *rows, const nb_matrix *packed, const nb_act *a, size_t ystride, size_t row0, size_t row1) {
  const size_t n = (a->n - 1) * ystride + rows->rows;
  tight got = tight_new16(n * sizeof(float));
  float *want = malloc(n * sizeof *want), *y = got.p;
  if (!want) abort();
  for (size_t i = 0; i < n; i++) y[i] = want[i] = UNTOUCHED;
  specification_of(rows->type)(rows, a, want, ystride, row0, row1);
  v->fn(v->layout == NB_LAYOUT_X8 ? packed : rows, a, y, ystride, row0, row1);
  const size_t at = first_difference(y, want, n);
  if (at < n) {
    printf("%s %s layout %d, %zu x %zu times %zu, rows %zu..%zu: y[%zu] is %a, not %a\n", nb_type_get(rows->type)->name, v->name, v->layout, rows->rows,
           rows->cols, a->n, row0, row1, at, (double)y[at], (double)want[at]);
  }
  free(want);
  tight_free(&got);
  return at == n;
}

// A copy of m in the layout that it is loaded into; m itself where that is the file's.
static inline test_matrix packed_copy(const test_matrix *m) {
  if (nb_pack_layout(m->w.type, m->w.rows, m->w.cols) == NB_LAYOUT_ROWS) return *m;
  test_matrix packed = *m;
  packed.memory = tight_new(m->w.rows * m->w.row_bytes);
  memcpy(packed.memory.p, m->memory.p, m->w.rows * m->w.row_bytes);
  packed.w.data = packed.memory.p;
  matrix_pack(&packed);
  return packed;
}

static inline void free_both(test_matrix *m, test_matrix *packed) {
  if (packed->memory.p != m->memory.p) matrix_free(packed);
  matrix_free(m);
}

static inline bool fits(const variant *v, const test_matrix *m) {
  if (v->type != m->w.type) return false;
  return v->layout == NB_LAYOUT_ROWS || (v->fn == nb_matmul ? m->w.rows >= 8 : m->w.rows % 8 == 0);
}

// All variants of m's type over all rows. Numbers that the packed layout refuses are for nb_matmul alone.
static inline bool all_agree(const test_matrix *m, const nb_act *a) {
  test_matrix copy = *m, packed = packed_copy(m);
  const bool refused = packed.w.layout == NB_LAYOUT_ROWS;
  bool ok = true;
  for (size_t v = 0; v < N_VARIANTS; v++) {
    if (refused && VARIANTS[v].fn != nb_matmul && VARIANTS[v].layout == NB_LAYOUT_X8) continue;
    if (fits(&VARIANTS[v], m)) ok &= agrees(&VARIANTS[v], &copy.w, &packed.w, a, m->w.rows, 0, m->w.rows);
  }
  if (packed.memory.p != m->memory.p) matrix_free(&packed);
  return ok;
}

// ---- the claims -----------------------------------------------------------------------------------------------------------------

// A list of shapes rather than their product: every number of rows mod 8 and 4, of vectors mod 4, with one block and several.
static inline void every_shape_gives_the_same_bits(void) {
  static const struct { size_t rows, blocks, n; } shapes[] = {
    {1, 1, 1}, {2, 3, 2}, {3, 1, 3}, {4, 2, 4}, {5, 1, 5}, {6, 2, 1}, {7, 3, 6}, {8, 1, 1}, {8, 5, 2}, {8, 2, 3}, {8, 1, 4}, {9, 2, 7},
    {15, 1, 8}, {16, 3, 1}, {16, 1, 9}, {19, 2, 13}, {24, 1, 33}, {32, 9, 1},
  };
  uint64_t state = 11;
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) {
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
      const size_t cols = shapes[s].blocks * nb_type_get(ALL_TYPES[i])->block_size;
      test_matrix m = matrix_new(ALL_TYPES[i], shapes[s].rows, cols, &state);
      test_act a = act_random(nb_act_kind_of(ALL_TYPES[i]), shapes[s].n, cols, &state);
      CHECK(all_agree(&m, &a.a));
      act_free(&a);
      matrix_free(&m);
    }
  }
}

// Rows outside of the range, and what lies between the rows of y, stay as they are.
static inline void parts_of_the_rows_and_wide_strides_touch_nothing_else(void) {
  static const size_t ranges[][2] = {{0, 0}, {0, 8}, {8, 16}, {8, 19}, {16, 19}, {19, 19}, {0, 19}}, whole[][2] = {{0, 8}, {8, 24}, {16, 24}, {24, 24}};
  uint64_t state = 12;
  for (size_t v = 0; v < N_VARIANTS; v++) {
    const bool x8 = VARIANTS[v].layout == NB_LAYOUT_X8 && VARIANTS[v].fn != nb_matmul;  // whole groups only
    const size_t cols = 2 * nb_type_get(VARIANTS[v].type)->block_size;
    test_matrix m = matrix_new(VARIANTS[v].type, x8 ? 24 : 19, cols, &state), packed = packed_copy(&m);
    for (size_t n = 1; n <= 6; n += n == 1 ? 1 : 4) {
      test_act a = act_random(nb_act_kind_of(m.w.type), n, cols, &state);
      for (size_t r = 0; r < (x8 ? sizeof whole / sizeof whole[0] : sizeof ranges / sizeof ranges[0]); r++) {
        const size_t *range = x8 ? whole[r] : ranges[r];
        CHECK(agrees(&VARIANTS[v], &m.w, &packed.w, &a.a, m.w.rows, range[0], range[1]));
        CHECK(agrees(&VARIANTS[v], &m.w, &packed.w, &a.a, m.w.rows + 5, range[0], range[1]));
      }
      act_free(&a);
    }
    free_both(&m, &packed);
  }
}

// Every byte the same, for all 256 bytes, under scales of one: among them the greatest quants with the greatest scales. The
// activations are as large as they come, with signs that add up.
static inline void the_largest_weights_and_activations_do_not_overflow(void) {
  uint64_t state = 13;
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) {
    const nb_type_info *info = nb_type_get(ALL_TYPES[i]);
    const half_offsets halves = halves_of(ALL_TYPES[i]);
    test_act acts[N_SIGN_PATTERNS];
    for (int p = 0; p < N_SIGN_PATTERNS; p++) acts[p] = act_extreme(nb_act_kind_of(ALL_TYPES[i]), 3, info->block_size, p, &state);
    // 32 fills of 8 rows: row r of fill f holds the byte 8 f + r.
    for (int f = 0; f < 32; f++) {
      test_matrix m = matrix_new(ALL_TYPES[i], 8, info->block_size, &state);
      for (int r = 0; r < 8; r++) {
        uint8_t *block = (uint8_t *)m.memory.p + (size_t)r * m.w.row_bytes;
        memset(block, 8 * f + r, info->block_bytes);
        put_half(block + halves.first, 0x3c00);
        if (halves.second >= 0) put_half(block + halves.second, 0xbc00);
      }
      for (int p = 0; p < N_SIGN_PATTERNS; p++) CHECK(all_agree(&m, &acts[p].a));
      matrix_free(&m);
    }
    for (int p = 0; p < N_SIGN_PATTERNS; p++) act_free(&acts[p]);
  }
}

// Random bytes, with the signs of the activations following the signs of the weights, so that all products add up.
static inline void sums_that_all_add_up_do_not_overflow(void) {
  uint64_t state = 14;
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) {
    const size_t cols = 2 * nb_type_get(ALL_TYPES[i])->block_size;
    float w[512];
    for (int turn = 0; turn < 12; turn++) {
      test_matrix m = matrix_new(ALL_TYPES[i], 8, cols, &state);
      test_act a = act_extreme(nb_act_kind_of(ALL_TYPES[i]), 8, cols, 0, &state);
      for (size_t r = 0; r < 8; r++) {
        nb_dequantize_row(&m.w, r, w);
        for (size_t c = 0; c < cols; c++) a.a.q[r * cols + c] = (w[c] < 0) ^ (turn & 1) ? -127 : 127;
      }
      act_sums(&a.a);
      CHECK(all_agree(&m, &a.a));
      act_free(&a);
      matrix_free(&m);
    }
  }
}

// Half scales of every sort: zeros, subnormals, the greatest, infinities, NaN.
static inline void odd_scales_give_the_same_bits(void) {
  static const uint16_t odd[] = {0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x8200, 0x0400, 0x3c00, 0x57ff, 0xd7ff, 0x5800, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0xfe01};
  enum { N_BELOW_128 = 10, N_ALL = sizeof odd / sizeof odd[0] };
  uint64_t state = 15;
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) {
    const nb_type_info *info = nb_type_get(ALL_TYPES[i]);
    const half_offsets halves = halves_of(ALL_TYPES[i]);
    test_matrix m = matrix_new(ALL_TYPES[i], 16, info->block_size, &state);
    test_act a = act_random(nb_act_kind_of(ALL_TYPES[i]), 2, info->block_size, &state);
    for (size_t n = N_BELOW_128; n <= N_ALL; n += N_ALL - N_BELOW_128) {
      for (size_t shift = 0; shift < n; shift++) {
        for (size_t r = 0; r < 16; r++) {
          uint8_t *block = (uint8_t *)m.memory.p + r * m.w.row_bytes;
          put_half(block + halves.first, odd[r % n]);
          if (halves.second >= 0) put_half(block + halves.second, odd[(r + shift) % n]);
        }
        test_matrix packed = packed_copy(&m);
        CHECK_EQ_INT(packed.w.layout, has_x8(ALL_TYPES[i]) && n == N_BELOW_128 ? NB_LAYOUT_X8 : NB_LAYOUT_ROWS);
        if (packed.memory.p != m.memory.p) matrix_free(&packed);
        CHECK(all_agree(&m, &a.a));
      }
    }
    act_free(&a);
    matrix_free(&m);
  }
}

// Activation scales of every sort, as nb_quantize_act makes them from zeros, from huge numbers and from what is no number.
static inline void odd_activations_give_the_same_bits(void) {
  uint64_t state = 16;
  for (size_t i = 0; i < N_BLOCK_TYPES; i++) {
    const size_t block = nb_type_get(ALL_TYPES[i])->block_size, cols = 2 * block;
    const float fill[] = {0.0f, -0.0f, 1e-45f, 3e38f, -3e38f, 1e-36f, INFINITY, NAN};
    enum { N_FILL = sizeof fill / sizeof fill[0] };
    float x[N_FILL * 512];
    random_floats(x, N_FILL * cols, &state);
    for (size_t t = 0; t < N_FILL; t++) {
      if (t < 2) for (size_t c = 0; c < block; c++) x[t * cols + c] = fill[t];
      else x[t * cols + (t * 7) % block] = fill[t];
    }
    test_act a = act_new(nb_act_kind_of(ALL_TYPES[i]), N_FILL, cols);
    nb_quantize_act_scalar(&a.a, x);
    test_matrix m = matrix_new(ALL_TYPES[i], 8, cols, &state);
    CHECK(all_agree(&m, &a.a));
    float y[N_FILL * 8];
    nb_matmul(&m.w, &a.a, y, 8, 0, 8);
    for (size_t r = 0; r < 8; r++) {
      CHECK(isfinite(y[r]) && isfinite(y[8 + r]));
      CHECK(isnan(y[6 * 8 + r]) && isnan(y[7 * 8 + r]));
    }
    act_free(&a);
    matrix_free(&m);
  }
}

#endif
