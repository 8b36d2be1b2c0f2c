// Norm, addition, gated activation, softmax, rotation, conversion of rows: SIMD bit for bit against the specification, the
// specification against doubles.
#include "../../src/kernels/simd.h"
#include "../../src/kernels/variants.h"
#include "check.h"
#include "kernels_util.h"

#ifdef NB_SIMD128
#define FAST(name) name##_simd128
#else
#define FAST(name) name
#endif
static const size_t SIZES[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 19, 20, 31, 32, 33, 47, 64, 100, 127, 576, 1000};
enum { N_SIZES = sizeof SIZES / sizeof SIZES[0], MAX_SIZE = 1000 };

static tight tight_copy(const void *p, size_t bytes) {
  tight t = tight_new16(bytes);
  memcpy(t.p, p, bytes);
  return t;
}

static bool same_row(const float *a, const float *b, size_t n) {
  const size_t at = first_difference(a, b, n);
  if (at < n) printf("number %zu of %zu is %a, not %a\n", at, n, (double)a[at], (double)b[at]);
  return at == n;
}

static void scaled_floats(float *x, size_t n, float scale, uint64_t *state) {
  random_floats(x, n, state);
  for (size_t i = 0; i < n; i++) x[i] *= scale;
}

// ---- norm -----------------------------------------------------------------------------------------------------------------------

static void norm_gives_the_same_bits(void) {
  uint64_t state = 51;
  for (size_t s = 0; s < N_SIZES; s++) {
    const size_t n = SIZES[s], bytes = n * sizeof(float);
    float x[MAX_SIZE], w[MAX_SIZE], want[MAX_SIZE];
    random_floats(x, n, &state);
    random_floats(w, n, &state);
    nb_rms_norm_scalar(want, x, w, n, 1e-5f);
    tight tx = tight_copy(x, bytes), tw = tight_copy(w, bytes), ty = tight_new16(bytes);
    FAST(nb_rms_norm)(ty.p, tx.p, tw.p, n, 1e-5f);
    CHECK(same_row(ty.p, want, n) && memcmp(tx.p, x, bytes) == 0);
    nb_rms_norm(tx.p, tx.p, tw.p, n, 1e-5f);  // in place
    CHECK(same_row(tx.p, want, n));
    tight_free(&tx);
    tight_free(&tw);
    tight_free(&ty);
  }
}

static void norm_is_what_doubles_give(void) {
  uint64_t state = 52;
  for (size_t s = 0; s < N_SIZES; s++) {
    const size_t n = SIZES[s];
    float x[MAX_SIZE], w[MAX_SIZE], y[MAX_SIZE];
    scaled_floats(x, n, 10, &state);
    random_floats(w, n, &state);
    nb_rms_norm_scalar(y, x, w, n, 1e-5f);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    const double scale = 1 / sqrt(sum / (double)n + (double)1e-5f);
    for (size_t i = 0; i < n; i++) CHECK_NEAR(y[i], x[i] * scale * w[i], fabs(x[i] * scale * w[i]) * ((double)n / 16 + 12) * ldexp(1, -24));
  }
}

static void norm_of_zeros_is_zero_and_of_nan_is_nan(void) {
  float x[32] = {0}, w[32], y[32];
  for (int i = 0; i < 32; i++) w[i] = 1;
  nb_rms_norm(y, x, w, 32, 1e-6f);
  for (int i = 0; i < 32; i++) CHECK(y[i] == 0);
  x[17] = NAN;
  nb_rms_norm(y, x, w, 32, 1e-6f);
  for (int i = 0; i < 32; i++) CHECK(isnan(y[i]));
}

// ---- addition, gated activation -------------------------------------------------------------------------------------------------

static void addition_gives_the_same_bits(void) {
  uint64_t state = 53;
  for (size_t s = 0; s < N_SIZES; s++) {
    const size_t n = SIZES[s], bytes = n * sizeof(float);
    float x[MAX_SIZE], y[MAX_SIZE];
    random_floats(x, n, &state);
    random_floats(y, n, &state);
    x[n / 2] = INFINITY;
    tight tx = tight_copy(x, bytes), ty = tight_copy(y, bytes);
    nb_add_scalar(y, x, n);
    FAST(nb_add)(ty.p, tx.p, n);
    CHECK(same_row(ty.p, y, n) && memcmp(tx.p, x, bytes) == 0);
    tight_free(&tx);
    tight_free(&ty);
  }
  float y[5] = {1, 2, 3, 4, 5};
  const float x[5] = {10, 20, 30, 40, 50};
  nb_add(y, x, 5);
  for (int i = 0; i < 5; i++) CHECK(y[i] == 11.0f * (float)(i + 1));
}

static void swiglu_gives_the_same_bits(void) {
  static const float odd[] = {0.0f, -0.0f, 88.0f, -88.0f, 103.9f, -103.9f, -500.0f, 500.0f, 1e-45f, 3e38f, -3e38f, INFINITY, -INFINITY, NAN};
  uint64_t state = 54;
  for (size_t s = 0; s < N_SIZES; s++) {
    const size_t n = SIZES[s], bytes = n * sizeof(float);
    for (int with_odd = 0; with_odd < 2; with_odd++) {
      float gate[MAX_SIZE], up[MAX_SIZE];
      scaled_floats(gate, n, 20, &state);
      random_floats(up, n, &state);
      for (size_t i = 0; with_odd && i < n; i++) if (i < 14 || i % 5 == 0) gate[i] = odd[(i + n) % 14];
      tight tg = tight_copy(gate, bytes), tu = tight_copy(up, bytes);
      nb_swiglu_scalar(gate, up, n);
      FAST(nb_swiglu)(tg.p, tu.p, n);
      CHECK(same_row(tg.p, gate, n) && memcmp(tu.p, up, bytes) == 0);
      tight_free(&tg);
      tight_free(&tu);
    }
  }
}

static void swiglu_is_what_doubles_give(void) {
  uint64_t state = 55;
  float gate[MAX_SIZE], up[MAX_SIZE], y[MAX_SIZE];
  scaled_floats(gate, MAX_SIZE, 40, &state);
  random_floats(up, MAX_SIZE, &state);
  memcpy(y, gate, sizeof y);
  nb_swiglu_scalar(y, up, MAX_SIZE);
  for (size_t i = 0; i < MAX_SIZE; i++) {
    const double want = gate[i] / (1 + exp(-(double)gate[i])) * up[i];
    CHECK_NEAR(y[i], want, fabs(want) * 8 * ldexp(1, -24) + 1e-44);
  }
}

// ---- softmax --------------------------------------------------------------------------------------------------------------------

static void softmax_gives_the_same_bits(void) {
  uint64_t state = 56;
  for (size_t s = 0; s < N_SIZES; s++) {
    const size_t n = SIZES[s], bytes = n * sizeof(float);
    for (int turn = 0; turn < 4; turn++) {
      float x[MAX_SIZE];
      scaled_floats(x, n, turn == 0 ? 1.0f : turn == 1 ? 200.0f : 0.0f, &state);  // the third and fourth: zeros of both signs
      if (turn == 3) for (size_t i = 0; i < n; i += 3) x[i] = i % 2 ? -INFINITY : -3e38f;
      if (turn == 3) x[n - 1] = 1;
      tight t = tight_copy(x, bytes);
      nb_softmax_scalar(x, n);
      FAST(nb_softmax)(t.p, n);
      CHECK(same_row(t.p, x, n));
      tight_free(&t);
    }
  }
}

// The difference to the maximum is rounded once, exp costs 2 ulp, sum and division the rest.
static void softmax_is_what_doubles_give(void) {
  uint64_t state = 57;
  for (size_t s = 0; s < N_SIZES; s++) {
    const size_t n = SIZES[s];
    float x[MAX_SIZE], y[MAX_SIZE];
    scaled_floats(x, n, 30, &state);
    memcpy(y, x, n * sizeof *x);
    nb_softmax_scalar(y, n);
    double max = x[0], sum = 0, total = 0;
    for (size_t i = 0; i < n; i++) max = fmax(max, x[i]);
    for (size_t i = 0; i < n; i++) sum += exp(x[i] - max);
    for (size_t i = 0; i < n; i++) {
      const double want = exp(x[i] - max) / sum;
      CHECK_NEAR(y[i], want, want * (fabs(x[i] - max) + (double)n / 16 + 16) * ldexp(1, -24) + 1e-44);
      total += y[i];
    }
    CHECK_NEAR(total, 1, 1e-5);
  }
}

static void softmax_of_one_is_one_and_hidden_scores_get_nothing(void) {
  float one = -12345;
  nb_softmax(&one, 1);
  CHECK(one == 1);
  float x[20];
  for (int i = 0; i < 20; i++) x[i] = i % 4 ? -INFINITY : 3;
  nb_softmax(x, 20);
  for (int i = 0; i < 20; i++) CHECK(i % 4 ? x[i] == 0 : fabsf(x[i] - 0.2f) < 1e-7f);
}

// ---- rotation -------------------------------------------------------------------------------------------------------------------

static void angles(float *cos_sin, size_t pairs, double position) {
  for (size_t i = 0; i < pairs; i++) {
    const double angle = position * pow(10000, -(double)i / (double)pairs);
    cos_sin[2 * i] = (float)cos(angle);
    cos_sin[2 * i + 1] = (float)sin(angle);
  }
}

static const struct { size_t heads, dim, rot; } ROTATIONS[] = {{1, 2, 2}, {3, 4, 4}, {2, 8, 8}, {3, 8, 6}, {2, 12, 8}, {5, 20, 10}, {4, 64, 64}, {3, 80, 32}, {2, 128, 128}, {2, 10, 0}, {1, 33, 24}};
enum { N_ROTATIONS = sizeof ROTATIONS / sizeof ROTATIONS[0] };

static void rotation_gives_the_same_bits(void) {
  uint64_t state = 58;
  for (size_t s = 0; s < N_ROTATIONS; s++) {
    for (int order = NB_ROPE_NORM; order <= NB_ROPE_NEOX; order++) {
      const size_t n = ROTATIONS[s].heads * ROTATIONS[s].dim;
      float x[320], cos_sin[128];
      random_floats(x, n, &state);
      angles(cos_sin, ROTATIONS[s].rot / 2, 1234);
      tight t = tight_copy(x, n * sizeof(float)), c = tight_copy(cos_sin, ROTATIONS[s].rot * sizeof(float));
      nb_rope_scalar(x, ROTATIONS[s].heads, ROTATIONS[s].dim, ROTATIONS[s].rot, (nb_rope_order)order, cos_sin);
      FAST(nb_rope)(t.p, ROTATIONS[s].heads, ROTATIONS[s].dim, ROTATIONS[s].rot, (nb_rope_order)order, c.p);
      CHECK(same_row(t.p, x, n));
      tight_free(&t);
      tight_free(&c);
    }
  }
}

// Which two numbers are a pair, what happens to them, and that those behind n_rot stay.
static void rotation_turns_the_pairs_of_its_order(void) {
  uint64_t state = 59;
  for (size_t s = 0; s < N_ROTATIONS; s++) {
    for (int order = NB_ROPE_NORM; order <= NB_ROPE_NEOX; order++) {
      const size_t heads = ROTATIONS[s].heads, dim = ROTATIONS[s].dim, pairs = ROTATIONS[s].rot / 2;
      float x[320], y[320], cos_sin[128];
      random_floats(x, heads * dim, &state);
      memcpy(y, x, sizeof y);
      angles(cos_sin, pairs, 77);
      nb_rope_scalar(y, heads, dim, 2 * pairs, (nb_rope_order)order, cos_sin);
      for (size_t h = 0; h < heads; h++) {
        for (size_t i = 0; i < pairs; i++) {
          const size_t a = h * dim + (order == NB_ROPE_NORM ? 2 * i : i), b = order == NB_ROPE_NORM ? a + 1 : a + pairs;
          const double c = cos_sin[2 * i], d = cos_sin[2 * i + 1];
          CHECK_NEAR(y[a], x[a] * c - x[b] * d, 3e-7);
          CHECK_NEAR(y[b], x[a] * d + x[b] * c, 3e-7);
        }
        for (size_t i = 2 * pairs; i < dim; i++) CHECK(y[h * dim + i] == x[h * dim + i]);
      }
    }
  }
}

// ---- conversion -----------------------------------------------------------------------------------------------------------------

// All exponents and signs, mantissas on and beside the places where rounding changes.
static void halves_have_the_same_bits(void) {
  enum { N = 264 };
  float x[N];
  uint16_t want[N];
  size_t n = 0;
  for (uint32_t top = 0; top < 512; top++) {
    for (uint32_t m = 0; m < 2048; m++) {
      x[n++] = nb_bits_f32(top << 23 | (m >> 2) << 14 | (m & 1 ? 0x1000 : 0) | (m & 2 ? 0xfff : m >> 2 & 1));
      if (n < N) continue;
      tight t = tight_new16(N * sizeof(uint16_t));
      nb_f32_to_f16_row_scalar(want, x, N);
      FAST(nb_f32_to_f16_row)(t.p, x, N);
      CHECK(memcmp(t.p, want, sizeof want) == 0);
      tight_free(&t);
      n = 0;
    }
  }
}

static void rows_of_halves_of_any_length(void) {
  uint64_t state = 60;
  for (size_t n = 1; n < 40; n++) {
    float x[40];
    uint16_t want[40];
    random_floats(x, n, &state);
    tight tx = tight_copy(x, n * sizeof(float)), ty = tight_new16(n * sizeof(uint16_t));
    nb_f32_to_f16_row_scalar(want, x, n);
    nb_f32_to_f16_row(ty.p, tx.p, n);
    CHECK(memcmp(ty.p, want, n * sizeof *want) == 0);
    for (size_t i = 0; i < n; i++) CHECK(want[i] == nb_f32_to_f16(x[i]));
    tight_free(&tx);
    tight_free(&ty);
  }
}

int main(void) {
  norm_gives_the_same_bits();
  norm_is_what_doubles_give();
  norm_of_zeros_is_zero_and_of_nan_is_nan();
  addition_gives_the_same_bits();
  swiglu_gives_the_same_bits();
  swiglu_is_what_doubles_give();
  softmax_gives_the_same_bits();
  softmax_is_what_doubles_give();
  softmax_of_one_is_one_and_hidden_scores_get_nothing();
  rotation_gives_the_same_bits();
  rotation_turns_the_pairs_of_its_order();
  halves_have_the_same_bits();
  rows_of_halves_of_any_length();
  return check_result();
}
