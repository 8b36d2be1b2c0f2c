// A tiny model with a session over it, and the pieces of a saved state, for the tests of states.
#ifndef NB_TESTS_STATE_UTIL_H
#define NB_TESTS_STATE_UTIL_H

#include "../../src/base/sha256.h"
#include "exercise.h"
#include "tiny_models.h"

enum { STATE_TOKENS = 7, STATE_N_CTX = 24 };
static const nb_token STATE_IDS[STATE_TOKENS] = {1, 8, 13, 9, 20, 11, 5};

typedef struct bench {
  nb_model *model;
  nb_session *session;
} bench;

EX_UNUSED static void bench_open(bench *b, void (*make)(gguf_writer *), const nb_session_options *o) {
  gguf_writer w;
  nb_error err;
  make(&w);
  PROMISED(exercise_load(w.bytes, w.n, 0, 0, &b->model, &err) == NB_OK);
  gw_free(&w);
  PROMISED(nb_session_new(b->model, o, &b->session, &err) == NB_OK);
}

EX_UNUSED static void bench_close(bench *b) {
  nb_session_free(b->session);
  nb_model_free(b->model);
}

EX_UNUSED static void evaluate(nb_session *s) {
  for (uint32_t left = 1; left;) nb_session_eval(s, SIZE_MAX, &left);
}

// The tokens of STATE_IDS, all evaluated.
EX_UNUSED static void fill(nb_session *s) {
  nb_error err;
  nb_session_truncate(s, 0);
  PROMISED(nb_session_push(s, STATE_IDS, STATE_TOKENS, &err) == NB_OK);
  evaluate(s);
}

// The most probable tokens behind the session's, n of them, which it then has.
EX_UNUSED static void go_on(nb_session *s, nb_token *ids, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double logprob;
    nb_error err;
    evaluate(s);
    nb_top_logprobs(nb_session_logits(s, nb_session_n_pass(s) - 1), nb_session_n_vocab(s), 1, &ids[i], &logprob);
    PROMISED(nb_session_push(s, &ids[i], 1, &err) == NB_OK);
  }
}

EX_UNUSED static uint8_t *save(nb_session *s, nb_str note, size_t *n) {
  *n = (size_t)nb_state_bytes(s, note.len);
  uint8_t *bytes = malloc(*n);
  PROMISED(bytes);
  nb_state_save(s, note, bytes);
  return bytes;
}

// The hash that belongs to the bytes before it, so that what is changed there is looked at.
EX_UNUSED static void seal(uint8_t *bytes, size_t n) {
  nb_sha256 sha;
  nb_sha256_init(&sha);
  nb_sha256_update(&sha, bytes, n - NB_STATE_HASH);
  nb_sha256_final(&sha, bytes + n - NB_STATE_HASH);
}

#endif
