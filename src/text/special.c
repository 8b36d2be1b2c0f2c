#include "special.h"

#include <stdlib.h>

static int compare(const nb_vocab *v, uint32_t a, uint32_t b) {
  const nb_str p = nb_vocab_piece(v, (nb_token)a), q = nb_vocab_piece(v, (nb_token)b);
  const int c = memcmp(p.data, q.data, p.len < q.len ? p.len : q.len);
  return c != 0 ? c : p.len < q.len ? -1 : p.len > q.len;
}

// Heap sort: qsort takes no context, and some of them are quadratic for input that was made to be.
static void sift(const nb_vocab *v, uint32_t *ids, uint32_t at, uint32_t n) {
  for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
    if (child + 1 < n && compare(v, ids[child], ids[child + 1]) < 0) child++;
    if (compare(v, ids[at], ids[child]) >= 0) return;
    const uint32_t t = ids[at];
    ids[at] = ids[child];
    ids[child] = t;
  }
}

static void sort(const nb_vocab *v, uint32_t *ids, uint32_t n) {
  for (uint32_t i = n / 2; i-- > 0;) sift(v, ids, i, n);
  for (uint32_t i = n; i-- > 1;) {
    const uint32_t t = ids[0];
    ids[0] = ids[i];
    ids[i] = t;
    sift(v, ids, 0, i);
  }
}

static bool is_special(const nb_vocab *v, uint32_t id) {
  return nb_vocab_is(v, (nb_token)id, NB_KINDS_SPECIAL | NB_KIND(NB_TOKEN_USER_DEFINED)) && nb_vocab_piece(v, (nb_token)id).len > 0;
}

nb_status nb_special_init(nb_special *s, const nb_vocab *v, nb_error *err) {
  memset(s, 0, sizeof *s);
  uint32_t n = 0;
  for (uint32_t id = 0; id < v->n_vocab; id++) n += is_special(v, id);
  if (n == 0) return NB_OK;
  s->ids = malloc((size_t)n * sizeof *s->ids);
  if (!s->ids) return nb_fail_nomem(err, "the special tokens", (uint64_t)n * sizeof *s->ids);
  for (uint32_t id = 0; id < v->n_vocab; id++) {
    if (!is_special(v, id)) continue;
    const nb_str piece = nb_vocab_piece(v, (nb_token)id);
    if (piece.len > NB_SPECIAL_BYTES_MAX) {
      nb_special_free(s);
      return nb_fail(err, NB_E_FORMAT, "tokenizer.ggml.tokens: the special token %u has %u bytes, the limit is %u", id, (unsigned)piece.len, NB_SPECIAL_BYTES_MAX);
    }
    const uint8_t lead = (uint8_t)piece.data[0];
    s->first[lead + 1]++;
    s->begins[lead] |= nb_vocab_is(v, (nb_token)id, NB_KIND(NB_TOKEN_USER_DEFINED)) ? 3 : 1;
    s->ids[s->n++] = id;
  }
  for (size_t b = 0; b < 256; b++) s->first[b + 1] += s->first[b];
  sort(v, s->ids, s->n);
  return NB_OK;
}

void nb_special_free(nb_special *s) {
  free(s->ids);
  s->ids = NULL;
  s->n = 0;
}

// The byte of entry i at `depth`. All entries of the range looked at are longer than that.
static uint8_t byte_at(const nb_special *s, const nb_vocab *v, uint32_t i, size_t depth) {
  return (uint8_t)nb_vocab_piece(v, (nb_token)s->ids[i]).data[depth];
}

// The first entry of lo..hi whose byte at depth is at least b.
static uint32_t lower_bound(const nb_special *s, const nb_vocab *v, uint32_t lo, uint32_t hi, size_t depth, unsigned b) {
  while (lo < hi) {
    const uint32_t mid = lo + (hi - lo) / 2;
    if (byte_at(s, v, mid, depth) < b) {
      lo = mid + 1;
    } else {
      hi = mid;
    }
  }
  return lo;
}

// lo..hi are the entries that agree with the first `depth` bytes of the text. The sorted list serves as a trie that way, without
// the memory of one. Where two tokens overlap in a text, the one that begins first is taken, then the longer one.
nb_token nb_special_match(const nb_special *s, const nb_vocab *v, const char *text, size_t n, bool control) {
  const unsigned kinds = NB_KIND(NB_TOKEN_USER_DEFINED) | (control ? NB_KINDS_SPECIAL : 0);
  nb_token best = NB_TOKEN_NONE;
  const uint8_t lead = (uint8_t)text[0];
  uint32_t lo = s->first[lead], hi = s->first[lead + 1];
  for (size_t depth = 1; lo < hi; depth++) {
    const nb_token shortest = (nb_token)s->ids[lo];
    if (nb_vocab_piece(v, shortest).len == depth) {
      if (nb_vocab_is(v, shortest, kinds)) best = shortest;
      lo++;
    }
    if (depth == n || lo == hi) break;
    const uint8_t b = (uint8_t)text[depth];
    if (byte_at(s, v, lo, depth) != b) lo = lower_bound(s, v, lo, hi, depth, b);
    if (lo < hi && byte_at(s, v, hi - 1, depth) != b) hi = lower_bound(s, v, lo, hi, depth, b + 1u);
  }
  return best;
}
