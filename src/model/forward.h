// One pass of a run of tokens through the model. All memory is allocated by nb_pass_init; a pass cannot fail.
#ifndef NB_MODEL_FORWARD_H
#define NB_MODEL_FORWARD_H

#include "../base/team.h"
#include "kvcache.h"
#include "model.h"

#define NB_HEAD_TILE 4  // tokens whose logits are computed together

// Sees what matrices are multiplied with, before they are: x [n, cols] floats, for w and the matrices that share its input. False: the product is
// not needed, and what it would have written stays as it was.
typedef bool nb_tap_fn(void *arg, const nb_matrix *w, const float *x, size_t n, size_t cols);

struct nb_pass {
  const nb_model *model;
  nb_kvcache *cache;
  nb_team *team;           // that shares the work; NULL: the calling thread alone
  bool float_activations;  // multiply by floats instead of int8 (slow; to measure what int8 costs)
  size_t n_batch;          // most tokens of a pass
  nb_tap_fn *tap;          // NULL: nobody looks
  void *tap_arg;

  // the pass under way
  size_t n;         // tokens
  uint32_t pos;     // position of the first one
  uint32_t layer;   // index

  float *x;         // [n_batch, d_model] residual stream
  float *xn;        // [n_batch, d_model] normed input of a block; after the pass: the normed output
  float *q;         // [n_batch, n_heads * head_dim]
  float *k, *v;     // [n_batch, n_kv_heads * head_dim]
  float *att;       // [n_batch, n_heads * head_dim]
  float *gate, *up; // [n_batch, d_ff]
  float *branch;    // [n_batch, d_model] what a block adds to x
  float *cos_sin;   // [n_batch, n_rot / 2, 2]
  float *att_scratch;   // [n_threads, nb_attention_scratch(n_heads, n_kv_heads, head_dim)]
  float *att_partials;  // [nb_attention_partials(n_heads, head_dim, n_ctx, n_batch)] of all threads
  double *inv_freq; // [n_rot / 2] angle of one position
  float *logits;    // [NB_HEAD_TILE, n_vocab]
  size_t logits_first, logits_n;  // tokens of the last pass whose logits are there

  nb_act act[3];    // by nb_act_kind: the current input of matrices, converted when the first one asks
  void *act_buffer[3];
  size_t input_cols;
};

nb_status nb_pass_init(nb_pass *p, const nb_model *m, nb_kvcache *cache, size_t n_batch, nb_team *team, bool float_activations, nb_error *err);
void nb_pass_free(nb_pass *p);
// Bytes that nb_pass_init allocates.
uint64_t nb_pass_bytes(const nb_model *m, uint32_t n_ctx, size_t n_batch, unsigned n_threads);

// Runs tokens (all < n_vocab) at positions pos .. pos + n - 1 (< cache->n_ctx), n <= n_batch, and writes their keys and values.
// Positions before pos must be in the cache.
void nb_pass_run(nb_pass *p, const int32_t *tokens, size_t n, uint32_t pos);

// For whoever runs layers one by one: what comes before the first layer, without the embedding. p->x, p->layer, the layers and the norm after
// the last one are the caller's.
void nb_pass_begin(nb_pass *p, size_t n, uint32_t pos);

// Logits [n_vocab] of token i < n of the last pass; they stay until the next pass or call for another tile.
const float *nb_pass_logits(nb_pass *p, size_t i);

// The steps that architectures are made of. x, xn and so on are the fields above.
void nb_pass_norm(nb_pass *p, const float *w);                  // xn = rms_norm(x) * w
void nb_pass_qkv(nb_pass *p, const nb_layer *l);                // q, k, v = projections of xn, plus biases
void nb_pass_qk_norm(nb_pass *p, const nb_layer *l);            // every head of q and k: rms_norm
void nb_pass_rope(nb_pass *p);                                  // rotates q and k by position
void nb_pass_attention(nb_pass *p, const nb_layer *l);          // k, v -> cache; x += output projection of the attention
void nb_pass_swiglu(nb_pass *p, const nb_layer *l);             // x += down(silu(gate(xn)) * up(xn))

#endif
