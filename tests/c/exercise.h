// Does with a file what a user does: load it, make its tokenizer, encode and decode, generate. Whatever the file says, each step gives a
// result or a status with a message, and what it promises holds; a broken promise ends the program.
#ifndef NB_TESTS_EXERCISE_H
#define NB_TESTS_EXERCISE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/nibble.h"
#include "../../src/text/unicode.h"

#define EX_UNUSED __attribute__((unused))

#define PROMISED(condition)                                                        \
  do {                                                                             \
    if (!(condition)) {                                                            \
      printf("%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition);       \
      fflush(stdout);                                                              \
      abort();                                                                     \
    }                                                                              \
  } while (0)

// A status that is a failure comes with the same status in *err, and words.
static nb_status typed(nb_status s, const nb_error *err) {
  if (!s) return s;
  PROMISED(s >= NB_E_FORMAT && s <= NB_E_INTEGRITY);
  PROMISED(err->status == s);
  PROMISED(memchr(err->message, 0, sizeof err->message) && strlen(err->message) > 8);
  return s;
}

// Loads a file fed in pieces of at most `piece` bytes (0: as large as the loader takes).
EX_UNUSED static nb_status exercise_load(const uint8_t *bytes, size_t n, size_t piece, unsigned flags, nb_model **out, nb_error *err) {
  *out = NULL;
  nb_loader *l = nb_loader_new(flags);
  if (!l) return nb_fail_nomem(err, "the loader", 0);
  nb_status s = NB_OK;
  for (size_t at = 0; !s && at < n;) {
    if (flags & NB_LOAD_HEADER_ONLY && nb_loader_state(l) == NB_LOAD_END) break;
    size_t room;
    uint8_t *to = nb_loader_window(l, &room);
    PROMISED(to && room > 0);
    size_t part = n - at < room ? n - at : room;
    if (piece && part > piece) part = piece;
    memcpy(to, bytes + at, part);
    s = typed(nb_loader_commit(l, part, err), err);
    at += part;
    if (!s) PROMISED(nb_loader_position(l) == at || nb_loader_state(l) == NB_LOAD_HEADER || flags & NB_LOAD_HEADER_ONLY);
  }
  bool more = false;
  if (!s) s = typed(nb_loader_end_file(l, &more, NULL, err), err);
  if (!s && more && !(flags & NB_LOAD_HEADER_ONLY)) s = nb_fail(err, NB_E_TRUNCATED, "more parts of a split model are needed");
  if (!s) {
    *out = nb_loader_take(l, err);
    if (!*out) s = typed(err->status, err);
    PROMISED(*out || s);
  }
  nb_loader_free(l);
  return s;
}

static void is_utf8(const char *p, size_t n) {
  for (size_t i = 0; i < n;) {
    const size_t length = nb_utf8_length(p + i, n - i);
    PROMISED(length > 0);
    i += length;
  }
}

// Decodes ids, each piece of the result being whole characters. The text is freed by the caller; NULL when memory is out.
EX_UNUSED static char *exercise_decode(const nb_tokenizer *t, const nb_token *ids, size_t n, unsigned flags, size_t *length) {
  const size_t max = nb_decoder_max(t);
  char *text = malloc((n + 1) * max);
  if (!text) return NULL;
  nb_decoder d;
  nb_decoder_init(&d, t, flags);
  *length = 0;
  for (size_t i = 0; i <= n; i++) {
    // Room of exactly what is promised to be enough, so that AddressSanitizer sees one byte more.
    char *out = malloc(max);
    if (!out) {
      free(text);
      return NULL;
    }
    const size_t bytes = i < n ? nb_decoder_push(&d, ids[i], out, max) : nb_decoder_finish(&d, out, max);
    PROMISED(bytes <= max);
    is_utf8(out, bytes);
    memcpy(text + *length, out, bytes);
    *length += bytes;
    free(out);
  }
  return text;
}

// Encodes and decodes with every combination of flags.
EX_UNUSED static nb_status exercise_text(const nb_tokenizer *t, nb_str text, nb_error *err) {
  nb_status s = NB_OK;
  for (unsigned flags = 0; flags < 8 && !s; flags++) {
    size_t needed = 0, n = 0;
    if ((s = typed(nb_tokenizer_encode(t, text.data, text.len, flags, NULL, 0, &needed, err), err))) break;
    PROMISED(needed <= 3 * text.len + 3 + 2);
    nb_token *ids = malloc((needed + 1) * sizeof *ids);
    if (!ids) return nb_fail_nomem(err, "ids", needed);
    s = typed(nb_tokenizer_encode(t, text.data, text.len, flags, ids, needed, &n, err), err);
    for (size_t i = 0; i < n; i++) {
      PROMISED(ids[i] >= 0 && (uint32_t)ids[i] < nb_tokenizer_n_vocab(t));
      // text becomes control tokens only when asked for
      if (!(flags & (NB_ENCODE_PARSE | NB_ENCODE_SPECIAL))) PROMISED(nb_tokenizer_kind(t, ids[i]) != NB_TOKEN_CONTROL);
    }
    PROMISED(s || n == needed);
    for (unsigned decode = 0; decode < 4 && !s; decode++) {
      size_t length;
      char *back = exercise_decode(t, ids, n, decode, &length);
      if (!back) s = nb_fail_nomem(err, "decoding", n);
      free(back);
    }
    free(ids);
  }
  return s;
}

// Every token of the vocabulary, and ids outside of it, alone.
EX_UNUSED static void exercise_pieces(const nb_tokenizer *t) {
  const uint32_t n = nb_tokenizer_n_vocab(t);
  for (int64_t id = -2; id < (int64_t)n + 2 && id < 4096; id++) {
    const nb_token token = (nb_token)id;
    size_t length;
    free(exercise_decode(t, &token, 1, (unsigned)id & 3, &length));
    nb_tokenizer_is_eog(t, token);
    PROMISED(nb_tokenizer_piece(t, token).data || id < 0 || id >= n);
  }
  const nb_token roles[] = {nb_tokenizer_bos(t), nb_tokenizer_eos(t), nb_tokenizer_eot(t), nb_tokenizer_unk(t), nb_tokenizer_pad(t)};
  for (int i = 0; i < 5; i++) PROMISED(roles[i] >= NB_TOKEN_NONE && roles[i] < (nb_token)n);
  PROMISED(!nb_tokenizer_add_bos(t) || roles[0] != NB_TOKEN_NONE);
  PROMISED(!nb_tokenizer_add_eos(t) || roles[1] != NB_TOKEN_NONE);
}

// A few tokens of text behind a prompt, sampled with everything on, with a stop string, over the end of the context.
EX_UNUSED static nb_status exercise_generate(const nb_model *m, const nb_tokenizer *t, nb_str text, uint64_t seed, nb_error *err) {
  nb_session *s = NULL;
  nb_sampler *sampler = NULL;
  nb_generation *g = NULL;
  nb_token ids[64];
  size_t n = 0;
  nb_session_bytes(m, &(nb_session_options){0});
  nb_status st = nb_tokenizer_encode(t, text.data, text.len, NB_ENCODE_SPECIAL, ids, 64, &n, err);
  if (st && st != NB_E_NOMEM) st = NB_OK, n = 0;
  if (n > 8) n = 8;
  const nb_session_options o = {.n_ctx = 12, .n_batch = 3, .float_activations = seed & 1};
  if (!st) st = nb_session_new(m, &o, &s, err);
  if (!st) {
    st = nb_session_push(s, ids, n, err);
    if (st == NB_E_ARGUMENT || n == 0) st = nb_session_push(s, (nb_token[]){0}, 1, err);  // the vocabulary may be larger than the embedding
  }
  nb_sampling options;
  nb_sampling_defaults(&options);
  options.repeat_penalty = 1.1f;
  options.typical_p = 0.9f;
  options.seed = seed;
  if (!st) st = nb_sampler_new(m->config.n_vocab, &options, NULL, 0, &sampler, err);
  if (!st && (st = nb_generation_new(s, t, sampler, 14, seed & 2, seed & 4, &g, err))) nb_sampler_free(sampler);
  if (!st) st = nb_generation_add_stop(g, NB_STR("abc"), err);
  nb_step step = {.finish = NB_FINISH_NONE};
  while (!st && (!step.finish || step.finish == NB_FINISH_CONTEXT)) {
    if (step.finish == NB_FINISH_CONTEXT) nb_session_slide(s, 2, 5);
    for (uint32_t left = 1; left;) nb_session_eval(s, 2, &left);
    st = nb_generation_step(g, &step, err);
    if (!st) is_utf8(step.text.data, step.text.len);
  }
  if (!st) st = nb_generation_flush(g, &step.text, err);
  if (!st) {
    nb_session_truncate(s, 1);
    uint32_t left;
    nb_session_eval(s, 1, &left);
    nb_token top[3];
    double logprobs[3];
    nb_top_logprobs(nb_session_logits(s, 0), m->config.n_vocab, m->config.n_vocab < 3 ? m->config.n_vocab : 3, top, logprobs);
  }
  nb_generation_free(g);
  nb_session_free(s);
  return typed(st, err);
}

// All of it. The first failure, or NB_OK.
EX_UNUSED static nb_status exercise(const uint8_t *bytes, size_t n, size_t piece, nb_str text, uint64_t seed, nb_error *err) {
  nb_model *m = NULL;
  nb_tokenizer *t = NULL;
  nb_status s = exercise_load(bytes, n, piece, 0, &m, err);
  if (!s) s = typed(nb_tokenizer_new(m->files[0], &t, err), err);
  if (!s) {
    exercise_pieces(t);
    s = exercise_text(t, text, err);
    const nb_status generated = s == NB_E_NOMEM ? s : exercise_generate(m, t, text, seed, err);
    if (!s) s = generated;
  }
  nb_tokenizer_free(t);
  nb_model_free(m);
  return s;
}

// The header alone: what `inspect` does.
EX_UNUSED static nb_status exercise_header(const uint8_t *bytes, size_t n, size_t piece, nb_error *err) {
  nb_model *m = NULL;
  nb_tokenizer *t = NULL;
  nb_status s = exercise_load(bytes, n, piece, NB_LOAD_HEADER_ONLY, &m, err);
  if (!s) {
    const nb_gguf *g = m->files[0];
    for (size_t i = 0; i < nb_gguf_n_kv(g); i++) PROMISED(nb_gguf_find(g, nb_gguf_kv_at(g, i)->key) == nb_gguf_kv_at(g, i));
    for (size_t i = 0; i < nb_gguf_n_tensors(g); i++) PROMISED(nb_gguf_find_tensor(g, nb_gguf_tensor_at(g, i)->name) == nb_gguf_tensor_at(g, i));
    if (m->arch) nb_session_bytes(m, &(nb_session_options){0});
    s = typed(nb_tokenizer_new(g, &t, err), err);
    if (!s) exercise_pieces(t);
  }
  nb_tokenizer_free(t);
  nb_model_free(m);
  return s;
}

#endif
