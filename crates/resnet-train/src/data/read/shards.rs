//! Tar archives: WebDataset shards, whose samples are members of one name (`0001.jpg`, `0001.cls`), or a folder per class.
//!
//! One pass lists the members. A plain archive is then read in place, by position; a gzipped one is unpacked into memory, and
//! beyond a limit into a temporary file. Nothing is ever written under a name that an archive gives.
//! Links, devices and names that lead out are refused; so is a member twice.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType};

use super::super::files::{Files, Kept, MAX_FILE_BYTES, Ranges};
use super::parts::{Found, Label, Listing};
use super::{MAX_PICTURES, Part, by_part, is_picture, part_of};
use crate::{Error, Result};

/// Longest label or JSON description.
const MAX_LABEL_BYTES: u64 = 1 << 20;

/// Keys of a JSON description that may hold the class, in the order they are tried.
const KEYS: [&str; 5] = ["cls", "label", "class", "class_name", "label_name"];

/// Whether a file is gzipped, decided by its first bytes.
pub(super) fn is_gzip(path: &Path) -> Result<bool> {
    let mut start = [0; 2];
    let mut file = File::open(path).map_err(Error::io(path, "open"))?;
    let n = file.read(&mut start).map_err(Error::io(path, "read"))?;
    Ok(n == 2 && start == [0x1f, 0x8b])
}

/// Calls `member` for every regular file of an archive: name, length, position in the archive, content.
pub(super) fn members(
    path: &Path,
    mut member: impl FnMut(String, u64, u64, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let file = BufReader::new(File::open(path).map_err(Error::io(path, "open"))?);
    let reader: Box<dyn Read> =
        if is_gzip(path)? { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let shown = path.display().to_string();
    let damaged = |e: std::io::Error| {
        Error::format(&shown, format!("cannot be read on: {e}"), "an undamaged tar archive")
    };
    let mut archive = Archive::new(Tail { reader, zeros: 0 });
    let mut seen = HashSet::new();
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| Error::format(&shown, "a member whose name is not UTF-8", "names in UTF-8"))?;
        match entry.header().entry_type() {
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            EntryType::Regular | EntryType::Continuous => {}
            other => {
                let found = format!("the member `{name}` of kind {other:?}");
                return Err(Error::format(&shown, found, "files and folders only"));
            }
        }
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        if name.is_empty() || name.split(['/', '\\']).any(|c| c.is_empty() || c == ".." || c == ".") {
            return Err(Error::format(
                &shown,
                format!("the member `{name}`"),
                "names that stay inside the archive",
            ));
        }
        if !seen.insert(name.clone()) {
            return Err(Error::format(&shown, format!("the member `{name}` twice"), "each name once"));
        }
        if seen.len() > MAX_PICTURES {
            return Err(Error::format(&shown, format!("more than {MAX_PICTURES} members"), "fewer"));
        }
        let (len, start) = (entry.size(), entry.raw_file_position());
        member(name, len, start, &mut entry)?;
    }
    // What follows the end is read, too: the checksum of gzip comes last.
    let mut tail = archive.into_inner();
    std::io::copy(&mut (&mut tail).take(MAX_PADDING), &mut std::io::sink()).map_err(damaged)?;
    if tail.zeros < BLOCK {
        return Err(Error::format(&shown, "no end of the archive: it is cut off", "a whole tar archive"));
    }
    Ok(())
}

/// Most bytes after the end of an archive that are read: writers fill up to a multiple of some KiB.
const MAX_PADDING: u64 = 1 << 20;

/// Bytes of a block. An archive ends with blocks of zeros, by which one is known that was cut between two members.
const BLOCK: usize = 512;

/// A reader that knows how many zeros it has read last.
struct Tail {
    reader: Box<dyn Read>,
    zeros: usize,
}

impl Read for Tail {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let n = self.reader.read(into)?;
        self.zeros = match into[..n].iter().rposition(|byte| *byte != 0) {
            Some(last) => n - last - 1,
            None => self.zeros.saturating_add(n),
        };
        Ok(n)
    }
}

/// What belongs to one sample: its picture, and what says its class.
#[derive(Debug, Default)]
struct Sample {
    picture: Option<u32>,
    label: Option<Label>,
    /// Whether its name has more than one extension, so that no label can belong to it.
    is_own: bool,
}

/// Lists one archive, or several whose names say which part they are.
pub(super) fn list(archives: &[PathBuf]) -> Result<Found> {
    let (mut listings, mut left_out, mut has_labels) = (vec![], vec![], false);
    for (part, paths) in by_part(archives) {
        listings.extend(list_part(part, &paths, &mut left_out, &mut has_labels)?);
    }
    let kind = if has_labels { "tar shards of samples" } else { "tar archive, folder per class" };
    Ok(Found { kind, listings, names: None, left_out })
}

fn list_part(
    part: Option<Part>,
    paths: &[&PathBuf],
    left_out: &mut Vec<String>,
    has_labels: &mut bool,
) -> Result<Vec<Listing>> {
    let mut store = if paths.iter().try_fold(false, |any, p| Ok::<_, Error>(any || is_gzip(p)?))? {
        Store::Kept(Kept::new(paths[0]))
    } else {
        Store::Ranges(Ranges::default())
    };
    let mut samples: Vec<(PathBuf, String, Sample)> = vec![];
    for path in paths {
        let shown = path.display().to_string();
        if let Store::Ranges(ranges) = &mut store {
            ranges.open(path)?;
        }
        let mut here: BTreeMap<String, Sample> = BTreeMap::new();
        members(path, |name, len, start, content| {
            let (mut key, extension) = key_of(&name);
            let in_archive = format!("{shown}: {name}");
            if is_picture(&name) {
                if len > MAX_FILE_BYTES {
                    return Err(Error::format(
                        &in_archive,
                        format!("{len} bytes"),
                        format!("at most {MAX_FILE_BYTES}"),
                    ));
                }
                // `0001.mask.png` is no sample's picture, `IMG.2024.png` in a folder is one of its own.
                let is_own = extension.contains('.');
                if is_own {
                    key = name.rsplit_once('.').map_or(key, |(stem, _)| stem.to_owned());
                }
                let sample = here.entry(key).or_default();
                sample.is_own = is_own;
                if sample.picture.is_some() {
                    return Err(Error::format(&in_archive, "a second picture of one sample", "one"));
                }
                sample.picture = Some(store.push(name, start, len, content)? as u32);
            } else if matches!(extension.as_str(), "cls" | "json" | "txt" | "label") {
                let mut text = String::new();
                let read = content.take(MAX_LABEL_BYTES + 1).read_to_string(&mut text);
                read.map_err(|e| Error::format(&in_archive, e.to_string(), "a text in UTF-8"))?;
                if text.len() as u64 > MAX_LABEL_BYTES {
                    return Err(Error::format(
                        &in_archive,
                        "a long text",
                        format!("at most {MAX_LABEL_BYTES} bytes"),
                    ));
                }
                // A `.cls` says the class best; a caption in `.txt` only where nothing else does, and then it is a name.
                let label =
                    if extension == "json" { from_json(&in_archive, &text)? } else { from_text(&text) };
                let sample = here.entry(key).or_default();
                if sample.label.is_none() || extension == "cls" {
                    sample.label = label;
                }
            } else {
                left_out.push(in_archive);
            }
            Ok(())
        })?;
        samples.extend(here.into_iter().map(|(key, sample)| (path.to_path_buf(), key, sample)));
    }
    let pictures: Vec<_> = samples.into_iter().filter(|(_, _, s)| s.picture.is_some()).collect();
    *has_labels |= pictures.iter().any(|(_, _, s)| s.label.is_some());
    if *has_labels {
        let (of_samples, others): (Vec<_>, Vec<_>) = pictures.into_iter().partition(|(_, _, s)| !s.is_own);
        left_out.extend(others.into_iter().map(|(path, key, _)| format!("{}: {key}", path.display())));
        let items = of_samples.into_iter().map(|(path, key, s)| match (s.picture, s.label) {
            (Some(picture), Some(label)) => Ok((picture, label)),
            _ => {
                let found = format!("the sample `{key}` without a class");
                Err(Error::format(&path.display().to_string(), found, "a .cls or .json member beside it"))
            }
        });
        return Ok(vec![Listing { part, items: items.collect::<Result<_>>()?, files: store.done() }]);
    }
    by_folder(part, pictures, store.done())
}

/// The class is the folder, below a folder for the part if there is one.
fn by_folder(
    part: Option<Part>,
    pictures: Vec<(PathBuf, String, Sample)>,
    files: Arc<dyn Files>,
) -> Result<Vec<Listing>> {
    let folders: Vec<Vec<&str>> = pictures.iter().map(|(_, key, _)| key.split('/').collect()).collect();
    // A folder that all members lie in says nothing: `photos/cat/1.jpg`.
    let shallowest = folders.iter().map(Vec::len).min().unwrap_or(0);
    let shared = |depth: usize| folders.iter().all(|f| f[depth] == folders[0][depth]);
    let mut depth = (0..shallowest.saturating_sub(1)).take_while(|d| shared(*d)).count();
    let parts = folders.iter().map(|f| f.get(depth).and_then(|word| part_of(word)));
    let parts: Option<Vec<Part>> = parts.collect();
    if part.is_none() && parts.is_some() {
        depth += 1;
    }
    let mut by_part: BTreeMap<Option<Part>, Vec<(u32, Label)>> = BTreeMap::new();
    for (i, (path, key, sample)) in pictures.iter().enumerate() {
        if folders[i].len() < depth + 2 {
            let found = format!("`{key}` without a class");
            let wanted = "a .cls or .json member beside it, or a folder for its class";
            return Err(Error::format(&path.display().to_string(), found, wanted));
        }
        let of = parts.as_ref().filter(|_| part.is_none()).map_or(part, |parts| Some(parts[i]));
        let label = Label::Name(folders[i][depth].to_owned());
        by_part.entry(of).or_default().push((sample.picture.unwrap_or_default(), label));
    }
    Ok(by_part.into_iter().map(|(part, items)| Listing { part, items, files: files.clone() }).collect())
}

/// WebDataset's rule: the key ends at the first dot of the last component, the rest is the extension.
fn key_of(name: &str) -> (String, String) {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[base..].find('.') {
        Some(dot) => (name[..base + dot].to_owned(), name[base + dot + 1..].to_ascii_lowercase()),
        None => (name.to_owned(), String::new()),
    }
}

fn from_text(text: &str) -> Option<Label> {
    let text = text.trim();
    (!text.is_empty()).then(|| Label::of(text))
}

fn from_json(shown: &str, text: &str) -> Result<Option<Label>> {
    let json: serde_json::Value =
        serde_json::from_str(text).map_err(|e| Error::format(shown, e.to_string(), "JSON"))?;
    Ok(KEYS.iter().find_map(|key| match json.get(key)? {
        serde_json::Value::String(name) => from_text(name),
        serde_json::Value::Number(n) => n.as_u64().and_then(|n| u32::try_from(n).ok()).map(Label::Number),
        _ => None,
    }))
}

/// Where pictures are read from later.
enum Store {
    Ranges(Ranges),
    Kept(Kept),
}

impl Store {
    fn push(&mut self, name: String, start: u64, len: u64, content: &mut dyn Read) -> Result<usize> {
        match self {
            Store::Ranges(ranges) => Ok(ranges.push(name, start, len)),
            Store::Kept(kept) => {
                let mut bytes = vec![];
                let read = content.take(len).read_to_end(&mut bytes);
                read.map_err(|e| Error::format(&name, e.to_string(), "an undamaged member"))?;
                kept.push(name, &bytes)
            }
        }
    }

    fn done(self) -> Arc<dyn Files> {
        match self {
            Store::Ranges(ranges) => Arc::new(ranges),
            Store::Kept(kept) => Arc::new(kept),
        }
    }
}
