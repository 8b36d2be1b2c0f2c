#include "vocab.h"

#include <stdlib.h>

nb_status nb_slots_new(nb_slots *s, uint32_t n, const char *what, nb_error *err) {
  uint32_t capacity = 16;
  while (capacity / 3 * 2 < n) capacity *= 2;
  s->slot = malloc((size_t)capacity * sizeof *s->slot);
  if (!s->slot) return nb_fail_nomem(err, what, (uint64_t)capacity * sizeof *s->slot);
  s->mask = capacity - 1;
  nb_slots_reset(s, 0);
  return NB_OK;
}

void nb_slots_reset(nb_slots *s, uint64_t seed) {
  memset(s->slot, 0, ((size_t)s->mask + 1) * sizeof *s->slot);
  s->seed = seed;
}

void nb_slots_free(nb_slots *s) {
  free(s->slot);
  s->slot = NULL;
}

static bool same_text(const nb_vocab *v, uint32_t id, const char *text, size_t n) {
  const nb_str p = nb_vocab_piece(v, (nb_token)id);
  return p.len == n && memcmp(p.data, text, n) == 0;
}

nb_token nb_vocab_find(const nb_vocab *v, const char *text, size_t n) {
  if (n == 0 || n > v->max_bytes) return NB_TOKEN_NONE;
  uint32_t id;
  for (nb_probe p = nb_probe_start(&v->by_text, nb_hash(text, n, v->by_text.seed)); nb_probe_next(&p, &id);) {
    if (same_text(v, id, text, n)) return (nb_token)id;
  }
  return NB_TOKEN_NONE;
}

// *crowded: the table needs another seed.
static nb_status insert_all(nb_vocab *v, bool *crowded, nb_error *err) {
  *crowded = false;
  for (uint32_t id = 0; id < v->n_vocab; id++) {
    const nb_str piece = nb_vocab_piece(v, (nb_token)id);
    if (piece.len == 0) continue;
    nb_probe p = nb_probe_start(&v->by_text, nb_hash(piece.data, piece.len, v->by_text.seed));
    for (uint32_t other; nb_probe_next(&p, &other);) {
      if (same_text(v, other, piece.data, piece.len)) {
        return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.tokens: tokens %u and %u are spelled alike", other, id);
      }
    }
    if (p.at == UINT32_MAX) {
      *crowded = true;
      return NB_OK;
    }
    nb_probe_put(&v->by_text, &p, id);
  }
  return NB_OK;
}

static nb_status build_table(nb_vocab *v, nb_error *err) {
  nb_status status = nb_slots_new(&v->by_text, v->n_vocab, "the table of tokens", err);
  if (status != NB_OK) return status;
  for (uint64_t seed = 0; seed < NB_SLOTS_SEEDS; seed++) {
    bool crowded;
    nb_slots_reset(&v->by_text, seed * 0x9e3779b97f4a7c15ull);
    status = insert_all(v, &crowded, err);
    if (status != NB_OK || !crowded) return status;
  }
  return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.tokens: the tokens are made to collide in a hash table");
}

static nb_status read_tokens(nb_vocab *v, const nb_gguf_kv *tokens, nb_error *err) {
  const uint64_t n = tokens->count;
  if (n == 0) return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.tokens is empty");
  if (n > NB_VOCAB_MAX) return nb_fail(err, NB_E_UNSUPPORTED, "tokenizer.ggml.tokens has %llu entries, the limit is %u", (unsigned long long)n, NB_VOCAB_MAX);
  if (tokens->bytes > UINT32_MAX - 8 || tokens->bytes / 8 < n) {
    return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.tokens has %llu entries in %llu bytes", (unsigned long long)n, (unsigned long long)tokens->bytes);
  }
  v->n_vocab = (uint32_t)n;
  v->text = (const char *)tokens->data;
  const uint64_t bytes = (n + 1) * sizeof *v->offset;
  v->offset = malloc((size_t)bytes);
  v->kinds = malloc((size_t)n);
  if (!v->offset || !v->kinds) return nb_fail_nomem(err, "the vocabulary", bytes + n);
  size_t at = 0;
  for (uint32_t id = 0; id < n; id++) {
    const nb_str s = nb_gguf_next_str(tokens, &at);
    if (s.len > NB_TOKEN_BYTES_MAX) {
      return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.tokens: token %u has %llu bytes, the limit is %u", id, (unsigned long long)s.len, NB_TOKEN_BYTES_MAX);
    }
    v->offset[id] = (uint32_t)(s.data - v->text);
    if (s.len > v->max_bytes) v->max_bytes = (uint32_t)s.len;
  }
  v->offset[n] = (uint32_t)tokens->bytes + 8;
  return NB_OK;
}

static nb_status read_kinds(nb_vocab *v, const nb_gguf *g, nb_error *err) {
  memset(v->kinds, NB_TOKEN_NORMAL, v->n_vocab);
  const nb_gguf_kv *types = NULL;
  const nb_status status = nb_gguf_get_array(g, NB_STR("tokenizer.ggml.token_type"), NB_GGUF_I32, &types, err);
  if (status != NB_OK || !types) return status;
  if (types->count != v->n_vocab) {
    return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.token_type has %llu entries for %u tokens", (unsigned long long)types->count, v->n_vocab);
  }
  for (uint32_t id = 0; id < v->n_vocab; id++) {
    const uint32_t type = nb_load_u32(types->data + 4 * (size_t)id);
    if (type > NB_TOKEN_BYTE) return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.token_type: token %u has the type %u, known are 0 to 6", id, type);
    v->kinds[id] = (uint8_t)(type == 0 ? NB_TOKEN_UNUSED : type);  // 0: "undefined"
  }
  return NB_OK;
}

nb_status nb_vocab_load(nb_vocab *v, const nb_gguf *g, nb_error *err) {
  *v = (nb_vocab){.bos = NB_TOKEN_NONE, .eos = NB_TOKEN_NONE, .eot = NB_TOKEN_NONE, .eom = NB_TOKEN_NONE, .unk = NB_TOKEN_NONE, .pad = NB_TOKEN_NONE};
  const nb_gguf_kv *tokens = NULL;
  nb_status status = nb_gguf_get_array(g, NB_STR("tokenizer.ggml.tokens"), NB_GGUF_STRING, &tokens, err);
  if (status == NB_OK && !tokens) status = nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.tokens is missing: the file has no vocabulary");
  if (status == NB_OK) status = read_tokens(v, tokens, err);
  if (status == NB_OK) status = read_kinds(v, g, err);
  if (status == NB_OK) status = build_table(v, err);
  if (status != NB_OK) nb_vocab_free(v);
  return status;
}

void nb_vocab_free(nb_vocab *v) {
  free(v->offset);
  free(v->kinds);
  nb_slots_free(&v->by_text);
  v->offset = NULL;
  v->kinds = NULL;
}
