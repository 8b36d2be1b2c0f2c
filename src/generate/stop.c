#include "stop.h"

#include <stdlib.h>

void nb_stop_init(nb_stop *s) { *s = (nb_stop){0}; }

void nb_stop_free(nb_stop *s) {
  free(s->strings);
  free(s->ends);
  free(s->held);
  nb_stop_init(s);
}

static nb_str get(const nb_stop *s, size_t i) {
  const size_t start = i ? s->ends[i - 1] : 0;
  return (nb_str){s->strings + start, s->ends[i] - start};
}

nb_status nb_stop_add(nb_stop *s, nb_str string, nb_error *err) {
  if (string.len == 0 || string.len > NB_STOP_MAX_BYTES)
    return nb_fail(err, NB_E_ARGUMENT, "a stop string has %zu bytes, outside 1..%d", string.len, NB_STOP_MAX_BYTES);
  if (s->n == NB_STOP_MAX_STRINGS) return nb_fail(err, NB_E_ARGUMENT, "more than %d stop strings", NB_STOP_MAX_STRINGS);
  const size_t used = s->n ? s->ends[s->n - 1] : 0;
  char *strings = realloc(s->strings, used + string.len);
  if (strings) s->strings = strings;
  size_t *ends = realloc(s->ends, (s->n + 1) * sizeof *ends);
  if (ends) s->ends = ends;
  if (!strings || !ends) return nb_fail_nomem(err, "stop strings", used + string.len);
  memcpy(strings + used, string.data, string.len);
  ends[s->n++] = used + string.len;
  return NB_OK;
}

nb_status nb_stop_reserve(nb_stop *s, size_t n, nb_error *err) {
  const size_t needed = 2 * (s->n_held + n);  // the text that is let through moves behind what stays, see below
  if (s->held && needed <= s->capacity) return NB_OK;
  const size_t capacity = needed + needed / 2 + 64;
  char *grown = realloc(s->held, capacity);
  if (!grown) return nb_fail_nomem(err, "held back text", capacity);
  s->held = grown;
  s->capacity = capacity;
  return NB_OK;
}

// held = [text still held back][text let through last time]: the latter goes with the next push.
nb_status nb_stop_push(nb_stop *s, nb_str text, bool last, nb_str *out, bool *stopped, nb_error *err) {
  *stopped = false;
  *out = (nb_str){"", 0};
  const nb_status status = nb_stop_reserve(s, text.len, err);
  if (status) return status;
  if (text.len) memcpy(s->held + s->n_held, text.data, text.len);
  const size_t n = s->n_held + text.len;
  // The first place where a stop string stands, or where one may have begun.
  size_t end = n;
  for (size_t at = 0; at < n && end == n; at++) {
    for (size_t i = 0; i < s->n; i++) {
      const nb_str stop = get(s, i);
      const size_t len = n - at < stop.len ? n - at : stop.len;
      if (memcmp(s->held + at, stop.data, len)) continue;
      if (len == stop.len) *stopped = true;
      else if (last) continue;
      end = at;
      if (*stopped) break;
    }
  }
  if (*stopped || last) {
    s->n_held = 0;
    *out = (nb_str){s->held, end};
    return NB_OK;
  }
  // What is let through must survive until the next call, so the two change places, through the room behind them.
  const size_t tail = n - end;
  memcpy(s->held + n, s->held + end, tail);
  memmove(s->held + tail, s->held, end);
  memcpy(s->held, s->held + n, tail);
  s->n_held = tail;
  *out = (nb_str){s->held + tail, end};
  return NB_OK;
}
