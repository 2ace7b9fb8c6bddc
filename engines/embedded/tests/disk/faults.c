/* While the file `fail-sync` stands in the data folder, to sync a database's file there, or its log's, is
   answered EIO; while `fail-read` does, so is to read a database. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(const char *fault, const char *of, int fd) {
    const char *data = getenv("DOKIT_TEST_DATA");
    char link[64], path[4096];
    int before = errno, found;
    ssize_t length;
    if (data == NULL) return 0;
    snprintf(path, sizeof path, "%s/%s", data, fault);
    found = access(path, F_OK) == 0;
    if (found) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        length = readlink(link, path, sizeof path - 1);
        path[length < 0 ? 0 : length] = '\0';
        found = strncmp(path, data, strlen(data)) == 0 && strstr(path, of) != NULL
            && (strcmp(of, ".sqlite") != 0 || strstr(path, ".sqlite-") == NULL);
    }
    errno = found ? EIO : before;
    return found;
}

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, #name)

int fsync(int fd) {
    REAL(int, fsync, int);
    return fails("fail-sync", "sqlite", fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    return fails("fail-sync", "sqlite", fd) ? -1 : real(fd);
}

ssize_t read(int fd, void *bytes, size_t count) {
    REAL(ssize_t, read, int, void *, size_t);
    return fails("fail-read", ".sqlite", fd) ? -1 : real(fd, bytes, count);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t at) {
    REAL(ssize_t, pread, int, void *, size_t, off_t);
    return fails("fail-read", ".sqlite", fd) ? -1 : real(fd, bytes, count, at);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
    REAL(ssize_t, pread64, int, void *, size_t, off64_t);
    return fails("fail-read", ".sqlite", fd) ? -1 : real(fd, bytes, count, at);
}
