// The sampler against what its options promise, on distributions small enough to compute by hand.
#include <math.h>
#include <stdlib.h>

#include "../../src/generate/sampler.h"
#include "check.h"

#define N 8

static nb_sampling greedy_off(void) {
  nb_sampling s;
  nb_sampling_defaults(&s);
  s.temperature = 1;
  s.top_k = 0;
  s.top_p = 1;
  s.min_p = 0;
  return s;
}

// Draws many times; counts[i] tells how often token i came.
static void draw(const nb_sampling *o, const float *logits, const nb_token *history, size_t n_history, int times, int counts[N]) {
  nb_sampler *s;
  nb_error err;
  CHECK(nb_sampler_new(N, o, NULL, 0, &s, &err) == NB_OK);
  for (int i = 0; i < N; i++) counts[i] = 0;
  for (int i = 0; i < times; i++) {
    nb_token t = -1;
    CHECK(nb_sampler_sample(s, logits, history, n_history, &t, &err) == NB_OK);
    CHECK(t >= 0 && t < N);
    if (t >= 0 && t < N) counts[t]++;
  }
  nb_sampler_free(s);
}

// logits of probabilities .4 .2 .15 .1 .08 .04 .02 .01, scattered over the ids
static const double P[N] = {0.1, 0.4, 0.01, 0.2, 0.08, 0.15, 0.02, 0.04};
static void logits_of(float *logits) {
  for (int i = 0; i < N; i++) logits[i] = (float)log(P[i]) + 3;
}

static void test_frequencies(void) {
  float logits[N];
  logits_of(logits);
  nb_sampling o = greedy_off();
  int counts[N];
  draw(&o, logits, NULL, 0, 100000, counts);
  for (int i = 0; i < N; i++) CHECK(fabs(counts[i] / 1e5 - P[i]) < 5 * sqrt(P[i] * (1 - P[i]) / 1e5));
  o.temperature = 0.5f;  // squares the odds
  double z = 0;
  for (int i = 0; i < N; i++) z += P[i] * P[i];
  draw(&o, logits, NULL, 0, 100000, counts);
  for (int i = 0; i < N; i++) CHECK(fabs(counts[i] / 1e5 - P[i] * P[i] / z) < 0.01);
}

static void only(const nb_sampling *o, unsigned allowed) {
  float logits[N];
  logits_of(logits);
  int counts[N];
  draw(o, logits, NULL, 0, 20000, counts);
  for (int i = 0; i < N; i++) CHECK((counts[i] > 0) == ((allowed >> i & 1) != 0));
}

static void test_truncations(void) {
  nb_sampling o = greedy_off();
  o.top_k = 3;
  only(&o, 1u << 1 | 1u << 3 | 1u << 5);
  o = greedy_off();
  o.top_p = 0.61f;  // .4 + .2 is not enough
  only(&o, 1u << 1 | 1u << 3 | 1u << 5);
  o.top_p = 0;  // at least one stays
  only(&o, 1u << 1);
  o = greedy_off();
  o.min_p = 0.24f;  // of .4: .096
  only(&o, 1u << 1 | 1u << 3 | 1u << 5 | 1u << 0);
  // The entropy is 1.690 nats; distances of -log p to it: .1 .612, .4 .774, .01 2.9, .2 .081, .08 .836, .15 .207, .02 2.2, .04 1.5
  o = greedy_off();
  o.typical_p = 0.3f;  // .2 + .15
  only(&o, 1u << 3 | 1u << 5);
  o.typical_p = 0.44f;  // + .1
  only(&o, 1u << 3 | 1u << 5 | 1u << 0);
}

static void test_penalties(void) {
  const float logits[N] = {2, 1.5f, -1, 0, 0, 0, 0, 0};
  const nb_token history[] = {1, 0, 0, 2};
  nb_sampling o = greedy_off();
  nb_sampler *s;
  nb_error err;
  nb_token t;
  struct { float repeat, frequency, presence; int last_n; nb_token best; } cases[] = {
      {1, 0, 0, 64, 0},          // off
      {2, 0, 0, 64, 0},          // 2/2 = 1 against 1.5/2: token 0 stays
      {1, 0.3f, 0, 64, 0},       // 2 - .6 = 1.4 against 1.5 - .3 = 1.2
      {1, 0.6f, 0, 64, 1},       // .8 against .9
      {1, 0, 1.9f, 64, 0},       // .1 against -.4 and 0: presence counts once
      {1, 0, 2.1f, 64, 3},       // all seen ones fall behind the untouched
      {2, 0, 0, 3, 1},           // only 0, 0, 2 are recent: 1 against 1.5
      {2, 0, 0, 0, 0},           // nothing is recent
      {2, 0, 0, -1, 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    o.temperature = 0;
    o.repeat_penalty = cases[i].repeat;
    o.frequency_penalty = cases[i].frequency;
    o.presence_penalty = cases[i].presence;
    o.repeat_last_n = cases[i].last_n;
    CHECK(nb_sampler_new(N, &o, NULL, 0, &s, &err) == NB_OK);
    CHECK(nb_sampler_sample(s, logits, history, 4, &t, &err) == NB_OK);
    CHECK_EQ_INT(t, cases[i].best);
    nb_sampler_free(s);
  }
}

static void test_bias_and_bad_logits(void) {
  float logits[N] = {0, 1, 2, 3, 4, 5, 6, 7};
  nb_sampling o = greedy_off();
  nb_sampler *s;
  nb_error err;
  nb_token t;
  o.temperature = 0;
  const nb_logit_bias bias[] = {{7, -INFINITY}, {2, 100}};
  CHECK(nb_sampler_new(N, &o, bias, 2, &s, &err) == NB_OK);
  CHECK(nb_sampler_sample(s, logits, NULL, 0, &t, &err) == NB_OK);
  CHECK_EQ_INT(t, 2);
  logits[2] = NAN;
  CHECK(nb_sampler_sample(s, logits, NULL, 0, &t, &err) == NB_OK);
  CHECK_EQ_INT(t, 6);
  for (int i = 0; i < N; i++) logits[i] = NAN;
  CHECK_EQ_INT(nb_sampler_sample(s, logits, NULL, 0, &t, &err), NB_E_FORMAT);
  nb_sampler_free(s);
  for (int i = 0; i < N; i++) logits[i] = 1;
  o.temperature = 0;
  CHECK(nb_sampler_new(N, &o, NULL, 0, &s, &err) == NB_OK);
  CHECK(nb_sampler_sample(s, logits, NULL, 0, &t, &err) == NB_OK);
  CHECK_EQ_INT(t, 0);  // the lowest id wins a tie
  nb_sampler_free(s);
}

static void test_refused(void) {
  nb_sampler *s;
  nb_error err;
  const struct { size_t field; float value; } bad[] = {
      {offsetof(nb_sampling, temperature), NAN}, {offsetof(nb_sampling, top_p), 1.1f},          {offsetof(nb_sampling, top_p), -0.1f},
      {offsetof(nb_sampling, min_p), 2},         {offsetof(nb_sampling, typical_p), NAN},       {offsetof(nb_sampling, repeat_penalty), 0},
      {offsetof(nb_sampling, frequency_penalty), INFINITY}, {offsetof(nb_sampling, presence_penalty), NAN}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    nb_sampling o = greedy_off();
    memcpy((char *)&o + bad[i].field, &bad[i].value, sizeof(float));
    CHECK_EQ_INT(nb_sampler_new(N, &o, NULL, 0, &s, &err), NB_E_ARGUMENT);
    CHECK(s == NULL);
  }
  nb_sampling o = greedy_off();
  const nb_logit_bias outside = {N, 1};
  CHECK_EQ_INT(nb_sampler_new(N, &o, &outside, 1, &s, &err), NB_E_ARGUMENT);
}

static void test_seed(void) {
  float logits[N];
  logits_of(logits);
  nb_sampling o = greedy_off();
  nb_error err;
  nb_token runs[3][32];
  for (int r = 0; r < 3; r++) {
    nb_sampler *s;
    o.seed = r == 2 ? 8 : 7;
    CHECK(nb_sampler_new(N, &o, NULL, 0, &s, &err) == NB_OK);
    for (int i = 0; i < 32; i++) CHECK(nb_sampler_sample(s, logits, NULL, 0, &runs[r][i], &err) == NB_OK);
    nb_sampler_free(s);
  }
  CHECK(memcmp(runs[0], runs[1], sizeof runs[0]) == 0);
  CHECK(memcmp(runs[0], runs[2], sizeof runs[0]) != 0);
}

static void test_logprobs(void) {
  float logits[N];
  logits_of(logits);
  for (int i = 0; i < N; i++) CHECK(fabs(nb_logprob(logits, N, i) - log(P[i])) < 2e-6);
  nb_token ids[N];
  double lp[N];
  nb_top_logprobs(logits, N, 3, ids, lp);
  CHECK(ids[0] == 1 && ids[1] == 3 && ids[2] == 5);
  CHECK(fabs(lp[2] - log(0.15)) < 2e-6);
  logits[1] = NAN;
  nb_top_logprobs(logits, N, N, ids, lp);
  CHECK(ids[0] == 3 && ids[N - 1] == 1 && lp[N - 1] == -INFINITY);
  logits[1] = INFINITY;  // overflowed: counts like one that is no number
  CHECK(nb_logprob(logits, N, 1) == -INFINITY && nb_logprob(logits, N, 3) > -1.2);
  nb_top_logprobs(logits, N, N, ids, lp);
  CHECK(ids[0] == 3 && ids[N - 1] == 1 && lp[N - 1] == -INFINITY);
  nb_top_logprobs(logits, N, 0, NULL, NULL);  // nothing wanted, nothing touched
}

// However many are asked for, they come in the order of a plain selection; there are many equal ones.
static void test_top_of_many(void) {
  enum { V = 300 };
  float logits[V];
  uint32_t state = 1;
  for (int i = 0; i < V; i++) logits[i] = (float)((state = state * 1664525u + 1013904223u) >> 27);
  logits[7] = NAN;
  for (size_t k = 1; k <= V; k = k < 4 ? k + 1 : k == V ? V + 1 : k * 2 < V ? k * 2 : V) {
    nb_token ids[V];
    double lp[V];
    nb_top_logprobs(logits, V, k, ids, lp);
    bool taken[V] = {false};
    for (size_t j = 0; j < k; j++) {
      int best = -1;
      for (int i = 0; i < V; i++)
        if (!taken[i] && i != 7 && (best < 0 || logits[i] > logits[best])) best = i;
      if (best < 0) best = 7;
      taken[best] = true;
      CHECK(ids[j] == best);
      CHECK(lp[j] == nb_logprob(logits, V, best));
    }
  }
}

// Logits and temperatures at the ends of what floats hold.
static void test_extremes(void) {
  float logits[N];
  int counts[N];
  nb_sampling o = greedy_off();
  logits_of(logits);
  for (float t = 1e-30f; t > 0; t /= 10) {  // ever nearer to greedy, down to where 1 / t is infinite
    o.temperature = t;
    draw(&o, logits, NULL, 0, 20, counts);
    CHECK_EQ_INT(counts[1], 20);
  }
  const float temperatures[] = {0, 1e-45f, 1};
  logits[4] = INFINITY;
  for (int i = 0; i < 3; i++) {
    o.temperature = temperatures[i];
    draw(&o, logits, NULL, 0, 200, counts);
    CHECK_EQ_INT(counts[4], 0);
    CHECK(counts[1] > 40);
  }
  nb_sampler *s;
  nb_error err;
  nb_token id;
  for (int i = 0; i < N; i++) logits[i] = i % 2 ? INFINITY : NAN;
  CHECK(nb_sampler_new(N, &o, NULL, 0, &s, &err) == NB_OK);
  CHECK_EQ_INT(nb_sampler_sample(s, logits, NULL, 0, &id, &err), NB_E_FORMAT);
  nb_sampler_free(s);
}

static float random_float(uint32_t *state) {  // in [-1, 1)
  *state = *state * 1664525u + 1013904223u;
  return (float)(int32_t)*state * 0x1p-31f;
}

// Whether a token is kept by top_k, from what the words mean: fewer than k are more probable, or as probable with a lower id.
static bool among(const float *logits, uint32_t n, uint32_t id, uint32_t k) {
  uint32_t before = 0;
  for (uint32_t i = 0; i < n; i++) before += isfinite(logits[i]) && (logits[i] > logits[id] || (logits[i] == logits[id] && i < id));
  return isfinite(logits[id]) && before < k;
}

// Greedy and top_k over vocabularies that are looked through in runs, with ties, runs without a number, and some that are none.
static void test_vocabularies_in_runs(void) {
  static const uint32_t sizes[] = {1, 63, 64, 65, 127, 128, 200, 1000};
  static float logits[1000];
  uint32_t state = 9;
  for (size_t c = 0; c < sizeof sizes / sizeof *sizes; c++) {
    const uint32_t n = sizes[c];
    for (int round = 0; round < 40; round++) {
      for (uint32_t i = 0; i < n; i++) {
        logits[i] = round % 2 ? floorf(4 * random_float(&state)) : random_float(&state);
        const uint32_t odd = (uint32_t)(8 * fabsf(random_float(&state)));
        if (odd == 0 || (round % 5 == 4 && i / 64 == 1)) logits[i] = i % 3 ? i % 3 == 1 ? NAN : -INFINITY : INFINITY;
      }
      bool any = false;
      for (uint32_t i = 0; i < n; i++) any |= isfinite(logits[i]);
      if (!any) continue;
      for (uint32_t k = 0; k <= 40; k = k ? 3 * k + 1 : 1) {
        nb_sampling o = greedy_off();
        o.top_k = (int32_t)k;
        if (k == 0) o.temperature = 0;
        nb_sampler *s;
        nb_error err;
        CHECK(nb_sampler_new(n, &o, NULL, 0, &s, &err) == NB_OK);
        for (int draws = 0; draws < 5; draws++) {
          nb_token t = -1;
          CHECK(nb_sampler_sample(s, logits, NULL, 0, &t, &err) == NB_OK);
          CHECK(t >= 0 && (uint32_t)t < n && among(logits, n, (uint32_t)t, k ? k : 1));
        }
        nb_sampler_free(s);
      }
    }
  }
}

int main(void) {
  test_frequencies();
  test_vocabularies_in_runs();
  test_truncations();
  test_penalties();
  test_bias_and_bad_logits();
  test_refused();
  test_seed();
  test_logprobs();
  test_top_of_many();
  test_extremes();
  return check_result();
}
