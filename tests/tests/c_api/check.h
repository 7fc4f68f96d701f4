/* What the C tests share. */
#include <siskin.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program with the place and the last error, unless the condition holds. */
#define CHECK(condition)                                                                                                    \
    do {                                                                                                                    \
        if (!(condition)) fail(__FILE__, __LINE__, #condition);                                                             \
    } while (0)

/* The same of a status. */
#define IS(expected, call)                                                                                                  \
    do {                                                                                                                    \
        siskin_status found_ = (call);                                                                                      \
        if (found_ != (expected)) {                                                                                         \
            fprintf(stderr, "%s: ", siskin_status_name(found_));                                                            \
            fail(__FILE__, __LINE__, #call);                                                                                \
        }                                                                                                                   \
    } while (0)

#define OK(call) IS(SISKIN_OK, call)
#define INVALID(call) IS(SISKIN_INVALID_ARGUMENT, call)

static inline void fail(const char *file, int line, const char *what) {
    char error[512];
    siskin_error_text(error, sizeof error);
    fprintf(stderr, "%s:%d: %s (last error: %s)\n", file, line, what, error);
    exit(1);
}

static inline siskin_model *open_model(const char *path) {
    siskin_model *model = NULL;
    OK(siskin_model_open(path, NULL, &model));
    CHECK(model != NULL);
    return model;
}

/* A session with so many threads. */
static inline siskin_session *new_session(siskin_model *model, int threads) {
    siskin_session *session = NULL;
    siskin_session_options options;
    siskin_session_options_init(&options, sizeof options);
    options.threads = threads;
    OK(siskin_session_new(model, &options, &session));
    CHECK(session != NULL);
    return session;
}

/* A text that grows. */
typedef struct {
    char bytes[1 << 16];
    size_t length, calls;
} Text;

static inline int keep(const char *text, size_t length, void *user) {
    Text *kept = user;
    CHECK(length > 0 && text[length] == 0 && kept->length + length <= sizeof kept->bytes);
    memcpy(kept->bytes + kept->length, text, length);
    kept->length += length;
    kept->calls++;
    return 0;
}
