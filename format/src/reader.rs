//! Opens a file that nobody vouches for: any bytes give a [`File`] or a clear [`Error`].
//!
//! Opening checks header, section directory, config, tokenizer, receipt and tensor directory with their checksums,
//! and that names, shapes, types and places of all tensors are those of the config. It does not touch the weights,
//! so its cost does not grow with them; [`File::verify`] does.

use crate::config::ModelConfig;
use crate::dtype::DType;
use crate::error::Error;
use crate::header::{self, Layout, Section, SectionInfo, Version};
use crate::memory;
use crate::meta::Meta;
use crate::mmap::Data;
use crate::panel::{PanelLayout, Planes};
use crate::pod;
use crate::quant;
use crate::receipt::Receipt;
use crate::tensors::{self, TensorInfo};
use crate::verify;
use crate::vocab::Vocab;
use crate::xxh64::xxh64;
use std::path::Path;

/// How to open a file.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Map the file instead of reading it. A mapped file must not be cut or rewritten in place while it is open
    /// (the process would get SIGBUS or changed weights); replacing it by renaming another file over it, as siskin
    /// does, is safe.
    pub mmap: bool,
    /// Run [`File::verify`] as well, which reads all weights.
    pub verify_weights: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions { mmap: true, verify_weights: false }
    }
}

/// An open model file. Immutable; share it between threads as you like.
#[derive(Debug)]
pub struct File {
    data: Data,
    layout: Layout,
    config: ModelConfig,
    vocab: Vocab,
    receipt: Receipt,
    receipt_meta: Meta,
    tensors: Vec<TensorInfo>,
    by_name: Vec<usize>, // indices of `tensors`
}

impl File {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// See [`Error`]; every way in which a file can be wrong has its own variant.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<File, Error> {
        let data = Data::open(path.as_ref(), options.mmap, header::check_start)?;
        let file = File::parse(data)?;
        if options.verify_weights {
            file.verify()?;
        }
        Ok(file)
    }

    /// Opens a file that is in memory. Bytes that do not start at a multiple of 64 are copied.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<File, Error> {
        header::check_start(&bytes, bytes.len() as u64)?;
        File::parse(Data::from_vec(bytes)?)
    }

    /// Opens a copy of a file that is in memory.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn copy_of(bytes: &[u8]) -> Result<File, Error> {
        header::check_start(bytes, bytes.len() as u64)?;
        File::parse(Data::copy_of(bytes)?)
    }

    /// Opens a file that is linked into the program, or lies in memory for as long as the program runs. It is not copied,
    /// unless it does not start at a multiple of 64.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn from_static(bytes: &'static [u8]) -> Result<File, Error> {
        header::check_start(bytes, bytes.len() as u64)?;
        File::parse(Data::from_static(bytes)?)
    }

    fn parse(data: Data) -> Result<File, Error> {
        let layout = Layout::read(&data)?;
        let section = |section: Section| -> Result<&[u8], Error> {
            let info = layout.section(section);
            let bytes = &data[info.range.clone()];
            if xxh64(bytes) == info.checksum { Ok(bytes) } else { Err(Error::SectionChecksum { section }) }
        };
        let meta =
            |which: Section| Meta::from_bytes(section(which)?).map_err(|error| Error::meta(which, error));
        let config = ModelConfig::from_meta(&meta(Section::Config)?)?;
        let vocab = Vocab::from_bytes(section(Section::Tokenizer)?)?;
        if vocab.len() != config.vocab_size {
            return Err(Error::VocabSize { vocab: vocab.len(), config: config.vocab_size });
        }
        let receipt_meta = meta(Section::Receipt)?;
        let receipt =
            Receipt::from_meta(&receipt_meta).map_err(|error| Error::meta(Section::Receipt, error))?;
        let directory = section(Section::TensorDirectory)?;
        let tensors = tensors::read(directory, &config, &layout.section(Section::TensorData).range)?;
        let mut by_name = memory::collect(0..tensors.len())?;
        by_name.sort_unstable_by(|&a, &b| tensors[a].name.cmp(&tensors[b].name));
        Ok(File { data, layout, config, vocab, receipt, receipt_meta, tensors, by_name })
    }

    /// What the model is.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Its tokenizer.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// Where it comes from.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// The receipt with the keys that this version does not know.
    pub fn receipt_meta(&self) -> &Meta {
        &self.receipt_meta
    }

    /// Version of the file.
    pub fn version(&self) -> Version {
        self.layout.version
    }

    /// The whole file. [`TensorInfo::range`] and [`SectionInfo::range`] index it; it starts at a multiple of 64 and
    /// stays where it is as long as the `File` lives, wherever that is moved.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// The sections in file order.
    pub fn sections(&self) -> &[SectionInfo] {
        &self.layout.sections
    }

    /// Every tensor, in the order of [`crate::schema::schema`].
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of a name.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let name_of = |&index: &usize| self.tensors[index].name.as_str();
        let found = self.by_name.binary_search_by_key(&name, name_of).ok()?;
        Some(self.view(&self.tensors[self.by_name[found]]))
    }

    /// The tensor that one of [`File::tensors`] describes.
    ///
    /// # Panics
    /// When `info` belongs to another file and its range does not lie in this one.
    pub fn view<'a>(&'a self, info: &'a TensorInfo) -> TensorView<'a> {
        TensorView { info, bytes: &self.data[info.range.clone()] }
    }

    /// Reads all weights: their checksum, and that every number is finite, in range, and zero where it is padding.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(&self) -> Result<(), Error> {
        let info = self.layout.section(Section::TensorData);
        if xxh64(&self.data[info.range.clone()]) != info.checksum {
            return Err(Error::SectionChecksum { section: Section::TensorData });
        }
        let mut end = info.range.start;
        for tensor in &self.tensors {
            self.check_gap(end, tensor.range.start)?;
            verify::check(tensor, &self.data[tensor.range.clone()])?;
            end = tensor.range.end;
        }
        self.check_gap(end, info.range.end)
    }

    fn check_gap(&self, start: usize, end: usize) -> Result<(), Error> {
        match self.data[start..end].iter().position(|&b| b != 0) {
            Some(index) => Err(Error::Padding { offset: (start + index) as u64 }),
            None => Ok(()),
        }
    }
}

/// One tensor of an open file, without a copy.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    info: &'a TensorInfo,
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// Its name, type, shape and place.
    pub fn info(&self) -> &'a TensorInfo {
        self.info
    }

    /// How it is stored.
    pub fn dtype(&self) -> DType {
        self.info.dtype
    }

    /// Output features of a matrix, elements of a vector.
    pub fn rows(&self) -> usize {
        self.info.rows
    }

    /// Input features of a matrix, 1 for a vector.
    pub fn cols(&self) -> usize {
        self.info.cols
    }

    /// Its bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements of a vector; `None` for a matrix.
    pub fn vector(&self) -> Option<&'a [f32]> {
        self.info.is_vector.then(|| pod::f32s(self.bytes))
    }

    /// Layout and planes of a matrix; `None` for a vector.
    pub fn matrix(&self) -> Option<(PanelLayout, Planes<'a>)> {
        let layout = self.info.layout()?;
        let planes = layout.planes(self.bytes);
        Some((layout, planes))
    }

    /// All weights as the kernels see them, row-major `[rows, cols]`.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.info.layout() {
            None => pod::f32s(self.bytes).to_vec(),
            Some(layout) => quant::unpack(&layout, self.bytes),
        }
    }
}
