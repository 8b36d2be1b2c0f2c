// Nibble: quantized language models in plain C. The one header for programs that use the library:
//
//   nb_loader      bytes of a GGUF file, in pieces, -> nb_model          (model/loader.h)
//   nb_tokenizer   text <-> token ids                                   (text/tokenizer.h)
//   nb_session     tokens -> logits, with the cache of keys and values  (generate/session.h)
//   nb_state       a session as bytes, to go on later                   (generate/state.h)
//   nb_generation  sampling, decoding, stop strings                     (generate/generation.h)
//
// Functions that take bytes or text from outside are safe for untrusted input and return an nb_status with a message; they never
// print, exit or block. Not promised: thread safety of one object, a stable binary interface, big-endian machines.
#ifndef NIBBLE_H
#define NIBBLE_H

#include "base/status.h"
#include "generate/generation.h"
#include "generate/sampler.h"
#include "generate/session.h"
#include "generate/state.h"
#include "model/loader.h"
#include "text/tokenizer.h"

#endif
