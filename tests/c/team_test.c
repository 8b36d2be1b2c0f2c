// Teams of threads: every job is done once by each thread, every unit of work is claimed once, and results are visible afterwards.
#define _DEFAULT_SOURCE  // usleep
#include "../../src/base/team.h"

#include <stdatomic.h>
#include <string.h>

#include "check.h"

#if defined(__wasm__)
int main(void) {
  printf("threads are tested natively, and through JavaScript\n");
  return 77;
}
#else
#include <unistd.h>

#include "teams.h"

enum { UNITS = 100 };

typedef struct count_job {
  int by_thread[NB_TEAM_MAX];  // plain ints: a race would be seen by a thread sanitizer, a lost job by the counts
  int units[UNITS];
  unsigned n_seen;
} count_job;

static void count(nb_share *share, void *arg) {
  count_job *c = arg;
  c->by_thread[share->index]++;
  if (share->index == 0) c->n_seen = share->n;
  for (size_t u; (u = nb_team_claim(share)) < UNITS;) c->units[u]++;
}

static void all_do_their_share(unsigned n, int jobs) {
  nb_team *team = team_start(n);
  count_job c = {0};
  for (int i = 1; i <= jobs; i++) {
    nb_team_run(team, count, &c);
    CHECK(c.n_seen == n);
    for (unsigned t = 0; t < n; t++) CHECK(c.by_thread[t] == i);
    for (int u = 0; u < UNITS; u++) CHECK(c.units[u] == i);
  }
  usleep(20000);  // now all sleep
  nb_team_run(team, count, &c);
  CHECK(c.by_thread[n - 1] == jobs + 1);
  team_end(team);
}

static void fewer_than_all(void) {
  nb_team *team = team_start(4);
  count_job c = {0};
  int wanted[4] = {0};
  for (int i = 0; i < 4000; i++) {
    const unsigned n = (unsigned)(i * 7 % 5);  // 0 counts as 1
    nb_team_use(team, n);
    nb_team_run(team, count, &c);
    for (unsigned t = 0; t < (n ? n : 1); t++) wanted[t]++;
    for (unsigned t = 0; t < 4; t++) CHECK(c.by_thread[t] == wanted[t]);
  }
  nb_team_use(team, 100);
  nb_team_run(team, count, &c);
  CHECK(c.n_seen == 4);
  team_end(team);
}

static void slow(nb_share *share, void *arg) {
  if (share->index == 1) usleep(50000);
  ((int *)arg)[share->index] = 1;
}

// The first thread sleeps, too, where another one takes long.
static void waits_for_the_slowest(void) {
  nb_team *team = team_start(2);
  int done[2] = {0};
  nb_team_run(team, slow, done);
  CHECK(done[0] && done[1]);
  team_end(team);
}

int main(void) {
  count_job alone = {0};
  nb_team_run(NULL, count, &alone);
  CHECK(alone.n_seen == 1 && alone.units[0] == 1 && alone.units[UNITS - 1] == 1);
  CHECK(nb_team_new(0) == NULL && nb_team_new(NB_TEAM_MAX + 1) == NULL);
  all_do_their_share(1, 100);
  all_do_their_share(2, 20000);
  all_do_their_share(3, 2000);
  all_do_their_share(8, 200);
  fewer_than_all();
  waits_for_the_slowest();
  return check_result();
}
#endif
