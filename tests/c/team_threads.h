// A team with its threads, natively; in WebAssembly, where tests have one thread, a team of one.
#ifndef NB_TESTS_TEAM_THREADS_H
#define NB_TESTS_TEAM_THREADS_H

#include <stdio.h>
#include <stdlib.h>

#include "../../src/base/team.h"

typedef struct team_threads {
  nb_team *team;
  struct team_server *servers;
} team_threads;

#if defined(__wasm__)

static inline team_threads team_start(unsigned n) {
  (void)n;
  return (team_threads){nb_team_new(1), NULL};
}
static inline void team_end(team_threads *t) { nb_team_free(t->team); }

#else
#include <pthread.h>
#include <sched.h>

typedef struct team_server {
  nb_team *team;
  unsigned index;
  pthread_t thread;
} team_server;

static void *team_serve(void *arg) {
  const team_server *s = arg;
  nb_team_serve(s->team, s->index);
  return NULL;
}

static inline team_threads team_start(unsigned n) {
  team_threads t = {nb_team_new(n), calloc(n, sizeof *t.servers)};
  if (!t.team || !t.servers) {
    fprintf(stderr, "a team of %u cannot be had\n", n);
    exit(1);
  }
  for (unsigned i = 1; i < n; i++) {
    t.servers[i] = (team_server){.team = t.team, .index = i};
    pthread_create(&t.servers[i].thread, NULL, team_serve, &t.servers[i]);
  }
  while (nb_team_present(t.team) != n - 1) sched_yield();
  return t;
}

static inline void team_end(team_threads *t) {
  const unsigned n = nb_team_size(t->team);
  nb_team_stop(t->team);
  for (unsigned i = 1; i < n; i++) pthread_join(t->servers[i].thread, NULL);
  nb_team_free(t->team);
  free(t->servers);
}

#endif
#endif
