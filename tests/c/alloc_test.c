// Memory that runs out, at every single allocation of a load, a tokenizer, a text and a generation: once, and from then on. Each time the
// call says so, leaks nothing, and works when it is made again; the text that comes out in the end is the same.
#include "failing_alloc.h"

#include "check.h"
#include "exercise.h"
#include "tiny_models.h"

enum { MAX_IDS = 64, MAX_TEXT = 1024, MAX_TOKENS = 12 };

typedef struct user {
  const gguf_writer *files;
  int n_files;
  uint8_t sha256[32];
  nb_model *model;
  nb_tokenizer *tokenizer;
  nb_token ids[MAX_IDS];
  size_t n_ids;
  nb_session *session;
  nb_sampler *sampler;
  nb_generation *generation;
  nb_step step;
  char text[MAX_TEXT];
  size_t n_text;
  long n_unnoticed;  // failed allocations of calls that succeeded
} user;

// ---- what a user does, a step at a time: each can be done again when it failed ------------------------------------------------

static nb_status load(user *u, nb_error *err) {
  nb_loader *l = nb_loader_new(0);
  if (!l) return nb_fail_nomem(err, "the loader", 0);
  nb_status s = NB_OK;
  bool more = true;
  for (int f = 0; !s && f < u->n_files; f++) {
    const gguf_writer *w = &u->files[f];
    for (size_t at = 0; !s && at < w->n;) {
      size_t room;
      uint8_t *to = nb_loader_window(l, &room);
      const size_t part = w->n - at < room ? w->n - at : room, n = part < 500 ? part : 500;
      memcpy(to, w->bytes + at, n);
      s = nb_loader_commit(l, n, err);
      at += n;
    }
    if (!s) s = nb_loader_end_file(l, &more, u->sha256, err);
    if (!s) CHECK_EQ_INT(more, f + 1 < u->n_files);
  }
  if (s) {
    // A failed load stays failed, and gives nothing away.
    nb_error again = {0};
    CHECK_EQ_INT(nb_loader_commit(l, 1, &again), s);
    CHECK(nb_loader_take(l, &again) == NULL);
  } else {
    u->model = nb_loader_take(l, err);
    CHECK(u->model != NULL);
  }
  nb_loader_free(l);
  return s;
}

static nb_status tokenizer(user *u, nb_error *err) { return nb_tokenizer_new(u->model->files[0], &u->tokenizer, err); }

static nb_status encode(user *u, nb_error *err) {
  return nb_tokenizer_encode(u->tokenizer, NB_STR(TINY_TEXT).data, NB_STR(TINY_TEXT).len, NB_ENCODE_SPECIAL | NB_ENCODE_PARSE, u->ids, MAX_IDS, &u->n_ids, err);
}

static nb_status session(user *u, nb_error *err) { return nb_session_new(u->model, &(nb_session_options){.n_ctx = 40, .n_batch = 5}, &u->session, err); }
static nb_status push(user *u, nb_error *err) { return nb_session_push(u->session, u->ids, u->n_ids, err); }

static nb_status sampler(user *u, nb_error *err) {
  nb_sampling o;
  nb_sampling_defaults(&o);
  o.temperature = 2;
  o.top_k = 0;
  o.repeat_penalty = 1.2f;
  o.seed = 7;
  const nb_logit_bias bias = {2, -1};
  return nb_sampler_new(u->model->config.n_vocab, &o, &bias, 1, &u->sampler, err);
}

static nb_status generation(user *u, nb_error *err) {
  return nb_generation_new(u->session, u->tokenizer, u->sampler, MAX_TOKENS, true, true, &u->generation, err);
}

static nb_status stop_one(user *u, nb_error *err) { return nb_generation_add_stop(u->generation, NB_STR("no such text"), err); }
static nb_status stop_two(user *u, nb_error *err) { return nb_generation_add_stop(u->generation, NB_STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), err); }

static void append(user *u, nb_str text) {
  memcpy(u->text + u->n_text, text.data, text.len);
  u->n_text += text.len;
}

static nb_status one_token(user *u, nb_error *err) {
  for (uint32_t left = 1; left;) nb_session_eval(u->session, 5, &left);
  const nb_status s = nb_generation_step(u->generation, &u->step, err);
  if (!s) append(u, u->step.text);
  return s;
}

static nb_status flush(user *u, nb_error *err) {
  nb_str text;
  const nb_status s = nb_generation_flush(u->generation, &text, err);
  if (!s) append(u, text);
  return s;
}

typedef nb_status (*action)(user *u, nb_error *err);

static void do_it(user *u, action act, const char *name) {
  nb_error err = {0};
  const long before = alloc_failed;
  nb_status s = act(u, &err);
  if (!s) {
    u->n_unnoticed += alloc_failed - before;
    return;
  }
  CHECK(alloc_failed > before);
  CHECK_EQ_INT(s, NB_E_NOMEM);
  CHECK_EQ_INT(err.status, NB_E_NOMEM);
  CHECK(strstr(err.message, "memory") != NULL);
  alloc_fails_at = -1;  // there is memory again
  s = act(u, &err);
  if (s) CHECK_FAIL("%s does not work the second time: %s", name, err.message);
}

#define DO(action) do_it(u, action, #action)

static void everything(user *u) {
  DO(load);
  DO(tokenizer);
  DO(encode);
  DO(session);
  DO(push);
  DO(sampler);
  DO(generation);
  DO(stop_one);
  DO(stop_two);
  for (int i = 0; i < MAX_TOKENS; i++) DO(one_token);
  CHECK_EQ_INT(u->step.finish, NB_FINISH_LENGTH);
  DO(flush);
  nb_generation_free(u->generation);
  nb_session_free(u->session);
  nb_tokenizer_free(u->tokenizer);
  nb_model_free(u->model);
}

static void every_allocation(const char *name, const gguf_writer *files, int n_files) {
  user expected = {.files = files, .n_files = n_files};
  alloc_reset(-1, false);
  const long live = alloc_live;
  everything(&expected);
  const long n = alloc_calls;
  CHECK_EQ_INT(alloc_live, live);
  CHECK(n > 40 && expected.n_text > 10);
  long n_unnoticed = 0;
  for (int sticky = 0; sticky < 2; sticky++)
    for (long i = 0; i < n; i++) {
      user u = {.files = files, .n_files = n_files};
      alloc_reset(i, sticky);
      everything(&u);
      CHECK(alloc_failed > 0);
      alloc_reset(-1, false);
      CHECK_EQ_INT(alloc_live, live);
      CHECK_EQ_INT(u.n_text, expected.n_text);
      CHECK(u.n_text == expected.n_text && memcmp(u.text, expected.text, u.n_text) == 0);
      CHECK(memcmp(u.sha256, expected.sha256, 32) == 0);
      if (!sticky) n_unnoticed += u.n_unnoticed;
    }
  // The block of a header is made smaller when all of it is there; where that fails it stays as it is. Nothing else goes on without memory.
  CHECK_EQ_INT(n_unnoticed, n_files);
  printf("%s: each of %ld allocations failed once and for good\n", name, n);
}

int main(void) {
  gguf_writer w, parts[TINY_PARTS];
  tiny_llama(&w);
  every_allocation("llama", &w, 1);
  gw_free(&w);
  tiny_qwen2(&w);
  every_allocation("qwen2", &w, 1);
  gw_free(&w);
  tiny_qwen3_split(parts);
  every_allocation("qwen3 in three parts", parts, TINY_PARTS);
  for (int i = 0; i < TINY_PARTS; i++) gw_free(&parts[i]);
  return check_result();
}
