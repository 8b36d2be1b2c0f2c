// How fast attention is, on one thread: GMAC/s (10^9 products of scores and of values a second), for single queries and batches of a prompt over
// caches of several lengths.
//
//   attention                                        natively: SIMD goes through SIMDe, so these are not the figures that ship
//   node wasm/wasi.mjs build/wasm-simd128/attention_main.wasm [SHAPES [QUERIES]]
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernels_util.h"

typedef struct shape {
  size_t n_heads, n_kv_heads, head_dim;
} shape;

static double now(void) {
  struct timespec t;
  timespec_get(&t, TIME_UTC);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_size(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b; }

enum { TURNS = 7 };

// Median of the turns, each at least 50 ms long.
static void measure(const shape *s, size_t n, size_t n_queries) {
  uint64_t state = 5;
  const size_t width = s->n_kv_heads * s->head_dim, rows = n + n_queries - 1, size = n_queries * s->n_heads * s->head_dim;
  uint16_t *k = aligned_alloc(16, rows * width * 2), *v = aligned_alloc(16, rows * width * 2);
  float *q = malloc(size * sizeof *q), *out = malloc(size * sizeof *out);
  float *scratch = aligned_alloc(16, (nb_attention_scratch(s->n_heads, s->n_kv_heads, s->head_dim) * sizeof *scratch + 15) / 16 * 16);
  float *partials = aligned_alloc(16, (size_t)(nb_attention_partials(s->n_heads, s->head_dim, rows, n_queries) * sizeof *partials + 15) / 16 * 16);
  if (!k || !v || !q || !out || !scratch || !partials) abort();
  for (size_t i = 0; i < rows * width; i++) k[i] = nb_f32_to_f16(random_float(&state)), v[i] = nb_f32_to_f16(random_float(&state));
  random_floats(q, size, &state);
  const nb_attention_call call = {.out = out, .q = q, .n_queries = n_queries, .k = k, .v = v, .kv_stride = width, .n_heads = s->n_heads,
                                  .n_kv_heads = s->n_kv_heads, .head_dim = s->head_dim, .n = n, .scale = 0.125f, .partials = partials};
  double seconds[TURNS];
  for (int t = 0; t < TURNS; t++) {
    const double start = now();
    int runs = 0;
    do nb_attention(&call, scratch), runs++;
    while (now() - start < 0.05);
    seconds[t] = (now() - start) / runs;
  }
  qsort(seconds, TURNS, sizeof *seconds, by_size);
  const double macs = 2.0 * (double)(s->n_heads * s->head_dim) * (double)n_queries * ((double)n + ((double)n_queries - 1) / 2);
  printf("%3zu heads, %2zu of keys, head_dim %3zu: %3zu queries over %4zu rows  %6.2f GMAC/s  %9.1f us\n", s->n_heads, s->n_kv_heads, s->head_dim, n_queries,
         n, macs / seconds[TURNS / 2] * 1e-9, seconds[TURNS / 2] * 1e6);
  free(k), free(v), free(q), free(out), free(scratch), free(partials);
}

// The first two are the shapes of a model of 135 and one of 494 million parameters.
int main(int argc, char **argv) {
  static const shape SHAPES[] = {{9, 3, 64}, {14, 2, 64}, {32, 8, 64}, {16, 8, 128}, {32, 32, 128}};
  static const size_t CONTEXTS[] = {64, 512, 2048, 4096};
  const size_t shapes = argc > 1 ? strtoul(argv[1], NULL, 10) : sizeof SHAPES / sizeof *SHAPES;
  const size_t only = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;  // this many queries, where given
  for (size_t i = 0; i < shapes && i < sizeof SHAPES / sizeof *SHAPES; i++) {
    for (size_t j = 0; j < sizeof CONTEXTS / sizeof *CONTEXTS; j++) if (only != 64) measure(&SHAPES[i], CONTEXTS[j], 1);
    for (size_t j = 0; j < sizeof CONTEXTS / sizeof *CONTEXTS; j++) if (only != 1) measure(&SHAPES[i], CONTEXTS[j] - 63, 64);
  }
  return 0;
}
