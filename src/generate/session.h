// A conversation with a model: the tokens so far, their keys and values, and the logits behind the last one. Nothing here blocks for
// longer than one pass of n_batch tokens, so a caller can stop at any moment and go on later.
#ifndef NB_GENERATE_SESSION_H
#define NB_GENERATE_SESSION_H

#include "../base/team.h"
#include "../model/model.h"
#include "../text/tokenizer.h"
#include "sampler.h"

typedef struct nb_session_options {
  uint32_t n_ctx;          // most tokens; 0: the model's own limit, at most 4096
  uint32_t n_batch;        // tokens of one pass; 0: 32
  bool float_activations;  // see nb_pass
  nb_team *team;           // shares the work and outlives the session; NULL: the calling thread alone
} nb_session_options;

typedef struct nb_session nb_session;

#define NB_MAX_N_CTX (1u << 20)

// The model and the tokenizer must outlive the session.
nb_status nb_session_new(const nb_model *m, const nb_session_options *options, nb_session **out, nb_error *err);
void nb_session_free(nb_session *s);
// An independent copy, with the same options: tokens, keys and values, but not the logits, so that the last token will be evaluated again.
nb_status nb_session_clone(const nb_session *s, nb_session **out, nb_error *err);
// Whether nb_session_new takes these options; the model's weights need not be there yet.
nb_status nb_session_check(const nb_model *m, const nb_session_options *options, nb_error *err);
// Bytes nb_session_new allocates with these options (those of the limits where they are beyond).
uint64_t nb_session_bytes(const nb_model *m, const nb_session_options *options);

uint32_t nb_session_n_ctx(const nb_session *s);
uint32_t nb_session_n_vocab(const nb_session *s);
uint32_t nb_session_n_tokens(const nb_session *s);     // in the history, evaluated or not
uint32_t nb_session_n_evaluated(const nb_session *s);  // of these, how many have been run through the model
const nb_token *nb_session_tokens(const nb_session *s);

// Adds tokens to the history, to be evaluated later. E_CONTEXT (and nothing added) when they do not fit, E_ARGUMENT for ids out of
// range.
nb_status nb_session_push(nb_session *s, const nb_token *ids, size_t n, nb_error *err);
// Runs one pass over at most min(max, n_batch) waiting tokens. *left says how many still wait.
void nb_session_eval(nb_session *s, size_t max, uint32_t *left);
// Forgets all tokens from position n on. At least the last remaining one will be evaluated again, since its logits are gone.
void nb_session_truncate(nb_session *s, uint32_t n);
// Drops `discard` tokens behind the first `keep`; those after them wait to be evaluated again at their new positions.
void nb_session_slide(nb_session *s, uint32_t keep, uint32_t discard);

// Tokens of the last pass, and the logits [n_vocab] behind its token i; valid until the next call that changes the session.
size_t nb_session_n_pass(const nb_session *s);
const float *nb_session_logits(nb_session *s, size_t i);
// What these are computed of: the state [d_model] of that token behind the final norm; as long valid.
const float *nb_session_hidden(const nb_session *s, size_t i);

#endif
