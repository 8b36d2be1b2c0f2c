// A team of threads that work on one job at a time (fork and join). The library starts no threads: whoever has the means calls
// nb_team_serve in each thread but the first, and the first one calls nb_team_run.
//
// Threads wait for the next job by spinning for a short while, because jobs of a pass follow each other within microseconds, and
// then sleep until they are woken. A team of one needs no other threads and costs a function call.
#ifndef NB_BASE_TEAM_H
#define NB_BASE_TEAM_H

#include <stddef.h>

typedef struct nb_team nb_team;

#define NB_TEAM_MAX 64

// What a job sees of the thread it runs in.
typedef struct nb_share {
  nb_team *team;
  unsigned index, n;  // this thread among those of the job
  size_t next;        // of nb_team_claim, where the thread is alone
} nb_share;

// NULL when memory is out or n is not in 1 .. NB_TEAM_MAX.
nb_team *nb_team_new(unsigned n);
// No other thread may be inside nb_team_serve any more, or come back from it.
void nb_team_free(nb_team *team);

// The life of thread `index` (1 .. n - 1): does its share of every job, and returns after nb_team_stop. Called once for each.
void nb_team_serve(nb_team *team, unsigned index);
// Makes nb_team_serve return in all threads; there are no jobs after it.
void nb_team_stop(nb_team *team);
// For a thread that trapped: jobs end without its share, the one under way and those to come are worthless, and nb_team_run traps.
void nb_team_abandon(nb_team *team);
// How many threads are inside nb_team_serve. A job waits for all of them, so none may be run before they are n - 1.
unsigned nb_team_present(const nb_team *team);

unsigned nb_team_size(const nb_team *team);
// How many of the threads do work from now on (1 .. size); the others sleep.
void nb_team_use(nb_team *team, unsigned n);

typedef void nb_job_fn(nb_share *share, void *arg);
// Runs job(arg) in all threads in use, this one included, and returns when all are done. What they wrote is then visible here.
void nb_team_run(nb_team *team, nb_job_fn *job, void *arg);

// Within a job: the next unit of work that no thread has taken, counting from 0.
size_t nb_team_claim(nb_share *share);

#endif
