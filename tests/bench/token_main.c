// What a token costs, on one thread, at several lengths of context: the time of a pass over a cache of random keys and values, without the
// prompt that would have filled it. With perf it shows the share of every part of a token (Node's --perf-prof).
//
//   node wasm/wasi.mjs build/wasm-relaxed/token_main.wasm MODEL.gguf [POSITION [TOKENS OF THE PASS]]
#include <stdio.h>
#include <time.h>

#include "../../src/model/forward.h"
#include "kernels_util.h"
#include "load_file.h"

static double now(void) {
  struct timespec t;
  timespec_get(&t, TIME_UTC);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_size(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b; }

enum { MOST = 64, SECONDS = 3 };

// Median over the passes of SECONDS.
static double milliseconds(nb_pass *p, uint32_t pos, size_t n) {
  static double times[4096];
  int32_t tokens[MOST];
  size_t runs = 0;
  for (const double start = now(); runs < 3 || (now() - start < SECONDS && runs < 4096); runs++) {
    for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)((runs * 7919 + i * 104729) % p->model->config.n_vocab);
    const double t = now();
    nb_pass_run(p, tokens, n, pos);
    (void)nb_pass_logits(p, n - 1);
    times[runs] = now() - t;
  }
  qsort(times, runs, sizeof *times, by_size);
  return times[runs / 2] * 1e3;
}

int main(int argc, char **argv) {
  nb_error err = {NB_OK, ""};
  nb_model *m = argc > 1 ? load_file(argv[1], &err) : NULL;
  if (!m) {
    fprintf(stderr, "usage: token MODEL.gguf [POSITION [TOKENS OF THE PASS]]\n%s\n", err.message);
    return 2;
  }
  const uint32_t only = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0, n_ctx = (only > 4096 ? only : 4096) + MOST;
  const size_t n = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;
  nb_kvcache cache;
  nb_pass pass;
  if (n < 1 || n > MOST || nb_kvcache_init(&cache, &m->config, n_ctx, &err) || nb_pass_init(&pass, m, &cache, n, NULL, false, &err)) {
    fprintf(stderr, "%s\n", err.message);
    return 1;
  }
  uint64_t state = 3;
  for (size_t i = 0; i < (size_t)m->config.n_layers * n_ctx * cache.stride; i++) {
    cache.k[i] = nb_f32_to_f16(random_float(&state));
    cache.v[i] = nb_f32_to_f16(random_float(&state));
  }
  static const uint32_t POSITIONS[] = {64, 512, 2048, 4096};
  for (size_t i = 0; i < 4; i++) {
    const uint32_t pos = only ? only : POSITIONS[i];
    const double ms = milliseconds(&pass, pos, n);
    printf("%2zu tokens at position %4u: %8.2f ms, %7.1f tokens/s\n", n, (unsigned)pos, ms, (double)n * 1e3 / ms);
    if (only) break;
  }
  nb_pass_free(&pass);
  nb_kvcache_free(&cache);
  nb_model_free(m);
  return 0;
}
