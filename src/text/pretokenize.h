// Cuts text into the pieces that byte-pair encoding never joins: words, numbers, runs of punctuation, white space. Each family of
// vocabularies was trained with its own rules, published as regular expressions; here they are written out by hand, so that no piece
// needs more than a few steps a character.
#ifndef NB_TEXT_PRETOKENIZE_H
#define NB_TEXT_PRETOKENIZE_H

#include "../base/mem.h"

// One rule cuts a range of text: given where a piece starts and where the range ends, it says where the piece ends. What the rule's
// expression does not match is a piece, too, up to the next match.
typedef struct nb_split_rule {
  size_t (*piece_end)(const struct nb_split_rule *rule, const char *text, size_t at, size_t end);
  const void *options;
} nb_split_rule;

#define NB_SPLIT_RULES_MAX 6

// The rules of a family: the pieces of each are cut further by the next.
typedef struct nb_pretokenizer {
  size_t n_rules;
  nb_split_rule rules[NB_SPLIT_RULES_MAX];
} nb_pretokenizer;

// What goes by the name that a file gives in tokenizer.ggml.pre; NULL for names that are not known.
typedef struct nb_pre_info {
  const char *name;
  const nb_pretokenizer *pretokenizer;
  bool whole_words;  // a piece that is a token as a whole becomes that token, whatever the merges say
  bool add_bos;      // BOS goes in front, unless the file says otherwise
} nb_pre_info;

const nb_pre_info *nb_pretokenizer_find(nb_str name);

typedef struct nb_pieces {
  const nb_pretokenizer *pretokenizer;
  const char *text;
  size_t at, n, ends[NB_SPLIT_RULES_MAX];
} nb_pieces;

void nb_pieces_start(nb_pieces *p, const nb_pretokenizer *pretokenizer, const char *text, size_t n);

// The next piece, never empty; false after the last. Together they are the text.
bool nb_pieces_next(nb_pieces *p, nb_str *piece);

#endif
