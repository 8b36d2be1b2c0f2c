// Allocation that fails where a test says so, and that counts what is not freed. The build redirects malloc and its like of every program that
// includes this file (see nb_program in CMakeLists.txt): include it in one file of a program.
#ifndef NB_TESTS_FAILING_ALLOC_H
#define NB_TESTS_FAILING_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

static long alloc_calls;         // since alloc_reset
static long alloc_fails_at = -1; // the call that fails, from 0; -1: none
static bool alloc_sticky;        // and all after it
static long alloc_failed;        // how many did
static long alloc_live;          // blocks that were not freed

static inline void alloc_reset(long fails_at, bool sticky) {
  alloc_calls = alloc_failed = 0;
  alloc_fails_at = fails_at;
  alloc_sticky = sticky;
}

static bool alloc_fails(void) {
  const long i = alloc_calls++;
  const bool fails = alloc_fails_at >= 0 && (alloc_sticky ? i >= alloc_fails_at : i == alloc_fails_at);
  alloc_failed += fails;
  return fails;
}

static void *alloc_count(void *p) {
  alloc_live += p != NULL;
  return p;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
void __real_free(void *p);

void *__wrap_malloc(size_t n) { return alloc_fails() ? NULL : alloc_count(__real_malloc(n)); }
void *__wrap_calloc(size_t n, size_t size) { return alloc_fails() ? NULL : alloc_count(__real_calloc(n, size)); }
void *__wrap_aligned_alloc(size_t alignment, size_t n) { return alloc_fails() ? NULL : alloc_count(__real_aligned_alloc(alignment, n)); }

void *__wrap_realloc(void *p, size_t n) {
  if (alloc_fails()) return NULL;
  void *q = __real_realloc(p, n);
  if (!p) alloc_count(q);
  return q;
}

void __wrap_free(void *p) {
  alloc_live -= p != NULL;
  __real_free(p);
}

#endif
