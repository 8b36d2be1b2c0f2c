// Checks for C tests: a failed one prints where it stands and what was found, and the program goes on; main ends with
// `return check_result();`, which prints the counts and gives the exit status.
#ifndef NB_TESTS_CHECK_H
#define NB_TESTS_CHECK_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_count, check_failures;

#if defined(__GNUC__)
#define CHECK_UNUSED __attribute__((unused))
#else
#define CHECK_UNUSED
#endif

#define CHECK_FAIL(...)                                         \
  do {                                                          \
    if (check_failures++ < 20) {                                \
      printf("%s:%d: ", __FILE__, __LINE__);                    \
      printf(__VA_ARGS__);                                      \
      printf("\n");                                             \
    }                                                           \
  } while (0)

#define CHECK(condition)                                        \
  do {                                                          \
    check_count++;                                              \
    if (!(condition)) CHECK_FAIL("%s", #condition);             \
  } while (0)

#define CHECK_EQ_INT(a, b)                                                                  \
  do {                                                                                      \
    const long long check_a = (long long)(a), check_b = (long long)(b);                     \
    check_count++;                                                                          \
    if (check_a != check_b) CHECK_FAIL("%s is %lld, not %lld (%s)", #a, check_a, check_b, #b); \
  } while (0)

#define CHECK_EQ_U64(a, b)                                                                  \
  do {                                                                                      \
    const unsigned long long check_a = (a), check_b = (b);                                  \
    check_count++;                                                                          \
    if (check_a != check_b) CHECK_FAIL("%s is %llu, not %llu (%s)", #a, check_a, check_b, #b); \
  } while (0)

#define CHECK_NEAR(a, b, tolerance)                                                         \
  do {                                                                                      \
    const double check_a = (a), check_b = (b);                                              \
    check_count++;                                                                          \
    if (!(fabs(check_a - check_b) <= (tolerance))) CHECK_FAIL("%s is %.9g, not %.9g within %g", #a, check_a, check_b, (double)(tolerance)); \
  } while (0)

#define CHECK_STR(a, b)                                                                     \
  do {                                                                                      \
    const char *check_a = (a), *check_b = (b);                                              \
    check_count++;                                                                          \
    if (strcmp(check_a, check_b)) CHECK_FAIL("%s is \"%s\", not \"%s\"", #a, check_a, check_b); \
  } while (0)

CHECK_UNUSED static int check_result(void) {
  printf("%d checks, %d failed\n", check_count, check_failures);
  return check_failures != 0;
}

// Where the vectors of the repository are, and the larger data outside of it ("" where it is missing).
CHECK_UNUSED static const char *check_vectors_dir(void) {
  const char *dir = getenv("NB_VECTORS_DIR");
#ifdef NB_VECTORS_DIR
  if (!dir) dir = NB_VECTORS_DIR;
#endif
  return dir ? dir : "tests/vectors";
}

CHECK_UNUSED static const char *check_shared_dir(void) {
  const char *dir = getenv("NIBBLE_SHARED");
#ifdef NB_SHARED_DIR
  if (!dir) dir = NB_SHARED_DIR;
#endif
  return dir ? dir : "";
}

// A whole file, with a zero behind it; NULL when it cannot be read. The caller frees it.
CHECK_UNUSED static uint8_t *check_read_file(const char *folder, const char *name, size_t *size) {
  char path[1024];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  size_t capacity = 1 << 16, n = 0;
  uint8_t *bytes = malloc(capacity + 1);
  for (size_t got; bytes && (got = fread(bytes + n, 1, capacity - n, f)) > 0;) {
    n += got;
    if (n < capacity) continue;
    capacity *= 2;
    uint8_t *grown = realloc(bytes, capacity + 1);
    if (!grown) free(bytes);
    bytes = grown;
  }
  fclose(f);
  if (!bytes) return NULL;
  bytes[n] = 0;
  *size = n;
  return bytes;
}

#endif
