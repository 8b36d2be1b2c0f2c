// SentencePiece vocabularies with scores (tokenizer.ggml.model = "llama"): of all adjacent pieces that make up a token, those with the
// best score are joined first. Spaces are written U+2581, what is in no token is spelled with byte tokens <0xHH>.
#ifndef NB_TEXT_SPM_H
#define NB_TEXT_SPM_H

#include "merge.h"

typedef struct nb_spm {
  const uint8_t *scores;      // [n_vocab] f32, inside the header
  nb_token byte_id[256];      // NB_TOKEN_NONE where the vocabulary has no such byte token
  nb_token replacement;       // the token of U+FFFD
  bool space_prefix;          // a space is put in front of a text, and after each special token
  uint8_t joins[65536 / 8];   // bit (a << 8 | b): some token has a character that ends with byte a before one that begins with b;
                              // where it is not set no token can span the two, and the text is cut there. U+2581 counts as a space
} nb_spm;

// E_FORMAT for scores or kinds that are missing, of unequal length or no numbers, and byte tokens not spelled <0xHH>. Loads the roles of the vocabulary, too.
nb_status nb_spm_init(nb_spm *s, nb_vocab *v, const nb_gguf *g, nb_error *err);

uint8_t nb_spm_byte(nb_str piece);  // of a byte token of this vocabulary

typedef struct nb_spm_scratch {
  nb_merger merger;
  char *text;        // of the stretch that is being encoded, spaces written U+2581
  size_t capacity;
} nb_spm_scratch;

void nb_spm_scratch_free(nb_spm_scratch *scratch);

// Encodes n bytes, `space` putting one in front. n <= UINT32_MAX / 4. E_UNSUPPORTED when a byte has no token and there is no unknown token.
nb_status nb_spm_encode(const nb_spm *s, const nb_vocab *v, const char *text, size_t n, bool space, nb_spm_scratch *scratch,
                        nb_token_sink *out, nb_error *err);

#endif
