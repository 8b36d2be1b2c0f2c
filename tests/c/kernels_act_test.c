// Quantization of activations: what the contract promises, and the SIMD variant bit for bit against the specification.
#include "../../src/kernels/simd.h"
#include "../../src/kernels/variants.h"
#include "check.h"
#include "kernels_util.h"

typedef void quantize_fn(nb_act *a, const float *x);

static const struct act_variant {
  const char *name;
  quantize_fn *fn;
} ACT_VARIANTS[] = {
  {"scalar", nb_quantize_act_scalar},
  {"dispatch", nb_quantize_act},
#ifdef NB_SIMD128
  {"simd128", nb_quantize_act_simd128},
#endif
};
enum { N_ACT_VARIANTS = sizeof ACT_VARIANTS / sizeof ACT_VARIANTS[0] };

static size_t block_of(nb_act_kind kind) { return kind == NB_ACT_Q8_32 ? 32 : 256; }

typedef struct quantized {
  nb_act a;
  tight memory;
} quantized;

// x [n, cols] copied to a tight buffer and quantized in one.
static quantized quantize(quantize_fn *fn, nb_act_kind kind, const float *x, size_t n, size_t cols) {
  quantized r = {.memory = tight_new16(nb_act_bytes(kind, n, cols))};
  memset(r.memory.p, 0x55, nb_act_bytes(kind, n, cols));
  nb_act_place(&r.a, kind, n, cols, r.memory.p);
  tight in = tight_new16(n * cols * sizeof *x);
  memcpy(in.p, x, n * cols * sizeof *x);
  fn(&r.a, in.p);
  tight_free(&in);
  return r;
}

static bool same_act(const nb_act *a, const nb_act *b) {
  const size_t n = a->n * a->cols, blocks = n / block_of(a->kind);
  return memcmp(a->q, b->q, n) == 0 && memcmp(a->sums, b->sums, n / 16 * sizeof *a->sums) == 0 && first_difference(a->d, b->d, blocks) == blocks;
}

// One block with every variant, which must agree; the caller frees the result.
static quantized one_block(nb_act_kind kind, const float *x) {
  quantized first = quantize(nb_quantize_act_scalar, kind, x, 1, block_of(kind));
  for (size_t v = 1; v < N_ACT_VARIANTS; v++) {
    quantized other = quantize(ACT_VARIANTS[v].fn, kind, x, 1, block_of(kind));
    CHECK(same_act(&first.a, &other.a));
    tight_free(&other.memory);
  }
  return first;
}

static const nb_act_kind KINDS[] = {NB_ACT_Q8_32, NB_ACT_Q8_256};

static void variants_give_the_same_bits(void) {
  static const size_t counts[] = {1, 2, 3, 5}, widths[] = {1, 2, 5};
  uint64_t state = 41;
  float x[5 * 5 * 256];
  for (int k = 0; k < 2; k++) {
    for (int i = 0; i < 4; i++) {
      for (int j = 0; j < 3; j++) {
        const size_t n = counts[i], cols = widths[j] * block_of(KINDS[k]);
        random_floats(x, n * cols, &state);
        for (size_t c = 0; c < n * cols; c++) x[c] *= nb_bits_f32((uint32_t)(64 + next_random(&state) % 100) << 23);
        quantized want = quantize(nb_quantize_act_scalar, KINDS[k], x, n, cols);
        for (size_t v = 1; v < N_ACT_VARIANTS; v++) {
          quantized got = quantize(ACT_VARIANTS[v].fn, KINDS[k], x, n, cols);
          CHECK(same_act(&got.a, &want.a));
          tight_free(&got.memory);
        }
        tight_free(&want.memory);
      }
    }
  }
}

// By their definition in doubles: d is max / 127 rounded once, q the nearest integer unless that is too close to call, the sums add up.
static void quants_are_the_nearest_steps(void) {
  uint64_t state = 42;
  for (int k = 0; k < 2; k++) {
    const size_t n = block_of(KINDS[k]);
    for (int turn = 0; turn < 300; turn++) {
      float x[256], max = 0;
      random_floats(x, n, &state);
      for (size_t i = 0; i < n; i++) max = fmaxf(max, fabsf(x[i]));
      quantized r = one_block(KINDS[k], x);
      CHECK(r.a.d[0] == (float)((double)max / 127));
      int top = 0;
      for (size_t i = 0; i < n; i++) {
        const double steps = x[i] * 127.0 / max;
        CHECK(fabs(r.a.q[i] - steps) <= 0.5 + 127 * ldexp(1, -23));
        CHECK(fabs((double)r.a.q[i] * r.a.d[0] - x[i]) <= r.a.d[0] * 0.50002);
        if (abs(r.a.q[i]) > top) top = abs(r.a.q[i]);
      }
      CHECK_EQ_INT(top, 127);
      for (size_t j = 0; j < n / 16; j++) {
        int sum = 0;
        for (size_t i = 0; i < 16; i++) sum += r.a.q[16 * j + i];
        CHECK_EQ_INT(r.a.sums[j], sum);
      }
      tight_free(&r.memory);
    }
  }
}

static void ties_go_to_the_even_step(void) {
  for (int k = 0; k < 2; k++) {
    const int n = (int)block_of(KINDS[k]);
    for (int start = -127; start < 127; start += n - 1) {
      float x[256] = {127};  // so that a step is one
      for (int i = 1; i < n; i++) x[i] = (start + i - 1 < 126 ? (float)(start + i - 1) : 0) + 0.5f;
      quantized r = one_block(KINDS[k], x);
      CHECK(r.a.d[0] == 1.0f);
      for (int i = 0; i < n; i++) CHECK_EQ_INT(r.a.q[i], (int)nearbyint(x[i]));
      tight_free(&r.memory);
    }
  }
}

// The greatest number of a block is 127 steps, never 128, and -128 does not occur: for mantissas all over their range, and scales.
static void the_greatest_is_127_steps_whatever_it_is(void) {
  for (uint32_t mantissa = 0; mantissa < 1 << 23; mantissa += 1021) {
    for (uint32_t exponent = 7; exponent < 255; exponent += 31) {
      float d;
      const float top = nb_bits_f32(exponent << 23 | mantissa);
      float x[32] = {-top, top};
      quantized r = {.memory = {0}};
      int8_t q[32];
      int16_t sums[2];
      r.a = (nb_act){.kind = NB_ACT_Q8_32, .n = 1, .cols = 32, .q = q, .d = &d, .sums = sums};
      nb_quantize_act(&r.a, x);
      CHECK(q[0] == -127 && q[1] == 127 && d == top / 127.0f);
    }
  }
}

static void check_constant_block(nb_act_kind kind, const float *x, float d) {
  quantized r = one_block(kind, x);
  CHECK(same_float(r.a.d[0], d));
  for (size_t i = 0; i < block_of(kind); i++) CHECK_EQ_INT(r.a.q[i], 0);
  for (size_t i = 0; i < block_of(kind) / 16; i++) CHECK_EQ_INT(r.a.sums[i], 0);
  tight_free(&r.memory);
}

static void blocks_of_almost_nothing_are_zero(void) {
  static const float tiny[] = {0.0f, -0.0f, 1e-45f, -1e-45f, 1e-38f, 0x1.fffffep-122f, -0x1.fffffep-122f};
  for (int k = 0; k < 2; k++) {
    for (size_t i = 0; i < sizeof tiny / sizeof tiny[0]; i++) {
      float x[256] = {0};
      x[i * 5] = tiny[i];
      check_constant_block(KINDS[k], x, 0);
      for (size_t c = 0; c < 256; c++) x[c] = tiny[i];
      check_constant_block(KINDS[k], x, 0);
    }
  }
}

static void the_smallest_block_that_counts_is_quantized(void) {
  for (int k = 0; k < 2; k++) {
    float x[256] = {0x1p-121f, -0x1p-122f};
    quantized r = one_block(KINDS[k], x);
    CHECK(r.a.d[0] == 0x1p-121f / 127.0f && r.a.d[0] > 0);
    CHECK_EQ_INT(r.a.q[0], 127);
    CHECK_EQ_INT(r.a.q[1], -64);  // 63.5 to even
    tight_free(&r.memory);
  }
}

static void the_greatest_floats_are_quantized(void) {
  for (int k = 0; k < 2; k++) {
    float x[256] = {0x1.fffffep127f, -0x1.fffffep127f, 0x1p127f};
    quantized r = one_block(KINDS[k], x);
    CHECK(isfinite(r.a.d[0]) && r.a.q[0] == 127 && r.a.q[1] == -127 && r.a.q[2] == 64);
    tight_free(&r.memory);
  }
}

// Wherever it stands, and beside whatever numbers.
static void one_infinity_or_nan_makes_the_block_nan(void) {
  const float odd[] = {INFINITY, -INFINITY, NAN, -NAN, nb_bits_f32(0x7f800001), nb_bits_f32(0xffffffff)};
  uint64_t state = 43;
  for (int k = 0; k < 2; k++) {
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
      for (size_t at = 0; at < block_of(KINDS[k]); at += at < 33 ? 1 : 31) {
        float x[256];
        random_floats(x, 256, &state);
        x[at] = odd[i];
        check_constant_block(KINDS[k], x, NAN);
      }
    }
  }
}

// A block's neighbours do not matter.
static void blocks_do_not_touch_each_other(void) {
  uint64_t state = 44;
  for (int k = 0; k < 2; k++) {
    const size_t n = block_of(KINDS[k]);
    float x[3 * 256];
    random_floats(x, 3 * n, &state);
    x[n] = NAN;
    for (size_t v = 0; v < N_ACT_VARIANTS; v++) {
      quantized all = quantize(ACT_VARIANTS[v].fn, KINDS[k], x, 1, 3 * n), last = quantize(ACT_VARIANTS[v].fn, KINDS[k], x + 2 * n, 1, n);
      CHECK(isfinite(all.a.d[0]) && isnan(all.a.d[1]) && all.a.d[2] == last.a.d[0]);
      CHECK(memcmp(all.a.q + 2 * n, last.a.q, n) == 0);
      tight_free(&all.memory);
      tight_free(&last.memory);
    }
  }
}

// The parts lie in the buffer one after the other, each aligned, none beyond its end.
static void parts_fit_their_buffer(void) {
  for (int k = 0; k < 2; k++) {
    for (size_t n = 1; n < 6; n++) {
      for (size_t blocks = 1; blocks < 6; blocks++) {
        const size_t block = block_of(KINDS[k]), cols = blocks * block, size = nb_act_bytes(KINDS[k], n, cols);
        tight t = tight_new16(size);
        nb_act a;
        nb_act_place(&a, KINDS[k], n, cols, t.p);
        CHECK(a.kind == KINDS[k] && a.n == n && a.cols == cols);
        CHECK((uint8_t *)a.q == t.p && (uint8_t *)a.d >= (uint8_t *)(a.q + n * cols) && (uint8_t *)a.sums >= (uint8_t *)(a.d + n * blocks));
        CHECK((uint8_t *)(a.sums + n * cols / 16) <= (uint8_t *)t.p + size);
        CHECK((uintptr_t)a.q % 16 == 0 && (uintptr_t)a.d % 16 == 0 && (uintptr_t)a.sums % 16 == 0);
        tight_free(&t);
      }
    }
  }
  CHECK_EQ_INT(nb_act_bytes(NB_ACT_F32, 3, 100), 0);
}

int main(void) {
  variants_give_the_same_bits();
  quants_are_the_nearest_steps();
  ties_go_to_the_even_step();
  the_greatest_is_127_steps_whatever_it_is();
  blocks_of_almost_nothing_are_zero();
  the_smallest_block_that_counts_is_quantized();
  the_greatest_floats_are_quantized();
  one_infinity_or_nan_makes_the_block_nan();
  blocks_do_not_touch_each_other();
  parts_fit_their_buffer();
  return check_result();
}
