// Files for programs built as WASI commands. Emscripten's standalone C library opens the standard streams alone; this opens any file
// for reading, below the folder that wasm/wasi.mjs hands over first, the root of the file system.
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <wasi/api.h>

enum { ROOT = 3 };  // the first descriptor behind the standard streams

int __syscall_openat(int dirfd, intptr_t path, int flags, ...) {
  (void)dirfd;
  (void)flags;  // reading is all that may be done with it
  const char *name = (const char *)path;
  __wasi_fd_t fd;
  while (*name == '/') name++;
  const __wasi_rights_t rights = __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL | __WASI_RIGHTS_FD_FILESTAT_GET;
  if (__wasi_path_open(ROOT, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, name, strlen(name), 0, rights, 0, 0, &fd)) return -ENOENT;
  return (int)fd;
}
