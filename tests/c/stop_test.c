// Stop strings in every cutting of the text.
#include <stdlib.h>

#include "../../src/generate/stop.h"
#include "check.h"

// Pushes text in two cuts at a and b; what comes out goes to shown. Returns whether a stop string was met.
static bool run(const char *const *stops, size_t n_stops, const char *text, size_t a, size_t b, char *shown) {
  nb_stop s;
  nb_error err;
  nb_stop_init(&s);
  for (size_t i = 0; i < n_stops; i++) CHECK(nb_stop_add(&s, nb_str_of(stops[i]), &err) == NB_OK);
  const size_t n = strlen(text), cuts[] = {0, a, b, n};
  bool stopped = false;
  size_t length = 0;
  for (int i = 0; i < 3 && !stopped; i++) {
    nb_str out;
    CHECK(nb_stop_push(&s, (nb_str){text + cuts[i], cuts[i + 1] - cuts[i]}, false, &out, &stopped, &err) == NB_OK);
    memcpy(shown + length, out.data, out.len);
    length += out.len;
  }
  if (!stopped) {
    nb_str out;
    CHECK(nb_stop_push(&s, (nb_str){"", 0}, true, &out, &stopped, &err) == NB_OK);
    CHECK(!stopped);
    memcpy(shown + length, out.data, out.len);
    length += out.len;
  }
  shown[length] = 0;
  nb_stop_free(&s);
  return stopped;
}

static void every_cut(const char *const *stops, size_t n_stops, const char *text, const char *expected, bool expect_stop) {
  const size_t n = strlen(text);
  char shown[256];
  for (size_t a = 0; a <= n; a++)
    for (size_t b = a; b <= n; b++) {
      CHECK_EQ_INT(run(stops, n_stops, text, a, b, shown), expect_stop);
      CHECK_STR(shown, expected);
    }
}

int main(void) {
  const char *one[] = {"STOP"}, *two[] = {"\n\n", "User:"}, *repeated[] = {"aab"}, *nested[] = {"xay", "a"};
  every_cut(one, 1, "hello STOP world", "hello ", true);
  every_cut(one, 1, "hello STO", "hello STO", false);  // held back, then given out
  every_cut(one, 1, "STSTOP", "ST", true);
  every_cut(two, 2, "text\nUser: hi", "text\n", true);
  every_cut(two, 2, "text\n\nUser: hi", "text", true);
  every_cut(repeated, 1, "aaaab!", "aa", true);
  every_cut(nested, 2, "xab", "x", true);
  every_cut(NULL, 0, "anything", "anything", false);

  nb_stop s;
  nb_error err;
  nb_stop_init(&s);
  CHECK_EQ_INT(nb_stop_add(&s, nb_str_of(""), &err), NB_E_ARGUMENT);
  for (int i = 0; i < NB_STOP_MAX_STRINGS; i++) CHECK(nb_stop_add(&s, nb_str_of("x"), &err) == NB_OK);
  CHECK_EQ_INT(nb_stop_add(&s, nb_str_of("x"), &err), NB_E_ARGUMENT);
  nb_stop_free(&s);
  return check_result();
}
