// Hyper-parameters of a model, read from GGUF metadata and checked once, here. Everything after this trusts them.
#ifndef NB_MODEL_CONFIG_H
#define NB_MODEL_CONFIG_H

#include "../base/status.h"
#include "../format/gguf.h"
#include "../kernels/kernels.h"

typedef struct nb_config {
  uint32_t n_layers;
  uint32_t n_heads;      // query heads
  uint32_t n_kv_heads;   // key and value heads; divides n_heads
  uint32_t head_dim;     // numbers in a head, of keys and of values alike
  uint32_t d_model;      // width of the residual stream
  uint32_t d_ff;         // width of the feed-forward part
  uint32_t n_vocab;      // rows of the embedding
  uint32_t n_ctx_train;  // positions the model was trained on
  uint32_t n_rot;        // leading numbers of a head that are rotated; even, <= head_dim
  nb_rope_order rope_order;
  float rope_base;       // theta
  float rope_scale;      // positions are multiplied by this ("linear" scaling; 1 without)
  float norm_eps;
} nb_config;

// Reads `<arch>.<key>` for every field; n_vocab comes from the embedding's shape. rope_order is left to the architecture.
nb_status nb_config_read(nb_config *c, const nb_gguf *g, nb_error *err);

// `<general.architecture>.<suffix>`, written to buffer.
nb_str nb_config_key(const nb_gguf *g, const char *suffix, char *buffer, size_t capacity);

#endif
