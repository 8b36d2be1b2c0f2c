// The library as a plain native program: greedy or seeded text from a GGUF file. Shows the C interface, and is the native side of
// comparisons between builds.
//   native MODEL.gguf PROMPT MAX_TOKENS [TEMPERATURE SEED]
#include <stdio.h>
#include <stdlib.h>

#include "../../src/nibble.h"
#include "load_file.h"

static int fail(const nb_error *err) {
  fprintf(stderr, "%s\n", err->message);
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: native MODEL.gguf PROMPT MAX_TOKENS [TEMPERATURE SEED]\n");
    return 2;
  }
  nb_error err = {NB_OK, ""};
  nb_model *m = load_file(argv[1], &err);
  if (!m) return fail(&err);
  nb_tokenizer *t = NULL;
  nb_session *s = NULL;
  nb_sampler *sampler = NULL;
  nb_generation *g = NULL;
  nb_sampling options;
  nb_sampling_defaults(&options);
  options.temperature = argc > 4 ? (float)atof(argv[4]) : 0;
  options.seed = argc > 5 ? strtoull(argv[5], NULL, 10) : 0;
  static nb_token ids[1 << 16];
  size_t n;
  nb_status st = nb_tokenizer_new(m->files[0], &t, &err);
  if (!st) st = nb_tokenizer_encode(t, argv[2], strlen(argv[2]), NB_ENCODE_SPECIAL, ids, 1 << 16, &n, &err);
  if (!st) st = nb_session_new(m, &(nb_session_options){0}, &s, &err);
  if (!st) st = nb_session_push(s, ids, n, &err);
  if (!st) st = nb_sampler_new(m->config.n_vocab, &options, NULL, 0, &sampler, &err);
  if (!st) st = nb_generation_new(s, t, sampler, (uint32_t)atoi(argv[3]), false, false, &g, &err);
  nb_step step = {.finish = NB_FINISH_NONE};
  while (!st && !step.finish) {
    uint32_t left = 1;
    while (left) nb_session_eval(s, 64, &left);
    st = nb_generation_step(g, &step, &err);
    if (!st) fwrite(step.text.data, 1, step.text.len, stdout);
  }
  nb_str rest;
  if (!st && step.finish == NB_FINISH_LENGTH && !(st = nb_generation_flush(g, &rest, &err))) fwrite(rest.data, 1, rest.len, stdout);
  printf("\n");
  nb_generation_free(g);
  nb_session_free(s);
  nb_tokenizer_free(t);
  nb_model_free(m);
  return st ? fail(&err) : 0;
}
