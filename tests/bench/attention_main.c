// How fast attention is: GMAC/s (10^9 products of scores and of values a second), for prompts and single queries over caches of several lengths.
//
//   attention                                        natively: SIMD goes through SIMDe, so these are not the figures that ship
//   node wasm/wasi.mjs build/wasm-simd128/attention_main.wasm
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
  const size_t width = s->n_kv_heads * s->head_dim, rows = n + n_queries - 1;
  uint16_t *k = aligned_alloc(16, rows * width * 2), *v = aligned_alloc(16, rows * width * 2);
  float *q = malloc(n_queries * s->n_heads * s->head_dim * sizeof *q), *out = malloc(n_queries * s->n_heads * s->head_dim * sizeof *out);
  float *scratch = aligned_alloc(16, (nb_attention_scratch(rows, s->head_dim) * sizeof *scratch + 15) / 16 * 16);
  if (!k || !v || !q || !out || !scratch) abort();
  for (size_t i = 0; i < rows * width; i++) k[i] = nb_f32_to_f16(random_float(&state)), v[i] = nb_f32_to_f16(random_float(&state));
  random_floats(q, n_queries * s->n_heads * s->head_dim, &state);
  double seconds[TURNS];
  for (int t = 0; t < TURNS; t++) {
    const double start = now();
    int runs = 0;
    do nb_attention(out, q, n_queries, k, v, width, s->n_heads, s->n_kv_heads, s->head_dim, 0, n, 0.125f, scratch), runs++;
    while (now() - start < 0.05);
    seconds[t] = (now() - start) / runs;
  }
  qsort(seconds, TURNS, sizeof *seconds, by_size);
  const double macs = 2.0 * (double)(s->n_heads * s->head_dim) * (double)n_queries * ((double)n + ((double)n_queries - 1) / 2);
  printf("%3zu heads, %2zu of keys, head_dim %3zu: %3zu queries over %4zu rows  %6.2f GMAC/s\n", s->n_heads, s->n_kv_heads, s->head_dim, n_queries, n,
         macs / seconds[TURNS / 2] * 1e-9);
  free(k), free(v), free(q), free(out), free(scratch);
}

int main(void) {
  static const shape SHAPES[] = {{9, 3, 64}, {14, 2, 64}, {32, 8, 64}, {16, 8, 128}, {32, 32, 128}};
  for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++) {
    measure(&SHAPES[i], 64, 1);
    measure(&SHAPES[i], 1024, 1);
    measure(&SHAPES[i], 1, 32);
    measure(&SHAPES[i], 481, 32);
  }
  return 0;
}
