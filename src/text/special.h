// Finds the tokens that are recognised by their spelling anywhere in a text: control tokens and user-defined ones.
#ifndef NB_TEXT_SPECIAL_H
#define NB_TEXT_SPECIAL_H

#include "vocab.h"

#define NB_SPECIAL_BYTES_MAX 255u  // of one such token; bounds the work at each place of the text

typedef struct nb_special {
  uint32_t n;
  uint32_t *ids;            // [n] sorted by spelling
  uint32_t first[257];      // the ids that begin with byte b are first[b] .. first[b + 1] - 1
  uint8_t begins[256];      // bit 1: user-defined tokens begin with this byte; bit 0: some token does
} nb_special;

// Needs the kinds to be final. E_FORMAT for a token longer than NB_SPECIAL_BYTES_MAX. On failure nothing has to be freed.
nb_status nb_special_init(nb_special *s, const nb_vocab *v, nb_error *err);
void nb_special_free(nb_special *s);

// The longest such token that begins at text[0]; n > 0. `control`: control and unknown tokens count too, not only user-defined
// ones. NB_TOKEN_NONE when there is none. Takes at most NB_SPECIAL_BYTES_MAX steps.
nb_token nb_special_match(const nb_special *s, const nb_vocab *v, const char *text, size_t n, bool control);

static inline bool nb_special_may_begin(const nb_special *s, char byte, bool control) {
  return s->begins[(uint8_t)byte] & (control ? 1 : 2);
}

#endif
