/* The points of the contract of siskin.h, each a function: contract POINT FILE [FILE...]. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define HUGE ((size_t)-1)

siskin_status siskin_planted_panic(siskin_session *session);

static void sleep_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* 1: a panic is a status, and the session is of no more use, but can be freed. */
static void point_1(char **files) {
    siskin_model *model = open_model(files[0]);
    siskin_session *session = new_session(model, 2), *other = new_session(model, 1);
    char error[512];
    size_t position;
    IS(SISKIN_INTERNAL, siskin_planted_panic(session));
    CHECK(siskin_error_text(error, sizeof error) > 1 && strstr(error, "planted") != NULL);
    IS(SISKIN_INTERNAL, siskin_session_generate(session, "a", 1, 3, NULL, NULL, NULL));
    IS(SISKIN_INTERNAL, siskin_session_position(session, &position, NULL));
    IS(SISKIN_INTERNAL, siskin_session_reset(session));
    OK(siskin_session_cancel(session));
    OK(siskin_session_generate(other, "a", 1, 3, NULL, NULL, NULL));
    siskin_session_free(session);
    siskin_session_free(other);
    siskin_model_free(model);
}

/* 2: handles come in pairs of new and free, and freeing none does nothing. */
static void point_2(char **files) {
    siskin_model_free(NULL);
    siskin_session_free(NULL);
    for (int i = 0; i < 3; i++) {
        siskin_model *model = open_model(files[0]);
        siskin_session *session = new_session(model, 1 + i);
        siskin_session_free(session);
        OK(siskin_model_retain(model));
        siskin_model_free(model);
        siskin_model_free(model);
    }
    siskin_model *model = (siskin_model *)1; /* a failure leaves no handle */
    IS(SISKIN_IO, siskin_model_open("/nowhere/to/be/found", NULL, &model));
    CHECK(model == NULL);
}

/* 3: null, zero, negative and huge. */
static void point_3(char **files) {
    siskin_model *model = open_model(files[0]), *m;
    siskin_session *session = new_session(model, 1), *s;
    siskin_session_options options;
    siskin_sampling sampling;
    siskin_model_info info;
    siskin_piece piece;
    uint32_t tokens[4] = {1, 2, 3, 4};
    size_t n, at;
    const char *bytes;
    const float *logits;
    double log_probs[4];
    char memory[64];
    INVALID(siskin_model_open(NULL, NULL, &m));
    INVALID(siskin_model_open(files[0], NULL, NULL));
    INVALID(siskin_model_open_memory(NULL, 5, NULL, &m));
    INVALID(siskin_model_open_memory(tokens, HUGE, NULL, &m));
    INVALID(siskin_model_open_memory(tokens, 4, NULL, NULL));
    IS(SISKIN_BAD_FILE, siskin_model_open_memory(NULL, 0, NULL, &m));
    INVALID(siskin_model_retain(NULL));
    INVALID(siskin_model_get_info(NULL, &info));
    info.size = sizeof info;
    INVALID(siskin_model_get_info(NULL, &info));
    INVALID(siskin_model_get_info(model, NULL));
    INVALID(siskin_model_verify(NULL));
    IS(SISKIN_BUFFER_TOO_SMALL, siskin_kernels(NULL, 0, NULL));
    INVALID(siskin_kernels(NULL, 100, &n));
    INVALID(siskin_session_new(NULL, NULL, &s));
    INVALID(siskin_session_new(model, NULL, NULL));
    INVALID(siskin_session_bytes(NULL, NULL, &n));
    INVALID(siskin_session_bytes(model, NULL, NULL));
    INVALID(siskin_session_new_in(NULL, NULL, memory, sizeof memory, &s));
    INVALID(siskin_session_new_in(model, NULL, NULL, HUGE, &s));
    IS(SISKIN_BUDGET, siskin_session_new_in(model, NULL, memory, sizeof memory, &s));
    IS(SISKIN_BUDGET, siskin_session_new_in(model, NULL, memory, 0, &s));
    const int threads[] = {-1, 257, INT32_MAX, INT32_MIN};
    for (int i = 0; i < 4; i++) {
        siskin_session_options_init(&options, sizeof options);
        options.threads = threads[i];
        INVALID(siskin_session_new(model, &options, &s));
    }
    siskin_session_options_init(&options, sizeof options);
    options.batch = HUGE;
    IS(SISKIN_NO_MEMORY, siskin_session_new(model, &options, &s));
    options.batch = 1 << 30;
    options.max_memory = 1 << 20;
    IS(SISKIN_BUDGET, siskin_session_new(model, &options, &s));
    options.batch = 0;
    options.max_memory = 0;
    options.flags = 64;
    INVALID(siskin_session_new(model, &options, &s));
    INVALID(siskin_session_set_sampling(NULL, NULL));
    const float wrong[] = {-1, -INFINITY, INFINITY, NAN};
    for (int i = 0; i < 4; i++) {
        for (int field = 0; field < 7; field++) {
            siskin_sampling_init(&sampling, sizeof sampling);
            float *fields[] = {&sampling.temperature, &sampling.top_p, &sampling.min_p, &sampling.repetition_penalty,
                               &sampling.frequency_penalty, &sampling.presence_penalty, NULL};
            siskin_bias bias = {1, wrong[i]};
            if (field < 6) *fields[field] = wrong[i];
            else sampling.bias = &bias, sampling.n_bias = 1;
            siskin_status expected = (field == 4 || field == 5 || field == 6) && i == 0 ? SISKIN_OK : SISKIN_INVALID_ARGUMENT;
            if (field == 6 && i == 1) expected = SISKIN_OK; /* minus infinity bans a token */
            IS(expected, siskin_session_set_sampling(session, &sampling));
        }
    }
    siskin_sampling_init(&sampling, sizeof sampling);
    sampling.penalty_last_n = -2;
    INVALID(siskin_session_set_sampling(session, &sampling));
    sampling.penalty_last_n = INT64_MAX;
    INVALID(siskin_session_set_sampling(session, &sampling));
    siskin_sampling_init(&sampling, sizeof sampling);
    sampling.n_bias = HUGE;
    INVALID(siskin_session_set_sampling(session, &sampling));
    siskin_sampling_init(&sampling, sizeof sampling);
    const siskin_bias absent = {1u << 30, 0};
    sampling.bias = &absent, sampling.n_bias = 1;
    INVALID(siskin_session_set_sampling(session, &sampling));
    siskin_sampling_init(&sampling, sizeof sampling);
    const char *stops[] = {"", NULL, "\xff"};
    for (int i = 0; i < 3; i++) {
        sampling.stop = &stops[i], sampling.n_stop = 1;
        INVALID(siskin_session_set_sampling(session, &sampling));
    }
    sampling.stop = NULL, sampling.n_stop = 3;
    INVALID(siskin_session_set_sampling(session, &sampling));
    INVALID(siskin_session_generate(NULL, "a", 1, 1, NULL, NULL, NULL));
    INVALID(siskin_session_generate(session, NULL, 1, 1, NULL, NULL, NULL));
    INVALID(siskin_session_generate(session, "a", HUGE, 1, NULL, NULL, NULL));
    INVALID(siskin_session_generate(session, "a", (size_t)SISKIN_MAX_TEXT + 1, 1, NULL, NULL, NULL));
    INVALID(siskin_session_cancel(NULL));
    INVALID(siskin_session_reset(NULL));
    INVALID(siskin_session_position(NULL, &n, &at));
    OK(siskin_session_position(session, NULL, NULL));
    INVALID(siskin_session_start(NULL, "a", 1, 1));
    INVALID(siskin_session_start(session, NULL, 1, 1));
    INVALID(siskin_session_start(session, "a", HUGE, 1));
    piece.size = sizeof piece;
    INVALID(siskin_session_next(NULL, &piece));
    INVALID(siskin_session_next(session, NULL));
    INVALID(siskin_session_next(session, &piece)); /* nothing was started */
    INVALID(siskin_tokenize(NULL, "a", 1, 0, tokens, 4, &n));
    INVALID(siskin_tokenize(model, NULL, 1, 0, tokens, 4, &n));
    INVALID(siskin_tokenize(model, "a", HUGE, 0, tokens, 4, &n));
    INVALID(siskin_tokenize(model, "a", 1, 2, tokens, 4, &n));
    INVALID(siskin_tokenize(model, "a", 1, 0, tokens, 4, NULL));
    INVALID(siskin_tokenize(model, "a", 1, 0, NULL, 4, &n));
    OK(siskin_tokenize(model, NULL, 0, 0, NULL, 0, &n));
    CHECK(n == 0);
    INVALID(siskin_detokenize(NULL, tokens, 4, memory, sizeof memory, &n));
    INVALID(siskin_detokenize(model, NULL, 4, memory, sizeof memory, &n));
    INVALID(siskin_detokenize(model, tokens, HUGE, memory, sizeof memory, &n));
    INVALID(siskin_detokenize(model, tokens, HUGE / 4, memory, sizeof memory, &n));
    INVALID(siskin_detokenize(model, tokens, 4, NULL, sizeof memory, &n));
    INVALID(siskin_detokenize(model, tokens, 4, memory, sizeof memory, NULL));
    INVALID(siskin_token_text(NULL, 1, &bytes, &n));
    INVALID(siskin_token_text(model, UINT32_MAX, &bytes, &n));
    INVALID(siskin_token_text(model, 1, NULL, &n));
    INVALID(siskin_token_text(model, 1, &bytes, NULL));
    INVALID(siskin_session_feed(NULL, tokens, 4));
    INVALID(siskin_session_feed(session, NULL, 4));
    INVALID(siskin_session_feed(session, tokens, 0));
    INVALID(siskin_session_feed(session, tokens, HUGE));
    const uint32_t none = UINT32_MAX;
    INVALID(siskin_session_feed(session, &none, 1));
    INVALID(siskin_session_logits(NULL, &logits, &n));
    INVALID(siskin_session_logits(session, &logits, &n)); /* nothing was fed */
    INVALID(siskin_session_logits(session, NULL, &n));
    INVALID(siskin_session_sample(session, tokens)); /* nothing was fed */
    INVALID(siskin_session_sample(session, NULL));
    INVALID(siskin_session_sample(NULL, tokens));
    INVALID(siskin_session_score(NULL, tokens, 4, log_probs));
    INVALID(siskin_session_score(session, tokens, 0, log_probs));
    INVALID(siskin_session_score(session, tokens, HUGE, log_probs));
    INVALID(siskin_session_score(session, tokens, 4, NULL));
    INVALID(siskin_session_score(session, &none, 1, log_probs));
    INVALID(siskin_session_save(NULL, memory, sizeof memory, &n));
    INVALID(siskin_session_save(session, NULL, HUGE, &n));
    INVALID(siskin_session_save(session, memory, sizeof memory, NULL));
    INVALID(siskin_session_restore(NULL, memory, sizeof memory));
    INVALID(siskin_session_restore(session, NULL, 5));
    INVALID(siskin_session_restore(session, memory, HUGE));
    IS(SISKIN_BAD_STATE, siskin_session_restore(session, NULL, 0));
    OK(siskin_session_position(session, &n, NULL));
    CHECK(n == 0);
    /* An empty prompt lets the model begin, and after nothing has happened above the session is as new. */
    OK(siskin_session_generate(session, NULL, 0, 2, NULL, NULL, NULL));
    siskin_session_free(session);
    siskin_model_free(model);
}

/* 4: structs of another version. */
static void point_4(char **files) {
    siskin_model *model = open_model(files[0]);
    struct {
        siskin_session_options known;
        uint64_t newer[4];
    } larger;
    siskin_session *session;
    siskin_session_options_init(&larger.known, sizeof larger);
    CHECK(larger.known.size == sizeof larger && larger.newer[3] == 0);
    OK(siskin_session_new(model, &larger.known, &session));
    siskin_session_free(session);
    larger.newer[3] = 1;
    INVALID(siskin_session_new(model, &larger.known, &session));
    CHECK(session == NULL);
    /* A client of an older version has only the first fields; what lies behind them is not looked at. */
    siskin_session_options older;
    memset(&older, 0xff, sizeof older);
    older.context = 0;
    older.size = offsetof(siskin_session_options, batch);
    OK(siskin_session_new(model, &older, &session));
    memset(&older, 0xff, sizeof older);
    siskin_session_options_init(&older, offsetof(siskin_session_options, threads));
    CHECK(older.size == offsetof(siskin_session_options, threads) && older.threads == -1 && older.batch == 0);
    const size_t wrong[] = {0, 1, sizeof(size_t) - 1, sizeof(size_t) + 1, sizeof older - 1, 4097, (size_t)-1};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        siskin_session *other;
        siskin_session_options_init(&older, sizeof older);
        older.size = wrong[i];
        INVALID(siskin_session_new(model, &older, &other));
    }
    siskin_sampling sampling;
    memset(&sampling, 0xff, sizeof sampling);
    sampling.size = offsetof(siskin_sampling, top_k) + 4; /* top_p begins there */
    sampling.temperature = 0;
    sampling.top_k = 3;
    OK(siskin_session_set_sampling(session, &sampling));
    struct {
        siskin_model_info known;
        uint64_t newer[2];
    } info;
    memset(&info, 0xff, sizeof info);
    info.known.size = sizeof info;
    OK(siskin_model_get_info(model, &info.known));
    CHECK(info.known.size == sizeof info && info.known.vocab_size > 0 && info.newer[0] == 0 && info.newer[1] == 0);
    memset(&info, 0xff, sizeof info);
    info.known.size = offsetof(siskin_model_info, context);
    OK(siskin_model_get_info(model, &info.known));
    CHECK(info.known.vocab_size < 1000000 && info.known.context == (size_t)-1);
    siskin_session_free(session);
    siskin_model_free(model);
}

static void *fails_there(void *path) {
    siskin_model *model;
    char error[512];
    CHECK(siskin_error_text(error, sizeof error) == 1 && error[0] == 0);
    IS(SISKIN_IO, siskin_model_open(path, NULL, &model));
    return NULL;
}

/* 5: statuses are returned, the text of an error is copied, and every thread has its own. */
static void point_5(char **files) {
    siskin_model *model;
    char error[512], cut[8];
    CHECK(siskin_error_text(NULL, 0) == 1 && siskin_error_text(error, 1) == 1 && error[0] == 0);
    const char *names[] = {"OK", "INVALID_ARGUMENT", "NO_MEMORY", "IO", "BAD_FILE", "UNSUPPORTED", "BUDGET", "BAD_TEXT",
                           "CONTEXT_FULL", "CANCELLED", "BUSY", "BUFFER_TOO_SMALL", "NO_CANDIDATE", "BAD_STATE", "INTERNAL"};
    for (int i = 0; i < 15; i++) CHECK(strcmp(siskin_status_name(i), names[i]) == 0);
    CHECK(strcmp(siskin_status_name(15), "UNKNOWN") == 0 && strcmp(siskin_status_name(-1), "UNKNOWN") == 0);
    IS(SISKIN_IO, siskin_model_open("/nowhere/there", NULL, &model));
    size_t needed = siskin_error_text(error, sizeof error);
    CHECK(needed == strlen(error) + 1 && strstr(error, "/nowhere/there") != NULL);
    memset(cut, 'x', sizeof cut);
    CHECK(siskin_error_text(cut, 5) == needed && strlen(cut) == 4 && cut[5] == 'x' && memcmp(cut, error, 4) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, fails_there, "/elsewhere") == 0 && pthread_join(thread, NULL) == 0);
    model = open_model(files[0]); /* success leaves the text alone, as does the other thread */
    CHECK(siskin_error_text(cut, sizeof cut) == needed && memcmp(cut, error, sizeof cut - 1) == 0);
    siskin_model_free(model);
    IS(SISKIN_IO, siskin_model_open("/", NULL, &model));
    IS(SISKIN_BAD_FILE, siskin_model_open("/proc/self/exe", NULL, &model));
    IS(SISKIN_BAD_FILE, siskin_model_open_memory("siskin", 6, NULL, &model));
}

/* 6: a short buffer tells the size that is needed, and is not written to. */
static void point_6(char **files) {
    siskin_model *model = open_model(files[0]);
    siskin_session *session = new_session(model, 1);
    uint32_t tokens[64];
    char bytes[64], *state;
    size_t n, needed, again;
    IS(SISKIN_BUFFER_TOO_SMALL, siskin_tokenize(model, "abcdef", 6, 0, NULL, 0, &needed));
    tokens[needed - 1] = 77;
    IS(SISKIN_BUFFER_TOO_SMALL, siskin_tokenize(model, "abcdef", 6, 0, tokens, needed - 1, &n));
    CHECK(n == needed && tokens[needed - 1] == 77);
    OK(siskin_tokenize(model, "abcdef", 6, 0, tokens, needed, &n));
    IS(SISKIN_BUFFER_TOO_SMALL, siskin_detokenize(model, tokens, n, NULL, 0, &needed));
    CHECK(needed == 6);
    IS(SISKIN_BUFFER_TOO_SMALL, siskin_detokenize(model, tokens, n, bytes, 5, &needed));
    OK(siskin_detokenize(model, tokens, n, bytes, 6, &needed));
    CHECK(memcmp(bytes, "abcdef", 6) == 0);
    IS(SISKIN_BUFFER_TOO_SMALL, siskin_kernels(bytes, 1, &needed));
    OK(siskin_kernels(bytes, needed, &again));
    CHECK(again == needed && strlen(bytes) + 1 == needed);
    OK(siskin_session_generate(session, "abc", 3, 5, NULL, NULL, NULL));
    IS(SISKIN_BUFFER_TOO_SMALL, siskin_session_save(session, NULL, 0, &needed));
    CHECK((state = malloc(needed)) != NULL);
    IS(SISKIN_BUFFER_TOO_SMALL, siskin_session_save(session, state, needed - 1, &again));
    OK(siskin_session_save(session, state, needed, &again));
    CHECK(again == needed);
    OK(siskin_session_restore(session, state, needed));
    free(state);
    siskin_session_free(session);
    siskin_model_free(model);
}

static siskin_session *shared;
static atomic_int begun;

static int slowly(const char *text, size_t length, void *user) {
    (void)text, (void)length, (void)user;
    atomic_fetch_add(&begun, 1);
    sleep_ms(5);
    return 0;
}

static void *runs(void *status) {
    IS(*(siskin_status *)status, siskin_session_generate(shared, "abc", 3, 1000000, slowly, NULL, NULL));
    return NULL;
}

static int calls_itself(const char *text, size_t length, void *user) {
    (void)text, (void)length;
    IS(SISKIN_BUSY, siskin_session_reset(user));
    IS(SISKIN_BUSY, siskin_session_feed(user, (const uint32_t[]){1}, 1));
    return 1;
}

static int frees_itself(const char *text, size_t length, void *user) {
    (void)text, (void)length;
    siskin_session_free(user);
    return 0;
}

static void on_alarm(int number) {
    (void)number;
    siskin_session_cancel(shared);
}

static void *cancels_soon(void *ms) {
    sleep_ms(*(long *)ms);
    OK(siskin_session_cancel(shared));
    return NULL;
}

enum { THREADS = 8, SESSIONS = 64 };

typedef struct {
    siskin_model *model;
    const Text *expected;
} Job;

static void *writes_eight(void *argument) {
    Job *job = argument;
    siskin_session *sessions[SESSIONS / THREADS];
    for (int i = 0; i < SESSIONS / THREADS; i++) sessions[i] = new_session(job->model, 1 + i % 2);
    for (int i = 0; i < SESSIONS / THREADS; i++) {
        Text *text = calloc(1, sizeof *text);
        CHECK(text != NULL);
        OK(siskin_session_generate(sessions[i], "abc", 3, 24, keep, text, NULL));
        CHECK(text->length == job->expected->length && memcmp(text->bytes, job->expected->bytes, text->length) == 0);
        free(text);
    }
    for (int i = 0; i < SESSIONS / THREADS; i++) siskin_session_free(sessions[i]);
    return NULL;
}

/* 7: a model for many threads, a session for one at a time, and cancel from anywhere. */
static void point_7(char **files) {
    siskin_model *model = open_model(files[0]);
    pthread_t threads[THREADS];
    static Text expected;
    shared = new_session(model, 1);
    OK(siskin_session_generate(shared, "abc", 3, 24, keep, &expected, NULL));
    Job job = {model, &expected};
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, writes_eight, &job) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    /* Two calls at once. */
    size_t position, after;
    siskin_status cancelled = SISKIN_CANCELLED;
    OK(siskin_session_reset(shared));
    CHECK(pthread_create(&threads[0], NULL, runs, &cancelled) == 0);
    while (atomic_load(&begun) == 0) sleep_ms(1);
    IS(SISKIN_BUSY, siskin_session_reset(shared));
    IS(SISKIN_BUSY, siskin_session_position(shared, &position, NULL));
    IS(SISKIN_BUSY, siskin_session_generate(shared, "x", 1, 1, NULL, NULL, NULL));
    OK(siskin_session_cancel(shared));
    CHECK(pthread_join(threads[0], NULL) == 0);
    OK(siskin_session_position(shared, &position, NULL)); /* and it is free again */
    OK(siskin_session_generate(shared, "", 0, 3, calls_itself, shared, NULL));
    /* Cancel works on a prompt too: from another thread, then from a signal handler. The session stands as before. */
    size_t context;
    OK(siskin_session_position(shared, NULL, &context));
    const size_t many = context > 0 ? context - 16 : 1 << 20;
    char *prompt = malloc(many);
    CHECK(prompt != NULL);
    memset(prompt, 'a', many);
    siskin_status status = SISKIN_OK;
    for (long ms = 20; status == SISKIN_OK; ms = ms > 1 ? ms / 2 : 20) {
        OK(siskin_session_reset(shared));
        OK(siskin_session_generate(shared, "abc", 3, 4, NULL, NULL, NULL));
        OK(siskin_session_position(shared, &position, NULL));
        CHECK(pthread_create(&threads[0], NULL, cancels_soon, &ms) == 0);
        status = siskin_session_start(shared, prompt, many, 1);
        CHECK(pthread_join(threads[0], NULL) == 0);
    }
    IS(SISKIN_CANCELLED, status);
    OK(siskin_session_position(shared, &after, NULL));
    CHECK(after == position);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    alarm(1);
    OK(siskin_session_reset(shared));
    do status = siskin_session_start(shared, prompt, many, 1), siskin_session_reset(shared);
    while (status == SISKIN_OK);
    IS(SISKIN_CANCELLED, status);
    /* A cancel that comes before the call ends the next one, and only that. */
    OK(siskin_session_cancel(shared));
    IS(SISKIN_CANCELLED, siskin_session_generate(shared, "abc", 3, 3, NULL, NULL, NULL));
    OK(siskin_session_generate(shared, "abc", 3, 3, NULL, NULL, NULL));
    /* Freed while it runs: by its own callback, and by another thread. */
    siskin_session *own = new_session(model, 1);
    IS(SISKIN_CANCELLED, siskin_session_generate(own, "abc", 3, 100, frees_itself, own, NULL));
    atomic_store(&begun, 0);
    CHECK(pthread_create(&threads[0], NULL, runs, &cancelled) == 0);
    while (atomic_load(&begun) == 0) sleep_ms(1);
    siskin_session_free(shared);
    CHECK(pthread_join(threads[0], NULL) == 0);
    free(prompt);
    siskin_model_free(model);
}

/* 8: a model lives as long as its last session. */
static void point_8(char **files) {
    siskin_model *model = open_model(files[0]);
    siskin_session *one = new_session(model, 1), *two = new_session(model, 2);
    siskin_model_free(model);
    OK(siskin_session_generate(one, "abc", 3, 5, NULL, NULL, NULL));
    siskin_session_free(one);
    OK(siskin_session_generate(two, "abc", 3, 5, NULL, NULL, NULL));
    siskin_session_free(two);
}

/* 9: no signal handler, and not a byte of output, whatever goes wrong. The exit status says that the process was not ended. */
static void point_9(char **files) {
    struct sigaction before[64], after[64];
    memset(before, 0, sizeof before);
    memset(after, 0, sizeof after);
    for (int i = 1; i < 32; i++) sigaction(i, NULL, &before[i]);
    FILE *seen = tmpfile();
    CHECK(seen != NULL);
    int out = dup(1), err = dup(2);
    CHECK(dup2(fileno(seen), 1) == 1 && dup2(fileno(seen), 2) == 2);
    siskin_model *model = NULL, *none;
    siskin_session *session = NULL;
    siskin_status statuses[5];
    statuses[0] = siskin_model_open(files[0], NULL, &model);
    statuses[1] = siskin_session_new(model, NULL, &session);
    statuses[2] = siskin_session_generate(session, "abc", 3, 20, NULL, NULL, NULL);
    statuses[3] = siskin_planted_panic(session);
    statuses[4] = siskin_model_open("/nowhere", NULL, &none);
    siskin_session_free(session);
    siskin_model_free(model);
    fflush(NULL);
    CHECK(dup2(out, 1) == 1 && dup2(err, 2) == 2);
    for (int i = 0; i < 3; i++) OK(statuses[i]);
    IS(SISKIN_INTERNAL, statuses[3]);
    IS(SISKIN_IO, statuses[4]);
    CHECK(lseek(fileno(seen), 0, SEEK_END) == 0);
    fclose(seen);
    for (int i = 1; i < 32; i++) sigaction(i, NULL, &after[i]);
    for (int i = 1; i < 32; i++) CHECK(before[i].sa_handler == after[i].sa_handler && before[i].sa_flags == after[i].sa_flags);
}

/* 11: the version. */
static void point_11(char **files) {
    char expected[32];
    (void)files;
    snprintf(expected, sizeof expected, "%d.%d.%d", SISKIN_VERSION_MAJOR, SISKIN_VERSION_MINOR, SISKIN_VERSION_PATCH);
    CHECK(strcmp(siskin_version(), expected) == 0);
}

/* Whether bytes are whole characters of UTF-8 (RFC 3629). */
static int is_utf8(const unsigned char *at, size_t n) {
    const unsigned char *end = at + n;
    while (at < end) {
        int more = *at < 0x80 ? 0 : *at >= 0xc2 && *at < 0xe0 ? 1 : *at >= 0xe0 && *at < 0xf0 ? 2 : *at >= 0xf0 && *at < 0xf5 ? 3 : -1;
        if (more < 0 || end - at <= more) return 0;
        if ((*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] > 0x9f) || (*at == 0xf0 && at[1] < 0x90) ||
            (*at == 0xf4 && at[1] > 0x8f))
            return 0;
        for (at++; more > 0; more--, at++)
            if ((*at & 0xc0) != 0x80) return 0;
    }
    return 1;
}

static int is_text(const char *text, size_t length, void *user) {
    CHECK(is_utf8((const unsigned char *)text, length));
    return keep(text, length, user);
}

/* 12: text is whole characters, while tokens are bytes. The stop string is not shown, nor is a part of it. */
static void point_12(char **files) {
    siskin_model *model = open_model(files[0]);
    siskin_session *session = new_session(model, 1);
    siskin_sampling sampling;
    siskin_stop stop = -1;
    static Text text, all, until;
    siskin_sampling_init(&sampling, sizeof sampling);
    sampling.temperature = 1;
    sampling.top_k = 0, sampling.top_p = 1, sampling.min_p = 0; /* any byte may come */
    sampling.seed = 3;
    OK(siskin_session_set_sampling(session, &sampling));
    OK(siskin_session_generate(session, "\xe4\xbd", 2, 2000, is_text, &text, &stop));
    CHECK(stop == SISKIN_STOP_MAX_TOKENS && text.length > 2000 && text.calls < 2000);
    /* Of a text of which every byte may be held back, the pieces make the whole. */
    siskin_bias letters[256];
    for (uint32_t i = 0; i < 256; i++) letters[i] = (siskin_bias){i, i >= 'a' && i <= 'c' ? 0 : -INFINITY};
    sampling.bias = letters, sampling.n_bias = 256;
    OK(siskin_session_reset(session));
    OK(siskin_session_set_sampling(session, &sampling));
    OK(siskin_session_generate(session, "x", 1, 500, is_text, &all, &stop));
    CHECK(all.length == 500 && stop == SISKIN_STOP_MAX_TOKENS);
    const char *stops[] = {"abc", "ccc", "never"};
    sampling.stop = stops, sampling.n_stop = 3;
    OK(siskin_session_reset(session));
    OK(siskin_session_set_sampling(session, &sampling));
    OK(siskin_session_generate(session, "x", 1, 500, is_text, &until, &stop));
    const char *whole = (all.bytes[all.length] = 0, all.bytes);
    const char *abc = strstr(whole, "abc"), *ccc = strstr(whole, "ccc");
    CHECK(stop == SISKIN_STOP_STRING && abc != NULL && ccc != NULL);
    CHECK(until.length == (size_t)((abc < ccc ? abc : ccc) - whole) && memcmp(until.bytes, whole, until.length) == 0);
    siskin_session_free(session);
    siskin_model_free(model);
}

/* 13: sessions in memory of the caller, counted before; nothing outside it is touched. */
static void point_13(char **files) {
    siskin_model *model = open_model(files[0]);
    static Text expected;
    siskin_session *session = new_session(model, 1);
    OK(siskin_session_generate(session, "abc", 3, 30, keep, &expected, NULL));
    siskin_session_free(session);
    for (size_t skipped = 0; skipped < 3; skipped++) {
        siskin_session_options options;
        siskin_session_options_init(&options, sizeof options);
        options.threads = 1 + (int32_t)skipped;
        size_t bytes;
        OK(siskin_session_bytes(model, &options, &bytes));
        unsigned char *memory = malloc(bytes + 4096);
        CHECK(memory != NULL);
        memset(memory, 0xa5, bytes + 4096);
        unsigned char *start = memory + 2048 + skipped;
        IS(SISKIN_BUDGET, siskin_session_new_in(model, &options, start, bytes - 1, &session));
        CHECK(session == NULL);
        OK(siskin_session_new_in(model, &options, start, bytes, &session));
        Text *text = calloc(1, sizeof *text);
        CHECK(text != NULL);
        OK(siskin_session_generate(session, "abc", 3, 30, keep, text, NULL));
        CHECK(text->length == expected.length && memcmp(text->bytes, expected.bytes, text->length) == 0);
        siskin_session_free(session);
        for (size_t i = 0; i < 2048 + skipped; i++) CHECK(memory[i] == 0xa5);
        for (size_t i = 2048 + skipped + bytes; i < bytes + 4096; i++) CHECK(memory[i] == 0xa5);
        free(text);
        free(memory);
        options.max_memory = bytes - 1;
        IS(SISKIN_BUDGET, siskin_session_new(model, &options, &session));
        options.max_memory = bytes;
        OK(siskin_session_new(model, &options, &session));
        siskin_session_free(session);
    }
    siskin_model_free(model);
}

int main(int argc, char **argv) {
    static void (*const points[])(char **) = {NULL,    point_1, point_2, point_3,  point_4,  point_5,  point_6,
                                              point_7, point_8, point_9, NULL, point_11, point_12, point_13};
    int point = argc > 2 ? atoi(argv[1]) : 0;
    if (point < 1 || point > 13 || points[point] == NULL) {
        fprintf(stderr, "usage: contract POINT FILE...\n");
        return 2;
    }
    points[point](argv + 2);
    return 0;
}
