#include "tokenizer.h"

#include <assert.h>
#include <stdlib.h>

#include "model.h"

#define TEXT_BYTES_MAX (UINT32_MAX / 4)  // positions have 32 bits, and a space grows to three bytes

nb_status nb_tokenizer_new(const nb_gguf *g, nb_tokenizer **out, nb_error *err) {
  *out = NULL;
  nb_str model = {"", 0};
  bool found = false;
  nb_status status = nb_gguf_get_str(g, NB_STR("tokenizer.ggml.model"), &model, &found, err);
  if (status != NB_OK) return status;
  if (!found) return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.model is missing: the file has no tokenizer");
  const bool spm = nb_str_eq(model, NB_STR("llama"));
  if (!spm && !nb_str_eq(model, NB_STR("gpt2"))) {
    return nb_fail(err, NB_E_UNSUPPORTED, "the tokenizer \"%.*s\" (tokenizer.ggml.model) is not supported; \"llama\" and \"gpt2\" are", model.len < 64 ? (int)model.len : 64, model.data);
  }
  nb_tokenizer *t = calloc(1, sizeof *t);
  if (!t) return nb_fail_nomem(err, "the tokenizer", sizeof *t);
  t->model = spm ? NB_TOKENIZER_SPM : NB_TOKENIZER_BPE;
  status = nb_vocab_load(&t->vocab, g, err);
  if (status == NB_OK) status = spm ? nb_spm_init(&t->spm, &t->vocab, g, err) : nb_bpe_init(&t->bpe, &t->vocab, g, err);
  if (status == NB_OK) status = nb_special_init(&t->special, &t->vocab, err);
  if (status != NB_OK) {
    nb_tokenizer_free(t);
    return status;
  }
  *out = t;
  return NB_OK;
}

void nb_tokenizer_free(nb_tokenizer *t) {
  if (!t) return;
  nb_special_free(&t->special);
  if (t->model == NB_TOKENIZER_BPE) nb_bpe_free(&t->bpe);
  nb_vocab_free(&t->vocab);
  free(t);
}

uint32_t nb_tokenizer_n_vocab(const nb_tokenizer *t) { return t->vocab.n_vocab; }
nb_token nb_tokenizer_bos(const nb_tokenizer *t) { return t->vocab.bos; }
nb_token nb_tokenizer_eos(const nb_tokenizer *t) { return t->vocab.eos; }
nb_token nb_tokenizer_eot(const nb_tokenizer *t) { return t->vocab.eot; }
nb_token nb_tokenizer_unk(const nb_tokenizer *t) { return t->vocab.unk; }
nb_token nb_tokenizer_pad(const nb_tokenizer *t) { return t->vocab.pad; }
bool nb_tokenizer_add_bos(const nb_tokenizer *t) { return t->vocab.add_bos; }
bool nb_tokenizer_add_eos(const nb_tokenizer *t) { return t->vocab.add_eos; }

static bool in_range(const nb_tokenizer *t, nb_token id) { return id >= 0 && (uint32_t)id < t->vocab.n_vocab; }

bool nb_tokenizer_is_eog(const nb_tokenizer *t, nb_token id) { return in_range(t, id) && (t->vocab.kinds[id] & NB_KIND_EOG); }
nb_token_kind nb_tokenizer_kind(const nb_tokenizer *t, nb_token id) { return in_range(t, id) ? nb_vocab_kind(&t->vocab, id) : NB_TOKEN_UNKNOWN; }
nb_str nb_tokenizer_piece(const nb_tokenizer *t, nb_token id) { return in_range(t, id) ? nb_vocab_piece(&t->vocab, id) : (nb_str){NULL, 0}; }

typedef struct encoding {
  const nb_tokenizer *t;
  nb_token_sink out;
  nb_spm_scratch scratch;
  bool space;  // the next text gets a space in front, if the vocabulary wants any
} encoding;

// Text between special tokens.
static nb_status put_text(encoding *e, const char *text, size_t n, nb_error *err) {
  if (n == 0) return NB_OK;
  const nb_tokenizer *t = e->t;
  const bool space = e->space;
  e->space = false;
  if (t->model == NB_TOKENIZER_SPM) return nb_spm_encode(&t->spm, &t->vocab, text, n, space && t->spm.space_prefix, &e->scratch, &e->out, err);
  return nb_bpe_encode(&t->bpe, &t->vocab, text, n, &e->scratch.merger, &e->out, err);
}

static bool ascii_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static nb_status put_all(encoding *e, const char *text, size_t n, bool control, nb_error *err) {
  const nb_tokenizer *t = e->t;
  size_t start = 0, i = 0;
  while (i < n) {
    const nb_token id = nb_special_may_begin(&t->special, text[i], control) ? nb_special_match(&t->special, &t->vocab, text + i, n - i, control) : NB_TOKEN_NONE;
    if (id == NB_TOKEN_NONE) {
      i++;
      continue;
    }
    const nb_status status = put_text(e, text + start, i - start, err);
    if (status != NB_OK) return status;
    nb_token_put(&e->out, id);
    e->space = true;
    i += nb_vocab_piece(&t->vocab, id).len;
    if (t->vocab.kinds[id] & NB_KIND_RSTRIP) {
      while (i < n && ascii_space(text[i])) i++;
    }
    start = i;
  }
  return put_text(e, text + start, n - start, err);
}

nb_status nb_tokenizer_encode(const nb_tokenizer *t, const char *text, size_t n, unsigned flags, nb_token *ids, size_t capacity,
                              size_t *n_tokens, nb_error *err) {
  assert(text || n == 0);
  assert(ids || capacity == 0);
  *n_tokens = 0;
  if (n > TEXT_BYTES_MAX) return nb_fail(err, NB_E_ARGUMENT, "the text has %llu bytes, the limit is %u", (unsigned long long)n, (unsigned)TEXT_BYTES_MAX);
  encoding e = {.t = t, .out = {.ids = ids, .capacity = capacity}, .space = !(flags & NB_ENCODE_CONTINUE)};
  if (flags & NB_ENCODE_SPECIAL && t->vocab.add_bos) nb_token_put(&e.out, t->vocab.bos);
  const nb_status status = put_all(&e, text, n, flags & NB_ENCODE_PARSE, err);
  nb_spm_scratch_free(&e.scratch);
  if (status != NB_OK) return status;
  if (flags & NB_ENCODE_SPECIAL && t->vocab.add_eos) nb_token_put(&e.out, t->vocab.eos);
  *n_tokens = e.out.n;
  return NB_OK;
}
