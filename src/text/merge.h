// The loop that SentencePiece and byte-pair encoding share: a chain of symbols, of which the best adjacent pair is joined until no
// pair can be. A heap of pairs over a linked list: O(n log n) for n symbols, whatever the text.
#ifndef NB_TEXT_MERGE_H
#define NB_TEXT_MERGE_H

#include "vocab.h"

#define NB_SYMBOL_NONE UINT32_MAX
#define NB_SYMBOL_GONE ((nb_token)-2)  // id of a symbol that was joined to the one before it

typedef struct nb_symbol {
  uint32_t at;          // where its bytes start
  uint32_t prev, next;  // in the chain; NB_SYMBOL_NONE at its ends
  nb_token id;          // NB_TOKEN_NONE where the vocabulary has no such token
} nb_symbol;

typedef struct nb_pair {
  uint64_t key;   // priority above, index of the left symbol below: the smallest comes first, of equal ones the leftmost
  uint32_t size;  // bytes of both: tells whether the pair is still what it was when it was found
  nb_token id;    // what they become
} nb_pair;

// Scratch memory of one encoding, grown as needed.
typedef struct nb_merger {
  nb_symbol *symbols;
  nb_pair *pairs;
  size_t n_symbols, symbols_capacity, n_pairs, pairs_capacity;
  uint32_t end;  // where the bytes of the last symbol end
} nb_merger;

void nb_merger_free(nb_merger *m);

// Starts a new chain with room for n symbols, n < NB_SYMBOL_NONE.
nb_status nb_merger_start(nb_merger *m, size_t n, nb_error *err);

// Appends a symbol; at most the n of nb_merger_start.
static inline void nb_merger_add(nb_merger *m, uint32_t at, nb_token id) {
  const uint32_t i = (uint32_t)m->n_symbols++;
  m->symbols[i] = (nb_symbol){at, i - 1 /* NB_SYMBOL_NONE for the first */, i + 1, id};
}

// Whether two neighbours can be joined; then what they become, and how soon: smaller is sooner.
typedef bool (*nb_joins)(const void *context, const nb_symbol *left, const nb_symbol *right, uint32_t size, uint32_t *priority, nb_token *id);

// Joins pairs until none is left; `end` is the byte after the last symbol. The symbols that remain are those whose id is not
// NB_SYMBOL_GONE, in order.
nb_status nb_merger_run(nb_merger *m, uint32_t end, nb_joins joins, const void *context, nb_error *err);

#endif
