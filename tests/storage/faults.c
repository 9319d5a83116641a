/* A layer between a process and its C library that lets system calls about one directory fail on purpose.

   Preloaded (LD_PRELOAD). A call counts when it concerns something whose path begins with the prefix; the fault that is
   armed, by `fault_arm` or by the variable FAULT=CALL:NTH:ERRNO with FAULT_PREFIX, then fails: the NTH such call, or with
   NTH 0 each of them. Faults named `owner` make directories of the prefix appear as another user's instead. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char armed[32], prefix[4096];
static int nth, error_code;
static int seen;

void fault_arm(const char *call, int which, int code, const char *below) {
    snprintf(prefix, sizeof prefix, "%s", below);
    nth = which;
    error_code = code;
    __atomic_store_n(&seen, 0, __ATOMIC_SEQ_CST);
    snprintf(armed, sizeof armed, "%s", call);
}

int fault_count(void) { return __atomic_load_n(&seen, __ATOMIC_SEQ_CST); }

__attribute__((constructor)) static void from_environment(void) {
    const char *fault = getenv("FAULT"), *below = getenv("FAULT_PREFIX");
    char call[32];
    int which, code;
    if (fault && below && sscanf(fault, "%31[^:]:%d:%d", call, &which, &code) == 3) fault_arm(call, which, code, below);
}

static int is_below(const char *path) { return path && prefix[0] && !strncmp(path, prefix, strlen(prefix)); }

static int concerns_descriptor(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return is_below(path);
}

static int concerns_path(int directory, const char *path) {
    if (path && path[0] == '/') return is_below(path);
    if (directory == AT_FDCWD) return 0;
    return concerns_descriptor(directory);
}

static int due(const char *call) {
    if (strcmp(call, armed)) return 0;
    int now = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
    return nth == 0 || now == nth;
}

#define FAILS_AT(call, descriptor) (!strcmp(call, armed) && concerns_descriptor(descriptor) && due(call))
#define FAILS_FOR(call, directory, path) (!strcmp(call, armed) && concerns_path(directory, path) && due(call))
#define REAL(type, name, ...) type (*real)(__VA_ARGS__) = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)
#define FAIL do { errno = error_code; return -1; } while (0)

#define ON_DESCRIPTOR(type, name, call, declared, passed) \
    type name declared { \
        type (*real) declared = (type (*) declared)dlsym(RTLD_NEXT, #name); \
        if (FAILS_AT(call, descriptor)) FAIL; \
        return real passed; \
    }

ON_DESCRIPTOR(int, flock, "flock", (int descriptor, int operation), (descriptor, operation))
ON_DESCRIPTOR(int, ftruncate, "ftruncate", (int descriptor, off_t size), (descriptor, size))
ON_DESCRIPTOR(int, ftruncate64, "ftruncate", (int descriptor, off_t size), (descriptor, size))
ON_DESCRIPTOR(int, fsync, "fsync", (int descriptor), (descriptor))
ON_DESCRIPTOR(int, fdatasync, "fdatasync", (int descriptor), (descriptor))
ON_DESCRIPTOR(int, syncfs, "syncfs", (int descriptor), (descriptor))
ON_DESCRIPTOR(int, fchmod, "chmod", (int descriptor, mode_t mode), (descriptor, mode))
ON_DESCRIPTOR(off_t, lseek, "lseek", (int descriptor, off_t offset, int whence), (descriptor, offset, whence))
ON_DESCRIPTOR(off_t, lseek64, "lseek", (int descriptor, off_t offset, int whence), (descriptor, offset, whence))
ON_DESCRIPTOR(int, futimens, "utime", (int descriptor, const struct timespec times[2]), (descriptor, times))
ON_DESCRIPTOR(int, fallocate, "fallocate", (int descriptor, int mode, off_t at, off_t size), (descriptor, mode, at, size))
ON_DESCRIPTOR(int, fallocate64, "fallocate", (int descriptor, int mode, off_t at, off_t size), (descriptor, mode, at, size))
ON_DESCRIPTOR(ssize_t, write, "write", (int descriptor, const void *from, size_t size), (descriptor, from, size))
ON_DESCRIPTOR(ssize_t, read, "read", (int descriptor, void *to, size_t size), (descriptor, to, size))
ON_DESCRIPTOR(ssize_t, pwrite, "write", (int descriptor, const void *from, size_t size, off_t at), (descriptor, from, size, at))
ON_DESCRIPTOR(ssize_t, pwrite64, "write", (int descriptor, const void *from, size_t size, off_t at), (descriptor, from, size, at))
ON_DESCRIPTOR(ssize_t, preadv, "read", (int descriptor, const struct iovec *to, int count, off_t at), (descriptor, to, count, at))
ON_DESCRIPTOR(ssize_t, preadv64, "read", (int descriptor, const struct iovec *to, int count, off_t at), (descriptor, to, count, at))
ON_DESCRIPTOR(ssize_t, preadv2, "read", (int descriptor, const struct iovec *to, int count, off_t at, int flags), (descriptor, to, count, at, flags))
ON_DESCRIPTOR(ssize_t, preadv64v2, "read", (int descriptor, const struct iovec *to, int count, off_t at, int flags), (descriptor, to, count, at, flags))

/* These give the code back instead of setting errno. */
int posix_fallocate(int descriptor, off_t at, off_t size) {
    REAL(int, posix_fallocate, int, off_t, off_t);
    return FAILS_AT("fallocate", descriptor) ? error_code : real(descriptor, at, size);
}
int posix_fallocate64(int descriptor, off_t at, off_t size) {
    REAL(int, posix_fallocate64, int, off_t, off_t);
    return FAILS_AT("fallocate", descriptor) ? error_code : real(descriptor, at, size);
}

#define ON_PATH(name, call, declared, directory, path, passed) \
    int name declared { \
        int (*real) declared = (int (*) declared)dlsym(RTLD_NEXT, #name); \
        if (FAILS_FOR(call, directory, path)) FAIL; \
        return real passed; \
    }

ON_PATH(mkdirat, "mkdir", (int directory, const char *path, mode_t mode), directory, path, (directory, path, mode))
ON_PATH(mkdir, "mkdir", (const char *path, mode_t mode), AT_FDCWD, path, (path, mode))
ON_PATH(unlinkat, "unlink", (int directory, const char *path, int flags), directory, path, (directory, path, flags))
ON_PATH(unlink, "unlink", (const char *path), AT_FDCWD, path, (path))
ON_PATH(rmdir, "unlink", (const char *path), AT_FDCWD, path, (path))
ON_PATH(fchmodat, "chmod", (int directory, const char *path, mode_t mode, int flags), directory, path, (directory, path, mode, flags))
ON_PATH(chmod, "chmod", (const char *path, mode_t mode), AT_FDCWD, path, (path, mode))
ON_PATH(utimensat, "utime", (int directory, const char *path, const struct timespec times[2], int flags), directory, path, (directory, path, times, flags))
ON_PATH(link, "link", (const char *from, const char *to), AT_FDCWD, to, (from, to))
ON_PATH(linkat, "link", (int at, const char *from, int directory, const char *to, int flags), directory, to, (at, from, directory, to, flags))
ON_PATH(symlinkat, "symlink", (const char *target, int directory, const char *path), directory, path, (target, directory, path))
ON_PATH(symlink, "symlink", (const char *target, const char *path), AT_FDCWD, path, (target, path))
ON_PATH(rename, "rename", (const char *from, const char *to), AT_FDCWD, to, (from, to))
ON_PATH(renameat, "rename", (int at, const char *from, int directory, const char *to), directory, to, (at, from, directory, to))
ON_PATH(renameat2, "renameat2", (int at, const char *from, int directory, const char *to, unsigned flags), directory, to, (at, from, directory, to, flags))

#define ON_OPEN(name, declared, directory) \
    int name declared { \
        int (*real)(int, const char *, int, ...) = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat"); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | __O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        if (FAILS_FOR((flags & O_CREAT) ? "create" : "open", directory, path)) FAIL; \
        return real(directory, path, flags, mode); \
    }

ON_OPEN(open, (const char *path, int flags, ...), AT_FDCWD)
ON_OPEN(open64, (const char *path, int flags, ...), AT_FDCWD)
ON_OPEN(openat, (int directory, const char *path, int flags, ...), directory)
ON_OPEN(openat64, (int directory, const char *path, int flags, ...), directory)

/* A file system that gives everything an owner of its own choice. */
static int owned(int result, int concerned, uid_t *owner) {
    if (result == 0 && concerned && !strcmp("owner", armed)) *owner = (uid_t)error_code;
    return result;
}
int fstatat64(int directory, const char *path, struct stat64 *status, int flags) {
    REAL(int, fstatat64, int, const char *, struct stat64 *, int);
    if (FAILS_FOR("stat", directory, path)) FAIL;
    return owned(real(directory, path, status, flags), concerns_path(directory, path), &status->st_uid);
}
int fstatat(int directory, const char *path, struct stat *status, int flags) {
    REAL(int, fstatat, int, const char *, struct stat *, int);
    if (FAILS_FOR("stat", directory, path)) FAIL;
    return owned(real(directory, path, status, flags), concerns_path(directory, path), &status->st_uid);
}
int fstat64(int descriptor, struct stat64 *status) {
    REAL(int, fstat64, int, struct stat64 *);
    if (FAILS_AT("fstat", descriptor)) FAIL;
    return owned(real(descriptor, status), concerns_descriptor(descriptor), &status->st_uid);
}
int fstat(int descriptor, struct stat *status) {
    REAL(int, fstat, int, struct stat *);
    if (FAILS_AT("fstat", descriptor)) FAIL;
    return owned(real(descriptor, status), concerns_descriptor(descriptor), &status->st_uid);
}
