/* Numbers that go wrong have defined results: numbers FILE FILE_WITH_NAN_LOGITS FILE_OF_CHARACTERS. */
#define _GNU_SOURCE
#include "check.h"

#include <math.h>
#include <sys/mman.h>

/* Logits of which none is a number. */
static void nan_logits(const char *path) {
    siskin_model *model = open_model(path);
    siskin_session *session = new_session(model, 1);
    siskin_piece piece = {sizeof piece, NULL, 0, 0, 0};
    uint32_t tokens[] = {97, 98, 99}, token = 7;
    double log_probs[3] = {1, 1, 1};
    size_t position;
    IS(SISKIN_BAD_FILE, siskin_model_verify(model));
    IS(SISKIN_NO_CANDIDATE, siskin_session_generate(session, "abc", 3, 5, NULL, NULL, NULL));
    OK(siskin_session_position(session, &position, NULL));
    CHECK(position == 3);
    OK(siskin_session_start(session, "abc", 3, 5));
    IS(SISKIN_NO_CANDIDATE, siskin_session_next(session, &piece));
    IS(SISKIN_NO_CANDIDATE, siskin_session_next(session, &piece));
    IS(SISKIN_NO_CANDIDATE, siskin_session_sample(session, &token));
    CHECK(token == 7);
    OK(siskin_session_score(session, tokens, 3, log_probs));
    for (int i = 0; i < 3; i++) CHECK(isnan(log_probs[i]));
    siskin_session_free(session);
    siskin_model_free(model);
}

/* Options at the ends of their ranges, and beyond sense. */
static void absurd_sampling(siskin_session *session) {
    static const float temperatures[] = {0, 1e-45f, 1e-10f, 1, 1e30f, 3.4e38f};
    static const float penalties[] = {1e-45f, 1, 3.4e38f};
    siskin_sampling sampling;
    siskin_bias bans[256];
    for (uint32_t i = 0; i < 256; i++) bans[i] = (siskin_bias){i, -INFINITY};
    for (int t = 0; t < 6; t++) {
        for (int p = 0; p < 3; p++) {
            siskin_sampling_init(&sampling, sizeof sampling);
            sampling.temperature = temperatures[t];
            sampling.repetition_penalty = penalties[p];
            sampling.frequency_penalty = p == 2 ? -3.4e38f : 0;
            sampling.presence_penalty = p == 1 ? 3.4e38f : 0;
            sampling.top_k = p == 0 ? UINT32_MAX : 1;
            sampling.top_p = p == 2 ? 1e-45f : 1;
            sampling.min_p = p == 1 ? 1 : 0;
            sampling.penalty_last_n = p - 1;
            sampling.seed = UINT64_MAX;
            sampling.flags = p == 1 ? SISKIN_TEMPERATURE_FIRST : 0;
            OK(siskin_session_reset(session));
            OK(siskin_session_set_sampling(session, &sampling));
            siskin_status status = siskin_session_generate(session, "abc", 3, 20, NULL, NULL, NULL);
            CHECK(status == SISKIN_OK || status == SISKIN_NO_CANDIDATE);
        }
    }
    siskin_sampling_init(&sampling, sizeof sampling);
    sampling.bias = bans, sampling.n_bias = 256;
    OK(siskin_session_reset(session));
    OK(siskin_session_set_sampling(session, &sampling));
    IS(SISKIN_NO_CANDIDATE, siskin_session_generate(session, "abc", 3, 20, NULL, NULL, NULL));
    sampling.n_bias = 255; /* all but one: the only token that is left */
    OK(siskin_session_set_sampling(session, &sampling));
    uint32_t token;
    OK(siskin_session_sample(session, &token));
    CHECK(token == 255);
    OK(siskin_session_set_sampling(session, NULL));
    OK(siskin_session_reset(session));
}

/* Prompts that are empty, longer than the context, or longer than anything. */
static void prompts(siskin_model *model, siskin_session *session) {
    siskin_stop stop = -1;
    size_t position, context, many = 1 << 13, n;
    static char text[1 << 13];
    memset(text, 'a', many);
    OK(siskin_session_generate(session, "", 0, 0, NULL, NULL, &stop));
    CHECK(stop == SISKIN_STOP_MAX_TOKENS);
    OK(siskin_session_reset(session));
    OK(siskin_session_position(session, &position, &context));
    if (context > 0) {
        IS(SISKIN_CONTEXT_FULL, siskin_session_start(session, text, context + 1, 5));
        OK(siskin_session_position(session, &position, NULL));
        CHECK(position == 0);
        OK(siskin_session_generate(session, text, context, 5, NULL, NULL, &stop));
        CHECK(stop == SISKIN_STOP_CONTEXT_FULL);
        IS(SISKIN_CONTEXT_FULL, siskin_session_start(session, "a", 1, 5));
        OK(siskin_session_position(session, &position, NULL));
        CHECK(position == context);
    } else {
        OK(siskin_session_generate(session, text, many, 5, NULL, NULL, &stop));
        CHECK(stop == SISKIN_STOP_MAX_TOKENS);
    }
    OK(siskin_session_reset(session));
    /* 2^31 bytes, which cost nothing as long as nobody writes to them. */
    size_t huge = (size_t)1 << 31;
    char *zeros = mmap(NULL, huge, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (zeros != MAP_FAILED) {
        INVALID(siskin_tokenize(model, zeros, huge, 0, NULL, 0, &n));
        INVALID(siskin_session_generate(session, zeros, huge, 5, NULL, NULL, NULL));
        INVALID(siskin_session_start(session, zeros, huge, 5));
        if (context > 0) IS(SISKIN_CONTEXT_FULL, siskin_session_start(session, zeros, huge - 1, 5));
        munmap(zeros, huge);
    }
}

/* Text that is no UTF-8, or that the vocabulary lacks. */
static void bad_text(siskin_model *bytes, const char *path) {
    siskin_model *chars = open_model(path);
    siskin_session *session = new_session(chars, 1);
    uint32_t tokens[16];
    size_t n, position;
    const char *wrong[] = {"a\xff", "\xc3", "abcd", "\xed\xa0\x80", "\xc0\x80"};
    for (int i = 0; i < 5; i++) {
        IS(SISKIN_BAD_TEXT, siskin_tokenize(chars, wrong[i], strlen(wrong[i]), 0, tokens, 16, &n));
        IS(SISKIN_BAD_TEXT, siskin_session_start(session, wrong[i], strlen(wrong[i]), 3));
        OK(siskin_session_position(session, &position, NULL));
        CHECK(position == 0);
        OK(siskin_tokenize(bytes, wrong[i], strlen(wrong[i]), 0, tokens, 16, &n));
        CHECK(n == strlen(wrong[i]));
    }
    OK(siskin_tokenize(chars, "a\xc3\xbc", 3, 0, tokens, 16, &n));
    CHECK(n == 2);
    siskin_session_free(session);
    siskin_model_free(chars);
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    siskin_model *model = open_model(argv[1]);
    siskin_session *session = new_session(model, 2);
    nan_logits(argv[2]);
    absurd_sampling(session);
    prompts(model, session);
    bad_text(model, argv[3]);
    siskin_session_free(session);
    siskin_model_free(model);
    return 0;
}
