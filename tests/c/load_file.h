// A model from a file, for programs. NULL, with the error filled in, where it cannot be loaded.
#ifndef NB_TESTS_LOAD_FILE_H
#define NB_TESTS_LOAD_FILE_H

#include <stdio.h>

#include "../../src/model/loader.h"

static inline nb_model *load_file(const char *path, nb_error *err) {
  FILE *f = fopen(path, "rb");
  if (!f) {
    nb_fail(err, NB_E_ARGUMENT, "%s cannot be opened", path);
    return NULL;
  }
  nb_loader *l = nb_loader_new(NB_LOAD_NO_HASH);
  nb_model *m = NULL;
  nb_status s = l ? NB_OK : nb_fail(err, NB_E_NOMEM, "out of memory");
  for (size_t n = 1; !s && n;) {
    size_t room;
    uint8_t *to = nb_loader_window(l, &room);
    n = fread(to, 1, room, f);
    if (n) s = nb_loader_commit(l, n, err);
  }
  bool more;
  if (!s) s = nb_loader_end_file(l, &more, NULL, err);
  if (!s) m = nb_loader_take(l, err);
  nb_loader_free(l);
  fclose(f);
  return m;
}

#endif
