#include "status.h"

#include <stdarg.h>
#include <stdio.h>

nb_status nb_fail(nb_error *err, nb_status status, const char *format, ...) {
  if (err) {
    va_list args;
    va_start(args, format);
    err->status = status;
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
  }
  return status;
}

nb_status nb_fail_nomem(nb_error *err, const char *what, uint64_t bytes) {
  return nb_fail(err, NB_E_NOMEM, "not enough memory for %s (%llu bytes)", what, (unsigned long long)bytes);
}
