/* Before libc: lets allocations fail and writes be short. Settings come from the environment:
 *   SHIM_FAIL_ALLOCATION=N  the Nth allocation of the program fails
 *   SHIM_FAIL_ABOVE=BYTES   every allocation of more bytes fails
 *   SHIM_COUNT_TO=FILE      the number of allocations is written to FILE at the end
 *   SHIM_SHORT_WRITES=1     every write to a file takes a third of its bytes, at least one */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_long count;
static long fail_at;
static size_t fail_above;
static int short_writes;
static int ready;

__attribute__((constructor)) static void begin(void) {
    const char *text;
    if ((text = getenv("SHIM_FAIL_ALLOCATION")))
        fail_at = atol(text);
    if ((text = getenv("SHIM_FAIL_ABOVE")))
        fail_above = (size_t)atol(text);
    short_writes = getenv("SHIM_SHORT_WRITES") != NULL;
    ready = 1;
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("SHIM_COUNT_TO");
    ready = 0;
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", atomic_load(&count));
        fclose(file);
    }
}

static int refuse(size_t size) {
    if (!ready)
        return 0;
    long n = atomic_fetch_add(&count, 1) + 1;
    if (n != fail_at && !(fail_above && size > fail_above))
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) { return refuse(size) ? NULL : __libc_malloc(size); }

void *calloc(size_t n, size_t size) { return refuse(n * size) ? NULL : __libc_calloc(n, size); }

void *realloc(void *old, size_t size) { return refuse(size) ? NULL : __libc_realloc(old, size); }

int posix_memalign(void **out, size_t align, size_t size) {
    if (refuse(size))
        return ENOMEM;
    void *found = __libc_memalign(align, size);
    if (!found)
        return ENOMEM;
    *out = found;
    return 0;
}

void *aligned_alloc(size_t align, size_t size) { return refuse(size) ? NULL : __libc_memalign(align, size); }

ssize_t write(int fd, const void *bytes, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    struct stat found;
    if (short_writes && size > 1 && fstat(fd, &found) == 0 && S_ISREG(found.st_mode))
        size = size < 3 ? 1 : size / 3;
    return real(fd, bytes, size);
}
