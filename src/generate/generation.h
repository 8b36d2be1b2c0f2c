// Text from a session: sample, decode, watch for the end. One step gives one token; the caller evaluates between steps.
#ifndef NB_GENERATE_GENERATION_H
#define NB_GENERATE_GENERATION_H

#include "session.h"
#include "stop.h"

typedef enum nb_finish {
  NB_FINISH_NONE = 0,     // go on
  NB_FINISH_EOG = 1,      // the model ended its text
  NB_FINISH_STOP = 2,     // a stop string appeared
  NB_FINISH_LENGTH = 3,   // max_tokens were generated
  NB_FINISH_CONTEXT = 4,  // the context is full: no token was sampled (slide the session to go on)
} nb_finish;

typedef struct nb_step {
  nb_token token;    // NB_TOKEN_NONE where none was sampled
  nb_str text;       // what became certain with this step, whole UTF-8 characters; lives until the next step
  nb_finish finish;
} nb_step;

typedef struct nb_generation nb_generation;

// The session and tokenizer must outlive it. max_tokens 0: no limit but the context. ignore_eog goes on when the model ends its text.
// Takes over the sampler on success.
nb_status nb_generation_new(nb_session *s, const nb_tokenizer *t, nb_sampler *sampler, uint32_t max_tokens, bool ignore_eog, bool show_special,
                            nb_generation **out, nb_error *err);
void nb_generation_free(nb_generation *g);
nb_status nb_generation_add_stop(nb_generation *g, nb_str string, nb_error *err);

// Needs a session whose tokens are all evaluated. The sampled token is added to the session's history (but for one that ended the
// text), waiting to be evaluated before the next step.
nb_status nb_generation_step(nb_generation *g, nb_step *out, nb_error *err);

// Text still held back (a possible beginning of a stop string, an incomplete character): to be asked for after NB_FINISH_LENGTH, and when a
// caller ends early.
nb_status nb_generation_flush(nb_generation *g, nb_str *out, nb_error *err);

#endif
