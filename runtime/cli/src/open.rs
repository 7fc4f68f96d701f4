//! From arguments to models and sessions.

use crate::args::{ModelArgs, SessionArgs};
use crate::memory;
use crate::out::{Failure, note};
use siskin::{Model, Session, SessionOptions, Tokenizer};
use siskin_format::{Error, File, OpenOptions};
use std::path::Path;
use std::sync::Arc;

/// Opens the file; the message names it.
pub fn file(path: &Path, mmap: bool) -> Result<File, Failure> {
    File::open(path, &OpenOptions { mmap, ..OpenOptions::default() }).map_err(|error| match error {
        Error::Io { .. } | Error::NotAFile { .. } => Failure::failed(error),
        error => Failure::Failed(format!("{}: {error}", path.display())),
    })
}

/// Opens the model and its tokenizer.
pub fn model(args: &ModelArgs) -> Result<(Arc<Model>, Arc<Tokenizer>), Failure> {
    siskin::isa_name()?; // a wrong SISKIN_ISA is said before anything else is done
    memory::check_file(args)?;
    let model = model_of(file(&args.model, !args.no_mmap)?, &args.model)?;
    let tokenizer = Tokenizer::from_vocab(model.file().vocab())
        .map_err(|error| Failure::Failed(format!("{}: {error}", args.model.display())))?;
    Ok((model, Arc::new(tokenizer)))
}

/// The model of an open file.
pub fn model_of(file: File, path: &Path) -> Result<Arc<Model>, Failure> {
    let model = Model::from_file(file);
    Ok(Arc::new(model.map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?))
}

/// Refuses a model that turns a source into a text: `why` not, and the `command` that is meant for it.
pub fn refuse_encoder(model: &Model, path: &Path, why: &str, command: &str) -> Result<(), Failure> {
    if !model.config().has_encoder() {
        return Ok(());
    }
    let name = path.display();
    Err(Failure::Failed(format!(
        "{name} has an encoder, which reads a source first, but {why}: use siskin {command}"
    )))
}

/// A session, if the machine has the memory for it.
pub fn session(model: &Arc<Model>, file: &ModelArgs, args: &SessionArgs) -> Result<Session, Failure> {
    if args.ctx.is_some() && !model.config().is_bounded() && !model.config().has_attention() {
        note("note: --ctx is ignored, this model has no limit");
    }
    let options = SessionOptions {
        ctx: args.ctx,
        threads: args.threads,
        pin: args.pin,
        max_bytes: memory::for_session(file),
        ..SessionOptions::default()
    };
    Ok(Session::new(model.clone(), &options)?)
}
