/* Writes with the model, line by line: ./chat MODEL.siskin
 * cc chat.c -lsiskin -o chat
 *
 * Each line goes to the model with its line end, and the model answers up to its own line end. Ctrl-C stops an answer, also while a
 * long line is still being read by the model; at the prompt, it ends the program. */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <siskin.h>
#include <stdio.h>
#include <stdlib.h>

static siskin_session *session;
static volatile sig_atomic_t answering;

static void on_interrupt(int signal)
{
    (void)signal;
    if (answering)
        siskin_session_cancel(session); /* one of the few things that a signal handler may do */
    else
        _Exit(0);
}

static int print(const char *text, size_t length, void *user)
{
    (void)user;
    return fwrite(text, 1, length, stdout) != length || fflush(stdout) != 0;
}

static int fail(const char *what)
{
    char error[256];
    siskin_error_text(error, sizeof error);
    fprintf(stderr, "%s: %s\n", what, error);
    return 1;
}

/* Zero when the conversation can go on. */
static int answer(const char *line, size_t length)
{
    answering = 1;
    siskin_status status = siskin_session_generate(session, line, length, 200, print, NULL, NULL);
    answering = 0; /* an interrupt that comes between these lines cancels the next answer */
    putchar('\n');
    switch (status) {
    case SISKIN_OK:
    case SISKIN_CANCELLED: /* the session stands after the last piece, and the text goes on from there */
        return 0;
    case SISKIN_CONTEXT_FULL:
        fprintf(stderr, "(the text has become too long: it begins anew)\n");
        return siskin_session_reset(session);
    case SISKIN_BAD_TEXT: /* it stands as before the line */
        fail("this line");
        return 0;
    default:
        return fail("generate");
    }
}

int main(int argc, char **argv)
{
    const char *stop[] = {"\n"};
    siskin_sampling sampling;
    siskin_model *model;
    struct sigaction action = {0};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;

    if (argc != 2) {
        fprintf(stderr, "usage: chat MODEL.siskin\n");
        return 2;
    }
    if (siskin_model_open(argv[1], NULL, &model))
        return fail(argv[1]);
    if (siskin_session_new(model, NULL, &session))
        return fail("session");
    siskin_model_free(model); /* the session keeps it open */

    siskin_sampling_init(&sampling, sizeof sampling);
    sampling.temperature = 0.7f;
    sampling.seed = 1;
    sampling.stop = stop;
    sampling.n_stop = 1;
    if (siskin_session_set_sampling(session, &sampling))
        return fail("sampling");

    action.sa_handler = on_interrupt;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, NULL);

    while (fputs("> ", stderr), (length = getline(&line, &capacity, stdin)) > 0)
        if (answer(line, (size_t)length))
            break;
    free(line);
    siskin_session_free(session);
    return 0;
}
