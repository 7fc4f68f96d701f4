//! The weights of a folder: `model.safetensors`, or the shards that `model.safetensors.index.json` lists, or those that lie there.

use serde::Deserialize;
use siskin_format::receipt::Origin;
use siskin_format::xxh64::Xxh64;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use super::header::{self, Entry};
use super::tensor::Tensor;
use crate::error::{Error, Result};
use crate::pickle;
use crate::source::{Source, json, shown};

const ONE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// One or many safetensors files that hold a model together.
#[derive(Debug)]
pub(crate) struct Shards {
    sources: Vec<Source>,
    entries: HashMap<String, (usize, Entry)>, // which source, and where in it
}

impl Shards {
    /// The weights of a folder.
    pub(crate) fn in_folder(folder: &Path) -> Result<Shards> {
        if folder.join(ONE).is_file() {
            return Shards::of(vec![Source::open(&folder.join(ONE))?]);
        }
        if folder.join(INDEX).is_file() {
            return Shards::indexed(folder);
        }
        let names = names_in(folder)?;
        let shards: Vec<&String> = names.iter().filter(|name| name.ends_with(".safetensors")).collect();
        if shards.is_empty() {
            return Err(nothing_in(folder, &names));
        }
        complete(folder, &shards)?;
        Shards::of(shards.iter().map(|name| Source::open(&folder.join(name))).collect::<Result<_>>()?)
    }

    /// The weights of these files; no tensor may be in two of them.
    pub(crate) fn of(sources: Vec<Source>) -> Result<Shards> {
        let mut entries: HashMap<String, (usize, Entry)> = HashMap::new();
        for (index, source) in sources.iter().enumerate() {
            for (name, entry) in header::read(source)? {
                if let Some((first, _)) = entries.get(&name) {
                    let problem = format!("is also in {}", sources[*first].path().display());
                    return Err(source.tensor(&name, problem));
                }
                entries.insert(name, (index, entry));
            }
        }
        Ok(Shards { sources, entries })
    }

    /// The shards that the index names, with the tensors that it names in them.
    fn indexed(folder: &Path) -> Result<Shards> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let index = Source::open(&folder.join(INDEX))?;
        let Index { weight_map } = json(&index)?;
        let names: BTreeSet<&String> = weight_map.values().collect();
        let mut sources = Vec::new();
        for name in &names {
            if !is_plain(name) {
                return Err(index.malformed(format!("the shard {} is no plain file name", shown(name))));
            }
            let path = folder.join(name);
            if !path.is_file() {
                let tensors = weight_map.values().filter(|shard| shard == name).count();
                let problem = format!(
                    "the shard {} with {tensors} tensors is missing; get it from where the folder came",
                    shown(name)
                );
                return Err(index.malformed(problem));
            }
            sources.push(Source::open(&path)?);
        }
        let shards = Shards::of(sources)?;
        for (tensor, shard) in &weight_map {
            let found = shards.entries.get(tensor).map(|&(source, _)| shards.sources[source].path());
            if found != Some(&folder.join(shard)) {
                return Err(
                    index.tensor(tensor, format!("is not in {}, where the index has it", shown(shard)))
                );
            }
        }
        Ok(shards)
    }

    /// The tensor of a name, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<Tensor<'_>> {
        let (name, (source, entry)) = self.entries.get_key_value(name)?;
        Some(Tensor::new(&self.sources[*source], name, entry))
    }

    /// The tensor of a name, which must be there.
    pub(crate) fn require(&self, name: &str) -> Result<Tensor<'_>> {
        let missing = || Error::Tensor {
            path: self.path().to_path_buf(),
            name: name.to_string(),
            problem: format!("is missing among {} tensors", self.entries.len()),
        };
        self.get(name).ok_or_else(missing)
    }

    /// Every name, in alphabetical order.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.entries.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The first file.
    pub(crate) fn path(&self) -> &Path {
        self.sources[0].path()
    }

    /// What the receipt says of it: the hash is that of all files, one after the other. Reads all of them.
    pub(crate) fn origin(&self, name: String) -> Origin {
        let mut hash = Xxh64::new();
        self.sources.iter().for_each(|source| hash.update(source.bytes()));
        Origin { name, hash: hash.finish() }
    }
}

fn names_in(folder: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// No safetensors file is there: say what is there instead.
fn nothing_in(folder: &Path, names: &BTreeSet<String>) -> Error {
    let pickled = names.iter().find(|name| {
        let path = folder.join(name);
        let looks = [".bin", ".pt", ".pth", ".ckpt"].iter().any(|end| name.ends_with(end));
        looks && Source::open(&path).is_ok_and(|source| pickle::begins(source.bytes()))
    });
    match pickled {
        Some(name) => Error::Pickle { path: folder.join(name) },
        None => Error::UnknownSource {
            path: folder.to_path_buf(),
            found: format!("a folder without {ONE} or {INDEX}"),
        },
    }
}

/// Shards named `…-00001-of-00004.safetensors` are all there; files of another name stand alone.
fn complete(folder: &Path, shards: &[&String]) -> Result<()> {
    let problem = |problem| Err(Error::Malformed { path: folder.to_path_buf(), problem });
    let Some((stem, total, width)) = numbered(shards[0]) else {
        return match shards {
            [_] => Ok(()),
            _ => problem(format!(
                "{} safetensors files and no {INDEX} that says how they belong together",
                shards.len()
            )),
        };
    };
    if total > shards.len() as u64 + 10_000 {
        return problem(format!(
            "{} counts {total} shards, but {} are there",
            shown(shards[0]),
            shards.len()
        ));
    }
    let expected: BTreeSet<String> =
        (1..=total).map(|i| format!("{stem}-{i:0width$}-of-{total:0width$}.safetensors")).collect();
    if let Some(missing) = expected.iter().find(|name| !shards.contains(name)) {
        return problem(format!(
            "the shard {} is missing; get it from where the folder came",
            shown(missing)
        ));
    }
    match shards.iter().find(|name| !expected.contains(**name)) {
        Some(extra) => problem(format!("{} does not belong to the {total} shards beside it", shown(extra))),
        None => Ok(()),
    }
}

/// `stem-00001-of-00004.safetensors` as stem, 4, and the digits of a number.
fn numbered(name: &str) -> Option<(&str, u64, usize)> {
    let rest = name.strip_suffix(".safetensors")?;
    let (rest, total) = rest.rsplit_once("-of-")?;
    let (stem, index) = rest.rsplit_once('-')?;
    let digits = |s: &str| (1..=9).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
    (digits(index) && digits(total)).then_some((stem, total.parse().ok()?, total.len()))
}

/// Whether a name that a file gives is that of a file beside it and nothing else.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', ':', '\0'])
}
