/* A program that carries its model and opens no file: ./embedded [PROMPT]
 * cc -DMODEL='"story.siskin"' embedded.c -lsiskin -o embedded
 *
 * The assembler puts the file's bytes into the program at a multiple of 64. They are then used where they lie: the system loads them
 * with the program, page by page, as they are needed. `ld -r -b binary` makes such an object too, but aligns it to 1;
 * siskin_model_open_memory() then copies it. */
#include <siskin.h>
#include <stdio.h>
#include <string.h>

__asm__(".section .rodata\n"
        ".balign 64\n"
        ".global story\n"
        "story: .incbin \"" MODEL "\"\n"
        ".global story_end\n"
        "story_end: .byte 0\n"
        ".previous\n");
extern const char story[], story_end[];

static int print(const char *text, size_t length, void *file)
{
    return fwrite(text, 1, length, file) != length;
}

int main(int argc, char **argv)
{
    const char *prompt = argc > 1 ? argv[1] : "";
    siskin_model *model = NULL;
    siskin_session *session = NULL;
    siskin_status status = siskin_model_open_memory(story, (size_t)(story_end - story), NULL, &model);
    if (!status)
        status = siskin_session_new(model, NULL, &session);
    if (!status)
        status = siskin_session_generate(session, prompt, strlen(prompt), 100, print, stdout, NULL);
    if (status) {
        char error[256];
        siskin_error_text(error, sizeof error);
        fprintf(stderr, "%s: %s\n", siskin_status_name(status), error);
    }
    siskin_session_free(session);
    siskin_model_free(model);
    return status != SISKIN_OK;
}
