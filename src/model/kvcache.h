// Keys and values of the tokens seen so far, as half floats.
#ifndef NB_MODEL_KVCACHE_H
#define NB_MODEL_KVCACHE_H

#include "config.h"

typedef struct nb_kvcache {
  uint16_t *k, *v;   // [n_layers, n_ctx, n_kv_heads * head_dim] f16
  uint32_t n_ctx;
  size_t stride;     // numbers in a row: n_kv_heads * head_dim
} nb_kvcache;

nb_status nb_kvcache_init(nb_kvcache *c, const nb_config *config, uint32_t n_ctx, nb_error *err);
void nb_kvcache_free(nb_kvcache *c);

uint64_t nb_kvcache_bytes(const nb_config *config, uint32_t n_ctx);

// Row of one position in one layer.
static inline uint16_t *nb_kvcache_k(const nb_kvcache *c, uint32_t layer, uint32_t pos) { return c->k + ((size_t)layer * c->n_ctx + pos) * c->stride; }
static inline uint16_t *nb_kvcache_v(const nb_kvcache *c, uint32_t layer, uint32_t pos) { return c->v + ((size_t)layer * c->n_ctx + pos) * c->stride; }

#endif
