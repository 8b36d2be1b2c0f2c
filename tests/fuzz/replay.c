// Runs a fuzzer over files and folders given as arguments, without libFuzzer: every compiler can then replay what was found once.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

// Fuzzers with a mutator of their own refer to libFuzzer's; it is never called here.
size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t max);
size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t max) {
  (void)data, (void)max;
  return n;
}

static int n_files;

static int replay_file(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) {
    fprintf(stderr, "%s cannot be opened\n", path);
    return 1;
  }
  static uint8_t buffer[1 << 20];
  const size_t n = fread(buffer, 1, sizeof buffer, f);
  fclose(f);
  uint8_t *copy = malloc(n ? n : 1);  // of its own size, so that reads past the end are seen
  if (!copy) return 1;
  memcpy(copy, buffer, n);
  LLVMFuzzerTestOneInput(copy, n);
  free(copy);
  n_files++;
  return 0;
}

static int replay(const char *path) {
  DIR *folder = opendir(path);
  if (!folder) return replay_file(path);
  int failed = 0;
  for (struct dirent *e; (e = readdir(folder));) {
    if (e->d_name[0] == '.') continue;
    char inner[4096];
    snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
    failed |= replay(inner);
  }
  closedir(folder);
  return failed;
}

int main(int argc, char **argv) {
  int failed = 0;
  for (int i = 1; i < argc; i++) failed |= replay(argv[i]);
  printf("%d inputs replayed\n", n_files);
  return failed || n_files == 0;
}
