#include "merge.h"

#include <stdlib.h>

void nb_merger_free(nb_merger *m) {
  free(m->symbols);
  free(m->pairs);
  *m = (nb_merger){0};
}

// The items, moved to where there is room for n of them (at least half as many again as before); NULL when there is no memory, then
// the old ones stay.
static void *grown(void *items, size_t *capacity, size_t n, size_t size, nb_error *err) {
  if (n <= *capacity) return items;
  const uint64_t want = *capacity + *capacity / 2 > n ? *capacity + *capacity / 2 : n;
  void *p = want > SIZE_MAX / 2 / size ? NULL : realloc(items, (size_t)want * size);
  if (p) {
    *capacity = (size_t)want;
  } else {
    nb_fail_nomem(err, "encoding a text", want * size);
  }
  return p;
}

static nb_status reserve_pairs(nb_merger *m, size_t n, nb_error *err) {
  nb_pair *pairs = grown(m->pairs, &m->pairs_capacity, n, sizeof *pairs, err);
  if (!pairs) return NB_E_NOMEM;
  m->pairs = pairs;
  return NB_OK;
}

nb_status nb_merger_start(nb_merger *m, size_t n, nb_error *err) {
  m->n_symbols = 0;
  m->n_pairs = 0;
  nb_symbol *symbols = grown(m->symbols, &m->symbols_capacity, n < 64 ? 64 : n, sizeof *symbols, err);
  if (!symbols) return NB_E_NOMEM;
  m->symbols = symbols;
  return NB_OK;
}

static uint32_t start_of(const nb_merger *m, uint32_t symbol) { return symbol == NB_SYMBOL_NONE ? m->end : m->symbols[symbol].at; }

static void sift_down(nb_pair *pairs, size_t at, size_t n) {
  const nb_pair moved = pairs[at];
  for (size_t child; (child = 2 * at + 1) < n; at = child) {
    if (child + 1 < n && pairs[child + 1].key < pairs[child].key) child++;
    if (moved.key <= pairs[child].key) break;
    pairs[at] = pairs[child];
  }
  pairs[at] = moved;
}

static void sift_up(nb_pair *pairs, size_t at) {
  const nb_pair moved = pairs[at];
  for (size_t parent; at > 0 && pairs[parent = (at - 1) / 2].key > moved.key; at = parent) pairs[at] = pairs[parent];
  pairs[at] = moved;
}

static bool pair_of(const nb_merger *m, uint32_t left, nb_joins joins, const void *context, nb_pair *out) {
  const nb_symbol *l = &m->symbols[left], *r = &m->symbols[l->next];
  uint32_t priority;
  out->size = start_of(m, r->next) - l->at;
  if (!joins(context, l, r, out->size, &priority, &out->id)) return false;
  out->key = (uint64_t)priority << 32 | left;
  return true;
}

static nb_status push(nb_merger *m, uint32_t left, nb_joins joins, const void *context, nb_error *err) {
  nb_pair pair;
  if (!pair_of(m, left, joins, context, &pair)) return NB_OK;
  const nb_status status = reserve_pairs(m, m->n_pairs + 1, err);
  if (status != NB_OK) return status;
  m->pairs[m->n_pairs] = pair;
  sift_up(m->pairs, m->n_pairs++);
  return NB_OK;
}

nb_status nb_merger_run(nb_merger *m, uint32_t end, nb_joins joins, const void *context, nb_error *err) {
  if (m->n_symbols == 0) return NB_OK;
  m->end = end;
  m->symbols[m->n_symbols - 1].next = NB_SYMBOL_NONE;
  nb_status status = reserve_pairs(m, m->n_symbols, err);
  if (status != NB_OK) return status;
  for (uint32_t i = 0; i + 1 < m->n_symbols; i++) {
    if (pair_of(m, i, joins, context, &m->pairs[m->n_pairs])) m->n_pairs++;
  }
  for (size_t i = m->n_pairs / 2; i-- > 0;) sift_down(m->pairs, i, m->n_pairs);

  while (m->n_pairs > 0) {
    const nb_pair best = m->pairs[0];
    m->pairs[0] = m->pairs[--m->n_pairs];
    if (m->n_pairs > 0) sift_down(m->pairs, 0, m->n_pairs);

    // A pair is stale when one of its symbols has been joined to another since. Then the left one is gone, or is the last, or the two
    // that start there now have more bytes together.
    const uint32_t left = (uint32_t)best.key;
    nb_symbol *l = &m->symbols[left];
    if (l->id == NB_SYMBOL_GONE || l->next == NB_SYMBOL_NONE) continue;
    nb_symbol *r = &m->symbols[l->next];
    if (start_of(m, r->next) - l->at != best.size) continue;

    l->id = best.id;
    l->next = r->next;
    r->id = NB_SYMBOL_GONE;
    if (l->next != NB_SYMBOL_NONE) m->symbols[l->next].prev = left;
    if (l->prev != NB_SYMBOL_NONE) status = push(m, l->prev, joins, context, err);
    if (status == NB_OK && l->next != NB_SYMBOL_NONE) status = push(m, left, joins, context, err);
    if (status != NB_OK) return status;
  }
  return NB_OK;
}
