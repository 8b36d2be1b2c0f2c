// The matrix products of a model, one vector, each in the order of a pass: GMAC/s of all of them, and of one alone over and over.
#include <stdio.h>
#include <time.h>

#include "kernels_matmul_util.h"
#include "load_file.h"

static double now(void) {
  struct timespec t;
  timespec_get(&t, TIME_UTC);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
  nb_error err = {NB_OK, ""};
  nb_model *m = argc > 1 ? load_file(argv[1], &err) : NULL;
  if (!m) {
    fprintf(stderr, "usage: matrices MODEL.gguf\n%s\n", err.message);
    return 2;
  }
  uint64_t state = 5;
  static float y[200000], x[16384];
  random_floats(x, 16384, &state);
  const nb_matrix *list[4096];
  size_t n = 0;
  double macs = 0;
  for (uint32_t i = 0; i < m->config.n_layers; i++) {
    const nb_layer *b = &m->weights.layers[i];
    const nb_matrix *of[] = {&b->q, &b->k, &b->v, &b->attn_output, &b->gate, &b->up, &b->down};
    for (size_t j = 0; j < 7; j++) list[n++] = of[j];
  }
  for (size_t i = 0; i < n; i++) macs += (double)(list[i]->rows * list[i]->cols);
  for (int pass = 0; pass < 6; pass++) {
    double t = 0;
    for (size_t i = 0; i < n; i++) {
      test_act q = {.a = {.kind = NB_ACT_F32, .n = 1, .cols = list[i]->cols, .x = x}};
      if (nb_act_kind_of(list[i]->type) != NB_ACT_F32) {
        q = act_new(nb_act_kind_of(list[i]->type), 1, list[i]->cols);
        nb_quantize_act(&q.a, x);
      }
      const double s = now();
      nb_matmul(list[i], &q.a, y, list[i]->rows, 0, list[i]->rows);
      t += now() - s;
      if (q.a.kind != NB_ACT_F32) act_free(&q);
    }
    printf("all: %.2f GMAC/s\n", macs / t * 1e-9);
  }
  for (size_t i = 0; i < 7; i++) {
    test_act q = {.a = {.kind = NB_ACT_F32, .n = 1, .cols = list[i]->cols, .x = x}};
    if (nb_act_kind_of(list[i]->type) != NB_ACT_F32) {
      q = act_new(nb_act_kind_of(list[i]->type), 1, list[i]->cols);
      nb_quantize_act(&q.a, x);
    }
    double best = 1e9;
    for (int r = 0; r < 50; r++) {
      const double s = now();
      nb_matmul(list[i], &q.a, y, list[i]->rows, 0, list[i]->rows);
      const double t = now() - s;
      if (t < best) best = t;
    }
    printf("%zu x %zu alone: %.2f GMAC/s\n", list[i]->rows, list[i]->cols, (double)(list[i]->rows * list[i]->cols) / best * 1e-9);
  }
  return 0;
}
