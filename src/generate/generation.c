#include "generation.h"

#include <stdlib.h>

struct nb_generation {
  nb_session *session;
  const nb_tokenizer *tokenizer;
  nb_sampler *sampler;
  nb_decoder decoder;
  nb_stop stop;
  char *text;  // [text_capacity] of one token
  size_t text_capacity;
  uint32_t max_tokens, n_tokens;
  bool ignore_eog;
  nb_finish finished;
};

nb_status nb_generation_new(nb_session *s, const nb_tokenizer *t, nb_sampler *sampler, uint32_t max_tokens, bool ignore_eog, bool show_special,
                            nb_generation **out, nb_error *err) {
  *out = NULL;
  nb_generation *g = calloc(1, sizeof *g);
  const size_t capacity = nb_decoder_max(t);
  if (g) g->text = malloc(capacity);
  if (!g || !g->text) {
    free(g);
    return nb_fail_nomem(err, "a generation", capacity);
  }
  g->session = s;
  g->tokenizer = t;
  g->sampler = sampler;
  g->max_tokens = max_tokens;
  g->ignore_eog = ignore_eog;
  g->text_capacity = capacity;
  nb_stop_init(&g->stop);
  // The space in front of the first word is the vocabulary's, not the text's, where nothing but BOS stands before it.
  const uint32_t n = nb_session_n_tokens(s);
  const bool from_start = n == 0 || (n == 1 && nb_session_tokens(s)[0] == nb_tokenizer_bos(t));
  nb_decoder_init(&g->decoder, t, (show_special ? NB_DECODE_SPECIAL : 0) | (from_start ? 0 : NB_DECODE_KEEP_SPACE));
  *out = g;
  return NB_OK;
}

void nb_generation_free(nb_generation *g) {
  if (!g) return;
  nb_sampler_free(g->sampler);
  nb_stop_free(&g->stop);
  free(g->text);
  free(g);
}

nb_status nb_generation_add_stop(nb_generation *g, nb_str string, nb_error *err) { return nb_stop_add(&g->stop, string, err); }

static nb_status finish(nb_generation *g, nb_finish why, nb_step *out, nb_error *err) {
  out->finish = g->finished = why;
  return nb_generation_flush(g, &out->text, err);
}

nb_status nb_generation_flush(nb_generation *g, nb_str *out, nb_error *err) {
  bool stopped;
  const nb_status st = nb_stop_reserve(&g->stop, g->text_capacity, err);  // before the decoder gives away what it holds
  if (st) return st;
  const size_t n = nb_decoder_finish(&g->decoder, g->text, g->text_capacity);
  return nb_stop_push(&g->stop, (nb_str){g->text, n}, true, out, &stopped, err);
}

nb_status nb_generation_step(nb_generation *g, nb_step *out, nb_error *err) {
  nb_session *s = g->session;
  *out = (nb_step){.token = NB_TOKEN_NONE, .text = {"", 0}, .finish = g->finished};
  if (g->finished) return NB_OK;
  const uint32_t n = nb_session_n_tokens(s);
  const size_t n_pass = nb_session_n_pass(s);
  if (n != nb_session_n_evaluated(s) || n_pass == 0)
    return nb_fail(err, NB_E_ARGUMENT, "the session has tokens that were not evaluated, or none at all");
  if (n == nb_session_n_ctx(s)) {
    out->finish = NB_FINISH_CONTEXT;  // not final: the caller may slide and go on
    return NB_OK;
  }
  // Room first: after a token has been drawn nothing fails, so a step that ran out of memory can be tried again and gives the same token.
  nb_status st = nb_stop_reserve(&g->stop, g->text_capacity, err);
  if (st) return st;
  st = nb_sampler_sample(g->sampler, nb_session_logits(s, n_pass - 1), nb_session_tokens(s), n, &out->token, err);
  if (st) return st;
  g->n_tokens++;
  if (!g->ignore_eog && nb_tokenizer_is_eog(g->tokenizer, out->token)) return finish(g, NB_FINISH_EOG, out, err);

  const size_t bytes = nb_decoder_push(&g->decoder, out->token, g->text, g->text_capacity);
  bool stopped;
  if ((st = nb_stop_push(&g->stop, (nb_str){g->text, bytes}, false, &out->text, &stopped, err))) return st;
  if ((st = nb_session_push(s, &out->token, 1, err))) return st;
  if (stopped) {
    out->finish = g->finished = NB_FINISH_STOP;
  } else if (g->max_tokens && g->n_tokens >= g->max_tokens) {
    out->finish = g->finished = NB_FINISH_LENGTH;
  }
  return NB_OK;
}
