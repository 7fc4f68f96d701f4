//! Writes a file: the same contents give the same bytes.
//!
//! Tensors are handed over one by one, in the order of the schema, so that a model is never in memory twice. All
//! sizes are known beforehand; header and section directory are written last, over zeros, so that a half-written
//! file is never a valid one.

use crate::atomic::AtomicFile;
use crate::config::ModelConfig;
use crate::dtype::DType;
use crate::error::{Error, TensorError};
use crate::header::{Layout, Section, Version, preamble_len};
use crate::panel::ALIGN;
use crate::quant::{PackedMatrix, QuantError, pack};
use crate::reader::{File, OpenOptions};
use crate::receipt::Receipt;
use crate::schema::{TensorSpec, schema};
use crate::tensors::{self, TensorInfo};
use crate::vocab::Vocab;
use crate::xxh64::{Xxh64, xxh64};
use std::borrow::Cow;
use std::io::{self, BufWriter, Cursor, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Everything of a file but its weights.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// What the model is.
    pub config: &'a ModelConfig,
    /// Its tokenizer, `config.vocab_size` tokens.
    pub vocab: &'a Vocab,
    /// Where it comes from.
    pub receipt: &'a Receipt,
}

/// Writes a file into a sink, tensor by tensor.
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    path: PathBuf,
    layout: Layout,
    specs: Vec<TensorSpec>,
    tensors: Vec<TensorInfo>,
    next: usize,
    data: Xxh64,
    data_len: usize,
}

impl<W: Write + Seek> Writer<W> {
    /// Starts a file. `dtype_for` gives the storage type of each tensor; [`TensorSpec::dtype_for`] is the usual
    /// choice. `path` only serves messages.
    ///
    /// # Errors
    /// A config that is not valid, a tokenizer of another size, a type that a tensor may not have, a model too large
    /// for this machine's address space, or what the sink says.
    pub fn new(
        mut sink: W,
        path: impl AsRef<Path>,
        contents: &Contents<'_>,
        dtype_for: impl Fn(&TensorSpec) -> DType,
    ) -> Result<Writer<W>, Error> {
        let Contents { config, vocab, receipt } = contents;
        config.validate()?;
        if vocab.len() != config.vocab_size {
            return Err(Error::VocabSize { vocab: vocab.len(), config: config.vocab_size });
        }
        let specs = schema(config);
        let (tensors, data_len) = tensors::plan(&specs, dtype_for)?;
        let metadata = [
            config.to_meta().to_bytes(),
            vocab.to_bytes(),
            receipt.to_meta().to_bytes(),
            tensors::to_bytes(&tensors),
        ];
        let version = config.format_version().max(vocab.format_version());
        let layout = plan_layout(version, &metadata, data_len)?;
        let path = path.as_ref().to_path_buf();
        write_metadata(&mut sink, &layout, &metadata).map_err(|e| Error::io("write", &path, e))?;
        Ok(Writer { sink, path, layout, specs, tensors, next: 0, data: Xxh64::new(), data_len: 0 })
    }

    /// The tensor that comes next and its storage type; `None` after the last one.
    pub fn next_tensor(&self) -> Option<(&TensorSpec, DType)> {
        Some((self.specs.get(self.next)?, self.tensors[self.next].dtype))
    }

    /// Writes the next tensor from its row-major weights.
    ///
    /// # Errors
    /// [`Error::WriteOrder`] when `name` is not the next tensor, [`Error::Tensor`] when the number of weights is not
    /// that of its shape, [`Error::Quant`] when a weight cannot be stored, or what the sink says.
    pub fn put(&mut self, name: &str, weights: &[f32]) -> Result<(), Error> {
        let info = self.expect(name)?.clone();
        if weights.len() != info.rows * info.cols {
            let (found, expected) = (weights.len() as u64, (info.rows * info.cols) as u64);
            return Err(Error::Tensor {
                name: info.name,
                error: TensorError::Shape { found: vec![found], expected: vec![expected] },
            });
        }
        if !info.is_vector {
            let packed = pack(info.dtype, weights, info.rows, info.cols);
            return self.append(packed.map_err(|error| Error::Quant { name: info.name, error })?.bytes());
        }
        if let Some(row) = weights.iter().position(|w| !w.is_finite()) {
            let error = QuantError::NotFinite { row, col: 0, value: weights[row] };
            return Err(Error::Quant { name: info.name, error });
        }
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.append(&bytes)
    }

    /// Writes the next tensor, a matrix that was packed elsewhere, maybe by several threads.
    ///
    /// # Errors
    /// As [`Writer::put`]; [`Error::Tensor`] when type or shape are not those of the next tensor.
    pub fn put_packed(&mut self, name: &str, packed: &PackedMatrix) -> Result<(), Error> {
        let info = self.expect(name)?;
        let layout = packed.layout();
        if info.layout().as_ref() == Some(layout) {
            return self.append(packed.bytes());
        }
        let error = if (layout.rows, layout.cols) != (info.rows, info.cols) {
            TensorError::Shape {
                found: vec![layout.rows as u64, layout.cols as u64],
                expected: vec![info.rows as u64, info.cols as u64],
            }
        } else {
            TensorError::DTypeNotAllowed { found: layout.dtype }
        };
        Err(Error::Tensor { name: info.name.clone(), error })
    }

    /// Completes the file and gives the sink back.
    ///
    /// # Errors
    /// [`Error::WriteOrder`] when tensors are missing, or what the sink says.
    pub fn finish(mut self) -> Result<W, Error> {
        if let Some(missing) = self.specs.get(self.next) {
            return Err(Error::WriteOrder { given: None, expected: Some(missing.name.clone()) });
        }
        let checksum = self.data.finish();
        self.layout.sections[Section::TensorData.code() as usize - 1].checksum = checksum;
        let written = self.sink.seek(SeekFrom::Start(0)).and_then(|_| {
            self.sink.write_all(&self.layout.to_bytes())?;
            self.sink.flush()
        });
        match written {
            Ok(()) => Ok(self.sink),
            Err(e) => Err(Error::io("write", self.path, e)),
        }
    }

    fn expect(&self, name: &str) -> Result<&TensorInfo, Error> {
        match self.tensors.get(self.next) {
            Some(info) if info.name == name => Ok(info),
            other => Err(Error::WriteOrder {
                given: Some(name.to_string()),
                expected: other.map(|info| info.name.clone()),
            }),
        }
    }

    /// Writes a tensor's bytes and the zeros behind them.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        debug_assert_eq!(self.tensors[self.next].range.len(), bytes.len());
        let zeros = [0; ALIGN];
        let end = self.data_len + bytes.len();
        let padding = &zeros[..end.next_multiple_of(ALIGN) - end];
        for piece in [bytes, padding] {
            self.sink.write_all(piece).map_err(|e| Error::io("write", &self.path, e))?;
            self.data.update(piece);
        }
        self.data_len = end + padding.len();
        self.next += 1;
        Ok(())
    }
}

/// Places of all sections, with the checksums of all but the last.
fn plan_layout(version: Version, metadata: &[Vec<u8>; 4], data_len: usize) -> Result<Layout, Error> {
    let [config, vocab, receipt, directory] = metadata;
    let lengths = [config.len(), vocab.len(), receipt.len(), directory.len(), data_len];
    for (section, len) in Section::ALL.into_iter().zip(lengths) {
        if len as u64 > section.max_len() {
            return Err(Error::SectionLength { section, len: len as u64, max: section.max_len() });
        }
    }
    let mut layout = Layout::plan(version, lengths).ok_or(Error::TooLarge { len: u64::MAX })?;
    for (info, bytes) in layout.sections.iter_mut().zip(metadata) {
        info.checksum = xxh64(bytes);
    }
    Ok(layout)
}

/// Writes zeros for header and directory, then the metadata sections up to the start of the data.
fn write_metadata(sink: &mut impl Write, layout: &Layout, metadata: &[Vec<u8>; 4]) -> io::Result<()> {
    let zeros = [0; ALIGN];
    sink.write_all(&[0; preamble_len()])?;
    let mut end = preamble_len();
    for (info, bytes) in layout.sections.iter().zip(metadata) {
        sink.write_all(&zeros[..info.range.start - end])?;
        sink.write_all(bytes)?;
        end = info.range.end;
    }
    sink.write_all(&zeros[..layout.section(Section::TensorData).range.start - end])
}

/// Writes a file at `path`, atomically: see [`AtomicFile`]. `weights` gives each tensor's row-major weights when its
/// turn comes.
///
/// # Errors
/// What `weights` or [`Writer`] say; whatever stood at `path` is intact then.
pub fn write_file<'w, E: From<Error>>(
    path: impl AsRef<Path>,
    contents: &Contents<'_>,
    dtype_for: impl Fn(&TensorSpec) -> DType,
    weights: impl FnMut(&TensorSpec) -> Result<Cow<'w, [f32]>, E>,
) -> Result<(), E> {
    let path = path.as_ref();
    let sink = BufWriter::with_capacity(1 << 18, AtomicFile::create(path)?);
    let sink = write_all(Writer::new(sink, path, contents, dtype_for)?, weights)?;
    Ok(commit(sink, path)?)
}

/// A file that is complete but for its receipt: it can be opened at [`Draft::path`] and measured, and stands at its
/// place only once that has gone well. Dropped before, it leaves no trace.
#[derive(Debug)]
pub struct Draft {
    file: AtomicFile,
    target: PathBuf,
}

impl Draft {
    /// Writes a draft of the file at `path`, as [`write_file`] does.
    ///
    /// # Errors
    /// As [`write_file`].
    pub fn write<'w, E: From<Error>>(
        path: impl AsRef<Path>,
        contents: &Contents<'_>,
        dtype_for: impl Fn(&TensorSpec) -> DType,
        weights: impl FnMut(&TensorSpec) -> Result<Cow<'w, [f32]>, E>,
    ) -> Result<Draft, E> {
        let path = path.as_ref();
        let sink = BufWriter::with_capacity(1 << 18, AtomicFile::create(path)?);
        let sink = write_all(Writer::new(sink, path, contents, dtype_for)?, weights)?;
        let file = sink.into_inner().map_err(|e| Error::io("write", path, e.into_error()))?;
        Ok(Draft { file, target: path.to_path_buf() })
    }

    /// Where the draft lies.
    pub fn path(&self) -> &Path {
        self.file.temporary()
    }

    /// Puts the file, with `receipt`, at its place, atomically.
    ///
    /// # Errors
    /// What opening or writing says; whatever stood there is intact then.
    pub fn commit(self, receipt: &Receipt) -> Result<(), Error> {
        with_receipt(self.path(), &self.target, receipt)
    }
}

/// The bytes of a file in memory.
///
/// # Errors
/// What `weights` or [`Writer`] say.
pub fn to_bytes<'w, E: From<Error>>(
    contents: &Contents<'_>,
    dtype_for: impl Fn(&TensorSpec) -> DType,
    weights: impl FnMut(&TensorSpec) -> Result<Cow<'w, [f32]>, E>,
) -> Result<Vec<u8>, E> {
    let writer = Writer::new(Cursor::new(Vec::new()), "memory", contents, dtype_for)?;
    Ok(write_all(writer, weights)?.into_inner())
}

fn write_all<'w, W: Write + Seek, E: From<Error>>(
    mut writer: Writer<W>,
    mut weights: impl FnMut(&TensorSpec) -> Result<Cow<'w, [f32]>, E>,
) -> Result<W, E> {
    while let Some((spec, _)) = writer.next_tensor() {
        let spec = spec.clone();
        writer.put(&spec.name, &weights(&spec)?)?;
    }
    Ok(writer.finish()?)
}

fn commit(sink: BufWriter<AtomicFile>, path: &Path) -> Result<(), Error> {
    sink.into_inner().map_err(|e| Error::io("write", path, e.into_error()))?.commit()
}

/// Replaces the receipt of the file at `path`, atomically; everything else is copied.
///
/// # Errors
/// What opening or writing says; the old file is intact then.
pub fn replace_receipt(path: impl AsRef<Path>, receipt: &Receipt) -> Result<(), Error> {
    with_receipt(path.as_ref(), path.as_ref(), receipt)
}

/// Writes the file at `from` with another receipt to `to`.
fn with_receipt(from: &Path, to: &Path, receipt: &Receipt) -> Result<(), Error> {
    let old = File::open(from, &OpenOptions::default())?;
    let bytes_of = |section: usize| old.bytes()[old.sections()[section].range.clone()].to_vec();
    let metadata = [bytes_of(0), bytes_of(1), receipt.to_meta().to_bytes(), bytes_of(3)];
    let data = &old.sections()[4];
    let mut layout = plan_layout(old.version(), &metadata, data.range.len())?;
    layout.sections[4].checksum = data.checksum;
    let mut sink = BufWriter::with_capacity(1 << 18, AtomicFile::create(to)?);
    write_metadata(&mut sink, &layout, &metadata)
        .and_then(|()| sink.write_all(&old.bytes()[data.range.clone()]))
        .and_then(|()| sink.seek(SeekFrom::Start(0)))
        .and_then(|_| sink.write_all(&layout.to_bytes()))
        .map_err(|e| Error::io("write", to, e))?;
    // Some systems do not rename over a mapped file.
    drop(old);
    commit(sink, to)
}
