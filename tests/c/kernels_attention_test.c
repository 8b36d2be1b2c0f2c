// Attention: SIMD bit for bit against the specification, the specification against doubles, and what it may not look at.
#include "../../src/kernels/simd.h"
#include "../../src/kernels/variants.h"
#include "check.h"
#include "kernels_util.h"

#ifdef NB_SIMD128
#define FAST_ATTENTION nb_attention_simd128
#else
#define FAST_ATTENTION nb_attention
#endif

typedef struct shape {
  size_t n_heads, n_kv_heads, head_dim, extra, first, n, n_queries;  // extra: numbers between the rows of the cache
} shape;

static const shape SHAPES[] = {
  {1, 1, 1, 0, 0, 1, 1},   {1, 1, 4, 0, 0, 3, 1},    {2, 1, 8, 0, 0, 5, 1},     {4, 2, 15, 1, 2, 7, 1},   {4, 4, 16, 0, 0, 1, 1},  {6, 2, 17, 3, 5, 16, 1},
  {3, 3, 20, 0, 1, 17, 1}, {9, 3, 33, 0, 0, 31, 1},  {8, 2, 64, 0, 0, 64, 1},   {8, 1, 64, 8, 3, 100, 1}, {2, 2, 80, 0, 7, 33, 1}, {4, 1, 96, 0, 0, 12, 1},
  {2, 1, 128, 0, 0, 9, 1}, {14, 2, 64, 64, 0, 2, 1}, {1, 1, 256, 0, 11, 40, 1}, {4, 2, 48, 0, 0, 15, 1},  {40, 2, 8, 0, 0, 18, 1},
  // several queries: fewer and more rows than a tile, groups that divide a tile and ones that do not, lengths around the tile's
  {1, 1, 16, 0, 0, 1, 2},  {2, 2, 33, 2, 1, 1, 16},  {6, 2, 64, 0, 0, 1, 5},    {9, 3, 64, 0, 3, 15, 6},  {8, 2, 20, 4, 0, 17, 17}, {5, 1, 8, 0, 0, 40, 33},
  {40, 2, 16, 0, 2, 30, 3},
};
enum { N_SHAPES = sizeof SHAPES / sizeof SHAPES[0] };

// q, k and v of a shape, each in a tight buffer that ends with the last number that may be read.
typedef struct inputs {
  tight q, k, v;
  size_t kv_stride;
} inputs;

static size_t n_rows(const shape *s) { return s->n + s->n_queries - 1; }
static size_t cache_size(const shape *s) { return (s->first + n_rows(s) - 1) * (s->n_kv_heads * s->head_dim + s->extra) + s->n_kv_heads * s->head_dim; }

// Everything that must not be read is NaN: positions before the first, numbers between the rows.
static tight cache(const shape *s, uint64_t *state) {
  const size_t width = s->n_kv_heads * s->head_dim, stride = width + s->extra, n = cache_size(s);
  tight t = tight_new16(n * sizeof(uint16_t));
  for (size_t i = 0; i < n; i++) {
    const float f = random_float(state);
    ((uint16_t *)t.p)[i] = i / stride < s->first || i % stride >= width ? 0x7e00 : nb_f32_to_f16(f);
  }
  return t;
}

static inputs inputs_new(const shape *s, float q_scale, uint64_t *state) {
  inputs in = {.q = tight_new16(s->n_queries * s->n_heads * s->head_dim * sizeof(float)), .kv_stride = s->n_kv_heads * s->head_dim + s->extra};
  random_floats(in.q.p, s->n_queries * s->n_heads * s->head_dim, state);
  for (size_t i = 0; i < s->n_queries * s->n_heads * s->head_dim; i++) ((float *)in.q.p)[i] *= q_scale;
  in.k = cache(s, state);
  in.v = cache(s, state);
  return in;
}

static void inputs_free(inputs *in) {
  tight_free(&in->q);
  tight_free(&in->k);
  tight_free(&in->v);
}

static float scale_of(const shape *s) { return 1.0f / sqrtf((float)s->head_dim); }

static void specification(const shape *s, const inputs *in, float *out) {
  float *scratch = malloc(nb_attention_scratch(n_rows(s), s->head_dim) * sizeof *scratch);
  if (!scratch) abort();
  nb_attention_scalar(out, in->q.p, s->n_queries, in->k.p, in->v.p, in->kv_stride, s->n_heads, s->n_kv_heads, s->head_dim, s->first, s->n, scale_of(s), scratch);
  free(scratch);
}

static void variants_give_the_same_bits(void) {
  uint64_t state = 71;
  for (size_t i = 0; i < N_SHAPES; i++) {
    for (int turn = 0; turn < 3; turn++) {
      const shape *s = &SHAPES[i];
      const size_t n = s->n_queries * s->n_heads * s->head_dim;
      inputs in = inputs_new(s, turn == 0 ? 1.0f : turn == 1 ? 300.0f : 0.0f, &state);
      tight out = tight_new16(n * sizeof(float)), scratch = tight_new16(nb_attention_scratch(n_rows(s), s->head_dim) * sizeof(float));
      float *want = malloc(n * sizeof *want);
      if (!want) abort();
      specification(s, &in, want);
      FAST_ATTENTION(out.p, in.q.p, s->n_queries, in.k.p, in.v.p, in.kv_stride, s->n_heads, s->n_kv_heads, s->head_dim, s->first, s->n, scale_of(s), scratch.p);
      CHECK(first_difference(out.p, want, n) == n);
      memset(out.p, 0x7f, n * sizeof(float));
      nb_attention(out.p, in.q.p, s->n_queries, in.k.p, in.v.p, in.kv_stride, s->n_heads, s->n_kv_heads, s->head_dim, s->first, s->n, scale_of(s), scratch.p);
      CHECK(first_difference(out.p, want, n) == n);
      free(want);
      tight_free(&out);
      tight_free(&scratch);
      inputs_free(&in);
    }
  }
}

// Scores are off by their sums' roundings, which softmax turns into relative errors of the weights.
static void the_specification_is_what_doubles_give(void) {
  uint64_t state = 72;
  for (size_t i = 0; i < N_SHAPES; i++) {
    const shape *s = &SHAPES[i];
    inputs in = inputs_new(s, 4, &state);
    float *out = malloc(s->n_queries * s->n_heads * s->head_dim * sizeof *out);
    double *weight = malloc(n_rows(s) * sizeof *weight);
    if (!out || !weight) abort();
    specification(s, &in, out);
    for (size_t row = 0; row < s->n_queries * s->n_heads; row++) {
      const size_t h = row % s->n_heads, n = s->n + row / s->n_heads;  // of query row / n_heads
      const float *q = (const float *)in.q.p + row * s->head_dim;
      const size_t at = s->first * in.kv_stride + h * s->n_kv_heads / s->n_heads * s->head_dim;
      const uint16_t *k = (const uint16_t *)in.k.p + at, *v = (const uint16_t *)in.v.p + at;
      double max = -INFINITY, sum = 0, off = 0;
      for (size_t p = 0; p < n; p++) {
        double dot = 0, size = 0;
        for (size_t c = 0; c < s->head_dim; c++) {
          dot += (double)q[c] * nb_f16_to_f32(k[p * in.kv_stride + c]);
          size += fabs((double)q[c] * nb_f16_to_f32(k[p * in.kv_stride + c]));
        }
        weight[p] = dot * scale_of(s);
        max = fmax(max, weight[p]);
        off = fmax(off, size * scale_of(s) * ((double)s->head_dim / 16 + 6) * ldexp(1, -24));
      }
      for (size_t p = 0; p < n; p++) sum += weight[p] = exp(weight[p] - max);
      for (size_t c = 0; c < s->head_dim; c++) {
        double want = 0, size = 0;
        for (size_t p = 0; p < n; p++) {
          const double product = weight[p] / sum * nb_f16_to_f32(v[p * in.kv_stride + c]);
          want += product;
          size += fabs(product);
        }
        CHECK_NEAR(out[row * s->head_dim + c], want, size * (4 * off + ((double)n + 20) * ldexp(1, -24)));
      }
    }
    free(out);
    free(weight);
    inputs_free(&in);
  }
}

static void one_position_is_its_value(void) {
  const shape s = {4, 2, 24, 0, 3, 1, 1};
  uint64_t state = 73;
  inputs in = inputs_new(&s, 100, &state);
  float out[4 * 24], *scratch = malloc(nb_attention_scratch(1, 24) * sizeof *scratch);
  if (!scratch) abort();
  nb_attention(out, in.q.p, 1, in.k.p, in.v.p, in.kv_stride, 4, 2, 24, 3, 1, 0.2f, scratch);
  for (size_t h = 0; h < 4; h++) {
    for (size_t c = 0; c < 24; c++) CHECK(out[h * 24 + c] == nb_f16_to_f32(((uint16_t *)in.v.p)[3 * in.kv_stride + h / 2 * 24 + c]));
  }
  free(scratch);
  inputs_free(&in);
}

int main(void) {
  variants_give_the_same_bits();
  the_specification_is_what_doubles_give();
  one_position_is_its_value();
  return check_result();
}
