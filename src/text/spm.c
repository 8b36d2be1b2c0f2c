#include "spm.h"

#include <math.h>
#include <stdlib.h>

#include "../base/half.h"
#include "unicode.h"

#define SPACE "\xe2\x96\x81"  // U+2581

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static int byte_of_piece(nb_str p) {
  if (p.len != 6 || memcmp(p.data, "<0x", 3) != 0 || p.data[5] != '>') return -1;
  const int hi = hex_digit(p.data[3]), lo = hex_digit(p.data[4]);
  return hi < 0 || lo < 0 ? -1 : hi << 4 | lo;
}

uint8_t nb_spm_byte(nb_str piece) { return (uint8_t)byte_of_piece(piece); }

static bool is_space(const char *p, size_t n) { return p[0] == ' ' || (n >= 3 && memcmp(p, SPACE, 3) == 0); }

static size_t char_length(const char *p, size_t n) {
  const size_t length = nb_utf8_length(p, n);
  return length > 0 ? length : 1;
}

static uint8_t first_byte(const char *p, size_t length) { return is_space(p, length) ? ' ' : (uint8_t)p[0]; }
static uint8_t last_byte(const char *p, size_t length) { return is_space(p, length) ? ' ' : (uint8_t)p[length - 1]; }

static void note_joins(nb_spm *s, nb_str piece) {
  unsigned last = 0;
  for (size_t i = 0, length; i < piece.len; i += length) {
    length = char_length(piece.data + i, piece.len - i);
    const unsigned bit = last << 8 | first_byte(piece.data + i, length);
    if (i > 0) s->joins[bit >> 3] |= (uint8_t)(1 << (bit & 7));
    last = last_byte(piece.data + i, length);
  }
}

static bool may_join(const nb_spm *s, unsigned last, unsigned first) {
  const unsigned bit = last << 8 | first;
  return s->joins[bit >> 3] >> (bit & 7) & 1;
}

static nb_status read_scores(nb_spm *s, const nb_vocab *v, const nb_gguf *g, nb_error *err) {
  const nb_gguf_kv *scores = NULL, *types = NULL;
  nb_status status = nb_gguf_get_array(g, NB_STR("tokenizer.ggml.scores"), NB_GGUF_F32, &scores, err);
  if (status == NB_OK) status = nb_gguf_get_array(g, NB_STR("tokenizer.ggml.token_type"), NB_GGUF_I32, &types, err);
  if (status != NB_OK) return status;
  if (!scores || !types) {
    return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.%s is missing, which a SentencePiece vocabulary needs", scores ? "token_type" : "scores");
  }
  if (scores->count != v->n_vocab) {
    return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.scores has %llu entries for %u tokens", (unsigned long long)scores->count, v->n_vocab);
  }
  for (uint32_t id = 0; id < v->n_vocab; id++) {
    if (isnan(nb_load_f32(scores->data + 4 * (size_t)id))) return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.scores: the score of token %u is not a number", id);
  }
  s->scores = scores->data;
  return NB_OK;
}

static nb_token find_text(const nb_vocab *v, const char *text, size_t n) {
  const nb_token id = nb_vocab_find(v, text, n);
  return id != NB_TOKEN_NONE && nb_vocab_is(v, id, NB_KINDS_TEXT) ? id : NB_TOKEN_NONE;
}

nb_status nb_spm_init(nb_spm *s, nb_vocab *v, const nb_gguf *g, nb_error *err) {
  memset(s, 0, sizeof *s);
  for (size_t b = 0; b < 256; b++) s->byte_id[b] = NB_TOKEN_NONE;
  s->space_prefix = true;
  bool found, squeeze = false;
  nb_status status = nb_gguf_get_bool(g, NB_STR("tokenizer.ggml.add_space_prefix"), &s->space_prefix, &found, err);
  if (status == NB_OK) status = nb_gguf_get_bool(g, NB_STR("tokenizer.ggml.remove_extra_whitespaces"), &squeeze, &found, err);
  if (status == NB_OK && squeeze) {
    status = nb_fail(err, NB_E_UNSUPPORTED, "tokenizer.ggml.remove_extra_whitespaces is true, which is not supported for a vocabulary of the model \"llama\"");
  }
  if (status == NB_OK) status = read_scores(s, v, g, err);
  if (status == NB_OK) status = nb_vocab_load_roles(v, g, true, true, err);
  if (status != NB_OK) return status;
  for (uint32_t i = 0; i < v->n_vocab; i++) {
    const nb_token id = (nb_token)i;
    const nb_str piece = nb_vocab_piece(v, id);
    if (nb_vocab_is(v, id, NB_KIND(NB_TOKEN_BYTE))) {
      const int byte = byte_of_piece(piece);
      if (byte < 0) return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.tokens: token %u is a byte token, but is not spelled <0x00> to <0xFF>", i);
      if (s->byte_id[byte] == NB_TOKEN_NONE) s->byte_id[byte] = id;
    } else if (nb_vocab_is(v, id, NB_KINDS_TEXT)) {
      note_joins(s, piece);
    }
  }
  s->replacement = find_text(v, "\xef\xbf\xbd", 3);
  return NB_OK;
}

typedef struct spm_context {
  const nb_spm *s;
  const nb_vocab *v;
  const char *text;
} spm_context;

// The bits of a score as a number that grows as the score falls.
static bool spm_joins(const void *context, const nb_symbol *left, const nb_symbol *right, uint32_t size, uint32_t *priority, nb_token *id) {
  (void)right;
  const spm_context *c = context;
  *id = find_text(c->v, c->text + left->at, size);
  if (*id == NB_TOKEN_NONE) return false;
  const uint32_t bits = nb_f32_bits(nb_load_f32(c->s->scores + 4 * (size_t)*id) + 0.0f);  // + 0 turns -0 into 0
  *priority = bits >> 31 ? bits : 0x7fffffffu - bits;
  return true;
}

static nb_status put_unknown(const nb_vocab *v, uint8_t byte, bool *after_unknown, nb_token_sink *out, nb_error *err) {
  const nb_token unknown = nb_vocab_unknown(v);
  if (unknown == NB_TOKEN_NONE) return nb_fail(err, NB_E_UNSUPPORTED, "the vocabulary has no token for the byte 0x%02X of the text, nor one for unknown text", byte);
  if (!*after_unknown) nb_token_put(out, unknown);  // one for a whole run, as SentencePiece does
  *after_unknown = true;
  return NB_OK;
}

// One character that did not become part of a longer token.
static nb_status put_char(const nb_spm *s, const nb_vocab *v, const char *p, size_t n, bool *after_unknown, nb_token_sink *out, nb_error *err) {
  const nb_token id = find_text(v, p, n);
  if (id != NB_TOKEN_NONE) {
    nb_token_put(out, id);
    *after_unknown = false;
    return NB_OK;
  }
  for (size_t i = 0; i < n; i++) {
    if (s->byte_id[(uint8_t)p[i]] != NB_TOKEN_NONE) continue;
    const bool malformed = nb_utf8_length(p, n) == 0;
    if (!malformed || s->replacement == NB_TOKEN_NONE) return put_unknown(v, (uint8_t)p[i], after_unknown, out, err);
    nb_token_put(out, s->replacement);
    *after_unknown = false;
    return NB_OK;
  }
  for (size_t i = 0; i < n; i++) nb_token_put(out, s->byte_id[(uint8_t)p[i]]);
  *after_unknown = false;
  return NB_OK;
}

void nb_spm_scratch_free(nb_spm_scratch *scratch) {
  nb_merger_free(&scratch->merger);
  free(scratch->text);
  *scratch = (nb_spm_scratch){0};
}

static char *put_space(char *p) {
  memcpy(p, SPACE, 3);
  return p + 3;
}

// A stretch of n bytes, `space` in front of it, that no token reaches out of: n_chars characters, `bytes` bytes when written with U+2581.
static nb_status encode_stretch(const nb_spm *s, const nb_vocab *v, const char *text, size_t n, bool space, size_t n_chars, size_t bytes,
                                nb_spm_scratch *scratch, bool *after_unknown, nb_token_sink *out, nb_error *err) {
  if (bytes > scratch->capacity) {
    const size_t capacity = bytes < 256 ? 256 : bytes;
    char *p = realloc(scratch->text, capacity);
    if (!p) return nb_fail_nomem(err, "encoding a text", capacity);
    scratch->text = p;
    scratch->capacity = capacity;
  }
  nb_merger *m = &scratch->merger;
  nb_status status = nb_merger_start(m, n_chars, err);
  if (status != NB_OK) return status;
  char *p = scratch->text;
  if (space) {
    nb_merger_add(m, 0, NB_TOKEN_NONE);
    p = put_space(p);
  }
  for (size_t i = 0, length; i < n; i += length) {
    nb_merger_add(m, (uint32_t)(p - scratch->text), NB_TOKEN_NONE);
    length = char_length(text + i, n - i);
    if (text[i] == ' ') {
      p = put_space(p);
    } else {
      memcpy(p, text + i, length);
      p += length;
    }
  }
  const spm_context context = {s, v, scratch->text};
  status = nb_merger_run(m, (uint32_t)bytes, spm_joins, &context, err);
  for (uint32_t i = 0; status == NB_OK && i != NB_SYMBOL_NONE; i = m->symbols[i].next) {
    const nb_symbol *symbol = &m->symbols[i];
    if (symbol->id != NB_TOKEN_NONE) {
      nb_token_put(out, symbol->id);
      *after_unknown = false;
    } else {
      const size_t end = symbol->next == NB_SYMBOL_NONE ? bytes : m->symbols[symbol->next].at;
      status = put_char(s, v, scratch->text + symbol->at, end - symbol->at, after_unknown, out, err);
    }
  }
  return status;
}

nb_status nb_spm_encode(const nb_spm *s, const nb_vocab *v, const char *text, size_t n, bool space, nb_spm_scratch *scratch,
                        nb_token_sink *out, nb_error *err) {
  bool after_unknown = false;
  for (size_t i = 0; i < n || space;) {
    size_t j = i, n_chars = space, bytes = space ? 3 : 0;
    unsigned last = ' ';
    while (j < n) {
      const size_t length = char_length(text + j, n - j);
      if (n_chars > 0 && !may_join(s, last, first_byte(text + j, length))) break;
      n_chars++;
      bytes += text[j] == ' ' ? 3 : length;
      last = last_byte(text + j, length);
      j += length;
    }
    nb_status status;
    if (n_chars == 1) {
      const bool sp = space || text[i] == ' ';
      status = put_char(s, v, sp ? SPACE : text + i, sp ? 3 : j - i, &after_unknown, out, err);
    } else {
      status = encode_stretch(s, v, text + i, j - i, space, n_chars, bytes, scratch, &after_unknown, out, err);
    }
    if (status != NB_OK) return status;
    i = j;
    space = false;
  }
  return NB_OK;
}
