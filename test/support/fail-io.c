/* Preloaded into a process under test: the n-th write, flush or cut of a file below FAIL_PATH fails once with
 * FAIL_ERRNO. The number of such calls goes to FAIL_COUNT, so that a test knows when it has seen them all. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_long calls;

static int fails(int fd, int flush) {
  const char *path = getenv("FAIL_PATH"), *at = getenv("FAIL_AT"), *count = getenv("FAIL_COUNT");
  char link[64], name[4096];
  if (!path || !at || (getenv("FAIL_ONLY_FLUSH") && !flush)) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, name, sizeof name - 1);
  if (length < 0) return 0;
  name[length] = 0;
  if (strncmp(name, path, strlen(path))) return 0;
  long call = atomic_fetch_add(&calls, 1) + 1;
  if (count) {
    int out = open(count, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (out >= 0) {
      dprintf(out, "%ld", call);
      close(out);
    }
  }
  if (call != atol(at)) return 0;
  errno = atoi(getenv("FAIL_ERRNO") ? getenv("FAIL_ERRNO") : "5");
  return 1;
}

#define NEXT(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { NEXT(pwrite64); return fails(fd, 0) ? -1 : real(fd, data, size, at); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { NEXT(pwrite); return fails(fd, 0) ? -1 : real(fd, data, size, at); }
ssize_t write(int fd, const void *data, size_t size) { NEXT(write); return fails(fd, 0) ? -1 : real(fd, data, size); }
int fsync(int fd) { NEXT(fsync); return fails(fd, 1) ? -1 : real(fd); }
int fdatasync(int fd) { NEXT(fdatasync); return fails(fd, 1) ? -1 : real(fd); }
int ftruncate64(int fd, off64_t size) { NEXT(ftruncate64); return fails(fd, 0) ? -1 : real(fd, size); }
int ftruncate(int fd, off_t size) { NEXT(ftruncate); return fails(fd, 0) ? -1 : real(fd, size); }
