// Attention: SIMD bit for bit against the specification, the specification against doubles, units in any order, queries alone and together,
// what it may not look at, and what must show.
#include "../../src/kernels/simd.h"
#include "../../src/kernels/variants.h"
#include "check.h"
#include "kernels_util.h"

typedef void unit_fn(const nb_attention_call *c, size_t unit, float *scratch);

#ifdef NB_SIMD128
#define FAST_UNIT nb_attention_unit_simd128
#else
#define FAST_UNIT nb_attention_unit
#endif

enum { CHUNK = NB_ATTENTION_CHUNK };

typedef struct shape {
  size_t n_heads, n_kv_heads, head_dim, extra, first, n, n_queries;  // extra: numbers between the rows of the cache
} shape;

static const shape SHAPES[] = {
  {1, 1, 1, 0, 0, 1, 1},   {1, 1, 4, 0, 0, 3, 1},    {2, 1, 8, 0, 0, 5, 1},     {4, 2, 15, 1, 2, 7, 1},   {4, 4, 16, 0, 0, 1, 1},  {6, 2, 17, 3, 5, 16, 1},
  {3, 3, 20, 0, 1, 17, 1}, {9, 3, 33, 0, 0, 31, 1},  {8, 2, 64, 0, 0, 64, 1},   {8, 1, 64, 8, 3, 100, 1}, {2, 2, 80, 0, 7, 33, 1}, {4, 1, 96, 0, 0, 12, 1},
  {2, 1, 128, 0, 0, 9, 1}, {14, 2, 64, 64, 0, 2, 1}, {1, 1, 256, 0, 11, 40, 1}, {4, 2, 48, 0, 0, 15, 1},  {40, 2, 8, 0, 0, 18, 1}, {71, 1, 64, 0, 0, 34, 1},
  // around the borders of chunks
  {3, 1, 64, 0, 0, CHUNK - 1, 1}, {3, 1, 64, 0, 0, CHUNK, 1}, {3, 1, 64, 0, 1, CHUNK + 1, 1}, {14, 2, 64, 0, 0, 2 * CHUNK, 1}, {5, 1, 24, 0, 9, 2 * CHUNK + 1, 1},
  {2, 2, 80, 4, 3, 3 * CHUNK - 1, 1}, {12, 2, 128, 0, 0, 4 * CHUNK + 33, 1},
  // several queries: split by position and not, fewer and more rows than a tile, groups that divide a tile and ones that do not
  {1, 1, 16, 0, 0, 1, 2},  {2, 2, 33, 2, 1, 1, 16},  {6, 2, 64, 0, 0, 1, 5},    {9, 3, 64, 0, 3, 15, 6},  {8, 2, 20, 4, 0, 17, 17}, {5, 1, 8, 0, 0, 40, 33},
  {40, 2, 16, 0, 2, 30, 3}, {71, 1, 4, 0, 0, 3, 3},  {4, 4, 64, 0, 0, 1, 65},   {7, 1, 64, 0, 0, 1, 19},  {2, 1, 128, 0, 5, 20, 40},
  // the same, across chunks
  {3, 1, 64, 0, 0, CHUNK - 1, 2}, {6, 2, 32, 0, 2, CHUNK - 2, 4}, {40, 2, 16, 0, 0, CHUNK - 1, 4}, {4, 2, 64, 0, 0, CHUNK - 3, 5}, {2, 1, 128, 0, 0, CHUNK, 9},
  {3, 3, 12, 4, 1, 2 * CHUNK - 20, 70}, {9, 3, 64, 0, 0, 1, CHUNK + 3}, {14, 2, 64, 0, 0, 3 * CHUNK - 7, 16},
};
enum { N_SHAPES = sizeof SHAPES / sizeof SHAPES[0] };

// A call with its inputs, outputs and working memory, each in a tight buffer that ends with the last number that may be touched.
typedef struct task {
  nb_attention_call call;
  size_t size;  // of q and out
  tight q, k, v, out, partials, scratch;
} task;

static size_t n_rows(const shape *s) { return s->n + s->n_queries - 1; }

// Everything that must not be read is NaN: positions before the first, numbers between the rows.
static tight cache_new(const shape *s, uint64_t *state) {
  const size_t width = s->n_kv_heads * s->head_dim, stride = width + s->extra, n = (s->first + n_rows(s) - 1) * stride + width;
  tight t = tight_new16(n * sizeof(uint16_t));
  for (size_t i = 0; i < n; i++) {
    const float f = random_float(state);
    ((uint16_t *)t.p)[i] = i / stride < s->first || i % stride >= width ? 0x7e00 : nb_f32_to_f16(f);
  }
  return t;
}

static task task_new(const shape *s, float q_scale, uint64_t *state) {
  task t = {.size = s->n_queries * s->n_heads * s->head_dim};
  t.q = tight_new16(t.size * sizeof(float));
  t.out = tight_new16(t.size * sizeof(float));
  random_floats(t.q.p, t.size, state);
  for (size_t i = 0; i < t.size; i++) ((float *)t.q.p)[i] *= q_scale;
  t.k = cache_new(s, state);
  t.v = cache_new(s, state);
  const size_t scratch = nb_attention_scratch(s->n_heads, s->n_kv_heads, s->head_dim);
  const size_t partials = (size_t)nb_attention_partials(s->n_heads, s->head_dim, n_rows(s), s->n_queries);
  t.scratch = tight_new16(scratch * sizeof(float));
  t.partials = tight_new16(partials * sizeof(float));
  memset(t.scratch.p, 0xff, scratch * sizeof(float));  // NaN: nothing there may matter
  memset(t.partials.p, 0xff, partials * sizeof(float));
  memset(t.out.p, 0xff, t.size * sizeof(float));
  t.call = (nb_attention_call){.out = t.out.p, .q = t.q.p, .n_queries = s->n_queries, .k = t.k.p, .v = t.v.p,
                               .kv_stride = s->n_kv_heads * s->head_dim + s->extra, .n_heads = s->n_heads, .n_kv_heads = s->n_kv_heads,
                               .head_dim = s->head_dim, .first = s->first, .n = s->n, .scale = 1.0f / sqrtf((float)s->head_dim), .partials = t.partials.p};
  return t;
}

static void task_free(task *t) {
  tight *all[] = {&t->q, &t->k, &t->v, &t->out, &t->partials, &t->scratch};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) tight_free(all[i]);
}

static uint16_t *k_of(const task *t, size_t row) { return (uint16_t *)t->k.p + row * t->call.kv_stride; }
static uint16_t *v_of(const task *t, size_t row) { return (uint16_t *)t->v.p + row * t->call.kv_stride; }

// Every unit once, from the first on or from the last; a row of the merge at a time.
static void run(task *t, unit_fn *unit, bool backwards) {
  const size_t units = nb_attention_units(&t->call), rows = nb_attention_merge_rows(&t->call);
  CHECK(rows == 0 || rows == t->call.n_queries * t->call.n_heads);
  for (size_t i = 0; i < units; i++) unit(&t->call, backwards ? units - 1 - i : i, t->scratch.p);
  for (size_t i = 0; i < rows; i++) nb_attention_merge(&t->call, backwards ? rows - 1 - i : i, backwards ? rows - i : i + 1);
}

static float *specification(task *t) {
  float *out = malloc(t->size * sizeof *out);
  if (!out) abort();
  run(t, nb_attention_unit_scalar, false);
  memcpy(out, t->out.p, t->size * sizeof *out);
  memset(t->out.p, 0xff, t->size * sizeof *out);
  return out;
}

static void check_fast(task *t) {
  float *want = specification(t);
  run(t, FAST_UNIT, true);
  CHECK(first_difference(t->out.p, want, t->size) == t->size);
  free(want);
}

static void variants_give_the_same_bits(void) {
  uint64_t state = 71;
  for (size_t i = 0; i < N_SHAPES; i++) {
    for (int turn = 0; turn < 3; turn++) {
      task t = task_new(&SHAPES[i], turn == 0 ? 1.0f : turn == 1 ? 300.0f : 0.0f, &state);
      check_fast(&t);
      float *want = specification(&t);
      nb_attention(&t.call, t.scratch.p);
      CHECK(first_difference(t.out.p, want, t.size) == t.size);
      free(want);
      task_free(&t);
    }
  }
}

// All widths up to a few vectors, and the remainders around those of models.
static void variants_agree_on_every_head_dim(void) {
  uint64_t state = 74;
  for (size_t head_dim = 1; head_dim <= 160; head_dim++) {
    for (size_t group = 1; group <= 6; group++) {
      const shape s = {2 * group, 2, head_dim, head_dim % 3, 0, 37, 1 + head_dim % 2};
      task t = task_new(&s, 2, &state);
      check_fast(&t);
      task_free(&t);
    }
  }
}

// Scores are off by their sums' roundings, which softmax turns into relative errors of the weights; chunks add a few roundings each.
static void the_specification_is_what_doubles_give(void) {
  uint64_t state = 72;
  for (size_t i = 0; i < N_SHAPES; i++) {
    const shape *s = &SHAPES[i];
    task t = task_new(s, 4, &state);
    float *out = specification(&t);
    double *weight = malloc(n_rows(s) * sizeof *weight);
    if (!weight) abort();
    for (size_t row = 0; row < s->n_queries * s->n_heads; row++) {
      const size_t h = row % s->n_heads, n = s->n + row / s->n_heads;  // of query row / n_heads
      const float *q = t.call.q + row * s->head_dim;
      const size_t at = h * s->n_kv_heads / s->n_heads * s->head_dim;
      double max = -INFINITY, sum = 0, off = 0;
      for (size_t p = 0; p < n; p++) {
        const uint16_t *k = k_of(&t, s->first + p) + at;
        double dot = 0, size = 0;
        for (size_t c = 0; c < s->head_dim; c++) {
          dot += (double)q[c] * nb_f16_to_f32(k[c]);
          size += fabs((double)q[c] * nb_f16_to_f32(k[c]));
        }
        weight[p] = dot * t.call.scale;
        max = fmax(max, weight[p]);
        off = fmax(off, size * t.call.scale * ((double)s->head_dim / 4 + 6) * ldexp(1, -24));
      }
      for (size_t p = 0; p < n; p++) sum += weight[p] = exp(weight[p] - max);
      for (size_t c = 0; c < s->head_dim; c++) {
        double want = 0, size = 0;
        for (size_t p = 0; p < n; p++) {
          const double product = weight[p] / sum * nb_f16_to_f32(v_of(&t, s->first + p)[at + c]);
          want += product;
          size += fabs(product);
        }
        CHECK_NEAR(out[row * s->head_dim + c], want, size * (4 * off + ((double)n + 30) * ldexp(1, -24)));
      }
    }
    free(out);
    free(weight);
    task_free(&t);
  }
}

// A query of a batch has the bits it has alone.
static void a_batch_gives_what_its_queries_give(void) {
  uint64_t state = 75;
  for (size_t i = 0; i < N_SHAPES; i++) {
    const shape *s = &SHAPES[i];
    task t = task_new(s, 3, &state);
    const size_t size = s->n_heads * s->head_dim;
    tight alone = tight_new16(size * sizeof(float));
    nb_attention(&t.call, t.scratch.p);
    for (size_t j = 0; j < s->n_queries; j++) {
      nb_attention_call one = t.call;
      one.n_queries = 1;
      one.n = s->n + j;
      one.q += j * size;
      one.out = alone.p;
      nb_attention(&one, t.scratch.p);
      CHECK(first_difference(alone.p, t.call.out + j * size, size) == size);
    }
    tight_free(&alone);
    task_free(&t);
  }
}

static void one_position_is_its_value(void) {
  const shape s = {4, 2, 24, 0, 3, 1, 1};
  uint64_t state = 73;
  task t = task_new(&s, 100, &state);
  nb_attention(&t.call, t.scratch.p);
  for (size_t h = 0; h < 4; h++) {
    for (size_t c = 0; c < 24; c++) CHECK(t.call.out[h * 24 + c] == nb_f16_to_f32(v_of(&t, 3)[h / 2 * 24 + c]));
  }
  task_free(&t);
}

// Every finite half, large, small and subnormal, as key and as value.
static void every_finite_half_is_read_exactly(void) {
  const shape s = {2, 1, 64, 0, 0, 65536 / 64, 1};
  uint64_t state = 76;
  task t = task_new(&s, 0.01f, &state);
  for (size_t i = 0; i < 65536; i++) {
    const uint16_t h = (uint16_t)((i & 0x7c00) == 0x7c00 ? 0 : i);
    k_of(&t, 0)[i] = h;
    v_of(&t, 0)[(i * 40503) % 65536] = h;
  }
  check_fast(&t);
  for (size_t i = 0; i < t.size; i++) CHECK(isfinite(t.call.out[i]));
  task_free(&t);
}

static const uint16_t SPECIALS[] = {0x7c00, 0xfc00, 0x7e00, 0xfe00, 0x7c01};  // infinities and NaN

// Whatever a head's query sees of them must show, wherever they stand, and only there.
static void overflow_shows(void) {
  uint64_t state = 77;
  static const size_t ROWS[] = {0, 31, 32, CHUNK - 1, CHUNK, CHUNK + 9};
  for (size_t i = 0; i < sizeof SPECIALS / sizeof *SPECIALS; i++) {
    for (size_t j = 0; j < sizeof ROWS / sizeof *ROWS; j++) {
      const shape s = {6, 2, 20, 0, 0, CHUNK + 10, 1};
      task t = task_new(&s, 1, &state);
      v_of(&t, ROWS[j])[20 + 7] = SPECIALS[i];  // column 7 of the second KV head
      check_fast(&t);
      for (size_t c = 0; c < t.size; c++) CHECK(isfinite(t.call.out[c]) == (c / 60 == 0 || c % 20 != 7));
      task_free(&t);
      t = task_new(&s, 1, &state);
      k_of(&t, ROWS[j])[20 + 7] = SPECIALS[i];
      for (size_t h = 0; h < 6; h++) ((float *)t.q.p)[h * 20 + 7] = SPECIALS[i] >> 15 ? -1 : 1;  // a score of -infinity is a weight of 0
      check_fast(&t);
      for (size_t c = 0; c < t.size; c++) CHECK(isnan(t.call.out[c]) == (c / 60 == 1));
      task_free(&t);
    }
  }
}

// Positions after a query, which later queries of the batch wrote, do not reach it, whatever stands there.
static void the_future_does_not_show(void) {
  uint64_t state = 78;
  static const size_t LENGTHS[] = {1, 28, CHUNK - 6};
  for (size_t i = 0; i < 3; i++) {
    const shape s = {3, 1, 64, 0, 0, LENGTHS[i], 12};
    task t = task_new(&s, 1, &state);
    for (size_t c = 0; c < 64; c++) k_of(&t, s.n + 5)[c] = v_of(&t, s.n + 5)[c] = 0x7c00;  // seen by the queries from 6 on
    check_fast(&t);
    for (size_t c = 0; c < t.size; c++) CHECK(isfinite(t.call.out[c]) == (c / (3 * 64) < 6));
    task_free(&t);
  }
}

static void a_few_queries_make_many_units(void) {
  float x;
  nb_attention_call c = {.out = &x, .q = &x, .n_queries = 1, .kv_stride = 128, .n_heads = 14, .n_kv_heads = 2, .head_dim = 64, .n = 4096, .scale = 1, .partials = &x};
  CHECK(nb_attention_units(&c) == 2 * 4096 / CHUNK);
  CHECK(nb_attention_merge_rows(&c) == 14);
  c.n_queries = 64;
  CHECK(nb_attention_units(&c) >= 16);
  CHECK(nb_attention_merge_rows(&c) == 0);
}

int main(void) {
  variants_give_the_same_bits();
  variants_agree_on_every_head_dim();
  the_specification_is_what_doubles_give();
  a_batch_gives_what_its_queries_give();
  one_position_is_its_value();
  every_finite_half_is_read_exactly();
  overflow_shows();
  the_future_does_not_show();
  a_few_queries_make_many_units();
  return check_result();
}
