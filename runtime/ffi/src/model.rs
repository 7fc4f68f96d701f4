//! Models: opened once, counted, shared.

use crate::arguments::{fill, invalid, out, read, size, slice, write};
use crate::guard::{guard, guard_silently, keepable};
use crate::options::{COPY, ModelInfo, ModelOptions, NO_MMAP, VERIFY};
#[cfg(not(unix))]
use crate::status::IO;
use crate::status::{BUDGET, Failed, Status};
use siskin::{Model, Tokenizer};
use siskin_format::panel::ALIGN;
use siskin_format::{File, OpenOptions};
use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Arc;

/// `siskin_model`: what an `Arc` of it leads to.
pub struct ModelHandle {
    pub(crate) model: Arc<Model>,
    pub(crate) tokenizer: Arc<Tokenizer>,
}

/// The model behind a handle.
///
/// # Safety
/// What is not null came from this library and was not freed.
pub(crate) unsafe fn model<'a>(handle: *const ModelHandle) -> Result<&'a ModelHandle, Failed> {
    // SAFETY: the caller's promise.
    unsafe { handle.as_ref() }.ok_or_else(|| invalid("the model is null"))
}

/// Refuses what would take more memory than the caller allows.
fn budget(options: &ModelOptions, needed: u64) -> Result<(), Failed> {
    match options.max_memory {
        0 => Ok(()),
        max if needed <= max as u64 => Ok(()),
        max => Err(Failed::new(BUDGET, format_args!("the model needs {needed} bytes, but may have {max}"))),
    }
}

/// Gives a file to the caller as a model.
fn hand_out(file: File, place: &mut MaybeUninit<*mut ModelHandle>) -> Result<(), Failed> {
    let tokenizer = Arc::new(Tokenizer::from_vocab(file.vocab())?);
    let model = Arc::new(Model::from_file(file)?);
    let handle = Arc::new(ModelHandle { model, tokenizer });
    keepable()?;
    place.write(Arc::into_raw(handle).cast_mut());
    Ok(())
}

/// Opens a file.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_model_open(
    path: *const c_char,
    options: *const ModelOptions,
    model: *mut *mut ModelHandle,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (place, options) = unsafe { (out(model, "the place for the model")?, read(options)?) };
        place.write(null_mut());
        options.check()?;
        if options.flags & COPY != 0 {
            return Err(invalid(
                "SISKIN_COPY is for models in memory; to read a file instead of mapping it, SISKIN_NO_MMAP",
            ));
        }
        if path.is_null() {
            return Err(invalid("the path is null"));
        }
        // SAFETY: the caller's string ends with a NUL.
        let path = path_of(unsafe { CStr::from_ptr(path) })?;
        if options.flags & NO_MMAP != 0 {
            budget(&options, std::fs::metadata(path).map_or(0, |found| found.len()))?;
        }
        let (mmap, verify_weights) = (options.flags & NO_MMAP == 0, options.flags & VERIFY != 0);
        hand_out(File::open(path, &OpenOptions { mmap, verify_weights })?, place)
    })
}

#[cfg(unix)]
fn path_of(path: &CStr) -> Result<&Path, Failed> {
    use std::os::unix::ffi::OsStrExt;
    Ok(Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())))
}

#[cfg(not(unix))]
fn path_of(path: &CStr) -> Result<&Path, Failed> {
    path.to_str().map(Path::new).map_err(|_| Failed::new(IO, "the path is not UTF-8"))
}

/// Opens a file that is in memory.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_model_open_memory(
    bytes: *const c_void,
    n_bytes: usize,
    options: *const ModelOptions,
    model: *mut *mut ModelHandle,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (place, options) = unsafe { (out(model, "the place for the model")?, read(options)?) };
        place.write(null_mut());
        options.check()?;
        if options.flags & NO_MMAP != 0 {
            return Err(invalid("SISKIN_NO_MMAP is for files"));
        }
        // SAFETY: the caller's bytes stay as long as the model, unless they are copied below.
        let bytes: &'static [u8] = unsafe { slice(bytes.cast(), n_bytes, "the model's bytes")? };
        let file = if options.flags & COPY != 0 || !bytes.as_ptr().addr().is_multiple_of(ALIGN) {
            budget(&options, n_bytes as u64)?;
            File::copy_of(bytes)?
        } else {
            File::from_static(bytes)?
        };
        if options.flags & VERIFY != 0 {
            file.verify()?;
        }
        hand_out(file, place)
    })
}

/// Counts one more owner.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_model_retain(model: *mut ModelHandle) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let handle = unsafe { self::model(model) }?;
        // SAFETY: a handle comes from `Arc::into_raw`, and its owner still counts.
        unsafe { Arc::increment_strong_count(&raw const *handle) };
        Ok(())
    })
}

/// Gives a model up.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_model_free(model: *mut ModelHandle) {
    guard_silently(|| {
        if !model.is_null() {
            // SAFETY: a handle comes from `Arc::into_raw`, and this owner counts for the last time.
            drop(unsafe { Arc::from_raw(model) });
        }
    });
}

/// Tells what a model is.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_model_get_info(model: *const ModelHandle, info: *mut ModelInfo) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (handle, size) = unsafe { (self::model(model)?, size(info)?) };
        let (config, file) = (handle.model.config(), handle.model.file());
        let special = file.vocab().special();
        let id = |id: Option<u32>| id.map_or(-1, |id| id as i32);
        let value = ModelInfo {
            size,
            vocab_size: config.vocab_size,
            context: if config.is_bounded() { config.context } else { 0 },
            n_layers: config.n_layers(),
            d_model: config.d_model,
            n_parameters: file.tensors().iter().map(|t| t.rows as u64 * t.cols as u64).sum(),
            file_bytes: file.bytes().len() as u64,
            bos: id(special.bos),
            eos: id(special.eos),
            unk: id(special.unk),
            pad: id(special.pad),
            loss: file.receipt().held_out.as_ref().map_or(f64::NAN, |held_out| held_out.file_loss),
        };
        // SAFETY: the struct has `size` bytes.
        unsafe { write(info, size, &value) };
        Ok(())
    })
}

/// Reads all weights.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_model_verify(model: *const ModelHandle) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        unsafe { self::model(model) }?.model.file().verify()?;
        Ok(())
    })
}

/// Names the instruction set.
///
/// # Safety
/// The pointers are as `siskin.h` has them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn siskin_kernels(buffer: *mut c_char, size: usize, needed: *mut usize) -> Status {
    guard(|| {
        let name = siskin::isa_name()?;
        let mut with_nul = [0u8; 32];
        with_nul[..name.len()].copy_from_slice(name.as_bytes());
        let mut length = MaybeUninit::uninit();
        // SAFETY: the caller's buffer has `size` bytes.
        let filled = unsafe { fill(&with_nul[..=name.len()], buffer.cast(), size, &mut length) };
        if !needed.is_null() {
            // SAFETY: the caller's promise.
            unsafe { out(needed, "the place for the size") }?.write(name.len() + 1);
        }
        filled
    })
}
