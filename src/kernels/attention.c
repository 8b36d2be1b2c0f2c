// Attention: the units of a call, and the merge of their parts.
#include "attention.h"

#include <assert.h>

#include "variants.h"

static size_t most(size_t a, size_t b) { return a > b ? a : b; }
static size_t least(size_t a, size_t b) { return a < b ? a : b; }

// Queries of a tile: as many as give about NB_ATTENTION_ROWS rows, evenly divided.
typedef struct tiling {
  size_t tiles, queries, chunks;  // chunks: that units of a tile take one each of; 1 where a unit takes all
} tiling;

static tiling tiling_of(const nb_attention_call *c) {
  const size_t limit = most(1, NB_ATTENTION_ROWS / (c->n_heads / c->n_kv_heads)), tiles = (c->n_queries + limit - 1) / limit;
  const size_t chunks = nb_attention_chunks(c->n + c->n_queries - 1);
  return (tiling){tiles, (c->n_queries + tiles - 1) / tiles, c->n_queries <= NB_ATTENTION_SPLIT ? chunks : 1};
}

size_t nb_attention_units(const nb_attention_call *c) {
  assert(c->n >= 1 && c->n_queries >= 1 && c->n_kv_heads >= 1 && c->n_heads % c->n_kv_heads == 0 && c->kv_stride >= c->n_kv_heads * c->head_dim);
  const tiling t = tiling_of(c);
  return t.tiles * t.chunks * c->n_kv_heads;
}

// The last queries, which attend to most, come first: whoever takes the last units has little left to do.
nb_attention_span nb_attention_span_of(const nb_attention_call *c, size_t unit) {
  assert(unit < nb_attention_units(c));
  const tiling t = tiling_of(c);
  const size_t kv = unit % c->n_kv_heads, chunk = unit / c->n_kv_heads % t.chunks, tile = t.tiles - 1 - unit / c->n_kv_heads / t.chunks;
  const size_t t0 = least(tile * t.queries, c->n_queries), t1 = least(t0 + t.queries, c->n_queries);
  if (t.chunks > 1) return (nb_attention_span){kv, t0, t1, chunk, chunk + 1, true};
  return (nb_attention_span){kv, t0, t1, 0, nb_attention_chunks(c->n + c->n_queries - 1), false};
}

size_t nb_attention_merge_rows(const nb_attention_call *c) { return tiling_of(c).chunks > 1 ? c->n_queries * c->n_heads : 0; }

void nb_attention_merge(const nb_attention_call *c, size_t row0, size_t row1) {
  const size_t width = nb_attention_width(c->head_dim);
  for (size_t row = row0; row < row1; row++) {
    float *sum = nb_attention_partial(c, row, 0);
    const size_t chunks = nb_attention_chunks(c->n + row / c->n_heads);
    for (size_t chunk = 1; chunk < chunks; chunk++) nb_attention_combine(sum, nb_attention_partial(c, row, chunk), width);
    nb_attention_finish(c->out + row * c->head_dim, sum, c->head_dim);
  }
}

void nb_attention(const nb_attention_call *c, float *scratch) {
  const size_t units = nb_attention_units(c);
  for (size_t i = 0; i < units; i++) nb_attention_unit(c, i, scratch);
  nb_attention_merge(c, 0, nb_attention_merge_rows(c));
}

size_t nb_attention_scratch(size_t n_heads, size_t n_kv_heads, size_t head_dim) {
  const size_t rows = most(NB_ATTENTION_ROWS, n_heads / n_kv_heads), width = nb_attention_width(head_dim);
  return rows * (NB_ATTENTION_CHUNK + width + 2 * nb_attention_part_size(head_dim)) + NB_ATTENTION_POSITIONS * width;
}

uint64_t nb_attention_partials(size_t n_heads, size_t head_dim, size_t n_rows, size_t n_queries) {
  return (uint64_t)least(n_queries, NB_ATTENTION_SPLIT) * n_heads * nb_attention_chunks(n_rows) * nb_attention_part_size(head_dim);
}
