// From logits to a token. Deterministic: the same logits, history, options and draws give the same token on every machine.
#ifndef NB_GENERATE_SAMPLER_H
#define NB_GENERATE_SAMPLER_H

#include "../base/status.h"
#include "../text/tokenizer.h"

// Applied in this order, llama.cpp's default: logit bias, penalties, top_k, typical_p, top_p, min_p, temperature.
typedef struct nb_sampling {
  float temperature;        // <= 0, or too small to divide by: greedy, the most probable token (the lowest id among equals)
  int32_t top_k;            // keep the k most probable tokens; 0: all
  float top_p;              // keep the most probable tokens until their probabilities sum to p; 1: all
  float min_p;              // keep tokens at least p times as probable as the best; 0: all
  float typical_p;          // keep tokens whose surprise is nearest to the entropy until they sum to p; 1: all (Meister et al. 2022)
  float repeat_penalty;     // logits of recent tokens are divided (positive) or multiplied (negative) by it; 1: off (Keskar et al. 2019)
  float frequency_penalty;  // subtracted for each time a token occurs among the recent ones; 0: off
  float presence_penalty;   // subtracted once when it occurs; 0: off
  int32_t repeat_last_n;    // how many tokens are recent; -1: all of the context
  uint64_t seed;
} nb_sampling;

typedef struct nb_logit_bias {
  nb_token id;
  float bias;  // added to the logit; -infinity forbids the token
} nb_logit_bias;

void nb_sampling_defaults(nb_sampling *s);  // 0.8, 40, 0.95, 0.05, 1, 1, 0, 0, 64, 0

typedef struct nb_sampler nb_sampler;

// E_ARGUMENT names the value that is out of range.
nb_status nb_sampler_new(uint32_t n_vocab, const nb_sampling *sampling, const nb_logit_bias *bias, size_t n_bias, nb_sampler **out, nb_error *err);
void nb_sampler_free(nb_sampler *s);

// logits [n_vocab]; history: the tokens so far, oldest first. E_FORMAT when no logit is a number.
nb_status nb_sampler_sample(nb_sampler *s, const float *logits, const nb_token *history, size_t n_history, nb_token *out, nb_error *err);

// Logarithm of the softmax of logits [n_vocab] at one id (-infinity where that logit is NaN or infinite).
double nb_logprob(const float *logits, uint32_t n_vocab, nb_token id);
// The k most probable ids (or all n_vocab), best first (lower ids first among equals), with their log-probabilities.
void nb_top_logprobs(const float *logits, uint32_t n_vocab, size_t k, nb_token *ids, double *logprobs);

#endif
