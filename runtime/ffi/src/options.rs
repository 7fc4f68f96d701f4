//! The structs of `siskin.h`, and what the runtime makes of them.

use crate::arguments::{init, invalid, slice, versioned};
use crate::status::{Failed, NO_MEMORY};
use siskin::{Error, GenerateOptions, SamplerOptions, SessionOptions, StopError};
use std::ffi::{CStr, c_char};

/// `SISKIN_NO_MMAP`
pub const NO_MMAP: u32 = 1;
/// `SISKIN_VERIFY`
pub const VERIFY: u32 = 2;
/// `SISKIN_COPY`
pub const COPY: u32 = 4;
/// `SISKIN_PIN`
pub const PIN: u32 = 1;
/// `SISKIN_TEMPERATURE_FIRST`
pub const TEMPERATURE_FIRST: u32 = 1;
/// `SISKIN_PROMPT`
pub const PROMPT: u32 = 1;

/// `siskin_model_options`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // siskin.h says it
pub struct ModelOptions {
    pub size: usize,
    pub flags: u32,
    pub reserved: u32,
    pub max_memory: usize,
}

/// `siskin_model_info`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // siskin.h says it
pub struct ModelInfo {
    pub size: usize,
    pub vocab_size: usize,
    pub context: usize,
    pub n_layers: usize,
    pub d_model: usize,
    pub n_parameters: u64,
    pub file_bytes: u64,
    pub bos: i32,
    pub eos: i32,
    pub unk: i32,
    pub pad: i32,
    pub loss: f64,
}

/// `siskin_session_options`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // siskin.h says it
pub struct SessionOptionsC {
    pub size: usize,
    pub context: usize,
    pub batch: usize,
    pub max_memory: usize,
    pub threads: i32,
    pub flags: u32,
}

/// `siskin_bias`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // siskin.h says it
pub struct Bias {
    pub token: u32,
    pub bias: f32,
}

/// `siskin_sampling`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // siskin.h says it
pub struct Sampling {
    pub size: usize,
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub min_p: f32,
    pub repetition_penalty: f32,
    pub frequency_penalty: f32,
    pub presence_penalty: f32,
    pub penalty_last_n: i64,
    pub seed: u64,
    pub bias: *const Bias,
    pub n_bias: usize,
    pub stop: *const *const c_char,
    pub n_stop: usize,
    pub flags: u32,
    pub reserved: u32,
}

/// `siskin_piece`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // siskin.h says it
pub struct Piece {
    pub size: usize,
    pub text: *const c_char,
    pub length: usize,
    pub token: i32,
    pub stop: i32,
}

versioned!(ModelOptions, ModelOptions { size: size_of::<ModelOptions>(), flags: 0, reserved: 0, max_memory: 0 };
    flags, max_memory);
versioned!(ModelInfo, ModelInfo {
        size: size_of::<ModelInfo>(), vocab_size: 0, context: 0, n_layers: 0, d_model: 0, n_parameters: 0, file_bytes: 0,
        bos: -1, eos: -1, unk: -1, pad: -1, loss: f64::NAN,
    };
    vocab_size, context, n_layers, d_model, n_parameters, file_bytes, bos, loss);
versioned!(SessionOptionsC, SessionOptionsC {
        size: size_of::<SessionOptionsC>(), context: 0, batch: 0, max_memory: 0, threads: 0, flags: 0,
    };
    context, batch, max_memory, threads, flags);
versioned!(Sampling, Sampling::defaults();
    temperature, top_k, top_p, min_p, repetition_penalty, frequency_penalty, presence_penalty, penalty_last_n, seed, bias,
    n_bias, stop, n_stop, flags);
versioned!(Piece, Piece { size: size_of::<Piece>(), text: c"".as_ptr(), length: 0, token: -1, stop: 0 };
    text, length, token, stop);

impl ModelOptions {
    pub(crate) fn check(&self) -> Result<(), Failed> {
        flags(self.flags, NO_MMAP | VERIFY | COPY)?;
        reserved(self.reserved)
    }
}

impl SessionOptionsC {
    pub(crate) fn to_rust(self) -> Result<SessionOptions, Failed> {
        flags(self.flags, PIN)?;
        if !(0..=256).contains(&self.threads) {
            return Err(invalid(format_args!("threads is {}, expected 0 to 256", self.threads)));
        }
        let given = |n: usize| (n > 0).then_some(n);
        let default = SessionOptions::default();
        Ok(SessionOptions {
            ctx: given(self.context),
            threads: given(self.threads as usize),
            pin: self.flags & PIN != 0,
            batch: given(self.batch).unwrap_or(default.batch),
            max_bytes: given(self.max_memory),
            isa: None,
        })
    }
}

impl Sampling {
    fn defaults() -> Sampling {
        let default = SamplerOptions::default();
        Sampling {
            size: size_of::<Sampling>(),
            temperature: default.temperature,
            top_k: default.top_k as u32,
            top_p: default.top_p,
            min_p: default.min_p,
            repetition_penalty: default.repetition_penalty,
            frequency_penalty: default.frequency_penalty,
            presence_penalty: default.presence_penalty,
            penalty_last_n: default.penalty_last_n.map_or(-1, |n| n as i64),
            seed: default.seed,
            bias: std::ptr::null(),
            n_bias: 0,
            stop: std::ptr::null(),
            n_stop: 0,
            flags: 0,
            reserved: 0,
        }
    }

    /// Copies what the pointers lead to.
    ///
    /// # Safety
    /// They lead to as many elements as their numbers say.
    pub(crate) unsafe fn to_rust(self) -> Result<GenerateOptions, Failed> {
        flags(self.flags, TEMPERATURE_FIRST)?;
        reserved(self.reserved)?;
        let penalty_last_n = match self.penalty_last_n {
            -1 => None,
            n => match usize::try_from(n) {
                Ok(n) => Some(n),
                Err(_) => return Err(invalid(format_args!("penalty_last_n is {n}, expected -1 or more"))),
            },
        };
        // SAFETY: the caller's promise.
        let (biases, strings) = unsafe {
            (slice(self.bias, self.n_bias, "sampling.bias")?, slice(self.stop, self.n_stop, "sampling.stop")?)
        };
        let mut logit_bias = list(biases.len())?;
        logit_bias.extend(biases.iter().map(|bias| (bias.token, bias.bias)));
        let mut stop = list(strings.len())?;
        for &string in strings {
            if string.is_null() {
                return Err(invalid("a stop string is null"));
            }
            // SAFETY: the caller's strings end with a NUL.
            let bytes = unsafe { CStr::from_ptr(string) }.to_bytes();
            if bytes.len() > siskin::stop::MAX_STOP_LEN {
                return Err(Error::from(StopError::TooLong { len: bytes.len() }).into());
            }
            let mut owned = list(bytes.len())?;
            owned.extend_from_slice(bytes);
            stop.push(String::from_utf8(owned).map_err(|_| invalid("a stop string is not UTF-8"))?);
        }
        let sampler = SamplerOptions {
            temperature: self.temperature,
            top_k: self.top_k as usize,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            penalty_last_n,
            logit_bias,
            temperature_first: self.flags & TEMPERATURE_FIRST != 0,
            seed: self.seed,
        };
        Ok(GenerateOptions { sampler, stop })
    }
}

fn list<T>(n: usize) -> Result<Vec<T>, Failed> {
    let mut v = Vec::new();
    v.try_reserve_exact(n).map_err(|_| Failed::new(NO_MEMORY, format_args!("no memory for {n} elements")))?;
    Ok(v)
}

pub(crate) fn flags(found: u32, known: u32) -> Result<(), Failed> {
    if found & !known != 0 {
        return Err(invalid(format_args!("the flags {:#x} mean nothing here", found & !known)));
    }
    Ok(())
}

fn reserved(found: u32) -> Result<(), Failed> {
    if found != 0 {
        return Err(invalid(format_args!("the field reserved is {found}, expected 0")));
    }
    Ok(())
}

/// Fills options with the defaults.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_model_options_init(options: *mut ModelOptions, size: usize) {
    // SAFETY: the caller's struct has `size` bytes.
    unsafe { init(options, size) }
}

/// Fills options with the defaults.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_session_options_init(options: *mut SessionOptionsC, size: usize) {
    // SAFETY: the caller's struct has `size` bytes.
    unsafe { init(options, size) }
}

/// Fills options with the defaults.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_sampling_init(sampling: *mut Sampling, size: usize) {
    // SAFETY: the caller's struct has `size` bytes.
    unsafe { init(sampling, size) }
}
