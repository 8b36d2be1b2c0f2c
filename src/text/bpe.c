#include "bpe.h"

#include <stdlib.h>

#include "unicode.h"

static uint64_t pair_hash(const nb_bpe *b, nb_token left, nb_token right) {
  uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) ^ b->by_pair.seed;
  h *= 0x9e3779b97f4a7c15ull;
  h = (h ^ h >> 32) * 0xd6e8feb86659fd93ull;
  return h ^ h >> 32;
}

static uint32_t find_rank(const nb_bpe *b, nb_token left, nb_token right) {
  uint32_t rank;
  for (nb_probe p = nb_probe_start(&b->by_pair, pair_hash(b, left, right)); nb_probe_next(&p, &rank);) {
    if (b->merges[rank].left == left && b->merges[rank].right == right) return rank;
  }
  return UINT32_MAX;
}

// "left right" as tokens, and what they make together. The first character may be the space of a token that begins with one.
static nb_status read_merge(const nb_vocab *v, uint32_t rank, nb_str s, nb_merge_rule *out, nb_error *err) {
  const char *space = s.len > 1 ? memchr(s.data + 1, ' ', s.len - 1) : NULL;
  if (!space) return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.merges: merge %u is not two tokens with a space between", rank);
  const size_t n_left = (size_t)(space - s.data), n_right = s.len - n_left - 1;
  char both[2 * NB_TOKEN_BYTES_MAX];
  out->left = nb_vocab_find(v, s.data, n_left);
  out->right = nb_vocab_find(v, space + 1, n_right);
  if (out->left == NB_TOKEN_NONE || out->right == NB_TOKEN_NONE) {
    return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.merges: the %s part of merge %u is not in the vocabulary", out->left == NB_TOKEN_NONE ? "left" : "right", rank);
  }
  memcpy(both, s.data, n_left);  // both parts are tokens, and so not longer than NB_TOKEN_BYTES_MAX
  memcpy(both + n_left, space + 1, n_right);
  out->joined = nb_vocab_find(v, both, n_left + n_right);
  if (out->joined == NB_TOKEN_NONE) return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.merges: what merge %u makes is not in the vocabulary", rank);
  return NB_OK;
}

static bool insert_all(nb_bpe *b, const nb_vocab *v) {
  for (uint32_t rank = 0; rank < b->n_merges; rank++) {
    const nb_merge_rule *m = &b->merges[rank];
    if (!nb_vocab_is(v, m->joined, NB_KINDS_TEXT)) continue;  // text must not become a control token
    nb_probe p = nb_probe_start(&b->by_pair, pair_hash(b, m->left, m->right));
    bool twice = false;
    for (uint32_t other; !twice && nb_probe_next(&p, &other);) twice = b->merges[other].left == m->left && b->merges[other].right == m->right;
    if (twice) continue;  // the earlier one counts
    if (p.at == UINT32_MAX) return false;
    nb_probe_put(&b->by_pair, &p, rank);
  }
  return true;
}

static nb_status read_merges(nb_bpe *b, const nb_vocab *v, const nb_gguf *g, nb_error *err) {
  const nb_gguf_kv *merges = NULL;
  nb_status status = nb_gguf_get_array(g, NB_STR("tokenizer.ggml.merges"), NB_GGUF_STRING, &merges, err);
  if (status != NB_OK) return status;
  if (!merges) return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.merges is missing, which a byte-pair vocabulary needs");
  const uint64_t n = merges->count;
  if (n > NB_VOCAB_MAX) return nb_fail(err, NB_E_UNSUPPORTED, "tokenizer.ggml.merges has %llu entries, the limit is %u", (unsigned long long)n, NB_VOCAB_MAX);
  b->n_merges = (uint32_t)n;
  b->merges = malloc(n > 0 ? (size_t)n * sizeof *b->merges : 1);
  if (!b->merges) return nb_fail_nomem(err, "the merges of the vocabulary", n * sizeof *b->merges);
  size_t at = 0;
  for (uint32_t rank = 0; rank < n; rank++) {
    status = read_merge(v, rank, nb_gguf_next_str(merges, &at), &b->merges[rank], err);
    if (status != NB_OK) return status;
  }
  status = nb_slots_new(&b->by_pair, b->n_merges, "the table of merges", err);
  if (status != NB_OK) return status;
  for (uint64_t seed = 0; seed < NB_SLOTS_SEEDS; seed++) {
    nb_slots_reset(&b->by_pair, seed * 0xd1342543de82ef95ull);
    if (insert_all(b, v)) return NB_OK;
  }
  return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.merges: the merges are made to collide in a hash table");
}

static nb_status find_pre(nb_bpe *b, const nb_gguf *g, nb_error *err) {
  nb_str name = {"", 0};
  bool found = false;
  const nb_status status = nb_gguf_get_str(g, NB_STR("tokenizer.ggml.pre"), &name, &found, err);
  if (status != NB_OK) return status;
  if (!found) {
    return nb_fail(err, NB_E_UNSUPPORTED, "tokenizer.ggml.pre is missing: the file was made before the way to split text was recorded; convert the model again");
  }
  b->pre = nb_pretokenizer_find(name);
  if (b->pre) return NB_OK;
  return nb_fail(err, NB_E_UNSUPPORTED, "the way this vocabulary splits text (tokenizer.ggml.pre = \"%.*s\") is not supported", name.len < 64 ? (int)name.len : 64, name.data);
}

void nb_bpe_free(nb_bpe *b) {
  free(b->merges);
  nb_slots_free(&b->by_pair);
  b->merges = NULL;
}

static bool bpe_joins(const void *context, const nb_symbol *left, const nb_symbol *right, uint32_t size, uint32_t *priority, nb_token *id) {
  (void)size;
  const nb_bpe *b = context;
  *priority = find_rank(b, left->id, right->id);
  if (*priority == UINT32_MAX) return false;
  *id = b->merges[*priority].joined;
  return true;
}

// The token that spells the whole piece, or NB_TOKEN_NONE.
static nb_token find_whole(const nb_vocab *v, nb_str piece) {
  char spelling[NB_TOKEN_BYTES_MAX + 4];
  size_t n = 0;
  for (size_t i = 0; i < piece.len && n <= v->max_bytes; i++) n += nb_utf8_put(nb_byte_char((uint8_t)piece.data[i]), spelling + n);
  const nb_token id = nb_vocab_find(v, spelling, n);
  return id != NB_TOKEN_NONE && nb_vocab_is(v, id, NB_KINDS_TEXT) ? id : NB_TOKEN_NONE;
}

// A byte that occurs in no UTF-8: vocabularies that were made from text alone have no token for these.
static bool never_text(uint8_t byte) { return byte == 0xc0 || byte == 0xc1 || byte >= 0xf5; }

static nb_status put(const nb_bpe *b, const nb_vocab *v, nb_token id, uint8_t byte, nb_token_sink *out, nb_error *err) {
  if (id == NB_TOKEN_NONE && never_text(byte) && b->n_replacement > 0) {
    for (size_t i = 0; i < b->n_replacement; i++) nb_token_put(out, b->replacement[i]);
    return NB_OK;
  }
  if (id == NB_TOKEN_NONE) id = nb_vocab_unknown(v);
  if (id == NB_TOKEN_NONE) return nb_fail(err, NB_E_UNSUPPORTED, "the vocabulary has no token for the byte 0x%02X of the text, nor one for unknown text", byte);
  nb_token_put(out, id);
  return NB_OK;
}

static nb_status encode_piece(const nb_bpe *b, const nb_vocab *v, nb_str piece, nb_merger *m, nb_token_sink *out, nb_error *err) {
  const uint8_t *bytes = (const uint8_t *)piece.data;
  if (piece.len == 1) return put(b, v, b->byte_id[bytes[0]], bytes[0], out, err);
  if (b->pre->whole_words) {
    const nb_token id = find_whole(v, piece);
    if (id != NB_TOKEN_NONE) {
      nb_token_put(out, id);
      return NB_OK;
    }
  }
  nb_status status = nb_merger_start(m, piece.len, err);
  if (status != NB_OK) return status;
  for (uint32_t i = 0; i < piece.len; i++) nb_merger_add(m, i, b->byte_id[bytes[i]]);
  status = nb_merger_run(m, (uint32_t)piece.len, bpe_joins, b, err);
  for (uint32_t i = 0; status == NB_OK && i != NB_SYMBOL_NONE; i = m->symbols[i].next) status = put(b, v, m->symbols[i].id, bytes[m->symbols[i].at], out, err);
  return status;
}

// U+FFFD in this vocabulary, where it can be spelled.
static nb_status spell_replacement(nb_bpe *b, const nb_vocab *v, nb_error *err) {
  const uint8_t bytes[3] = {0xef, 0xbf, 0xbd};
  nb_token ids[3];
  nb_token_sink out = {ids, 3, 0};
  nb_merger m = {0};
  for (int i = 0; i < 3; i++)
    if (b->byte_id[bytes[i]] == NB_TOKEN_NONE) return NB_OK;
  const nb_status status = encode_piece(b, v, (nb_str){(const char *)bytes, 3}, &m, &out, err);
  nb_merger_free(&m);
  if (status != NB_OK) return status;
  memcpy(b->replacement, ids, out.n * sizeof *ids);
  b->n_replacement = out.n;
  return NB_OK;
}

nb_status nb_bpe_init(nb_bpe *b, nb_vocab *v, const nb_gguf *g, nb_error *err) {
  memset(b, 0, sizeof *b);
  nb_status status = find_pre(b, g, err);
  if (status == NB_OK) status = nb_vocab_load_roles(v, g, false, b->pre->add_bos, err);
  if (status != NB_OK) return status;
  for (unsigned byte = 0; byte < 256; byte++) {
    char spelling[4];
    const nb_token id = nb_vocab_find(v, spelling, nb_utf8_put(nb_byte_char((uint8_t)byte), spelling));
    b->byte_id[byte] = id != NB_TOKEN_NONE && nb_vocab_is(v, id, NB_KINDS_TEXT) ? id : NB_TOKEN_NONE;
  }
  status = read_merges(b, v, g, err);
  if (status == NB_OK) status = spell_replacement(b, v, err);
  if (status != NB_OK) nb_bpe_free(b);
  return status;
}

nb_status nb_bpe_encode(const nb_bpe *b, const nb_vocab *v, const char *text, size_t n, nb_merger *merger, nb_token_sink *out, nb_error *err) {
  nb_pieces pieces;
  nb_str piece;
  nb_pieces_start(&pieces, b->pre->pretokenizer, text, n);
  while (nb_pieces_next(&pieces, &piece)) {
    const nb_status status = encode_piece(b, v, piece, merger, out, err);
    if (status != NB_OK) return status;
  }
  return NB_OK;
}
