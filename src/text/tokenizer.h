// Text to token ids and back. Built from the metadata of a GGUF file (tokenizer.ggml.*); safe for untrusted metadata and text.
#ifndef NB_TEXT_TOKENIZER_H
#define NB_TEXT_TOKENIZER_H

#include "../base/status.h"
#include "../format/gguf.h"

typedef int32_t nb_token;
#define NB_TOKEN_NONE ((nb_token)-1)

typedef enum nb_token_kind {  // tokenizer.ggml.token_type
  NB_TOKEN_NORMAL = 1, NB_TOKEN_UNKNOWN = 2, NB_TOKEN_CONTROL = 3, NB_TOKEN_USER_DEFINED = 4, NB_TOKEN_UNUSED = 5, NB_TOKEN_BYTE = 6,
} nb_token_kind;

typedef struct nb_tokenizer nb_tokenizer;

// Makes a tokenizer. It keeps pointers into g, which must outlive it. E_UNSUPPORTED names the model or pre-tokenizer not known here.
nb_status nb_tokenizer_new(const nb_gguf *g, nb_tokenizer **out, nb_error *err);
void nb_tokenizer_free(nb_tokenizer *t);

uint32_t nb_tokenizer_n_vocab(const nb_tokenizer *t);
nb_token nb_tokenizer_bos(const nb_tokenizer *t);  // NB_TOKEN_NONE where the model has none; the same for eos, eot, unk, pad
nb_token nb_tokenizer_eos(const nb_tokenizer *t);
nb_token nb_tokenizer_eot(const nb_tokenizer *t);
nb_token nb_tokenizer_unk(const nb_tokenizer *t);
nb_token nb_tokenizer_pad(const nb_tokenizer *t);
bool nb_tokenizer_add_bos(const nb_tokenizer *t);  // whether the model was trained with a BOS in front of its text
bool nb_tokenizer_add_eos(const nb_tokenizer *t);
bool nb_tokenizer_is_eog(const nb_tokenizer *t, nb_token id);  // ends a generation: eos, eot, and control tokens known to end turns
nb_token_kind nb_tokenizer_kind(const nb_tokenizer *t, nb_token id);
nb_str nb_tokenizer_piece(const nb_tokenizer *t, nb_token id);  // the vocabulary's own spelling; {NULL, 0} for ids out of range

typedef enum nb_encode_flags {
  NB_ENCODE_SPECIAL = 1,    // add BOS (and EOS) where the model's metadata asks for it
  NB_ENCODE_PARSE = 2,      // control tokens spelled out in the text become those tokens; without it they are plain text.
                            // (user-defined tokens are always recognised, as the vocabularies expect)
  NB_ENCODE_CONTINUE = 4,   // the text continues other text: no space is put in front where the vocabulary would do so
} nb_encode_flags;

// Encodes n bytes of UTF-8 (invalid sequences become byte tokens, or U+FFFD where the vocabulary has no bytes). Writes at most
// capacity ids; *n_tokens is the number the text needs, which may be larger: then nothing after capacity was written.
// Work is O(n log n) for any text.
nb_status nb_tokenizer_encode(const nb_tokenizer *t, const char *text, size_t n, unsigned flags, nb_token *ids, size_t capacity,
                              size_t *n_tokens, nb_error *err);

// Streaming decoder: bytes of UTF-8 characters that are spread over several tokens are held back until they are complete.
typedef struct nb_decoder {
  const nb_tokenizer *tokenizer;
  unsigned flags;       // nb_decode_flags
  uint8_t pending[4];   // bytes of an incomplete character
  uint8_t n_pending;
  bool started;         // something was written: the space in front of the first word is only dropped before that
} nb_decoder;

typedef enum nb_decode_flags {
  NB_DECODE_SPECIAL = 1,       // write control tokens as their spelling; without it they give nothing
  NB_DECODE_KEEP_SPACE = 2,    // keep the space the encoder put in front of the first word
  NB_DECODE_RAW = 4,           // the bytes as they are, also where they are no whole characters
} nb_decode_flags;

void nb_decoder_init(nb_decoder *d, const nb_tokenizer *t, unsigned flags);
// Appends the text of one token to out (at most capacity bytes) and returns the number of bytes; the output is always whole UTF-8
// characters (but for NB_DECODE_RAW). nb_decoder_max gives a capacity that is always enough. Invalid bytes come out as U+FFFD, one for each maximal bad part.
size_t nb_decoder_push(nb_decoder *d, nb_token id, char *out, size_t capacity);
size_t nb_decoder_finish(nb_decoder *d, char *out, size_t capacity);  // what is still held back, as U+FFFD
size_t nb_decoder_max(const nb_tokenizer *t);

#endif
