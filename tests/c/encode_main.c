// Rows of floats to blocks, for comparisons with other encoders (tests/reference/encoders.py).
//   encode TYPE rtn|search|large COLS ROWS OUT [IMPORTANCE]      files: f32 [rows, cols]; blocks; f32 [cols]
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/quantize/encode.h"

static int fail(const char *what, const char *about) {
  fprintf(stderr, "%s: %s\n", about, what);
  return 1;
}

static nb_type type_named(const char *name) {
  for (uint32_t id = 0; id < NB_TYPE_LIMIT; id++) {
    const nb_type_info *info = nb_type_get(id);
    if (info->block_size && !strcmp(info->name, name)) return (nb_type)id;
  }
  return NB_TYPE_LIMIT;
}

int main(int argc, char **argv) {
  static const char *const METHODS[] = {"rtn", "search", "large"};
  if (argc < 6) {
    fprintf(stderr, "usage: encode TYPE rtn|search|large COLS ROWS OUT [IMPORTANCE]\n");
    return 2;
  }
  const nb_type type = type_named(argv[1]);
  if (type == NB_TYPE_LIMIT) return fail("not a type that can be written", argv[1]);
  int method = 0;
  while (method < 3 && strcmp(argv[2], METHODS[method])) method++;
  if (method == 3) return fail("not a method", argv[2]);
  const nb_type_info *info = nb_type_get(type);
  const size_t cols = strtoul(argv[3], NULL, 10);
  if (cols == 0 || cols % info->block_size) return fail("not a multiple of the type's block size", argv[3]);
  float *x = malloc(cols * sizeof *x), *importance = NULL;
  const size_t row_bytes = cols / info->block_size * info->block_bytes;
  uint8_t *blocks = malloc(row_bytes);
  if (!x || !blocks) return fail("out of memory", argv[3]);
  if (argc > 6) {
    FILE *f = fopen(argv[6], "rb");
    importance = malloc(cols * sizeof *importance);
    if (!f || !importance || fread(importance, sizeof *importance, cols, f) != cols) return fail("cannot be read, or is too short", argv[6]);
    fclose(f);
  }
  FILE *in = fopen(argv[4], "rb"), *out = fopen(argv[5], "wb");
  if (!in) return fail("cannot be opened", argv[4]);
  if (!out) return fail("cannot be written", argv[5]);
  size_t n;
  while ((n = fread(x, sizeof *x, cols, in)) == cols) {
    nb_encode_row(type, (nb_encode_method)method, x, importance, cols, blocks);
    if (fwrite(blocks, 1, row_bytes, out) != row_bytes) return fail("cannot be written", argv[5]);
  }
  if (n) return fail("does not hold whole rows", argv[4]);
  fclose(in);
  if (fclose(out)) return fail("cannot be written", argv[5]);
  free(importance);
  free(blocks);
  free(x);
  return 0;
}
