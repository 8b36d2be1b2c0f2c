// Saved sessions: they go on with the same tokens wherever they are restored, and nothing that is wrong with their bytes is taken, or changes
// the session that should have taken it. Clones are independent, and memory that runs out leaves nothing behind.
#include "failing_alloc.h"

#include "check.h"
#include "state_util.h"
#include "teams.h"

static const nb_session_options PLAIN = {.n_ctx = STATE_N_CTX, .n_batch = 3};
enum { MORE = 12 };

static nb_status restore(nb_session *s, const uint8_t *bytes, size_t n) {
  nb_error err = {0};
  nb_state state;
  // A copy of its own length, so that reads past it are seen.
  uint8_t *copy = malloc(n ? n : 1);
  memcpy(copy, bytes, n);
  const nb_status st = typed(nb_state_check(s, copy, n, &state, &err), &err);
  if (!st) nb_state_restore(s, &state);
  free(copy);
  return st;
}

// ---- whole states -----------------------------------------------------------------------------------------------------------

static void same_tokens(void (*make)(gguf_writer *)) {
  bench a;
  bench_open(&a, make, &PLAIN);
  nb_token want[MORE], got[MORE];
  size_t n;
  fill(a.session);
  uint8_t *bytes = save(a.session, NB_STR("a note"), &n);
  go_on(a.session, want, MORE);
  static const struct { uint32_t n_ctx, n_batch; unsigned threads; } OTHERS[] = {{STATE_N_CTX, 3, 1}, {60, 32, 1}, {STATE_TOKENS + MORE, 1, 1}, {STATE_N_CTX, 2, 3}};
  for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) {
    bench b;
    nb_team *team = team_start(OTHERS[i].threads);
    const nb_session_options o = {.n_ctx = OTHERS[i].n_ctx, .n_batch = OTHERS[i].n_batch, .team = team};
    bench_open(&b, make, &o);
    nb_token junk[5];
    CHECK_EQ_INT(nb_session_push(b.session, STATE_IDS + 2, 3, NULL), NB_OK);
    go_on(b.session, junk, 5);  // it has said something else before
    CHECK_EQ_INT(restore(b.session, bytes, n), NB_OK);
    CHECK_EQ_INT(nb_session_n_tokens(b.session), STATE_TOKENS);
    CHECK_EQ_INT(nb_session_n_evaluated(b.session), STATE_TOKENS - 1);
    CHECK(memcmp(nb_session_tokens(b.session), STATE_IDS, sizeof STATE_IDS) == 0);
    go_on(b.session, got, MORE);
    CHECK(memcmp(got, want, sizeof want) == 0);
    bench_close(&b);
    team_end(team);
  }
  free(bytes);
  bench_close(&a);
}

static void notes_and_parts(void) {
  bench a;
  bench_open(&a, tiny_llama, &PLAIN);
  nb_error err;
  nb_state state;
  size_t n;
  // Nothing at all, with no note.
  uint8_t *bytes = save(a.session, (nb_str){NULL, 0}, &n);
  CHECK_EQ_INT(n, NB_STATE_HEADER + NB_STATE_HASH);
  CHECK_EQ_INT(nb_state_check(a.session, bytes, n, &state, &err), NB_OK);
  CHECK_EQ_INT(state.note.len, 0);
  nb_state_restore(a.session, &state);
  CHECK_EQ_INT(nb_session_n_tokens(a.session), 0);
  free(bytes);
  // Tokens that wait come back as such, and the note to the byte.
  fill(a.session);
  CHECK_EQ_INT(nb_session_push(a.session, STATE_IDS, 3, &err), NB_OK);
  bytes = save(a.session, NB_STR("\0note\xff"), &n);
  nb_session_truncate(a.session, 0);
  CHECK_EQ_INT(nb_state_check(a.session, bytes, n, &state, &err), NB_OK);
  CHECK(nb_str_eq(state.note, NB_STR("\0note\xff")));
  nb_state_restore(a.session, &state);
  CHECK_EQ_INT(nb_session_n_tokens(a.session), STATE_TOKENS + 3);
  CHECK_EQ_INT(nb_session_n_evaluated(a.session), STATE_TOKENS);
  free(bytes);
  bench_close(&a);
}

static void tiny_llama_finetuned(gguf_writer *w) {
  tiny_llama(w);
  for (size_t i = 0; i < w->n_tensors; i++)
    if (!strcmp(w->tensors[i].name, "blk.0.ffn_up.weight")) w->bytes[w->n_header + w->tensors[i].offset] ^= 1;  // one bit of one weight
}

static void other_models(void) {
  bench a, b;
  bench_open(&a, tiny_llama, &PLAIN);
  size_t n;
  fill(a.session);
  uint8_t *bytes = save(a.session, NB_STR(""), &n);
  bench_open(&b, tiny_qwen2, &PLAIN);
  CHECK_EQ_INT(restore(b.session, bytes, n), NB_E_UNSUPPORTED);
  bench_close(&b);
  bench_open(&b, tiny_llama_finetuned, &PLAIN);
  CHECK_EQ_INT(restore(b.session, bytes, n), NB_E_UNSUPPORTED);
  bench_close(&b);
  bench_open(&b, tiny_llama, &(nb_session_options){.n_ctx = STATE_N_CTX, .float_activations = true});
  CHECK_EQ_INT(restore(b.session, bytes, n), NB_E_UNSUPPORTED);
  bench_close(&b);
  bench_open(&b, tiny_llama, &(nb_session_options){.n_ctx = STATE_TOKENS - 1});
  CHECK_EQ_INT(restore(b.session, bytes, n), NB_E_CONTEXT);
  bench_close(&b);
  free(bytes);
  bench_close(&a);
}

// ---- damage -----------------------------------------------------------------------------------------------------------------

// The session is what `want` was saved of: nothing of a refused state came into it.
static void unchanged(nb_session *s, const uint8_t *want, size_t n_want) {
  size_t n;
  uint8_t *now = save(s, NB_STR("n"), &n);
  CHECK(n == n_want && memcmp(now, want, n) == 0);
  free(now);
}

static void damage(void) {
  bench a, b;
  bench_open(&a, tiny_llama, &PLAIN);
  bench_open(&b, tiny_llama, &PLAIN);
  size_t n, n_want;
  fill(a.session);
  uint8_t *bytes = save(a.session, NB_STR("note"), &n);
  CHECK_EQ_INT(nb_session_push(b.session, STATE_IDS + 3, 4, NULL), NB_OK);
  evaluate(b.session);
  uint8_t *want = save(b.session, NB_STR("n"), &n_want);

  for (size_t cut = 0; cut < n; cut++) CHECK_EQ_INT(restore(b.session, bytes, cut), NB_E_TRUNCATED);
  uint8_t *longer = calloc(n + 1, 1);
  memcpy(longer, bytes, n);
  CHECK_EQ_INT(restore(b.session, longer, n + 1), NB_E_FORMAT);
  free(longer);
  for (size_t at = 0; at < n; at++) {
    const uint8_t byte = bytes[at], values[] = {0, 0xff, byte ^ 1, byte ^ 0x80, byte ^ 0x20};
    for (int i = 0; i < 5; i++) {
      if (values[i] == byte) continue;
      bytes[at] = values[i];
      const nb_status st = restore(b.session, bytes, n);
      CHECK(st != NB_OK);
      if (at >= NB_STATE_HEADER) CHECK_EQ_INT(st, NB_E_INTEGRITY);
    }
    bytes[at] = byte;
  }
  unchanged(b.session, want, n_want);

  // The same with a hash that fits: what is then still taken is safe to go on from.
  size_t n_taken = 0;
  uint8_t *copy = malloc(n);
  for (size_t at = 0; at < n - NB_STATE_HASH; at++)
    for (int i = 0; i < 5; i++) {
      memcpy(copy, bytes, n);
      const uint8_t values[] = {0, 0xff, copy[at] ^ 1, copy[at] ^ 0x80, copy[at] ^ 0x20};
      copy[at] = values[i];
      seal(copy, n);
      bench c;
      if (restore(b.session, copy, n) == NB_OK) {
        nb_token ids[MORE];
        n_taken++;
        go_on(b.session, ids, MORE);
        c = b;
        bench_open(&b, tiny_llama, &PLAIN);
        bench_close(&c);
      }
    }
  CHECK(n_taken > 100);

  // Numbers of the header at their boundaries, in a state that fits them as far as it can.
  static const uint32_t VALUES[] = {0, 1, 2, STATE_TOKENS + 1, STATE_N_CTX, STATE_N_CTX + 1, NB_MAX_N_CTX, NB_MAX_N_CTX + 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
  for (size_t at = 8; at < 40; at += 4)
    for (size_t i = 0; i < sizeof VALUES / sizeof *VALUES; i++) {
      memcpy(copy, bytes, n);
      memcpy(copy + at, &VALUES[i], 4);
      seal(copy, n);
      restore(b.session, copy, n);
    }
  // More tokens than evaluated, an id outside of the vocabulary.
  memcpy(copy, bytes, n);
  memcpy(copy + NB_STATE_HEADER, &(uint32_t){28}, 4);
  seal(copy, n);
  CHECK_EQ_INT(restore(b.session, copy, n), NB_E_FORMAT);
  free(copy);
  free(want);
  free(bytes);
  bench_close(&a);
  bench_close(&b);
}

// ---- clones -----------------------------------------------------------------------------------------------------------------

static void clones(void) {
  bench a;
  bench_open(&a, tiny_qwen2, &PLAIN);
  nb_session *c;
  nb_error err;
  nb_token want[MORE], got[MORE], other[3];
  fill(a.session);
  CHECK_EQ_INT(nb_session_clone(a.session, &c, &err), NB_OK);
  go_on(a.session, want, MORE);
  CHECK_EQ_INT(nb_session_n_tokens(c), STATE_TOKENS);
  nb_session *second;
  CHECK_EQ_INT(nb_session_clone(c, &second, &err), NB_OK);
  CHECK_EQ_INT(nb_session_push(second, STATE_IDS, 4, &err), NB_OK);  // goes its own way
  go_on(second, other, 3);
  nb_session_free(second);
  go_on(c, got, MORE);
  CHECK(memcmp(got, want, sizeof want) == 0);
  nb_session_free(c);
  bench_close(&a);
}

static void no_memory(void) {
  bench a;
  bench_open(&a, tiny_llama, &PLAIN);
  fill(a.session);
  size_t n;
  nb_session *c;
  nb_error err;
  uint8_t *bytes = save(a.session, NB_STR("x"), &n);
  nb_state state;
  // Saving and restoring take no memory.
  alloc_reset(0, true);
  nb_state_save(a.session, NB_STR("x"), bytes);
  CHECK_EQ_INT(nb_state_check(a.session, bytes, n, &state, &err), NB_OK);
  nb_state_restore(a.session, &state);
  CHECK_EQ_INT(alloc_calls, 0);
  alloc_reset(-1, false);
  CHECK_EQ_INT(nb_session_clone(a.session, &c, &err), NB_OK);
  const long calls = alloc_calls;
  nb_session_free(c);
  CHECK(calls > 3);
  for (int sticky = 0; sticky < 2; sticky++)
    for (long i = 0; i < calls; i++) {
      const long live = alloc_live;
      alloc_reset(i, sticky);
      CHECK_EQ_INT(typed(nb_session_clone(a.session, &c, &err), &err), NB_E_NOMEM);
      CHECK(c == NULL);
      alloc_reset(-1, false);
      CHECK_EQ_INT(alloc_live, live);
    }
  nb_token ids[2];
  go_on(a.session, ids, 2);
  free(bytes);
  bench_close(&a);
}

int main(void) {
  same_tokens(tiny_llama);
  same_tokens(tiny_qwen2);
  notes_and_parts();
  other_models();
  damage();
  clones();
  no_memory();
  return check_result();
}
