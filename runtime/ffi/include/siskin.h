/* siskin.h - small language models on any CPU
 *
 * A program opens a model, makes a session, and lets it write:
 *
 *     siskin_model *model;
 *     siskin_session *session;
 *     if (siskin_model_open("story.siskin", NULL, &model) == SISKIN_OK &&
 *         siskin_session_new(model, NULL, &session) == SISKIN_OK)
 *         siskin_session_generate(session, "Once", 4, 100, print, stdout, NULL);
 *
 * This file goes from simple to advanced: version and errors, models, sessions, generating, step by step, tokens,
 * saved states. What holds for every function stands here; what a function adds stands above it.
 *
 * STATUS. Functions return a siskin_status, 0 for success, and give their results through pointers. A function that fails
 * changes nothing, unless it says otherwise: pointers to handles are set to NULL, other results stay as they were. Every function
 * that takes pointers or options may return SISKIN_INVALID_ARGUMENT, every function may return SISKIN_NO_MEMORY and SISKIN_INTERNAL,
 * and every function with a session SISKIN_BUSY; the comments name the others. siskin_error_text() says more in words.
 *
 * THREADS. A model never changes; any number of threads may use it at once. A session belongs to one thread at a time: a
 * call while another call on the same session is running, in another thread or in its own callback, returns SISKIN_BUSY and does nothing. Only
 * siskin_session_cancel() may be called at any time, from any thread and from a signal handler.
 *
 * MEMORY. What siskin allocates, siskin frees: siskin_model_free(), siskin_session_free(). A model is counted by the sessions
 * that use it, so freeing it before them is safe. Pointers to text, logits and tokens that a session gives are good until the next call on it.
 * Strings that are passed in are copied or read before the function returns, except the bytes of siskin_model_open_memory() and
 * the memory of siskin_session_new_in().
 *
 * TEXT is bytes with a length; a NUL byte is a byte like others. The text that siskin writes is UTF-8: a character is given
 * when all of its bytes are there, and bytes that make no character become U+FFFD. Prompts should be UTF-8, see siskin_tokenize().
 *
 * LENGTHS. A null pointer is allowed where the length beside it is 0. Texts may have up to SISKIN_MAX_TEXT bytes and arrays
 * as many elements as memory can hold; more is SISKIN_INVALID_ARGUMENT.
 *
 * OPTIONS are structs that begin with their own size. Fill them by their _init function, then change what you want. A program
 * that was compiled with an older siskin.h has smaller structs: what it lacks has its default. A program compiled with a newer one
 * has larger structs: they are accepted as long as what this library does not know is zero, and SISKIN_INVALID_ARGUMENT otherwise.
 *
 * MANNERS. The library prints nothing, installs no signal handler, never ends the process, and writes no file. It reads the
 * environment variable SISKIN_ISA (an instruction set, for tests). The same file, prompt, options and seed give the same text on every CPU,
 * with any number of threads.
 */
#ifndef SISKIN_H
#define SISKIN_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && !defined(SISKIN_STATIC)
#define SISKIN_API __declspec(dllimport)
#elif defined(__GNUC__)
#define SISKIN_API __attribute__((visibility("default")))
#else
#define SISKIN_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version and errors ------------------------------------------------------------------------------------------------- */

#define SISKIN_VERSION_MAJOR 0 /* of this header */
#define SISKIN_VERSION_MINOR 1
#define SISKIN_VERSION_PATCH 0

/* The version of the library, as in "0.1.0". Any thread; the string is static. Since 0.1. */
SISKIN_API const char *siskin_version(void);

/* What a function returns. The numbers never change; later versions may add some. */
typedef int32_t siskin_status;

enum {
    SISKIN_OK = 0,
    SISKIN_INVALID_ARGUMENT = 1, /* a null pointer, a wrong size, a token that does not exist, an option out of its range */
    SISKIN_NO_MEMORY = 2,        /* the system has no memory, or no thread, for it; nothing has changed */
    SISKIN_IO = 3,               /* the file cannot be opened or read */
    SISKIN_BAD_FILE = 4,         /* the file is not a siskin model, or is damaged */
    SISKIN_UNSUPPORTED = 5,      /* the file needs a newer library, or SISKIN_ISA names what this CPU lacks */
    SISKIN_BUDGET = 6,           /* it would need more than max_memory */
    SISKIN_BAD_TEXT = 7,         /* the model's vocabulary cannot express the text */
    SISKIN_CONTEXT_FULL = 8,     /* the tokens do not fit into what is left of the context */
    SISKIN_CANCELLED = 9,        /* siskin_session_cancel() was called */
    SISKIN_BUSY = 10,            /* the session is in use */
    SISKIN_BUFFER_TOO_SMALL = 11, /* the needed size was stored, nothing else was */
    SISKIN_NO_CANDIDATE = 12,    /* no token can be chosen: all logits are NaN or minus infinity */
    SISKIN_BAD_STATE = 13,       /* a saved state that is damaged, or of another model */
    SISKIN_INTERNAL = 14         /* a bug in siskin; a session that was in use is no longer usable, but can be freed */
};

/* The name of a status, as in "NO_MEMORY"; "UNKNOWN" for other numbers. Any thread; the string is static. Since 0.1. */
SISKIN_API const char *siskin_status_name(siskin_status status);

/* Copies the text of the calling thread's last error to `buffer`, cut to `size` bytes with its NUL, and returns the bytes that all of
 * it needs with its NUL: 1 when there was no error. The text says what was found, what was expected and what to do, in
 * English and in one line. Later calls that succeed leave it alone. `buffer` may be NULL if `size` is 0.
 * Any thread. Since 0.1. */
SISKIN_API size_t siskin_error_text(char *buffer, size_t size);

/* ---- Models ------------------------------------------------------------------------------------------------------------- */

/* An open file: immutable, shared between threads, counted. */
typedef struct siskin_model siskin_model;

enum {
    SISKIN_NO_MMAP = 1, /* siskin_model_open: read the file instead of mapping it. A mapped file must not be cut or
                           rewritten in place (the process would get SIGBUS); renaming another file over it is safe. */
    SISKIN_VERIFY = 2,  /* read all weights and compare their checksum, as siskin_model_verify() does */
    SISKIN_COPY = 4     /* siskin_model_open_memory: copy the bytes */
};

typedef struct siskin_model_options {
    size_t size;       /* sizeof(siskin_model_options) */
    uint32_t flags;    /* of the above; default 0 */
    uint32_t reserved; /* 0 */
    size_t max_memory; /* most bytes that SISKIN_NO_MMAP or SISKIN_COPY may take for the file, checked before they are
                          allocated; a mapping, and the tables of metadata and tokenizer, a few times their part of
                          the file, are not counted; 0, the default: no limit */
} siskin_model_options;

/* Fills `options` with the defaults, and its `size`. `size` is sizeof(siskin_model_options). Does nothing for NULL, or for a
 * `size` that no version of the struct has. Any thread. Since 0.1. */
SISKIN_API void siskin_model_options_init(siskin_model_options *options, size_t size);

/* Opens the file at `path` and stores a model in `*model`, which belongs to the caller: siskin_model_free(). `options` may be
 * NULL. The file is mapped: opening reads and checks its first part, the weights are read when they are used, and processes share
 * them. Nothing in a file can make this function crash, or allocate more than the file's own size in proportion.
 * SISKIN_IO, SISKIN_BAD_FILE, SISKIN_UNSUPPORTED, SISKIN_BUDGET. Any thread. Since 0.1. */
SISKIN_API siskin_status siskin_model_open(const char *path, const siskin_model_options *options, siskin_model **model);

/* The same of a file that is in memory: `n_bytes` at `bytes`. They are not copied if they start at a multiple of 64, and must
 * then stay, unchanged, until the model and all of its sessions are freed; so a model that is linked into the program
 * takes no memory of its own. With SISKIN_COPY, or at another address, they are copied and may go at once.
 * SISKIN_BAD_FILE, SISKIN_UNSUPPORTED, SISKIN_BUDGET. Any thread. Since 0.1. */
SISKIN_API siskin_status siskin_model_open_memory(const void *bytes, size_t n_bytes, const siskin_model_options *options,
                                                  siskin_model **model);

/* Counts one more owner of the model, who calls siskin_model_free() too. Any thread. Since 0.1. */
SISKIN_API siskin_status siskin_model_retain(siskin_model *model);

/* Gives the model up; when its last owner and its last session are gone, it is closed. NULL does nothing. Any thread.
 * Since 0.1. */
SISKIN_API void siskin_model_free(siskin_model *model);

typedef struct siskin_model_info {
    size_t size;           /* set by the caller: sizeof(siskin_model_info) */
    size_t vocab_size;     /* tokens are 0 ... vocab_size - 1 */
    size_t context;        /* positions that the model was trained for; 0: no limit (a purely recurrent model, or one whose
                              blocks all attend to a window) */
    size_t n_layers;       /* blocks */
    size_t d_model;        /* width of the embedding */
    uint64_t n_parameters; /* weights, shared ones counted once */
    uint64_t file_bytes;
    int32_t bos, eos, unk, pad; /* special tokens: begin, end of a text, unknown, padding; -1: the vocabulary has none */
    double loss; /* of the held-out text, in nats per token, as the file's receipt states it; NaN: it does not */
} siskin_model_info;

/* Fills `info` with what the model is, as far as info->size reaches; set that first. What a larger struct has beyond this library's is
 * set to zero. Any thread. Since 0.1. */
SISKIN_API siskin_status siskin_model_get_info(const siskin_model *model, siskin_model_info *info);

/* Reads all weights: compares the file's checksum and refuses numbers that are not finite. Takes as long as reading the file.
 * SISKIN_BAD_FILE. Any thread. Since 0.1. */
SISKIN_API siskin_status siskin_model_verify(const siskin_model *model);

/* The name of the instruction set that sessions will use, as in "avx2", with a NUL. Stores the bytes it needs in `*needed`, unless that is
 * NULL. SISKIN_BUFFER_TOO_SMALL, SISKIN_UNSUPPORTED. Any thread. Since 0.1. */
SISKIN_API siskin_status siskin_kernels(char *buffer, size_t size, size_t *needed);

/* ---- Sessions ----------------------------------------------------------------------------------------------------------- */

/* One text that goes on: what the model remembers of it, the buffers of a step, the threads, the sampler. */
typedef struct siskin_session siskin_session;

enum {
    SISKIN_PIN = 1 /* bind each thread to a core of its own, the thread that makes the session included, for good; Linux only */
};

typedef struct siskin_session_options {
    size_t size;       /* sizeof(siskin_session_options) */
    size_t context;    /* positions to hold, at most the model's; 0, the default: as many as the model's. A model without
                          limit whose blocks attend to windows holds any number of positions, and keeps fewer where this is
                          small. Models without attention need none and ignore it. */
    size_t batch;      /* tokens of a prompt that are computed together: more is faster and takes memory; 0, the default: 64 */
    size_t max_memory; /* most bytes that siskin_session_bytes() may come to; 0, the default: no limit */
    int32_t threads;   /* 1 to 256, the calling thread included; 0, the default: one for each big core */
    uint32_t flags;    /* SISKIN_PIN; default 0 */
} siskin_session_options;

/* Fills `options` with the defaults, and its `size`. `size` is sizeof(siskin_session_options). Any thread. Since 0.1. */
SISKIN_API void siskin_session_options_init(siskin_session_options *options, size_t size);

/* Makes a session of a model, at the beginning of a text, and stores it in `*session`. `options` may be NULL. All that it needs
 * is allocated and all its threads are started now; later steps of it allocate nothing (prompts take memory for their tokens).
 * SISKIN_BUDGET when it would need more than max_memory, checked before anything is allocated; SISKIN_NO_MEMORY also
 * when the system refuses a thread; SISKIN_UNSUPPORTED. Any thread. Since 0.1. */
SISKIN_API siskin_status siskin_session_new(siskin_model *model, const siskin_session_options *options,
                                            siskin_session **session);

/* Frees a session. NULL does nothing. A call that another thread is making on it is cancelled and waited for; the callback of
 * siskin_session_generate() may free its own session, which then goes when that function returns. No call may begin on a session that is
 * being freed. Not from a signal handler. Since 0.1. */
SISKIN_API void siskin_session_free(siskin_session *session);

/* Stores how many bytes a session with these options takes: state, buffers, scratch of its threads, and sampler. Not counted are
 * the handle and its bookkeeping, under 32 KiB and 1 KiB for each thread; the threads' stacks, 256 KiB each, of which they touch a
 * few; and what is set later: stop strings, biases, and for penalties that do something 12 bytes for each token of the
 * vocabulary and 4 for each of penalty_last_n. Any thread. Since 0.1. */
SISKIN_API siskin_status siskin_session_bytes(const siskin_model *model, const siskin_session_options *options, size_t *bytes);

/* As siskin_session_new(), in the caller's `memory` of `size` bytes, at any address, of which it takes siskin_session_bytes().
 * Only what that does not count comes from the system. The memory is the session's until siskin_session_free() has returned (in
 * the callback of siskin_session_generate(): until that has returned). SISKIN_BUDGET when it is too small. Since 0.1. */
SISKIN_API siskin_status siskin_session_new_in(siskin_model *model, const siskin_session_options *options, void *memory,
                                               size_t size, siskin_session **session);

/* ---- How tokens are chosen ---------------------------------------------------------------------------------------------- */

typedef struct siskin_bias {
    uint32_t token;
    float bias; /* added to the token's logit; minus infinity bans it */
} siskin_bias;

/* In the order of their effect: bias, penalties, top_k, top_p, min_p, temperature. */
typedef struct siskin_sampling {
    size_t size;              /* sizeof(siskin_sampling) */
    float temperature;        /* 0 takes the most probable token; default 0.8 */
    uint32_t top_k;           /* keep the k most probable tokens; 0: all; default 40 */
    float top_p;              /* keep the most probable tokens that together have this probability, in (0, 1]; default 0.95 */
    float min_p;              /* keep tokens with this part of the greatest probability, in [0, 1]; default 0.05 */
    float repetition_penalty; /* divides the positive logits of seen tokens and multiplies the others, above 0; default 1 */
    float frequency_penalty;  /* subtracted for each time that a token was seen; default 0 */
    float presence_penalty;   /* subtracted from the logits of seen tokens; default 0 */
    int64_t penalty_last_n;   /* how many of the last tokens count as seen, up to 2^24; -1: all; default 64 */
    uint64_t seed;            /* begins the random numbers; default 0 */
    const siskin_bias *bias;  /* n_bias of them, copied; default none */
    size_t n_bias;
    const char *const *stop;  /* n_stop strings that end the text and are not shown, 1 to 4096 bytes each, copied; default none */
    size_t n_stop;
    uint32_t flags;           /* SISKIN_TEMPERATURE_FIRST; default 0 */
    uint32_t reserved;        /* 0 */
} siskin_sampling;

enum {
    SISKIN_TEMPERATURE_FIRST = 1 /* apply the temperature before top_k, top_p and min_p */
};

/* Fills `sampling` with the defaults, and its `size`. `size` is sizeof(siskin_sampling). Any thread. Since 0.1. */
SISKIN_API void siskin_sampling_init(siskin_sampling *sampling, size_t size);

/* Sets how the session chooses tokens from now on; NULL: by the defaults. The random numbers begin anew from the seed, and penalties
 * with an empty history. A text that is under way ends: siskin_session_start() begins the next, which goes on from what the
 * session holds. A number that is NaN, infinite or out of its range, and a bias for a token that does not exist, are
 * SISKIN_INVALID_ARGUMENT. Since 0.1. */
SISKIN_API siskin_status siskin_session_set_sampling(siskin_session *session, const siskin_sampling *sampling);

/* ---- Generating --------------------------------------------------------------------------------------------------------- */

/* Why a text ended. The numbers never change; later versions may add some. */
typedef int32_t siskin_stop;

enum {
    SISKIN_STOP_NONE = 0,         /* it goes on */
    SISKIN_STOP_MAX_TOKENS = 1,   /* as many tokens as were asked for */
    SISKIN_STOP_STRING = 2,       /* one of the stop strings appeared */
    SISKIN_STOP_END_OF_TEXT = 3,  /* the model ended it */
    SISKIN_STOP_CONTEXT_FULL = 4, /* the session's context has no room for another token */
    SISKIN_STOP_CALLBACK = 5      /* the callback asked for it */
};

/* Receives the next `length` bytes of a text, at least one: whole characters of UTF-8, with a NUL byte behind them that `length` does
 * not count. They lie in the session until the function returns. Return 0 to go on, anything else to stop.
 * It must return: no longjmp, no exception. Of calls on its own session, cancel and free are allowed. */
typedef int (*siskin_text_fn)(const char *text, size_t length, void *user);

/* Feeds a prompt and writes up to `max_tokens` tokens of text, of which `fn` is told as they come, on this thread, with `user`. `fn` may be NULL.
 * Why the text ended is stored in `*stop`, unless that is NULL.
 * A session goes on from what it holds. In a new one (or after a reset) the prompt is the beginning of a text: the model's
 * begin token is put before it, and an empty prompt lets the model begin by itself.
 * A model with an encoder reads the prompt as the source of a new text, and forgets the text before; an empty prompt goes on with that, and
 * in a new session it is SISKIN_INVALID_ARGUMENT. The session is as new when such a call is cancelled between source and text.
 * SISKIN_BAD_TEXT and SISKIN_CONTEXT_FULL when the prompt is not accepted, and the session stands as before. SISKIN_CANCELLED and
 * SISKIN_NO_CANDIDATE may also come later: the session then stands after what `fn` was told, and siskin_session_next() would go on.
 * Since 0.1. */
SISKIN_API siskin_status siskin_session_generate(siskin_session *session, const char *prompt, size_t prompt_length,
                                                 size_t max_tokens, siskin_text_fn fn, void *user, siskin_stop *stop);

/* Cancels: the call that is running on the session, or else the next one that computes (generate, start, next, feed, score), returns
 * SISKIN_CANCELLED within about a token's time, also while it works on a prompt, and the session stands as before that call
 * (after the last piece of text in the case of generate). Any thread, any time, and signal handlers: it is one atomic
 * store. The session must not be freed meanwhile. NULL is SISKIN_INVALID_ARGUMENT; it leaves the error text alone. Since 0.1. */
SISKIN_API siskin_status siskin_session_cancel(siskin_session *session);

/* Forgets the text: the session is as new, with the sampling that was set, its random numbers from the seed, and a pending cancel
 * forgotten too. Since 0.1. */
SISKIN_API siskin_status siskin_session_reset(siskin_session *session);

/* Stores how many tokens the session holds, and how many it can hold (0: no limit). Either pointer may be NULL. In a model with an
 * encoder they are those of the text, its begin token among them; a source may have as many again. Since 0.1. */
SISKIN_API siskin_status siskin_session_position(const siskin_session *session, size_t *position, size_t *context);

/* ---- Step by step ------------------------------------------------------------------------------------------------------- */

/* Feeds a prompt, as siskin_session_generate() does, and begins a text of up to `max_tokens` tokens, which siskin_session_next()
 * gives. SISKIN_BAD_TEXT, SISKIN_CONTEXT_FULL, SISKIN_CANCELLED: the session stands as before. Since 0.1. */
SISKIN_API siskin_status siskin_session_start(siskin_session *session, const char *prompt, size_t prompt_length,
                                              size_t max_tokens);

typedef struct siskin_piece {
    size_t size;      /* set by the caller: sizeof(siskin_piece) */
    const char *text; /* what the token completes, as siskin_text_fn gets it, but it may be empty; it lies in the session until its next call */
    size_t length;    /* its bytes, without the NUL behind them */
    int32_t token;    /* the token; -1 when there was none, and the piece is what had been held back */
    siskin_stop stop; /* SISKIN_STOP_NONE, or why the text ended with this piece */
} siskin_piece;

/* Computes one token and gives the text that it completes. After a piece with a `stop` the text is over: further calls give empty pieces
 * with the same `stop`. SISKIN_INVALID_ARGUMENT when no text was started, SISKIN_NO_CANDIDATE, SISKIN_CANCELLED: the text can go on
 * with the next call. Since 0.1. */
SISKIN_API siskin_status siskin_session_next(siskin_session *session, siskin_piece *piece);

/* ---- Tokens ------------------------------------------------------------------------------------------------------------- */

/* Longest text to be tokenized at once, and longest prompt, in bytes: 2^31 - 1. */
#define SISKIN_MAX_TEXT 2147483647

enum {
    SISKIN_PROMPT = 1 /* as the beginning of a text: the begin token first, and at least one token, as in a new session */
};

/* The tokens of a text: stores how many in `*n_tokens`, and them in `tokens`, which has room for `capacity`.
 * Bytes that are not UTF-8, and characters that the vocabulary lacks, are SISKIN_BAD_TEXT in a vocabulary of characters without an unknown
 * token; vocabularies of bytes and of BPE take any bytes. SISKIN_BUFFER_TOO_SMALL, with `*n_tokens` set, when there are more tokens than
 * `capacity`; a text never has more tokens than bytes, plus one with SISKIN_PROMPT. Any thread. Since 0.1. */
SISKIN_API siskin_status siskin_tokenize(const siskin_model *model, const char *text, size_t length, uint32_t flags,
                                         uint32_t *tokens, size_t capacity, size_t *n_tokens);

/* The text of tokens, as bytes without a NUL: stores how many in `*length`, and them in `text`, which has room for
 * `capacity`. They may begin or end in the middle of a character. Control tokens have no text; unknown tokens give U+FFFD.
 * SISKIN_INVALID_ARGUMENT for a token that does not exist, SISKIN_BUFFER_TOO_SMALL, with `*length` set. Any thread. Since 0.1. */
SISKIN_API siskin_status siskin_detokenize(const siskin_model *model, const uint32_t *tokens, size_t n_tokens, char *text,
                                           size_t capacity, size_t *length);

/* The text of one token, without a copy and without a NUL: it lies in the model. SISKIN_INVALID_ARGUMENT for a token that does not exist.
 * Any thread. Since 0.1. */
SISKIN_API siskin_status siskin_token_text(const siskin_model *model, uint32_t token, const char **bytes, size_t *length);

/* Feeds tokens: the text goes on after them. A text that is under way ends, and its last token is fed before them; what was held back of it
 * is dropped. Penalties count the tokens. The first tokens that a model with an encoder is fed after siskin_session_new() or
 * siskin_session_reset() are the source, which penalties do not count and behind which the text's begin token is fed; later ones belong
 * to the text. No tokens, or one that does not exist: SISKIN_INVALID_ARGUMENT. SISKIN_CONTEXT_FULL,
 * SISKIN_CANCELLED: the session stands as before. Since 0.1. */
SISKIN_API siskin_status siskin_session_feed(siskin_session *session, const uint32_t *tokens, size_t n_tokens);

/* Shows the logits of the token to come, one for each of the vocabulary, before bias and penalties: `*logits` lies in the session until
 * its next call. Feeds the last token of a text that is under way, which ends. SISKIN_INVALID_ARGUMENT when nothing was fed,
 * SISKIN_CONTEXT_FULL, SISKIN_CANCELLED. Since 0.1. */
SISKIN_API siskin_status siskin_session_logits(siskin_session *session, const float **logits, size_t *n_logits);

/* Chooses the token to come by the session's sampling, and draws its random number. The token is not fed: siskin_session_feed() does that, with
 * this token or another. Fails as siskin_session_logits(), and with SISKIN_NO_CANDIDATE. Since 0.1. */
SISKIN_API siskin_status siskin_session_sample(siskin_session *session, uint32_t *token);

/* Feeds tokens, as siskin_session_feed() does, and stores in `log_probs`, which has room for `n_tokens`, the natural logarithm of the
 * probability that the model gave to each, after all that came before it; NaN for the first token of an empty session, which
 * nothing predicts. A model with an encoder must have been fed its source before, else it is SISKIN_INVALID_ARGUMENT.
 * SISKIN_CONTEXT_FULL, SISKIN_CANCELLED: the session stands as before, `log_probs` may have been written to. Since 0.1. */
SISKIN_API siskin_status siskin_session_score(siskin_session *session, const uint32_t *tokens, size_t n_tokens, double *log_probs);

/* ---- Saved states ------------------------------------------------------------------------------------------------------- */

/* Saves all that decides what comes next: what the model remembers, the sampling, its random numbers and penalties, stop strings, and
 * the text that is held back. Stores the bytes it takes in `*needed`, and them in `buffer`, which has room for `capacity`.
 * They grow with the tokens held in a model with attention, and stay small in others. They are the same on every machine and
 * readable by later versions; they hold the text, so keep them as you keep that. SISKIN_BUFFER_TOO_SMALL. Since 0.1. */
SISKIN_API siskin_status siskin_session_save(siskin_session *session, void *buffer, size_t capacity, size_t *needed);

/* Goes on from a saved state, in a session of the same model, with any number of threads and any context that is large
 * enough, on any CPU: the tokens to come are the same, bit for bit. Whatever the bytes are, nothing worse happens than
 * SISKIN_BAD_STATE, for bytes that are damaged or of another model; SISKIN_CONTEXT_FULL. The session then stands as before. Since 0.1. */
SISKIN_API siskin_status siskin_session_restore(siskin_session *session, const void *state, size_t size);

#ifdef __cplusplus
}
#endif

#endif
