#include "sampler.h"

#include <math.h>
#include <stdlib.h>

#include "../kernels/kernels.h"

typedef struct candidate {
  nb_token id;
  float logit;
  float key;  // what the heap orders by: larger is better
} candidate;

struct nb_sampler {
  nb_sampling options;
  uint32_t n_vocab;
  nb_logit_bias *bias;
  size_t n_bias;
  uint64_t state;        // PCG32 (O'Neill 2014), stream fixed
  candidate *c;          // [n_vocab]
  float *logits;         // [n_vocab]: with bias and penalties, where there are some
  nb_token *top;         // [top_k], where it is less than n_vocab
  nb_token *recent;      // sorted copy of the recent tokens
  size_t recent_capacity;
};

void nb_sampling_defaults(nb_sampling *s) {
  *s = (nb_sampling){.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .typical_p = 1, .repeat_penalty = 1, .repeat_last_n = 64};
}

static bool penalizes(const nb_sampling *o) { return o->repeat_penalty != 1 || o->frequency_penalty != 0 || o->presence_penalty != 0; }

static nb_status check(const char *name, double value, double lo, double hi, nb_error *err) {
  if (value >= lo && value <= hi) return NB_OK;
  return nb_fail(err, NB_E_ARGUMENT, "%s is %g, outside %g..%g", name, value, lo, hi);
}

static uint32_t draw(nb_sampler *s) {
  const uint64_t old = s->state;
  s->state = old * 6364136223846793005ull + 1442695040888963407ull;
  const uint32_t x = (uint32_t)(((old >> 18) ^ old) >> 27), rot = (uint32_t)(old >> 59);
  return x >> rot | x << (-rot & 31);
}

nb_status nb_sampler_new(uint32_t n_vocab, const nb_sampling *o, const nb_logit_bias *bias, size_t n_bias, nb_sampler **out, nb_error *err) {
  nb_status st;
  *out = NULL;
  if ((st = check("temperature", o->temperature, -1e9, 1e9, err)) || (st = check("top_k", o->top_k, 0, 1e9, err)) ||
      (st = check("top_p", o->top_p, 0, 1, err)) || (st = check("min_p", o->min_p, 0, 1, err)) ||
      (st = check("typical_p", o->typical_p, 0, 1, err)) || (st = check("repeat_penalty", o->repeat_penalty, 1e-3, 1e3, err)) ||
      (st = check("frequency_penalty", o->frequency_penalty, -1e3, 1e3, err)) ||
      (st = check("presence_penalty", o->presence_penalty, -1e3, 1e3, err)) || (st = check("repeat_last_n", o->repeat_last_n, -1, 1e9, err)))
    return st;
  for (size_t i = 0; i < n_bias; i++) {
    if (bias[i].id < 0 || (uint32_t)bias[i].id >= n_vocab)
      return nb_fail(err, NB_E_ARGUMENT, "logit_bias names token %d, the vocabulary has %u", (int)bias[i].id, (unsigned)n_vocab);
    if (isnan(bias[i].bias) || bias[i].bias > 1e9f) return nb_fail(err, NB_E_ARGUMENT, "logit_bias of token %d is not a usable number", (int)bias[i].id);
  }
  nb_sampler *s = calloc(1, sizeof *s);
  if (s) {
    s->options = *o;
    s->n_vocab = n_vocab;
    s->n_bias = n_bias;
    s->c = malloc((n_vocab ? n_vocab : 1) * sizeof *s->c);
    s->bias = malloc((n_bias ? n_bias : 1) * sizeof *s->bias);
    s->logits = malloc((n_vocab && (n_bias || penalizes(o)) ? n_vocab : 1) * sizeof *s->logits);
    s->top = malloc(((uint32_t)o->top_k < n_vocab ? (size_t)o->top_k + 1 : 1) * sizeof *s->top);
  }
  if (!s || !s->c || !s->bias || !s->logits || !s->top) {
    nb_sampler_free(s);
    return nb_fail_nomem(err, "the sampler", n_vocab * sizeof(candidate));
  }
  if (n_bias) memcpy(s->bias, bias, n_bias * sizeof *bias);
  s->state = 0;
  draw(s);
  s->state += o->seed;
  draw(s);
  *out = s;
  return NB_OK;
}

void nb_sampler_free(nb_sampler *s) {
  if (!s) return;
  free(s->c);
  free(s->bias);
  free(s->logits);
  free(s->top);
  free(s->recent);
  free(s);
}

// ---- the best of all: a heap of those, with the worst at its root -------------------------------------------------------------

// What is no number, or overflowed, counts as impossible.
static float usable(float logit) { return logit > -INFINITY && logit < INFINITY ? logit : -INFINITY; }

static bool above(const float *logits, nb_token a, nb_token b) {
  const float x = usable(logits[a]), y = usable(logits[b]);
  return x > y || (x == y && a < b);
}

// ids[0..n) is a heap with the least probable at its root: brings the one at i to its place.
static void sink(const float *logits, nb_token *ids, size_t n, size_t i) {
  const nb_token moved = ids[i];
  for (size_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && above(logits, ids[child], ids[child + 1])) child++;
    if (!above(logits, moved, ids[child])) break;
    ids[i] = ids[child];
  }
  ids[i] = moved;
}

// Logits are looked through in runs, of which most hold nothing of interest.
enum { RUN = 64 };

// No less than the greatest number among logits[0..RUN), in columns that compilers make vectors of.
static float run_max(const float *logits) {
  float m[8] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY};
  for (size_t i = 0; i < RUN; i += 8)
    for (size_t j = 0; j < 8; j++) m[j] = logits[i + j] > m[j] ? logits[i + j] : m[j];
  for (size_t half = 4; half > 0; half /= 2)
    for (size_t j = 0; j < half; j++) m[j] = m[j + half] > m[j] ? m[j + half] : m[j];
  return m[0];
}

// The k most probable ids, 0 < k <= n, best first.
static void top_ids(const float *logits, uint32_t n, size_t k, nb_token *ids) {
  for (size_t i = 0; i < k; i++) ids[i] = (nb_token)i;
  for (size_t i = k / 2; i-- > 0;) sink(logits, ids, k, i);
  float least = usable(logits[ids[0]]);
  for (uint32_t i = (uint32_t)k, end; i < n; i = end) {
    end = n - i < RUN ? n : i + RUN;
    if (end - i == RUN && !(run_max(logits + i) > least)) continue;
    for (; i < end; i++) {
      if (!above(logits, (nb_token)i, ids[0])) continue;
      ids[0] = (nb_token)i;
      sink(logits, ids, k, 0);
      least = usable(logits[ids[0]]);
    }
  }
  for (size_t m = k; m-- > 1;) {  // the least probable goes to the end
    const nb_token last = ids[0];
    ids[0] = ids[m];
    ids[m] = last;
    sink(logits, ids, m, 0);
  }
}

// ---- selection: a heap, so that a few best of many cost little --------------------------------------------------------------

static inline int better(const candidate *a, const candidate *b) { return a->key > b->key || (a->key == b->key && a->id < b->id); }

static void sift(candidate *c, size_t n, size_t i) {
  const candidate moved = c[i];
  for (size_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && better(&c[child + 1], &c[child])) child++;
    if (!better(&c[child], &moved)) break;
    c[i] = c[child];
  }
  c[i] = moved;
}

static void heapify(candidate *c, size_t n) {
  for (size_t i = n / 2; i-- > 0;) sift(c, n, i);
}

// Moves the best of the heap c[0..n) to c[n - 1].
static void pop(candidate *c, size_t n) {
  const candidate best = c[0];
  c[0] = c[n - 1];
  sift(c, n - 1, 0);
  c[n - 1] = best;
}

// The popped ones stand at the end, worst first: brings them to the front, best first.
static size_t take_popped(candidate *c, size_t n, size_t popped) {
  for (size_t i = n - popped, j = n - 1; i < j; i++, j--) {
    const candidate t = c[i];
    c[i] = c[j];
    c[j] = t;
  }
  memmove(c, c + n - popped, popped * sizeof *c);
  return popped;
}

static float max_logit(const candidate *c, size_t n) {
  float m = c[0].logit;
  for (size_t i = 1; i < n; i++) m = c[i].logit > m ? c[i].logit : m;
  return m;
}

static double sum_exp(const candidate *c, size_t n, float max) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += nb_exp(c[i].logit - max);
  return sum;
}

// Keeps candidates in the order of their key until their probabilities reach p; at least one.
static size_t keep_mass(candidate *c, size_t n, float p) {
  const float max = max_logit(c, n);
  const double goal = (double)p * sum_exp(c, n, max);
  double mass = 0;
  size_t kept = 0;
  heapify(c, n);
  while (kept < n && (kept == 0 || mass < goal)) {
    mass += nb_exp(c[0].logit - max);
    pop(c, n - kept);
    kept++;
  }
  return take_popped(c, n, kept);
}

static size_t keep_top_p(candidate *c, size_t n, float p) {
  if (p >= 1) return n;
  for (size_t i = 0; i < n; i++) c[i].key = c[i].logit;
  return keep_mass(c, n, p);
}

static size_t keep_typical(candidate *c, size_t n, float p) {
  if (p >= 1) return n;
  const float max = max_logit(c, n);
  const double z = sum_exp(c, n, max), log_z = log(z);
  double entropy = 0;
  for (size_t i = 0; i < n; i++) {
    const double probability = nb_exp(c[i].logit - max) / z;
    if (probability > 0) entropy += probability * (log_z - (double)(c[i].logit - max));
  }
  for (size_t i = 0; i < n; i++) c[i].key = (float)-fabs(log_z - (double)(c[i].logit - max) - entropy);
  return keep_mass(c, n, p);
}

static size_t keep_min_p(candidate *c, size_t n, float p) {
  if (p <= 0) return n;
  const float max = max_logit(c, n);
  size_t kept = 0;
  for (size_t i = 0; i < n; i++)
    if (nb_exp(c[i].logit - max) >= p) c[kept++] = c[i];
  return kept;  // the best one always stays: exp(0) = 1 >= p
}

// ---- penalties --------------------------------------------------------------------------------------------------------------

static int compare_tokens(const void *a, const void *b) {
  const nb_token x = *(const nb_token *)a, y = *(const nb_token *)b;
  return (x > y) - (x < y);
}

static nb_status penalize(nb_sampler *s, float *logits, const nb_token *history, size_t n_history, nb_error *err) {
  const nb_sampling *o = &s->options;
  const size_t n = o->repeat_last_n < 0 || (size_t)o->repeat_last_n > n_history ? n_history : (size_t)o->repeat_last_n;
  if (n == 0) return NB_OK;
  if (n > s->recent_capacity) {
    nb_token *grown = realloc(s->recent, n * sizeof *grown);
    if (!grown) return nb_fail_nomem(err, "the recent tokens", n * sizeof *grown);
    s->recent = grown;
    s->recent_capacity = n;
  }
  memcpy(s->recent, history + n_history - n, n * sizeof *s->recent);
  qsort(s->recent, n, sizeof *s->recent, compare_tokens);
  for (size_t i = 0, j; i < n; i = j) {
    for (j = i + 1; j < n && s->recent[j] == s->recent[i]; j++) {}
    if (s->recent[i] < 0 || (uint32_t)s->recent[i] >= s->n_vocab) continue;
    float *logit = &logits[s->recent[i]];
    *logit = *logit > 0 ? *logit / o->repeat_penalty : *logit * o->repeat_penalty;
    *logit -= (float)(j - i) * o->frequency_penalty + o->presence_penalty;
  }
  return NB_OK;
}

// The lowest id among the most probable; n where none is possible.
static uint32_t greatest(const float *logits, uint32_t n) {
  uint32_t best = n;
  float most = -INFINITY;
  for (uint32_t i = 0, end; i < n; i = end) {
    end = n - i < RUN ? n : i + RUN;
    if (end - i == RUN && !(run_max(logits + i) > most)) continue;
    for (; i < end; i++) {
      if (!(usable(logits[i]) > most)) continue;
      most = logits[i];
      best = i;
    }
  }
  return best;
}

// The possible tokens: of top_k of them the most probable, best first, else all, by their ids.
static size_t candidates(nb_sampler *s, const float *logits) {
  candidate *c = s->c;
  const uint32_t k = (uint32_t)s->options.top_k;
  size_t n = 0;
  if (k > 0 && k < s->n_vocab) {
    top_ids(logits, s->n_vocab, k, s->top);
    for (; n < k && usable(logits[s->top[n]]) > -INFINITY; n++) c[n] = (candidate){.id = s->top[n], .logit = logits[s->top[n]]};
  } else {
    for (uint32_t i = 0; i < s->n_vocab; i++)
      if (usable(logits[i]) > -INFINITY) c[n++] = (candidate){.id = (nb_token)i, .logit = logits[i]};
  }
  return n;
}

nb_status nb_sampler_sample(nb_sampler *s, const float *logits, const nb_token *history, size_t n_history, nb_token *out, nb_error *err) {
  const nb_sampling *o = &s->options;
  candidate *c = s->c;
  if (s->n_bias || penalizes(o)) {
    memcpy(s->logits, logits, s->n_vocab * sizeof *logits);
    for (size_t i = 0; i < s->n_bias; i++) s->logits[s->bias[i].id] += s->bias[i].bias;
    nb_status st;
    if (penalizes(o) && (st = penalize(s, s->logits, history, n_history, err))) return st;
    logits = s->logits;
  }
  const bool greedy = !(o->temperature > 0 && 1 / o->temperature < INFINITY);
  const uint32_t best = greedy ? greatest(logits, s->n_vocab) : 0;
  size_t n = greedy ? best < s->n_vocab : candidates(s, logits);
  if (n == 0) return nb_fail(err, NB_E_FORMAT, "the model's output holds no number; its weights are damaged or every token is forbidden");
  if (greedy) {
    *out = (nb_token)best;
    return NB_OK;
  }
  n = keep_typical(c, n, o->typical_p);
  n = keep_top_p(c, n, o->top_p);
  n = keep_min_p(c, n, o->min_p);

  const float max = max_logit(c, n), beta = 1 / o->temperature;
  double total = 0;
  for (size_t i = 0; i < n; i++) total += c[i].key = nb_exp((c[i].logit - max) * beta);
  const double goal = total * (draw(s) * 0x1p-32);
  double sum = 0;
  size_t i = 0;
  for (; i + 1 < n; i++)
    if ((sum += c[i].key) > goal) break;
  *out = c[i].id;
  return NB_OK;
}

// ---- log-probabilities ------------------------------------------------------------------------------------------------------

static double log_sum_exp(const float *logits, uint32_t n, float *max) {
  float m = -INFINITY;
  for (uint32_t i = 0; i < n; i++) m = usable(logits[i]) > m ? logits[i] : m;
  double sum = 0;
  for (uint32_t i = 0; i < n; i++)
    if (usable(logits[i]) > -INFINITY) sum += nb_exp(logits[i] - m);
  *max = m;
  return log(sum);
}

double nb_logprob(const float *logits, uint32_t n_vocab, nb_token id) {
  float max;
  const double lse = log_sum_exp(logits, n_vocab, &max);
  return usable(logits[id]) > -INFINITY ? (double)(logits[id] - max) - lse : -INFINITY;
}

void nb_top_logprobs(const float *logits, uint32_t n_vocab, size_t k, nb_token *ids, double *logprobs) {
  if (k > n_vocab) k = n_vocab;
  if (k == 0) return;
  float max;
  const double lse = log_sum_exp(logits, n_vocab, &max);
  top_ids(logits, n_vocab, k, ids);
  for (size_t j = 0; j < k; j++) logprobs[j] = usable(logits[ids[j]]) > -INFINITY ? (double)(logits[ids[j]] - max) - lse : -INFINITY;
}
