// Stop strings against a plain search, in any cutting of the text; and the sampler with any logits and options.
#include "../../src/base/half.h"
#include "../../src/generate/stop.h"
#include "../c/exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

typedef struct bytes {
  const uint8_t *at;
  size_t left;
} bytes;

static uint8_t one(bytes *b) { return b->left ? (b->left--, *b->at++) : 0; }

static nb_str some(bytes *b, size_t n) {
  if (n > b->left) n = b->left;
  const nb_str s = {(const char *)b->at, n};
  b->at += n;
  b->left -= n;
  return s;
}

static void stops(bytes b) {
  nb_str strings[3];
  size_t n_strings = 0;
  nb_stop s;
  nb_error err;
  nb_stop_init(&s);
  for (int n = one(&b) % 4; n > 0; n--) {
    const nb_str string = some(&b, 1 + one(&b) % 6);
    if (nb_stop_add(&s, string, &err)) PROMISED(string.len == 0);
    else strings[n_strings++] = string;
  }
  const uint8_t cuts = one(&b);
  const nb_str text = {(const char *)b.at, b.left};
  size_t expected = text.len;
  bool expect_stop = false;
  for (size_t at = 0; at < text.len && !expect_stop; at++)
    for (size_t i = 0; i < n_strings && !expect_stop; i++)
      if (strings[i].len <= text.len - at && memcmp(text.data + at, strings[i].data, strings[i].len) == 0) expect_stop = true, expected = at;

  char *shown = malloc(text.len + 1);
  size_t n_shown = 0;
  bool stopped = false;
  for (size_t at = 0, i = 0; !stopped; i++) {
    const bool last = at == text.len;
    size_t part = 1 + (cuts >> i % 5 & 7) % 5;
    if (part > text.len - at) part = text.len - at;
    nb_str out;
    PROMISED(nb_stop_push(&s, (nb_str){text.data + at, part}, last, &out, &stopped, &err) == NB_OK);
    PROMISED(out.len <= text.len - n_shown);
    if (out.len) memcpy(shown + n_shown, out.data, out.len);
    n_shown += out.len;
    at += part;
    if (last) break;
  }
  PROMISED(stopped == expect_stop);
  PROMISED(n_shown == expected && (expected == 0 || memcmp(shown, text.data, expected) == 0));
  free(shown);
  nb_stop_free(&s);
}

static float any_float(bytes *b) {
  const nb_str s = some(b, 4);
  float f = 0;
  if (s.len) memcpy(&f, s.data, s.len);
  return f;
}

static void sampling(bytes b) {
  nb_sampling o;
  nb_sampling_defaults(&o);
  const uint8_t which = one(&b);
  if (which & 1) o.temperature = any_float(&b);
  if (which & 2) o.top_k = (int32_t)nb_f32_bits(any_float(&b));
  if (which & 4) o.top_p = any_float(&b);
  if (which & 8) o.min_p = any_float(&b);
  if (which & 16) o.typical_p = any_float(&b);
  if (which & 32) o.repeat_penalty = any_float(&b), o.frequency_penalty = any_float(&b);
  if (which & 64) o.presence_penalty = any_float(&b), o.repeat_last_n = (int32_t)nb_f32_bits(any_float(&b));
  const nb_logit_bias bias = {(nb_token)one(&b) - 1, which & 128 ? any_float(&b) : 0};
  const uint32_t n_vocab = 1 + b.left / 4 % 64;
  float logits[64];
  for (uint32_t i = 0; i < n_vocab; i++) logits[i] = any_float(&b);
  const nb_token history[] = {0, 1, 1, (nb_token)n_vocab, -1, 3};
  nb_sampler *s = NULL;
  nb_error err = {0};
  if (typed(nb_sampler_new(n_vocab, &o, &bias, 1, &s, &err), &err)) return;
  for (int i = 0; i < 4; i++) {
    nb_token id = -7;
    const nb_status st = typed(nb_sampler_sample(s, logits, history, 6, &id, &err), &err);
    PROMISED(st || (id >= 0 && (uint32_t)id < n_vocab && !(logits[id] != logits[id])));
    PROMISED(!st || st == NB_E_FORMAT);
  }
  nb_token ids[8];
  double logprobs[8];
  for (size_t k = 0; k <= 8 && k <= n_vocab; k++) {
    nb_top_logprobs(logits, n_vocab, k, ids, logprobs);
    for (size_t i = 0; i < k; i++) PROMISED(ids[i] >= 0 && (uint32_t)ids[i] < n_vocab);
  }
  nb_logprob(logits, n_vocab, 0);
  nb_sampler_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  bytes b = {data, n};
  if (one(&b) & 1) stops(b);
  else sampling(b);
  return 0;
}
