// Puts the threads of native llama.cpp on cores of their own: LD_PRELOAD, with NIBBLE_BENCH_CPUS=0,1 (the processors to use, in their order).
// llama.cpp is called here without a pool of threads, so it starts one for every token; the kernel puts many of them beside the thread that
// waits for them, and two threads are slower than one. Threads that anything else starts are left alone.
//   cc -O2 -shared -fPIC pin.c -o pin.so -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

// The i-th processor of the list, beginning anew behind its end; -1 without a list.
static int processor(unsigned i) {
  const char *list = getenv("NIBBLE_BENCH_CPUS");
  if (!list || !*list) return -1;
  unsigned n = 1;
  for (const char *p = list; *p; p++) n += *p == ',';
  for (i %= n; i > 0; i--) list = strchr(list, ',') + 1;
  return atoi(list);
}

static cpu_set_t only(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((unsigned)cpu, &set);
  return set;
}

static int from_ggml(void *caller) {
  Dl_info info;
  return dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "libggml");
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg) {
  static create_fn *real;
  static _Thread_local unsigned started;  // by this thread, which has the first processor itself
  if (!real) real = (create_fn *)dlsym(RTLD_NEXT, "pthread_create");
  if (attr || processor(1) < 0 || !from_ggml(__builtin_return_address(0))) return real(thread, attr, start, arg);
  unsigned n = 1;
  for (const char *p = getenv("NIBBLE_BENCH_CPUS"); *p; p++) n += *p == ',';
  const cpu_set_t mine = only(processor(0));
  if (started == 0) sched_setaffinity(0, sizeof mine, &mine);
  const cpu_set_t theirs = only(processor(n > 1 ? 1 + started++ % (n - 1) : 0));
  pthread_attr_t pinned;
  pthread_attr_init(&pinned);
  pthread_attr_setaffinity_np(&pinned, sizeof theirs, &theirs);
  const int status = real(thread, &pinned, start, arg);
  pthread_attr_destroy(&pinned);
  return status;
}
