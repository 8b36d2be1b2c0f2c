// Byte-level byte-pair encoding (tokenizer.ggml.model = "gpt2"): text is cut into pieces, each piece starts as its bytes, and of all adjacent
// pairs the one that was learnt first is joined first.
#ifndef NB_TEXT_BPE_H
#define NB_TEXT_BPE_H

#include "merge.h"
#include "pretokenize.h"

typedef struct nb_merge_rule {
  nb_token left, right, joined;
} nb_merge_rule;

typedef struct nb_bpe {
  const nb_pre_info *pre;
  nb_merge_rule *merges;  // [n_merges] in order of rank
  uint32_t n_merges;
  nb_slots by_pair;       // ranks by (left, right)
  nb_token byte_id[256];  // NB_TOKEN_NONE where the vocabulary does not have the byte
  nb_token replacement[3];  // U+FFFD, put for bytes that occur in no UTF-8 where the vocabulary does not have them
  size_t n_replacement;     // 0 where U+FFFD cannot be spelled either
} nb_bpe;

// E_UNSUPPORTED names a pre-tokenizer that is not known; E_FORMAT for merges that are missing, not two tokens of the vocabulary, or
// make none. Loads the roles of the vocabulary: they say which tokens no merge may make. On failure nothing has to be freed.
nb_status nb_bpe_init(nb_bpe *b, nb_vocab *v, const nb_gguf *g, nb_error *err);
void nb_bpe_free(nb_bpe *b);

// Encodes n bytes. n < UINT32_MAX. E_UNSUPPORTED when a byte has no token and there is no unknown token.
nb_status nb_bpe_encode(const nb_bpe *b, const nb_vocab *v, const char *text, size_t n, nb_merger *merger, nb_token_sink *out, nb_error *err);

#endif
