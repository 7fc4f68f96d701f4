/* Encoder-decoders: encoder FILE THREADS BATCH SOURCE... prints, for each source, the tokens that the model writes greedily, the bits of its
 * first logits, and the bits of the log-probabilities of those tokens. On the way everything that siskin.h says about sources is checked. */
#include "check.h"

#include <inttypes.h>

enum { WRITTEN = 24, HALF = 10 };

static siskin_session *greedy(siskin_model *model, const siskin_session_options *options) {
    siskin_session *session = NULL;
    siskin_sampling sampling;
    OK(siskin_session_new(model, options, &session));
    siskin_sampling_init(&sampling, sizeof sampling);
    sampling.temperature = 0;
    OK(siskin_session_set_sampling(session, &sampling));
    return session;
}

static size_t position(const siskin_session *session) {
    size_t found;
    OK(siskin_session_position(session, &found, NULL));
    return found;
}

/* The tokens of a text that was started, up to WRITTEN. */
static size_t write_tokens(siskin_session *session, uint32_t *tokens) {
    siskin_piece piece = {sizeof piece, NULL, 0, -1, SISKIN_STOP_NONE};
    size_t n = 0;
    while (piece.stop == SISKIN_STOP_NONE) {
        OK(siskin_session_next(session, &piece));
        if (piece.token >= 0) {
            CHECK(n < WRITTEN);
            tokens[n++] = (uint32_t)piece.token;
        }
    }
    CHECK(piece.stop == SISKIN_STOP_MAX_TOKENS);
    return n;
}

/* A source as text and as tokens gives the same; prints what it gives. */
static void turn(siskin_model *model, siskin_session *session, const char *source) {
    uint32_t tokens[WRITTEN], again[WRITTEN], ids[256];
    double log_probs[WRITTEN];
    const float *logits;
    size_t n_ids, n_logits, length = strlen(source);
    /* Whatever the session held before is forgotten. */
    OK(siskin_session_start(session, source, length, WRITTEN));
    CHECK(position(session) == 1); /* the begin token; a source takes no positions of the text */
    CHECK(write_tokens(session, tokens) == WRITTEN);
    /* The first tokens that are fed after a reset are the source. */
    OK(siskin_tokenize(model, source, length, 0, ids, 256, &n_ids));
    OK(siskin_session_reset(session));
    OK(siskin_session_feed(session, ids, n_ids));
    CHECK(position(session) == 1);
    OK(siskin_session_logits(session, &logits, &n_logits));
    printf("tokens");
    for (int i = 0; i < WRITTEN; i++) printf(" %" PRIu32, tokens[i]);
    printf("\nlogits");
    for (size_t i = 0; i < n_logits; i++) {
        uint32_t bits;
        memcpy(&bits, &logits[i], sizeof bits);
        printf(" %08" PRIx32, bits);
    }
    OK(siskin_session_score(session, tokens, WRITTEN, log_probs));
    CHECK(position(session) == 1 + WRITTEN);
    printf("\nscores");
    for (int i = 0; i < WRITTEN; i++) {
        uint64_t bits;
        memcpy(&bits, &log_probs[i], sizeof bits);
        printf(" %016" PRIx64, bits);
    }
    printf("\n");
    /* An empty prompt goes on with the text. */
    OK(siskin_session_start(session, source, length, HALF));
    CHECK(write_tokens(session, again) == HALF);
    OK(siskin_session_start(session, "", 0, WRITTEN - HALF));
    CHECK(write_tokens(session, again + HALF) == WRITTEN - HALF);
    CHECK(memcmp(again, tokens, sizeof tokens) == 0);
}

/* Sources that are not accepted, and calls that want one. Each leaves the session as it was. */
static void misuse(siskin_session *session) {
    static const char longer[4096];
    const float *logits;
    uint32_t token = 1, none = UINT32_MAX;
    double log_prob;
    size_t n;
    OK(siskin_session_reset(session));
    INVALID(siskin_session_generate(session, "", 0, 3, NULL, NULL, NULL));
    INVALID(siskin_session_score(session, &token, 1, &log_prob));
    INVALID(siskin_session_logits(session, &logits, &n));
    INVALID(siskin_session_sample(session, &token));
    INVALID(siskin_session_feed(session, &none, 1));
    CHECK(position(session) == 0);
    OK(siskin_session_generate(session, "abc", 3, 4, NULL, NULL, NULL));
    const size_t before = position(session);
    IS(SISKIN_CONTEXT_FULL, siskin_session_generate(session, longer, sizeof longer, 3, NULL, NULL, NULL));
    OK(siskin_session_cancel(session));
    IS(SISKIN_CANCELLED, siskin_session_start(session, "other", 5, 3));
    CHECK(position(session) == before);
    OK(siskin_session_feed(session, &token, 1)); /* a token of the text, as there is a source */
    CHECK(position(session) > before);
}

/* A saved state has its source with it. */
static void saved(siskin_session *session, siskin_session *other) {
    uint32_t tokens[WRITTEN], again[WRITTEN];
    size_t needed, n;
    OK(siskin_session_start(session, "a source", 8, HALF));
    CHECK(write_tokens(session, tokens) == HALF);
    IS(SISKIN_BUFFER_TOO_SMALL, siskin_session_save(session, NULL, 0, &needed));
    char *state = malloc(needed);
    CHECK(state != NULL);
    OK(siskin_session_save(session, state, needed, &needed));
    OK(siskin_session_start(session, "", 0, HALF));
    n = write_tokens(session, tokens);
    OK(siskin_session_generate(other, "quite another", 13, 3, NULL, NULL, NULL));
    OK(siskin_session_restore(other, state, needed));
    OK(siskin_session_start(other, "", 0, HALF));
    CHECK(write_tokens(other, again) == n && memcmp(again, tokens, n * sizeof *tokens) == 0);
    free(state);
}

int main(int argc, char **argv) {
    CHECK(argc > 4);
    siskin_model *model = open_model(argv[1]);
    siskin_session_options options;
    siskin_session_options_init(&options, sizeof options);
    options.threads = atoi(argv[2]);
    options.batch = (size_t)atoi(argv[3]);
    siskin_session *session = greedy(model, &options);
    options.threads = 1;
    siskin_session *other = greedy(model, &options);
    siskin_model_free(model); /* it lives as long as its sessions */
    OK(siskin_model_open(argv[1], NULL, &model));
    for (int i = 4; i < argc; i++) turn(model, session, argv[i]);
    misuse(session);
    saved(session, other);
    siskin_session_free(other);
    siskin_session_free(session);
    siskin_model_free(model);
    return 0;
}
