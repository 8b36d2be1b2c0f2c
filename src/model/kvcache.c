#include "kvcache.h"

#include <stdlib.h>

uint64_t nb_kvcache_bytes(const nb_config *config, uint32_t n_ctx) {
  // at most 2^10 layers * 2^30 positions * 2^10 heads * 2^10 numbers * 4 bytes: fits in 64 bits
  return (uint64_t)config->n_layers * n_ctx * config->n_kv_heads * config->head_dim * 2 * sizeof(uint16_t);
}

nb_status nb_kvcache_init(nb_kvcache *c, const nb_config *config, uint32_t n_ctx, nb_error *err) {
  const uint64_t bytes = nb_kvcache_bytes(config, n_ctx);
  size_t half;
  *c = (nb_kvcache){.n_ctx = n_ctx, .stride = (size_t)config->n_kv_heads * config->head_dim};
  if (nb_to_size(bytes / 2, &half)) {
    c->k = malloc(half);
    c->v = malloc(half);
  }
  if (c->k && c->v) return NB_OK;
  nb_kvcache_free(c);
  return nb_fail(err, NB_E_NOMEM, "not enough memory for a context of %u tokens (%llu bytes); ask for a shorter one", (unsigned)n_ctx,
                 (unsigned long long)bytes);
}

void nb_kvcache_free(nb_kvcache *c) {
  free(c->k);
  free(c->v);
  c->k = c->v = NULL;
}
