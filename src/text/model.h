// What a tokenizer is made of. Another kind of vocabulary is one more file beside spm.c and bpe.c, and a case in tokenizer.c and decoder.c.
#ifndef NB_TEXT_MODEL_H
#define NB_TEXT_MODEL_H

#include "bpe.h"
#include "special.h"
#include "spm.h"

typedef enum nb_tokenizer_model { NB_TOKENIZER_SPM, NB_TOKENIZER_BPE } nb_tokenizer_model;

struct nb_tokenizer {
  nb_tokenizer_model model;
  nb_vocab vocab;
  nb_special special;
  nb_spm spm;  // of these two, the one that `model` says
  nb_bpe bpe;
};

#endif
