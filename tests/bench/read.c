// How fast this machine reads memory: GB/s (10^9 bytes), the median of a second's passes. Each thread sums a buffer of its own that is larger
// than the caches, on the processor that is named for it.
//   cc -O3 -march=native -pthread read.c -o read && ./read 256 0,1      256 MB for each of two threads, on processors 0 and 1
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_THREADS = 256, MAX_PASSES = 1000, LANES = 8 };
typedef uint64_t wide __attribute__((vector_size(64)));

static size_t bytes;
static int n_threads, n_passes, more = 1;
static double seconds[MAX_PASSES];
static pthread_barrier_t barrier;
static volatile uint64_t sink;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// Several sums side by side, so that additions never wait for each other.
static uint64_t sum(const wide *p, size_t n) {
  wide s[LANES] = {{0}};
  for (size_t i = 0; i < n; i += LANES) {
    for (size_t k = 0; k < LANES; k++) s[k] += p[i + k];
  }
  uint64_t total = 0;
  for (size_t k = 0; k < LANES; k++) {
    for (size_t j = 0; j < sizeof(wide) / 8; j++) total += s[k][j];
  }
  return total;
}

typedef struct job {
  int index, cpu;
} job;

static void *work(void *arg) {
  const job *j = arg;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((unsigned)j->cpu, &set);
  sched_setaffinity(0, sizeof set, &set);
  wide *buffer = aligned_alloc(sizeof(wide), bytes);
  if (!buffer) exit(1);
  memset(buffer, 1, bytes);
  double start = 0;
  for (int pass = -1; more; pass++) {  // the first one warms up
    pthread_barrier_wait(&barrier);
    const double t = now();
    sink = sum(buffer, bytes / sizeof(wide));
    pthread_barrier_wait(&barrier);  // the slowest thread ends the pass
    if (j->index == 0) {
      if (pass < 0) start = now();
      else seconds[n_passes++] = now() - t;
      more = n_passes < MAX_PASSES && (n_passes == 0 || now() - start < 1);
    }
    pthread_barrier_wait(&barrier);
  }
  free(buffer);
  return NULL;
}

static int by_size(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b; }

int main(int argc, char **argv) {
  if (argc != 3 || atoi(argv[1]) < 1) {
    fprintf(stderr, "read MEGABYTES CPU[,CPU...]\n");
    return 2;
  }
  bytes = (size_t)atoi(argv[1]) << 20;
  static job jobs[MAX_THREADS];
  static pthread_t threads[MAX_THREADS];
  for (char *p = argv[2]; p && n_threads < MAX_THREADS; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
    jobs[n_threads] = (job){n_threads, atoi(p)};
    n_threads++;
  }
  pthread_barrier_init(&barrier, NULL, (unsigned)n_threads);
  for (int i = 0; i < n_threads; i++) {
    if (pthread_create(&threads[i], NULL, work, &jobs[i])) return 1;
  }
  for (int i = 0; i < n_threads; i++) pthread_join(threads[i], NULL);
  qsort(seconds, (size_t)n_passes, sizeof(double), by_size);
  printf("%.3f\n", (double)bytes * n_threads / seconds[n_passes / 2] * 1e-9);
  return 0;
}
