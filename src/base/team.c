#include "team.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

// How often a waiting thread looks before it sleeps: about 100 us.
#define SPINS 40000

#if defined(__wasm__) && defined(__wasm_atomics__)
static void wait_on(atomic_uint *word, unsigned value) { __builtin_wasm_memory_atomic_wait32((int *)word, (int)value, -1); }
static void notify(atomic_uint *word, unsigned most) { __builtin_wasm_memory_atomic_notify((int *)word, most); }
// Called through pointers that no compiler sees through: V8 11.3 (Node 20) loses locals of the function in which one of the two stands,
// until its optimising compiler takes over.
static void (*volatile const sleep_while)(atomic_uint *, unsigned) = wait_on;
static void (*volatile const wake)(atomic_uint *, unsigned) = notify;
#elif defined(__wasm__)
// One thread: nobody is waited for.
static void sleep_while(atomic_uint *word, unsigned value) { (void)word, (void)value; }
static void wake(atomic_uint *word, unsigned most) { (void)word, (void)most; }
#else
#include <sched.h>
static void sleep_while(atomic_uint *word, unsigned value) {
  (void)word, (void)value;
  sched_yield();
}
static void wake(atomic_uint *word, unsigned most) { (void)word, (void)most; }
#endif

// What different threads write stands on different cache lines.
#define LINE 64

struct nb_team {
  _Alignas(LINE) atomic_uint call;  // number of the job << 8 | threads that take part in it; at 0 threads: the end
  atomic_uint sleepers;             // that wait for it asleep
  nb_job_fn *job;
  void *arg;
  unsigned size, used;
  _Alignas(LINE) atomic_uint done;  // threads that are through with the job
  atomic_bool abandoned;
  atomic_uint waiting;              // 1 while the first thread waits for them asleep
  _Alignas(LINE) atomic_size_t next;
  _Alignas(LINE) atomic_uint present;
};

nb_team *nb_team_new(unsigned n) {
  if (n < 1 || n > NB_TEAM_MAX) return NULL;
  nb_team *t = aligned_alloc(LINE, sizeof *t);
  if (!t) return NULL;
  atomic_init(&t->call, 0);
  atomic_init(&t->sleepers, 0);
  atomic_init(&t->done, 0);
  atomic_init(&t->waiting, 0);
  atomic_init(&t->abandoned, false);
  atomic_init(&t->next, 0);
  atomic_init(&t->present, 0);
  t->job = NULL;
  t->arg = NULL;
  t->size = t->used = n;
  return t;
}

void nb_team_free(nb_team *team) { free(team); }
unsigned nb_team_size(const nb_team *team) { return team ? team->size : 1; }
unsigned nb_team_present(const nb_team *team) { return atomic_load(&team->present); }
void nb_team_use(nb_team *team, unsigned n) { team->used = n < 1 ? 1 : n > team->size ? team->size : n; }

// Waits until *word is no longer `value`; returns what it is. `sleepers` counts those who have to be woken.
static unsigned await_change(atomic_uint *word, unsigned value, atomic_uint *sleepers) {
  for (int i = 0; i < SPINS; i++) {
    const unsigned now = atomic_load_explicit(word, memory_order_acquire);
    if (now != value) return now;
  }
  for (;;) {
    // Who changes the word looks at `sleepers` afterwards: either this thread is seen there, or it sees the change and does not sleep.
    atomic_fetch_add(sleepers, 1);
    sleep_while(word, value);
    atomic_fetch_sub(sleepers, 1);
    const unsigned now = atomic_load(word);
    if (now != value) return now;
  }
}

static void announce(nb_team *t, unsigned n) {
  const unsigned job = atomic_load_explicit(&t->call, memory_order_relaxed) >> 8;
  atomic_store(&t->call, (job + 1) << 8 | n);
  if (atomic_load(&t->sleepers)) wake(&t->call, NB_TEAM_MAX);
}

void nb_team_serve(nb_team *team, unsigned index) {
  unsigned call = atomic_load(&team->call);
  atomic_fetch_add(&team->present, 1);
  for (;;) {
    call = await_change(&team->call, call, &team->sleepers);
    const unsigned n = call & 255;
    if (n == 0) break;
    if (index >= n) continue;
    nb_share share = {team, index, n, 0};
    team->job(&share, team->arg);
    atomic_fetch_add(&team->done, 1);
    if (atomic_load(&team->waiting)) wake(&team->done, 1);
  }
  atomic_fetch_sub(&team->present, 1);
}

void nb_team_stop(nb_team *team) { announce(team, 0); }

void nb_team_abandon(nb_team *team) {
  atomic_store(&team->abandoned, true);
  atomic_fetch_add(&team->done, NB_TEAM_MAX);
  if (atomic_load(&team->waiting)) wake(&team->done, 1);
}

void nb_team_run(nb_team *team, nb_job_fn *job, void *arg) {
  const unsigned n = team ? team->used : 1;
  nb_share share = {team, 0, n, 0};
  if (n == 1) {
    job(&share, arg);
    return;
  }
  team->job = job;
  team->arg = arg;
  atomic_store_explicit(&team->next, 0, memory_order_relaxed);
  atomic_store_explicit(&team->done, 0, memory_order_relaxed);
  announce(team, n);
  job(&share, arg);
  unsigned done = atomic_load_explicit(&team->done, memory_order_acquire);
  while (done < n - 1) done = await_change(&team->done, done, &team->waiting);
  if (atomic_load_explicit(&team->abandoned, memory_order_relaxed)) abort();
}

size_t nb_team_claim(nb_share *share) {
  return share->n == 1 ? share->next++ : atomic_fetch_add_explicit(&share->team->next, 1, memory_order_relaxed);
}
