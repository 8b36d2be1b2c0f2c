// What session.c and state.c share; nobody else looks inside.
#ifndef NB_GENERATE_SESSION_STATE_H
#define NB_GENERATE_SESSION_STATE_H

#include "../model/forward.h"
#include "session.h"

struct nb_session {
  const nb_model *model;
  nb_kvcache cache;
  nb_pass pass;
  nb_token *tokens;  // [n_ctx]
  uint32_t n_tokens, n_evaluated;
};

// Keys and values of positions from n on are stale, and so are the logits of the last pass.
void nb_session_forget_from(nb_session *s, uint32_t n);

#endif
