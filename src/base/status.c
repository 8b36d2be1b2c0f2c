#include "status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// Messages quote names from files: what would move a terminal's cursor becomes '?', and a character that was cut off at the end goes.
static void make_plain(char *message) {
  size_t n = strlen(message);
  for (size_t i = 0; i < n; i++) {
    uint8_t *p = (uint8_t *)message + i;
    if (p[0] < 0x20 || p[0] == 0x7f) p[0] = '?';
    if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) p[0] = p[1] = '?';  // U+0080 .. U+009F
  }
  size_t tail = n;
  while (tail > 0 && n - tail < 3 && ((uint8_t)message[tail - 1] & 0xc0) == 0x80) tail--;
  if (tail == 0) return;
  const uint8_t lead = (uint8_t)message[tail - 1];
  const size_t length = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (lead >= 0xc0 && n - (tail - 1) < length) message[tail - 1] = 0;
}

nb_status nb_fail(nb_error *err, nb_status status, const char *format, ...) {
  if (err) {
    va_list args;
    va_start(args, format);
    err->status = status;
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    make_plain(err->message);
  }
  return status;
}

nb_status nb_fail_nomem(nb_error *err, const char *what, uint64_t bytes) {
  return nb_fail(err, NB_E_NOMEM, "not enough memory for %s (%llu bytes)", what, (unsigned long long)bytes);
}
