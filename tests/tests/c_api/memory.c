/* Memory that the system refuses, and memory that is counted: memory fail|count FILE. Linked with --wrap for every function below. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_long countdown = -1; /* requests until one is refused; below 0: never */
static atomic_int for_good;        /* whether all after it are refused, too */
static atomic_long outstanding, requests, bytes_asked;

static int refused(size_t bytes) {
    atomic_fetch_add(&requests, 1);
    atomic_fetch_add(&bytes_asked, (long)bytes);
    long before = atomic_load(&countdown);
    if (before < 0) return 0;
    if (before == 0) {
        if (!atomic_load(&for_good)) atomic_store(&countdown, -1);
        return 1;
    }
    atomic_fetch_sub(&countdown, 1);
    return 0;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *data, size_t bytes);
int __real_posix_memalign(void **data, size_t align, size_t bytes);
void __real_free(void *data);
void *__real_mmap64(void *at, size_t bytes, int protection, int flags, int file, off64_t offset);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *data, size_t bytes);
int __wrap_posix_memalign(void **data, size_t align, size_t bytes);
void __wrap_free(void *data);
void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int file, off64_t offset);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);

static void *counted(void *data) {
    if (data != NULL) atomic_fetch_add(&outstanding, 1);
    return data;
}

void *__wrap_malloc(size_t bytes) { return refused(bytes) ? NULL : counted(__real_malloc(bytes)); }
void *__wrap_calloc(size_t n, size_t bytes) { return refused(n * bytes) ? NULL : counted(__real_calloc(n, bytes)); }
void *__wrap_realloc(void *data, size_t bytes) {
    if (refused(bytes)) return NULL;
    void *moved = __real_realloc(data, bytes);
    return data == NULL ? counted(moved) : moved;
}
int __wrap_posix_memalign(void **data, size_t align, size_t bytes) {
    if (refused(bytes)) return ENOMEM;
    int status = __real_posix_memalign(data, align, bytes);
    if (status == 0) counted(*data);
    return status;
}
void __wrap_free(void *data) {
    if (data != NULL) atomic_fetch_sub(&outstanding, 1);
    __real_free(data);
}
void *__wrap_mmap64(void *at, size_t bytes, int protection, int flags, int file, off64_t offset) {
    if (refused(0)) return errno = ENOMEM, MAP_FAILED;
    return __real_mmap64(at, bytes, protection, flags, file, offset);
}
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    return refused(0) ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}

static unsigned char file_bytes[1 << 22] __attribute__((aligned(64)));
static size_t n_file_bytes;
static const char *file;
static Text text;

/* Ends the run with the first status that is no success. */
#define TRY(call)                                                                                                           \
    do {                                                                                                                    \
        if ((status = (call)) != SISKIN_OK) goto end;                                                                       \
    } while (0)

/* All that a program does with the library, in as many threads. */
static siskin_status run(int threads) {
    static unsigned char state[1 << 20];
    static unsigned char region[1 << 22];
    siskin_model *model = NULL, *again = NULL;
    siskin_session *session = NULL, *other = NULL;
    siskin_session_options options;
    siskin_sampling sampling;
    siskin_piece piece = {sizeof piece, NULL, 0, 0, 0};
    siskin_status status;
    uint32_t tokens[64], token;
    double log_probs[64];
    const float *logits;
    size_t n, needed;
    const char *stops[] = {"never to be seen", "nor this"};
    const siskin_bias bias = {5, -1};
    siskin_session_options_init(&options, sizeof options);
    options.threads = threads;
    siskin_sampling_init(&sampling, sizeof sampling);
    sampling.stop = stops, sampling.n_stop = 2;
    sampling.bias = &bias, sampling.n_bias = 1;
    sampling.repetition_penalty = 1.1f;
    text.length = 0;
    TRY(siskin_model_open(file, NULL, &model));
    siskin_model_options copy;
    siskin_model_options_init(&copy, sizeof copy);
    copy.flags = SISKIN_COPY | SISKIN_VERIFY;
    TRY(siskin_model_open_memory(file_bytes, n_file_bytes, &copy, &again));
    siskin_model_free(again);
    again = NULL;
    TRY(siskin_model_open_memory(file_bytes, n_file_bytes, NULL, &again));
    TRY(siskin_tokenize(model, "a text of words", 15, SISKIN_PROMPT, tokens, 64, &n));
    TRY(siskin_session_new(model, &options, &session));
    TRY(siskin_session_set_sampling(session, &sampling));
    TRY(siskin_session_generate(session, "once upon", 9, 5, keep, &text, NULL));
    TRY(siskin_session_start(session, "a time", 6, 5));
    TRY(siskin_session_next(session, &piece));
    TRY(siskin_session_save(session, state, sizeof state, &needed));
    TRY(siskin_session_new_in(again, &options, region, sizeof region, &other));
    TRY(siskin_session_restore(other, state, needed));
    TRY(siskin_session_next(other, &piece));
    TRY(siskin_session_feed(other, tokens, n));
    TRY(siskin_session_sample(other, &token));
    TRY(siskin_session_logits(other, &logits, &needed));
    TRY(siskin_session_score(other, tokens, n, log_probs));
    TRY(siskin_session_reset(other));
end:
    siskin_session_free(session);
    siskin_session_free(other);
    siskin_model_free(again);
    siskin_model_free(model);
    return status;
}

/* Refuses request `n`, and all after it if `good` says so, in a process of its own. Returns whether the run was through before. */
static int refuse(long n, int good, int threads) {
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        atomic_store(&for_good, good);
        long before = atomic_load(&outstanding);
        atomic_store(&countdown, n);
        siskin_status found = run(threads);
        int through = atomic_load(&countdown) > 0;
        atomic_store(&countdown, -1);
        CHECK(found == SISKIN_OK || found == SISKIN_NO_MEMORY);
        CHECK(!through || found == SISKIN_OK);
        /* What a program keeps for good is asked for once: the next run gives back all it takes. */
        long after = atomic_load(&outstanding);
        OK(run(threads));
        long kept = atomic_load(&outstanding);
        CHECK(after <= kept && before <= after);
        OK(run(threads));
        CHECK(atomic_load(&outstanding) == kept);
        _exit(through ? 42 : 0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 42)) {
        fprintf(stderr, "refusing request %ld%s with %d threads: status %#x\n", n, good ? " and all after it" : "", threads, status);
        exit(1);
    }
    return WEXITSTATUS(status) == 42;
}

static void fails(void) {
    /* With threads, whose start is slow under a sanitizer, in one of the two ways. */
    for (int way = 0; way < 3; way++) {
        int good = way == 1, threads = way == 2 ? 2 : 1;
        long n = 0;
        while (!refuse(n, good, threads)) n++;
        printf("%d threads: %ld requests refused%s\n", threads, n, good ? " with all after them" : "");
        CHECK(n > 20);
    }
}

/* Bytes asked for to open a model in memory. */
static long opened(const void *bytes, const siskin_model_options *options) {
    siskin_model *model;
    atomic_store(&bytes_asked, 0);
    OK(siskin_model_open_memory(bytes, n_file_bytes, options, &model));
    long asked = atomic_load(&bytes_asked);
    siskin_model_free(model);
    return asked;
}

/* A model in memory is copied once, and only if it must be; max_memory counts the copy. */
static void copies(void) {
    static unsigned char elsewhere[sizeof file_bytes + 64] __attribute__((aligned(64)));
    siskin_model *model;
    siskin_model_options options;
    memcpy(elsewhere + 8, file_bytes, n_file_bytes);
    siskin_model_options_init(&options, sizeof options);
    long in_place = opened(file_bytes, &options), n = (long)n_file_bytes;
    CHECK(opened(elsewhere + 8, &options) - in_place - n < 256);
    options.flags = SISKIN_COPY;
    CHECK(opened(file_bytes, &options) - in_place - n < 256);
    options.max_memory = n_file_bytes;
    CHECK(opened(elsewhere + 8, &options) > n);
    options.max_memory--;
    IS(SISKIN_BUDGET, siskin_model_open_memory(file_bytes, n_file_bytes, &options, &model));
    options.flags = 0;
    IS(SISKIN_BUDGET, siskin_model_open_memory(elsewhere + 8, n_file_bytes, &options, &model));
    CHECK(opened(file_bytes, &options) == in_place);
}

/* What a session in the caller's memory takes from the system: no more than the header says, whatever its context is. */
static void counts(void) {
    static unsigned char region[1 << 22];
    siskin_model *model = open_model(file);
    siskin_session *session;
    siskin_session_options options;
    OK(run(1));
    copies();
    for (int threads = 1; threads <= 4; threads++) {
        for (int k = 0; k < 3; k++) {
            siskin_session_options_init(&options, sizeof options);
            options.threads = threads;
            options.batch = (size_t)16 << k;
            size_t bytes;
            OK(siskin_session_bytes(model, &options, &bytes));
            CHECK(bytes <= sizeof region);
            atomic_store(&bytes_asked, 0);
            OK(siskin_session_new_in(model, &options, region, bytes, &session));
            long made = atomic_load(&bytes_asked);
            OK(siskin_session_start(session, "abc", 3, 100));
            siskin_piece piece = {sizeof piece, NULL, 0, 0, 0};
            OK(siskin_session_next(session, &piece));
            long asked = atomic_load(&bytes_asked);
            CHECK(asked < (32 << 10) + threads * (1 << 10));
            long before = atomic_load(&requests);
            for (int i = 0; i < 50; i++) OK(siskin_session_next(session, &piece));
            CHECK(atomic_load(&requests) == before); /* steps ask for nothing */
            siskin_session_free(session);
            printf("%d threads, batch %zu: %zu bytes of the caller, %ld and %ld more of the system\n", threads, options.batch, bytes,
                   made, asked - made);
        }
    }
    siskin_model_free(model);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    file = argv[2];
    FILE *in = fopen(file, "rb");
    CHECK(in != NULL);
    n_file_bytes = fread(file_bytes, 1, sizeof file_bytes, in);
    CHECK(n_file_bytes > 0 && n_file_bytes < sizeof file_bytes);
    fclose(in);
    if (strcmp(argv[1], "fail") == 0) fails();
    else counts();
    return 0;
}
