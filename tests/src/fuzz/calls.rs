//! Sequences of C calls made from bytes, in any order, with arguments that are null, zero, huge or absurd: every call
//! returns a documented status, and none of them is INTERNAL. What the header forbids (a freed handle, a length beyond
//! the caller's memory) is not done.

#![allow(unsafe_code)] // C functions are called with pointers

use super::choices::Choices;
use super::samples::samples;
use siskin_ffi::*;
use siskin_format::File;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

/// Most calls of one sequence.
const MAX_CALLS: usize = 12;
/// What a session may take: models are tiny.
const BUDGET: usize = 1 << 20;

/// First bytes from here on stand for models with an encoder,
const ENCODERS_FROM: u8 = 192;
/// and these bytes, for such a model, for [`World::encode`].
const ENCODES_FROM: u8 = 8 * 28;

/// A texts' pieces; the vocabularies know some of them.
const TEXTS: [&[u8]; 8] = [
    b"",
    b"a",
    b"ab abc aa",
    "aé世 🐦".as_bytes(),
    b"\xff\xfe",
    b"\0a",
    b"b'll  c\n",
    b"aaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Makes the calls that `data` stands for.
///
/// # Panics
/// When a status is not documented, or INTERNAL, or a promise of the header is broken.
pub fn calls(data: &[u8]) {
    let mut choices = Choices::new(data);
    // The high bytes are those with an encoder.
    let first = choices.byte();
    let has_encoder = first >= ENCODERS_FROM;
    let fitting: Vec<&Model> = models().iter().filter(|model| model.has_encoder == has_encoder).collect();
    let model = fitting[usize::from(first) % fitting.len()].handle;
    let (sessions, saved, memory) = ([null_mut(); 2], Vec::new(), Vec::new());
    let mut world = World { model, has_encoder, sessions, saved, memory };
    // SAFETY: models are never freed here; the world keeps to siskin.h.
    unsafe {
        done(siskin_model_retain(model));
        for _ in 0..MAX_CALLS {
            world.call(&mut choices);
            if !choices.any() {
                break;
            }
        }
        // The model may go before its sessions.
        siskin_model_free(model);
        world.sessions.iter().for_each(|&session| siskin_session_free(session));
    }
}

/// A model that lives as long as the program.
struct Model {
    handle: *mut ModelHandle,
    has_encoder: bool,
}

// SAFETY: siskin.h: a model is immutable and shared between threads.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

fn models() -> &'static [Model] {
    static MODELS: OnceLock<Vec<Model>> = OnceLock::new();
    MODELS.get_or_init(|| {
        let open = |sample: &super::samples::Sample| {
            let mut model = null_mut();
            // SAFETY: samples live as long as the program.
            let status = unsafe {
                siskin_model_open_memory(sample.bytes.as_ptr().cast(), sample.bytes.len(), null(), &mut model)
            };
            assert_eq!(status, OK);
            let file = File::from_bytes(sample.bytes.clone()).expect("samples are valid");
            Model { handle: model, has_encoder: file.config().has_encoder() }
        };
        samples().iter().map(open).collect()
    })
}

/// A status that may be.
fn done(status: Status) -> bool {
    assert!((OK..INTERNAL).contains(&status), "status {status}: {}", error_text());
    status == OK
}

fn error_text() -> String {
    let mut buffer = [0u8; 300];
    // SAFETY: the buffer has as many bytes.
    unsafe { siskin_error_text(buffer.as_mut_ptr().cast(), buffer.len()) };
    let text = CStr::from_bytes_until_nul(&buffer).expect("the text ends in the buffer");
    text.to_string_lossy().into_owned()
}

/// What a program holds.
struct World {
    model: *mut ModelHandle,
    has_encoder: bool,
    sessions: [*mut SessionHandle; 2],
    saved: Vec<u8>,
    memory: Vec<Vec<u8>>, // of sessions in memory of their own
}

/// The pointer, or now and then null.
fn or_null<T>(choices: &mut Choices<'_>, pointer: *mut T) -> *mut T {
    if choices.byte() < 8 { null_mut() } else { pointer }
}

/// The length, or one that no object has, which is refused before anything is read.
fn length(choices: &mut Choices<'_>, len: usize) -> usize {
    if choices.byte() < 8 { usize::MAX } else { len }
}

extern "C" fn take_text(text: *const c_char, length: usize, user: *mut c_void) -> c_int {
    // SAFETY: generate is given a counter, and promises `length` bytes.
    let (left, text) =
        unsafe { (&mut *user.cast::<c_int>(), std::slice::from_raw_parts(text.cast::<u8>(), length)) };
    assert!(std::str::from_utf8(text).is_ok(), "pieces are complete UTF-8");
    *left -= 1;
    c_int::from(*left < 0)
}

impl World {
    /// # Safety
    /// The model is alive.
    unsafe fn call(&mut self, choices: &mut Choices<'_>) {
        let byte = choices.byte();
        let which = if self.has_encoder && byte >= ENCODES_FROM { 28 } else { byte % 28 };
        let slot = usize::from(choices.byte() < 64);
        let session = self.sessions[slot];
        // SAFETY: handles are null or alive, other pointers null or to what lives during the call, lengths are theirs or
        // beyond what any object has; for the functions below it is the same.
        unsafe {
            match which {
                0..=4 => self.new_session(slot, choices),
                5 => {
                    siskin_session_free(session);
                    self.sessions[slot] = null_mut();
                }
                6 | 7 => set_sampling(session, choices),
                8 | 9 => generate(session, choices),
                10 => start(session, choices),
                11 | 12 => next(session, choices),
                13 => drop(done(siskin_session_cancel(session))),
                14 => drop(done(siskin_session_reset(session))),
                15 => position(session, choices),
                16 | 17 => feed(session, choices),
                18 => logits_and_sample(session, choices),
                19 => score(session, choices),
                20 => self.save(session, choices),
                21 | 22 => self.restore(session, choices),
                23 => resume(session, choices),
                24 => self.tokenize(choices),
                25 => self.detokenize(choices),
                26 => self.ask(choices),
                28 => self.encode(choices),
                _ => open_bytes(choices),
            }
        }
    }

    unsafe fn new_session(&mut self, slot: usize, choices: &mut Choices<'_>) {
        // SAFETY: as in `call`.
        unsafe {
            siskin_session_free(self.sessions[slot]);
            self.sessions[slot] = null_mut();
            let mut options = session_options(choices);
            let options =
                if options.threads == 1 { &raw mut options } else { or_null(choices, &mut options) };
            // Null means as many threads as the machine has, which is only slow.
            let options: *const SessionOptionsC = if options.is_null() { return } else { options };
            let mut needed = 0;
            let counted = done(siskin_session_bytes(self.model, options, &mut needed));
            let mut session = null_mut();
            let place = or_null(choices, &mut session);
            let status = if choices.byte() < 64 && counted && needed <= BUDGET {
                let less = choices.below(70);
                let mut memory = vec![0xAAu8; needed.saturating_sub(less.saturating_sub(60))];
                let status = siskin_session_new_in(
                    self.model,
                    options,
                    or_null(choices, memory.as_mut_ptr()).cast(),
                    length(choices, memory.len()).min(memory.len()),
                    place,
                );
                self.memory.push(memory);
                status
            } else {
                siskin_session_new(self.model, options, place)
            };
            if done(status) {
                assert!(counted && !session.is_null());
                self.sessions[slot] = session;
            } else {
                assert!(session.is_null(), "a session in spite of status {status}");
            }
        }
    }

    /// The first tokens after a reset are a source, and nothing else decides what follows: neither what a session held before, nor
    /// its batch and context.
    unsafe fn encode(&self, choices: &mut Choices<'_>) {
        let mut source = any_tokens(choices);
        let mut expected = None;
        for session in [self.sessions[0], self.sessions[0], self.sessions[1]] {
            let len = length(choices, source.len());
            // SAFETY: as in `call`.
            unsafe {
                if !done(siskin_session_reset(session))
                    || !done(siskin_session_feed(session, or_null(choices, source.as_mut_ptr()), len))
                {
                    continue;
                }
                let mut position = 0;
                assert_eq!(siskin_session_position(session, &mut position, null_mut()), OK);
                assert_eq!(position, 1, "the begin token, and none of the source");
                let found = logits_bits(session);
                assert!(expected.get_or_insert(found.clone()) == &found, "the source decides");
                // Something to forget.
                done(siskin_session_feed(session, &u32::from(choices.byte() % 5), 1));
            }
        }
    }

    unsafe fn save(&mut self, session: *mut SessionHandle, choices: &mut Choices<'_>) {
        let mut needed = 0;
        // SAFETY: as in `call`.
        unsafe {
            let status = siskin_session_save(session, null_mut(), 0, or_null(choices, &mut needed));
            assert!(!done(status), "saved to nothing");
            if status != BUFFER_TOO_SMALL || needed > BUDGET {
                return;
            }
            self.saved = vec![0; needed];
            let status = siskin_session_save(
                session,
                self.saved.as_mut_ptr().cast(),
                needed - usize::from(choices.byte() < 8),
                &mut needed,
            );
            done(status);
        }
    }

    /// From what was saved, with some bytes changed, or cut.
    unsafe fn restore(&mut self, session: *mut SessionHandle, choices: &mut Choices<'_>) {
        let mut state = self.saved.clone();
        for _ in 0..choices.below(4) {
            let (at, byte) = (choices.number() as usize % state.len().max(1), choices.byte());
            if let Some(old) = state.get_mut(at) {
                *old = byte;
            }
        }
        if choices.byte() < 32 {
            state.truncate(choices.number() as usize % (state.len() + 1));
        }
        // SAFETY: as in `call`.
        unsafe {
            let len = length(choices, state.len());
            done(siskin_session_restore(session, or_null(choices, state.as_mut_ptr()).cast(), len));
        }
    }

    unsafe fn tokenize(&self, choices: &mut Choices<'_>) {
        let text = choices.one_of(&TEXTS);
        let mut tokens = [u32::MAX; 16];
        let (capacity, flags) = (choices.below(17), choices.number() as u32);
        let mut n = 0;
        // SAFETY: as in `call`.
        unsafe {
            let len = length(choices, text.len());
            let place = or_null(choices, tokens.as_mut_ptr());
            let text = or_null(choices, text.as_ptr().cast_mut());
            if done(siskin_tokenize(self.model, text.cast(), len, flags, place, capacity, &mut n)) {
                assert!(n <= capacity, "{n} tokens in an array of {capacity}");
                let vocab_size = info(self.model).vocab_size;
                assert!(tokens[..n].iter().all(|&token| (token as usize) < vocab_size));
            }
            assert!(tokens[capacity..].iter().all(|&token| token == u32::MAX), "nothing beyond the capacity");
        }
    }

    unsafe fn detokenize(&self, choices: &mut Choices<'_>) {
        let tokens: Vec<u32> = (0..choices.below(6)).map(|_| choices.number() as u32).collect();
        let mut text = [0x55u8; 40];
        let capacity = choices.below(41);
        let mut n = 0;
        // SAFETY: as in `call`.
        unsafe {
            let len = length(choices, tokens.len());
            let place = or_null(choices, text.as_mut_ptr());
            let status = siskin_detokenize(self.model, tokens.as_ptr(), len, place.cast(), capacity, &mut n);
            assert!(!done(status) || n <= capacity, "{n} bytes in a buffer of {capacity}");
            assert!(text[capacity..].iter().all(|&byte| byte == 0x55), "nothing beyond the capacity");
            let (mut bytes, mut length) = (null(), 0);
            let token = choices.number() as u32;
            if done(siskin_token_text(self.model, token, &mut bytes, or_null(choices, &mut length)))
                && length > 0
            {
                std::hint::black_box(std::slice::from_raw_parts(bytes, length).iter().max());
            }
        }
    }

    unsafe fn ask(&self, choices: &mut Choices<'_>) {
        // SAFETY: as in `call`.
        unsafe {
            let mut facts = ModelInfo { size: 0, ..info(self.model) };
            facts.size = choices.one_of(&[0, 8, 16, size_of::<ModelInfo>(), usize::MAX]);
            done(siskin_model_get_info(self.model, or_null(choices, &mut facts)));
            done(siskin_model_get_info(null(), &mut facts));
            assert_eq!(siskin_model_verify(self.model), OK);
            let (mut name, mut needed) = ([0u8; 4], 0);
            done(siskin_kernels(name.as_mut_ptr().cast(), choices.below(5), or_null(choices, &mut needed)));
            let status = choices.number() as i32;
            assert!(!CStr::from_ptr(siskin_status_name(status)).is_empty());
            let size = choices.below(5);
            let needed = siskin_error_text(or_null(choices, name.as_mut_ptr()).cast(), size);
            assert!(needed >= 1);
            siskin_model_free(null_mut());
        }
    }
}

unsafe fn info(model: *const ModelHandle) -> ModelInfo {
    // SAFETY: zeros are such a struct, and the caller's model is alive.
    unsafe {
        let mut info: ModelInfo = std::mem::zeroed();
        info.size = size_of::<ModelInfo>();
        assert_eq!(siskin_model_get_info(model, &mut info), OK);
        info
    }
}

fn session_options(choices: &mut Choices<'_>) -> SessionOptionsC {
    let mut options = SessionOptionsC {
        size: size_of::<SessionOptionsC>(),
        context: 0,
        batch: choices.below(5),
        max_memory: BUDGET,
        threads: 1,
        flags: 0,
    };
    match choices.byte() {
        0..=15 => options.context = choices.number() as usize,
        16..=31 => options.batch = choices.number() as usize,
        32..=47 => options.max_memory = choices.number() as usize,
        48..=55 => options.threads = choices.one_of(&[-1, i32::MIN, i32::MAX]),
        56..=63 => options.flags = choices.number() as u32 | 2, // never the one that binds threads alone
        // A size that covers some fields leaves out the rest, the threads among them: smaller ones are refused.
        64..=71 => options.size = choices.one_of(&[0, 4, usize::MAX]),
        _ => {}
    }
    // Any memory is too much for a test of a million sessions.
    if options.max_memory == 0 || options.max_memory > BUDGET {
        options.max_memory = BUDGET;
    }
    options
}

unsafe fn set_sampling(session: *mut SessionHandle, choices: &mut Choices<'_>) {
    let stops = [c"b".as_ptr(), c"".as_ptr(), null(), c"abc".as_ptr(), c"\xff".as_ptr()];
    let biases: Vec<Bias> = (0..choices.below(3))
        .map(|_| Bias { token: choices.number() as u32 % 9, bias: choices.float() })
        .collect();
    // SAFETY: as in `call`; zeros are such a struct.
    unsafe {
        let mut sampling: Sampling = std::mem::zeroed();
        siskin_sampling_init(&mut sampling, size_of::<Sampling>());
        for _ in 0..choices.below(4) {
            match choices.byte() % 12 {
                0 => sampling.temperature = choices.float(),
                1 => sampling.top_k = choices.number() as u32,
                2 => sampling.top_p = choices.float(),
                3 => sampling.min_p = choices.float(),
                4 => sampling.repetition_penalty = choices.float(),
                5 => sampling.frequency_penalty = choices.float(),
                6 => sampling.presence_penalty = choices.float(),
                // A long window is only slow.
                7 => sampling.penalty_last_n = (choices.number() as i64).clamp(-3, 5000),
                8 => (sampling.bias, sampling.n_bias) = (biases.as_ptr(), length(choices, biases.len())),
                9 => {
                    let first = choices.below(stops.len());
                    let n = choices.below(stops.len() - first + 1);
                    (sampling.stop, sampling.n_stop) = (stops[first..].as_ptr(), length(choices, n));
                }
                10 => sampling.flags = choices.byte().into(),
                _ => sampling.size = choices.one_of(&[0, 4, 8, 12, size_of::<Sampling>(), usize::MAX]),
            }
        }
        done(siskin_session_set_sampling(session, or_null(choices, &mut sampling)));
    }
}

unsafe fn generate(session: *mut SessionHandle, choices: &mut Choices<'_>) {
    let text = choices.one_of(&TEXTS);
    let (max_tokens, mut left, mut stop) = (choices.below(6), c_int::from(choices.byte() % 5), -1);
    let function: TextFn = if choices.byte() < 8 { None } else { Some(take_text) };
    // SAFETY: as in `call`; the counter is what the function expects.
    unsafe {
        let len = length(choices, text.len());
        let place = or_null(choices, &mut stop);
        let user = (&raw mut left).cast();
        let text = text.as_ptr().cast();
        if done(siskin_session_generate(session, text, len, max_tokens, function, user, place)) {
            assert!(place.is_null() || (STOP_MAX_TOKENS..=STOP_CALLBACK).contains(&stop), "stop {stop}");
        }
    }
}

unsafe fn start(session: *mut SessionHandle, choices: &mut Choices<'_>) {
    let text = choices.one_of(&TEXTS);
    // SAFETY: as in `call`.
    unsafe {
        let len = length(choices, text.len());
        done(siskin_session_start(session, text.as_ptr().cast(), len, choices.number() as usize));
    }
}

unsafe fn next(session: *mut SessionHandle, choices: &mut Choices<'_>) {
    for _ in 0..1 + choices.below(4) {
        let mut piece = Piece { size: size_of::<Piece>(), text: null(), length: 0, token: -2, stop: -1 };
        if choices.byte() < 8 {
            piece.size = choices.one_of(&[0, 8, usize::MAX]);
        }
        let whole = piece.size == size_of::<Piece>();
        // SAFETY: as in `call`; the text is alive until the session's next call.
        unsafe {
            let place = or_null(choices, &mut piece);
            if done(siskin_session_next(session, place)) && whole {
                let text = match piece.length {
                    0 => &[],
                    n => std::slice::from_raw_parts(piece.text.cast::<u8>(), n),
                };
                assert!(std::str::from_utf8(text).is_ok(), "pieces are complete UTF-8");
                assert!((STOP_NONE..=STOP_CALLBACK).contains(&piece.stop) && piece.token >= -1);
            }
        }
    }
}

unsafe fn position(session: *mut SessionHandle, choices: &mut Choices<'_>) {
    let (mut position, mut context) = (0, 0);
    // SAFETY: as in `call`.
    unsafe {
        let place = or_null(choices, &mut context);
        if done(siskin_session_position(session, or_null(choices, &mut position), place)) {
            assert!(context == 0 || position <= context);
        }
    }
}

fn any_tokens(choices: &mut Choices<'_>) -> Vec<u32> {
    (0..choices.below(5))
        .map(|_| if choices.byte() < 16 { choices.number() as u32 } else { choices.byte() as u32 % 5 })
        .collect()
}

unsafe fn feed(session: *mut SessionHandle, choices: &mut Choices<'_>) {
    let mut tokens = any_tokens(choices);
    // SAFETY: as in `call`.
    unsafe {
        let len = length(choices, tokens.len());
        done(siskin_session_feed(session, or_null(choices, tokens.as_mut_ptr()), len));
    }
}

unsafe fn logits_and_sample(session: *mut SessionHandle, choices: &mut Choices<'_>) {
    let (mut logits, mut n, mut token) = (null(), 0, u32::MAX);
    // SAFETY: as in `call`; the logits are alive until the session's next call.
    unsafe {
        if done(siskin_session_logits(session, &mut logits, or_null(choices, &mut n))) {
            assert!(n > 0 && std::slice::from_raw_parts(logits, n).iter().any(|x| !x.is_nan()));
        }
        if done(siskin_session_sample(session, or_null(choices, &mut token))) {
            assert!(n == 0 || (token as usize) < n, "token {token} of {n}");
        }
    }
}

unsafe fn score(session: *mut SessionHandle, choices: &mut Choices<'_>) {
    let tokens = any_tokens(choices);
    let mut log_probs = vec![f64::NAN; tokens.len()];
    // SAFETY: as in `call`.
    unsafe {
        let len = length(choices, tokens.len());
        let place = or_null(choices, log_probs.as_mut_ptr());
        if done(siskin_session_score(session, tokens.as_ptr(), len, place)) {
            assert!(log_probs.iter().skip(1).all(|&p| p <= 1e-6), "probabilities up to 1: {log_probs:?}");
        }
    }
}

/// The logits of a session that has some.
unsafe fn logits_bits(session: *mut SessionHandle) -> Vec<u32> {
    let (mut logits, mut n) = (null(), 0);
    // SAFETY: as in `call`; the logits are read at once.
    unsafe {
        assert_eq!(siskin_session_logits(session, &mut logits, &mut n), OK);
        std::slice::from_raw_parts(logits, n).iter().map(|x| x.to_bits()).collect()
    }
}

/// Save, go on, restore, go on again: the same logits, bit for bit.
unsafe fn resume(session: *mut SessionHandle, choices: &mut Choices<'_>) {
    let token = u32::from(choices.byte()) % 5;
    // SAFETY: as in `call`.
    unsafe {
        let mut needed = 0;
        if siskin_session_save(session, null_mut(), 0, &mut needed) != BUFFER_TOO_SMALL || needed > BUDGET {
            return;
        }
        let mut state = vec![0u8; needed];
        if !done(siskin_session_save(session, state.as_mut_ptr().cast(), needed, &mut needed))
            || !done(siskin_session_feed(session, &token, 1))
        {
            return;
        }
        let expected = logits_bits(session);
        assert_eq!(
            siskin_session_restore(session, state.as_ptr().cast(), state.len()),
            OK,
            "{}",
            error_text()
        );
        assert_eq!(siskin_session_feed(session, &token, 1), OK, "{}", error_text());
        assert!(logits_bits(session) == expected, "a restored session goes on as the one that was saved");
    }
}

/// A sample with a changed byte, or cut, as a model.
unsafe fn open_bytes(choices: &mut Choices<'_>) {
    let mut bytes = samples()[choices.below(samples().len())].bytes.clone();
    let (at, byte) = (choices.number() as usize % bytes.len(), choices.byte());
    bytes[at] ^= byte;
    if choices.byte() < 64 {
        bytes.truncate(at);
    }
    let mut model = null_mut();
    // SAFETY: as in `call`; the library copies the bytes, and the model is freed before they are.
    unsafe {
        let mut options: ModelOptions = std::mem::zeroed();
        siskin_model_options_init(&mut options, size_of::<ModelOptions>());
        options.flags = choices.byte().into();
        options.max_memory = choices.number() as usize;
        let (options, len) = (or_null(choices, &mut options), length(choices, bytes.len()));
        let place = or_null(choices, &mut model);
        done(siskin_model_open_memory(or_null(choices, bytes.as_mut_ptr()).cast(), len, options, place));
        siskin_model_free(model);
        let path = choices.one_of(&[c"", c"/", c"/nowhere/at/all", c"/dev/null"]);
        done(siskin_model_open(or_null(choices, path.as_ptr().cast_mut()), null(), &mut model));
        assert!(model.is_null() || len > 0);
    }
}

/// Inputs made by hand that a fuzzer may start from.
pub fn seeds() -> Vec<Vec<u8>> {
    // A session, and then one call after the other.
    let call = |which: u8| [vec![which, 1, 0, 100], vec![100; 8], vec![which, 100], vec![100; 20]].concat();
    let of_models = (0..28u8).map(|which| [vec![which % 20], vec![100; 10], call(which)].concat());
    let of_encoders = (0..29u8).map(|which| {
        let which = if which == 28 { ENCODES_FROM } else { which };
        [vec![ENCODERS_FROM + which % 2], vec![100; 10], call(which)].concat()
    });
    of_models.chain(of_encoders).collect()
}
