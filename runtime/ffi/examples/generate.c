/* Writes a text: ./generate MODEL.siskin PROMPT
 * cc generate.c -lsiskin -o generate */
#include <siskin.h>
#include <stdio.h>
#include <string.h>

static int print(const char *text, size_t length, void *file) { return fwrite(text, 1, length, file) != length; }

int main(int argc, char **argv)
{
    siskin_model *model = NULL;
    siskin_session *session = NULL;
    char error[256] = "usage: generate MODEL.siskin PROMPT";
    int failed = argc != 3 || siskin_model_open(argv[1], NULL, &model) || siskin_session_new(model, NULL, &session) ||
                 siskin_session_generate(session, argv[2], strlen(argv[2]), 100, print, stdout, NULL);
    if (failed && argc == 3)
        siskin_error_text(error, sizeof error);
    if (failed)
        fprintf(stderr, "%s\n", error);
    siskin_session_free(session);
    siskin_model_free(model);
    return failed;
}
