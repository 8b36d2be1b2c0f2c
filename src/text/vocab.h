// The token table of a model: spelling, kind, and the way back from spelling to id. It points into the GGUF header instead of
// copying it: 5 bytes a token, and 4 to 8 for the hash table.
#ifndef NB_TEXT_VOCAB_H
#define NB_TEXT_VOCAB_H

#include "tokenizer.h"

#define NB_VOCAB_MAX ((1u << 22) - 2)  // tokens (and merges): an index + 1 has 22 bits in a slot of a hash table
#define NB_TOKEN_BYTES_MAX 2048u       // of one token; bounds the work of a look-up

// nb_vocab.kinds: the nb_token_kind in the low bits, and
#define NB_KIND_MASK 7u
#define NB_KIND_EOG 8u     // ends a generation
#define NB_KIND_RSTRIP 16u  // swallows the white space after it when it is found in text

// Kinds as sets.
#define NB_KIND(kind) (1u << (kind))
#define NB_KINDS_SPECIAL (NB_KIND(NB_TOKEN_CONTROL) | NB_KIND(NB_TOKEN_UNKNOWN))
// Kinds that ordinary text can turn into. Control tokens are never among them: they come from nb_special alone, when asked for.
#define NB_KINDS_TEXT (NB_KIND(NB_TOKEN_NORMAL) | NB_KIND(NB_TOKEN_USER_DEFINED) | NB_KIND(NB_TOKEN_UNUSED))

// Open addressing with linear probing. A slot holds index + 1 in its low 22 bits and 10 bits of the hash above; 0 is empty.
// The file chooses the keys, so the length of a probe is bounded: a table that would exceed it is made anew with another seed,
// and refused when no seed helps.
typedef struct nb_slots {
  uint32_t *slot;  // [mask + 1]
  uint32_t mask;
  uint64_t seed;
} nb_slots;

#define NB_SLOTS_PROBE_MAX 1024  // honest tables of 4 million keys stay below 300
#define NB_SLOTS_SEEDS 8

// Room for n keys, none in it yet. NB_E_NOMEM or NB_OK.
nb_status nb_slots_new(nb_slots *s, uint32_t n, const char *what, nb_error *err);
void nb_slots_reset(nb_slots *s, uint64_t seed);
void nb_slots_free(nb_slots *s);

// Walks the probe sequence of a hash: for (nb_probe p = nb_probe_start(s, h); nb_probe_next(&p, &index);) … index may be the key's;
// the walk ends at the first empty slot, p.at, where the key belongs, or after NB_SLOTS_PROBE_MAX steps with p.at = UINT32_MAX.
typedef struct nb_probe {
  const nb_slots *s;
  uint32_t at, tag, left;
} nb_probe;

static inline nb_probe nb_probe_start(const nb_slots *s, uint64_t hash) {
  return (nb_probe){s, (uint32_t)hash & s->mask, (uint32_t)(hash >> 54), NB_SLOTS_PROBE_MAX};
}

static inline bool nb_probe_next(nb_probe *p, uint32_t *index) {
  for (; p->left > 0; p->left--) {
    const uint32_t v = p->s->slot[p->at];
    if (v == 0) return false;
    p->at = (p->at + 1) & p->s->mask;
    if (v >> 22 == p->tag) {
      p->left--;
      *index = (v & 0x3fffffu) - 1;
      return true;
    }
  }
  p->at = UINT32_MAX;
  return false;
}

static inline void nb_probe_put(const nb_slots *s, const nb_probe *p, uint32_t index) { s->slot[p->at] = p->tag << 22 | (index + 1); }

typedef struct nb_vocab {
  uint32_t n_vocab;
  uint32_t max_bytes;     // of the longest token
  const char *text;       // the token array inside the header
  uint32_t *offset;       // [n_vocab + 1] where a token starts in text; the 8 bytes before are its length in the file
  uint8_t *kinds;         // [n_vocab]
  nb_slots by_text;       // ids by spelling; tokens without any characters are not in it
  nb_token bos, eos, eot, eom, unk, pad;
  bool add_bos, add_eos;
} nb_vocab;

// Reads tokens and kinds, checks them, and builds the hash table. E_FORMAT: array missing or of another type, two arrays of unequal
// length, kinds out of range, two tokens spelled alike, a token longer than NB_TOKEN_BYTES_MAX. On failure nothing has to be freed.
nb_status nb_vocab_load(nb_vocab *v, const nb_gguf *g, nb_error *err);
void nb_vocab_free(nb_vocab *v);

static inline nb_str nb_vocab_piece(const nb_vocab *v, nb_token id) {
  const uint32_t at = v->offset[id];
  return (nb_str){v->text + at, v->offset[id + 1] - 8 - at};
}

static inline nb_token_kind nb_vocab_kind(const nb_vocab *v, nb_token id) { return (nb_token_kind)(v->kinds[id] & NB_KIND_MASK); }

static inline bool nb_vocab_is(const nb_vocab *v, nb_token id, unsigned kinds) { return kinds >> (v->kinds[id] & NB_KIND_MASK) & 1; }

// The token that stands for text the vocabulary cannot spell; NB_TOKEN_NONE where it has none. A control token is none, whatever the file
// says: no text may turn into one.
static inline nb_token nb_vocab_unknown(const nb_vocab *v) {
  return v->unk != NB_TOKEN_NONE && !nb_vocab_is(v, v->unk, NB_KIND(NB_TOKEN_CONTROL)) ? v->unk : NB_TOKEN_NONE;
}

// The id of a spelling, NB_TOKEN_NONE when there is none.
nb_token nb_vocab_find(const nb_vocab *v, const char *text, size_t n);

// roles.c: bos, eos and their like, which tokens end a generation, and kinds that files are known to have wrong.
// sentencepiece: ids that are missing are looked for where SentencePiece puts them (<unk> 0, <s> 1, </s> 2).
// default_bos: this kind of vocabulary puts BOS in front unless the file says otherwise.
// E_FORMAT: an id outside the vocabulary, or BOS or EOS to be added where there is none.
nb_status nb_vocab_load_roles(nb_vocab *v, const nb_gguf *g, bool sentencepiece, bool default_bos, nb_error *err);

// Where the encoders put ids: counts all of them, keeps the first `capacity`.
typedef struct nb_token_sink {
  nb_token *ids;
  size_t capacity, n;
} nb_token_sink;

static inline void nb_token_put(nb_token_sink *s, nb_token id) {
  if (s->n < s->capacity) s->ids[s->n] = id;
  s->n++;
}

#endif
