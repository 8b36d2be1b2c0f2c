// Stop strings: text is let through until one of them appears, also where it is spread over several pieces.
#ifndef NB_GENERATE_STOP_H
#define NB_GENERATE_STOP_H

#include "../base/mem.h"
#include "../base/status.h"

typedef struct nb_stop {
  char *strings;       // all of them, one after the other
  size_t *ends;        // [n] end of each in strings
  size_t n;
  char *held;          // text that may be the beginning of a stop string, then the text let through by the last push
  size_t n_held, capacity;
} nb_stop;

#define NB_STOP_MAX_STRINGS 64
#define NB_STOP_MAX_BYTES 4096  // of one string

void nb_stop_init(nb_stop *s);
void nb_stop_free(nb_stop *s);
nb_status nb_stop_add(nb_stop *s, nb_str string, nb_error *err);

// Makes room for a push of n bytes: that push will not fail.
nb_status nb_stop_reserve(nb_stop *s, size_t n, nb_error *err);

// Adds text. *out is what may be shown now; it lives until the next call. *stopped tells that a stop string was found: *out then
// ends right before it, and what follows it is dropped. With the flag `last`, everything held back comes out.
nb_status nb_stop_push(nb_stop *s, nb_str text, bool last, nb_str *out, bool *stopped, nb_error *err);

#endif
