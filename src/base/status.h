// Result codes and the message that goes with them. Every function that can meet bad input, or run out of memory,
// returns an nb_status and fills an nb_error; mistakes of the caller inside the library are asserts.
#ifndef NB_BASE_STATUS_H
#define NB_BASE_STATUS_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

typedef enum nb_status {
  NB_OK = 0,
  NB_E_FORMAT = 1,       // the bytes break the rules of their format
  NB_E_UNSUPPORTED = 2,  // well-formed, but of a kind this build does not run
  NB_E_TRUNCATED = 3,    // the input ended before it was complete
  NB_E_NOMEM = 4,        // memory could not be had
  NB_E_CONTEXT = 5,      // more tokens than the context holds
  NB_E_ARGUMENT = 6,     // a value given by the user of the library is out of range
  NB_E_INTEGRITY = 7,    // the bytes are not those that were promised (hash)
} nb_status;

typedef struct nb_error {
  nb_status status;
  char message[320];  // one sentence of UTF-8 without control characters, always terminated; names the field, the offset and the limit
} nb_error;

// Fills *err (which may be NULL) and returns status, so that a caller can `return nb_fail(…)`.
nb_status nb_fail(nb_error *err, nb_status status, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

// The usual words for a failed allocation of `bytes` for `what`.
nb_status nb_fail_nomem(nb_error *err, const char *what, uint64_t bytes);

#endif
