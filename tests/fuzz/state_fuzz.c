// Bytes that should be a saved session, as they are and with the fingerprint and the hash that belong to them, so that changes get behind
// these. A session that took them generates, is saved, and comes back the same; one that did not is as it was.
#include "../c/state_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bench b;
static nb_tokenizer *tokenizer;
static uint8_t fingerprint[32];

static void start(void) {
  nb_error err;
  size_t n;
  if (b.model) return;
  bench_open(&b, tiny_llama, &(nb_session_options){.n_ctx = STATE_N_CTX, .n_batch = 4});
  PROMISED(nb_tokenizer_new(b.model->files[0], &tokenizer, &err) == NB_OK);
  uint8_t *bytes = save(b.session, NB_STR(""), &n);
  memcpy(fingerprint, bytes + 40, sizeof fingerprint);
  free(bytes);
}

static void generate(nb_session *s) {
  nb_error err;
  nb_sampling o;
  nb_sampler *sampler;
  nb_generation *g;
  nb_step step = {.finish = NB_FINISH_NONE};
  nb_status st = NB_OK;
  nb_sampling_defaults(&o);
  PROMISED(nb_sampler_new(nb_session_n_vocab(s), &o, NULL, 0, &sampler, &err) == NB_OK);
  PROMISED(nb_generation_new(s, tokenizer, sampler, 5, true, true, &g, &err) == NB_OK);
  while (!st && !step.finish && nb_session_n_tokens(s) > 0) {
    evaluate(s);
    st = typed(nb_generation_step(g, &step, &err), &err);
  }
  PROMISED(!st || st == NB_E_FORMAT);  // keys and values that are no numbers lead to no token
  nb_generation_free(g);
}

static void take(const uint8_t *data, size_t n) {
  nb_error err;
  nb_state state;
  fill(b.session);
  const nb_status st = typed(nb_state_check(b.session, data, n, &state, &err), &err);
  if (st) {
    PROMISED(st != NB_E_NOMEM && st != NB_E_ARGUMENT);
    PROMISED(nb_session_n_tokens(b.session) == STATE_TOKENS && nb_session_n_evaluated(b.session) == STATE_TOKENS);
    PROMISED(memcmp(nb_session_tokens(b.session), STATE_IDS, sizeof STATE_IDS) == 0);
    return;
  }
  nb_state_restore(b.session, &state);
  size_t n_first, n_second;
  uint8_t *first = save(b.session, state.note, &n_first);
  PROMISED(nb_state_check(b.session, first, n_first, &state, &err) == NB_OK);
  nb_state_restore(b.session, &state);
  uint8_t *second = save(b.session, state.note, &n_second);
  PROMISED(n_first == n_second && memcmp(first, second, n_first) == 0);
  free(first);
  free(second);
  generate(b.session);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  start();
  take(data, n);
  if (n < NB_STATE_HEADER + NB_STATE_HASH) return 0;
  uint8_t *copy = malloc(n);
  PROMISED(copy);
  memcpy(copy, data, n);
  memcpy(copy + 40, fingerprint, sizeof fingerprint);
  seal(copy, n);
  take(copy, n);
  free(copy);
  return 0;
}
