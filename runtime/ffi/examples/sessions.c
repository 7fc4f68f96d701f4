/* 64 sessions in 8 threads on one model: ./sessions MODEL.siskin
 * cc sessions.c -lsiskin -lpthread -o sessions
 *
 * Each session writes by a seed of its own, and all of a thread's sessions take turns, token by token. Every text must be
 * the one that a session alone writes by that seed. */
#include <pthread.h>
#include <siskin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_THREADS = 8, PER_THREAD = 8, N_SESSIONS = N_THREADS * PER_THREAD, N_TOKENS = 24, TEXT = 64 * N_TOKENS };

static siskin_model *model;
static char texts[N_SESSIONS][TEXT];

static void check(siskin_status status, const char *what)
{
    char error[256];
    if (status == SISKIN_OK)
        return;
    siskin_error_text(error, sizeof error);
    fprintf(stderr, "%s: %s: %s\n", what, siskin_status_name(status), error);
    exit(1);
}

/* A session of one thread that is about to write by this seed. */
static siskin_session *begin(uint64_t seed)
{
    siskin_session *session;
    siskin_session_options options;
    siskin_sampling sampling;
    siskin_session_options_init(&options, sizeof options);
    options.threads = 1;
    check(siskin_session_new(model, &options, &session), "session");
    siskin_sampling_init(&sampling, sizeof sampling);
    sampling.seed = seed;
    check(siskin_session_set_sampling(session, &sampling), "sampling");
    check(siskin_session_start(session, "The", 3, N_TOKENS), "start");
    return session;
}

/* Adds a token's text to `text`; 0 when the text is over. */
static int step(siskin_session *session, char *text)
{
    siskin_piece piece;
    piece.size = sizeof piece;
    check(siskin_session_next(session, &piece), "next");
    if (piece.length >= TEXT - strlen(text)) {
        fprintf(stderr, "a piece of %zu bytes\n", piece.length);
        exit(1);
    }
    strncat(text, piece.text, piece.length);
    return piece.stop == SISKIN_STOP_NONE;
}

static void *write_texts(void *argument)
{
    size_t first = *(size_t *)argument;
    siskin_session *sessions[PER_THREAD];
    int running[PER_THREAD], any = 1;
    for (size_t i = 0; i < PER_THREAD; i++) {
        sessions[i] = begin(first + i);
        running[i] = 1;
    }
    while (any) {
        any = 0;
        for (size_t i = 0; i < PER_THREAD; i++)
            any |= running[i] = running[i] && step(sessions[i], texts[first + i]);
    }
    for (size_t i = 0; i < PER_THREAD; i++)
        siskin_session_free(sessions[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[N_THREADS];
    size_t first[N_THREADS], different = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: sessions MODEL.siskin\n");
        return 2;
    }
    check(siskin_model_open(argv[1], NULL, &model), argv[1]);
    for (size_t i = 0; i < N_THREADS; i++) {
        first[i] = i * PER_THREAD;
        if (pthread_create(&threads[i], NULL, write_texts, &first[i])) {
            fprintf(stderr, "no thread\n");
            return 1;
        }
    }
    for (size_t i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);

    for (size_t i = 0; i < N_SESSIONS; i++) {
        char alone[TEXT] = "";
        siskin_session *session = begin(i);
        while (step(session, alone))
            ;
        siskin_session_free(session);
        different += strcmp(alone, texts[i]) != 0;
    }
    siskin_model_free(model);
    printf("%s\n%d sessions in %d threads, %zu differ from a session alone\n", texts[1], N_SESSIONS, N_THREADS, different);
    return different != 0;
}
