//! CIFAR-10 and CIFAR-100 as they are published: binary or Python batches, in a folder or still in their archive.
//!
//! A binary record is one label (for CIFAR-100 two, coarse and fine), then 1,024 bytes each of red, green and blue.
//! Python batches are pickles, which are read and never run: see [`Dictionary`].
//!
//! Source: A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009, and the description beside the files.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use resnet_import::container::Dictionary;

use super::super::{Dataset, InMemory, known};
use super::shards;
use crate::{Error, Result};

const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;
const PICTURE_BYTES: usize = 3 * PIXELS;

/// Longest file: the training part of CIFAR-100 has 154 million bytes.
const MAX_BYTES: u64 = 512 << 20;

/// Folders that the archives unpack to.
const FOLDERS: [&str; 4] =
    ["cifar-10-batches-bin", "cifar-10-batches-py", "cifar-100-binary", "cifar-100-python"];

const CLASSES_10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// One of the four ways the two sets are published.
#[derive(Clone, Copy, Debug)]
struct Form {
    title: &'static str,
    kind: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    /// The file with the names of the classes.
    names: &'static str,
    n_classes: usize,
    /// Bytes before the pixels of a record; 0 for pickles.
    n_label_bytes: usize,
}

const FORMS: [Form; 4] = [
    Form {
        title: "CIFAR-10",
        kind: "binary batches",
        train: &[
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ],
        test: "test_batch.bin",
        names: "batches.meta.txt",
        n_classes: 10,
        n_label_bytes: 1,
    },
    Form {
        title: "CIFAR-10",
        kind: "Python batches",
        train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
        test: "test_batch",
        names: "batches.meta",
        n_classes: 10,
        n_label_bytes: 0,
    },
    Form {
        title: "CIFAR-100",
        kind: "binary",
        train: &["train.bin"],
        test: "test.bin",
        names: "fine_label_names.txt",
        n_classes: 100,
        n_label_bytes: 2,
    },
    Form {
        title: "CIFAR-100",
        kind: "Python pickles",
        train: &["train"],
        test: "test",
        names: "meta",
        n_classes: 100,
        n_label_bytes: 0,
    },
];

impl Form {
    fn files(&self) -> impl Iterator<Item = &'static str> {
        self.train.iter().copied().chain([self.test])
    }

    /// Whether files of these names are such a set. All of them are asked for later, by name.
    fn fits(&self, has: impl Fn(&str) -> bool) -> bool {
        has(self.train[0]) && has(self.test) && (self.n_classes == 10 || has(self.names))
    }
}

/// Names under which the two sets can be asked for.
pub const CIFAR: [&str; 2] = ["cifar10", "cifar100"];

/// Archives as they are published, for each name.
const ARCHIVES: [[&str; 2]; 2] = [
    ["cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"],
    ["cifar-100-binary.tar.gz", "cifar-100-python.tar.gz"],
];

/// Finds `cifar10` or `cifar100` where data sets are kept, unpacked or not.
///
/// # Errors
/// [`Error::DataNotFound`], listing what was searched, and what reading the files returns.
pub fn find_cifar(name: &str, data_dir: Option<&Path>) -> Result<Dataset> {
    let which = usize::from(name != CIFAR[0]);
    let title = ["CIFAR-10", "CIFAR-100"][which];
    let places = known::places(name, data_dir, |name| std::env::var_os(name));
    for place in &places {
        let fits = |dir: &PathBuf| form_of(dir).is_some_and(|form| form.title == title);
        if let Some(dir) = folders(place).find(fits) {
            return read_folder(&dir);
        }
        for archive in ARCHIVES[which].map(|name| place.join(name)) {
            if archive.is_file()
                && let Some(set) = read_archive(&archive)?
            {
                return Ok(set);
            }
        }
    }
    let hint = format!(
        "put {} in one of these, packed or unpacked, or name it with `--data PATH`",
        ARCHIVES[which].join(" or ")
    );
    Err(Error::DataNotFound { name: title, searched: places, hint })
}

fn folders(path: &Path) -> impl Iterator<Item = PathBuf> {
    std::iter::once(path.to_owned()).chain(FOLDERS.map(|f| path.join(f)))
}

fn form_of(dir: &Path) -> Option<&'static Form> {
    FORMS.iter().find(|form| form.fits(|name| dir.join(name).is_file()))
}

/// The folder of a set at this path or right below it.
pub(super) fn find(path: &Path) -> Option<PathBuf> {
    folders(path).find(|dir| form_of(dir).is_some())
}

/// Reads a set from its folder.
pub(super) fn read_folder(dir: &Path) -> Result<Dataset> {
    let has = |name: &str| dir.join(name).is_file();
    let form = FORMS.iter().find(|form| form.fits(has));
    let form =
        form.ok_or_else(|| Error::format(&dir.display().to_string(), "no batches", "those of CIFAR"))?;
    let mut files = BTreeMap::new();
    for name in form.files().chain([form.names]) {
        let path = dir.join(name);
        if name == form.names && !path.exists() {
            continue;
        }
        let file = std::fs::File::open(&path).map_err(Error::io(&path, "open"))?;
        files.insert(name.to_owned(), content(&path.display().to_string(), &mut { file })?);
    }
    form.read(&dir.display().to_string(), files)
}

/// Reads a set from its archive, if it is one: decided by the names inside.
pub(super) fn read_archive(path: &Path) -> Result<Option<Dataset>> {
    // The published archives begin with the folder, so a few members tell.
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if !name.contains("cifar") {
        return Ok(None);
    }
    let shown = path.display().to_string();
    let wanted = |name: &str| FORMS.iter().any(|f| f.files().chain([f.names]).any(|n| n == name));
    let mut files = BTreeMap::new();
    shards::members(path, |name, _, _, reader| {
        let base = name.rsplit('/').next().unwrap_or_default();
        if wanted(base) {
            let found = content(&format!("{shown}: {name}"), reader)?;
            if files.insert(base.to_owned(), found).is_some() {
                return Err(Error::format(&shown, format!("two files `{base}`"), "one set"));
            }
        }
        Ok(())
    })?;
    match FORMS.iter().find(|form| form.fits(|name| files.contains_key(name))) {
        Some(form) => form.read(&shown, files).map(Some),
        None => Ok(None),
    }
}

fn content(shown: &str, reader: &mut dyn Read) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    let read = reader.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|e| Error::format(shown, e.to_string(), "an undamaged file"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::format(shown, "a longer file", format!("at most {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

impl Form {
    fn read(&self, shown: &str, mut files: BTreeMap<String, Vec<u8>>) -> Result<Dataset> {
        let classes = self.classes(shown, files.remove(self.names))?;
        let mut part = |names: &[&str]| -> Result<Arc<InMemory>> {
            let (mut pixels, mut labels) = (vec![], vec![]);
            for name in names {
                let at = format!("{shown}: {name}");
                let bytes =
                    files.remove(*name).ok_or_else(|| Error::format(&at, "no such file", "all batches"))?;
                if self.n_label_bytes > 0 {
                    self.records(&at, &bytes, &mut pixels, &mut labels)?;
                } else {
                    self.pickle(&at, bytes, &mut pixels, &mut labels)?;
                }
            }
            Ok(Arc::new(InMemory::new(shown, (SIDE, SIDE, 3), pixels, labels, classes.len())?))
        };
        let (train, test) = (part(self.train)?, part(&[self.test])?);
        Dataset::new(self.title, format!("{shown}, {}", self.kind), classes, train, test)
    }

    fn classes(&self, shown: &str, names: Option<Vec<u8>>) -> Result<Vec<String>> {
        let at = format!("{shown}: {}", self.names);
        let found = match names {
            None if self.n_classes == 10 => CLASSES_10.map(str::to_owned).to_vec(),
            None => return Err(Error::format(&at, "no such file", "the names of the classes")),
            Some(bytes) if self.n_label_bytes > 0 => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect()
            }
            Some(bytes) => {
                let mut texts = dictionary(&at, bytes)?.texts;
                texts.remove("label_names").or(texts.remove("fine_label_names")).unwrap_or_default()
            }
        };
        if found.len() != self.n_classes {
            return Err(Error::format(&at, format!("{} names", found.len()), self.n_classes.to_string()));
        }
        Ok(found)
    }

    fn records(&self, at: &str, bytes: &[u8], pixels: &mut Vec<u8>, labels: &mut Vec<u8>) -> Result<()> {
        let record = self.n_label_bytes + PICTURE_BYTES;
        if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
            let wanted = format!("records of {record} bytes");
            return Err(Error::format(at, format!("{} bytes", bytes.len()), wanted));
        }
        for record in bytes.chunks_exact(record) {
            let (label, planes) = record.split_at(self.n_label_bytes);
            labels.push(label[self.n_label_bytes - 1]); // the fine one is the last
            interleave(planes, pixels);
        }
        Ok(())
    }

    fn pickle(&self, at: &str, bytes: Vec<u8>, pixels: &mut Vec<u8>, labels: &mut Vec<u8>) -> Result<()> {
        let mut found = dictionary(at, bytes)?;
        let numbers = if self.n_classes == 10 { "labels" } else { "fine_labels" };
        let numbers = found.numbers.remove(numbers).unwrap_or_default();
        let Some((shape, planes)) =
            found.arrays.remove("data").filter(|(shape, _)| *shape == [numbers.len(), PICTURE_BYTES])
        else {
            let wanted =
                format!("an array `data` of {} rows of {PICTURE_BYTES} bytes, one per label", numbers.len());
            return Err(Error::format(at, format!("arrays {:?}", found.arrays.keys()), wanted));
        };
        for (index, label) in numbers.iter().enumerate() {
            let label = u8::try_from(*label).map_err(|_| {
                Error::format(at, format!("label {label} of picture {index}"), "a number from 0 to 255")
            })?;
            labels.push(label);
        }
        debug_assert_eq!(planes.len(), shape[0] * PICTURE_BYTES);
        planes.chunks_exact(PICTURE_BYTES).for_each(|planes| interleave(planes, pixels));
        Ok(())
    }
}

fn dictionary(at: &str, bytes: Vec<u8>) -> Result<Dictionary> {
    Dictionary::read(at, bytes).map_err(|e| {
        let text = e.to_string();
        let why = text.strip_prefix(at).map(|w| w.trim_start_matches(": ")).unwrap_or(&text);
        Error::format(at, why, "a pickled batch of CIFAR")
    })
}

/// Planes of red, green and blue to pixels.
fn interleave(planes: &[u8], pixels: &mut Vec<u8>) {
    let (red, rest) = planes.split_at(PIXELS);
    let (green, blue) = rest.split_at(PIXELS);
    for ((r, g), b) in red.iter().zip(green).zip(blue) {
        pixels.extend_from_slice(&[*r, *g, *b]);
    }
}
