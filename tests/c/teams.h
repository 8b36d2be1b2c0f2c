// Teams with real threads, for tests. In WebAssembly, where C has none, a team of one stands for every number.
#ifndef NB_TESTS_TEAMS_H
#define NB_TESTS_TEAMS_H

#include <stdlib.h>

#include "../../src/base/team.h"

#if defined(__wasm__)

static inline nb_team *team_start(unsigned n) {
  (void)n;
  return nb_team_new(1);
}
static inline void team_end(nb_team *team) { nb_team_free(team); }

#else
#include <pthread.h>
#include <sched.h>

typedef struct team_server {
  nb_team *team;
  unsigned index;
  pthread_t thread;
} team_server;

static team_server team_servers[NB_TEAM_MAX];  // of the one team that there is at a time

static inline void *team_serve(void *arg) {
  const team_server *s = arg;
  nb_team_serve(s->team, s->index);
  return NULL;
}

static inline nb_team *team_start(unsigned n) {
  nb_team *team = nb_team_new(n);
  if (!team) abort();
  for (unsigned i = 1; i < n; i++) {
    team_servers[i] = (team_server){.team = team, .index = i};
    if (pthread_create(&team_servers[i].thread, NULL, team_serve, &team_servers[i])) abort();
  }
  while (nb_team_present(team) != n - 1) sched_yield();
  return team;
}

static inline void team_end(nb_team *team) {
  const unsigned n = nb_team_size(team);
  nb_team_stop(team);
  for (unsigned i = 1; i < n; i++) pthread_join(team_servers[i].thread, NULL);
  if (nb_team_present(team) != 0) abort();
  nb_team_free(team);
}

#endif
#endif
