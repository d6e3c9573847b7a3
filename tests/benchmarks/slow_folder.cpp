// Preloaded into a process: what it asks of files below SLOW_FOLDER takes SLOW_MS longer each time,
// as over a network file system: to open, create, rename, remove, list, and to wait for a write.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

void wait_below(const char *path) {
    const char *folder = getenv("SLOW_FOLDER"), *milliseconds = getenv("SLOW_MS");
    if (folder && milliseconds && path && !strncmp(path, folder, strlen(folder)))
        usleep(1000 * atoi(milliseconds));
}

void wait_of(int descriptor) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0) {
        path[length] = 0;
        wait_below(path);
    }
}

template <typename F> F next(F, const char *name) { return (F)dlsym(RTLD_NEXT, name); }

}  // namespace

#define OPENS(NAME)                                          \
    extern "C" int NAME(const char *path, int flags, ...) {  \
        va_list more;                                        \
        va_start(more, flags);                               \
        const mode_t mode = va_arg(more, mode_t);            \
        va_end(more);                                        \
        wait_below(path);                                    \
        return next(&NAME, #NAME)(path, flags, mode);        \
    }
#define TAKES_PATH(RESULT, NAME, SIGNATURE, ...)             \
    extern "C" RESULT NAME SIGNATURE {                       \
        wait_below(path);                                    \
        return next(&NAME, #NAME)(__VA_ARGS__);              \
    }
#define TAKES_DESCRIPTOR(NAME)                               \
    extern "C" int NAME(int descriptor) {                    \
        wait_of(descriptor);                                 \
        return next(&NAME, #NAME)(descriptor);               \
    }

OPENS(open)
OPENS(open64)
TAKES_PATH(FILE *, fopen, (const char *path, const char *mode), path, mode)
TAKES_PATH(FILE *, fopen64, (const char *path, const char *mode), path, mode)
TAKES_PATH(int, rename, (const char *path, const char *target), path, target)
TAKES_PATH(int, unlink, (const char *path), path)
TAKES_PATH(int, mkdir, (const char *path, mode_t mode), path, mode)
TAKES_PATH(int, rmdir, (const char *path), path)
TAKES_PATH(DIR *, opendir, (const char *path), path)
TAKES_DESCRIPTOR(fsync)
TAKES_DESCRIPTOR(fdatasync)
