//! From lists of files and the names of their classes to a data set: classes numbered, parts chosen or split.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::super::files::Files;
use super::super::{Dataset, Encoded};
use super::{MAX_PICTURES, OpenOptions, Part};
use crate::{Error, Result};

/// Most classes of a set whose classes are numbers: a number is not believed to be a class beyond it.
const MAX_CLASSES: u32 = 1 << 20;

/// What a file says about the class of a picture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    Number(u32),
    Name(String),
}

impl Label {
    /// A whole number from 0 up is a class's number, anything else its name.
    pub(super) fn of(text: &str) -> Self {
        text.parse().map_or_else(|_| Label::Name(text.to_owned()), Label::Number)
    }
}

/// One part of a set as it was found.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) part: Option<Part>,
    pub(super) files: Arc<dyn Files>,
    /// Number of the file, and its class.
    pub(super) items: Vec<(u32, Label)>,
}

/// A set as it was found.
#[derive(Debug)]
pub(super) struct Found {
    /// What was recognised: `folder per class`.
    pub(super) kind: &'static str,
    pub(super) listings: Vec<Listing>,
    /// Names of classes that are numbers, where the set says them.
    pub(super) names: Option<Vec<String>>,
    /// What is there and is not read, by name.
    pub(super) left_out: Vec<String>,
}

impl Found {
    /// Numbers the classes and makes training and test part.
    pub(super) fn into_dataset(self, path: &Path, options: &OpenOptions) -> Result<Dataset> {
        let shown = path.display().to_string();
        let n: usize = self.listings.iter().map(|l| l.items.len()).sum();
        if n == 0 {
            let left = left_out(&shown, &self.left_out);
            return Err(Error::format(&shown, format!("{} without a picture{left}", self.kind), "pictures"));
        }
        if n > MAX_PICTURES {
            return Err(Error::format(&shown, format!("{n} pictures"), format!("at most {MAX_PICTURES}")));
        }
        let (classes, numbered) = number_classes(&shown, &self.listings, self.names)?;
        let parts: Vec<(Option<Part>, Encoded)> = self
            .listings
            .iter()
            .zip(numbered)
            .map(|(listing, items)| (listing.part, Encoded::new(listing.files.clone(), items)))
            .collect();
        let name = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = name.file_stem().map_or(shown.clone(), |n| n.to_string_lossy().into_owned());
        let name = name.strip_suffix(".tar").map(str::to_owned).unwrap_or(name); // of `.tar.gz`
        let of = |part| parts.iter().find(|(p, _)| *p == Some(part)).map(|(_, s)| s.clone());
        let left = left_out(&shown, &self.left_out);
        let held_out = [Part::Validation, Part::Test].into_iter().find_map(|p| Some((p, of(p)?)));
        let several = parts.len() > 1;
        if several && parts.iter().any(|(part, _)| part.is_none()) {
            let found = "some files whose names say which part they are, and some whose names do not";
            return Err(Error::format(&shown, found, "train, val or test in all names or in none"));
        }
        let (train, test, how) = match (of(Part::Train), held_out) {
            (Some(train), Some((part, test))) => {
                check_both(&shown, &classes, &train, &test)?;
                let which = if part == Part::Test { "test" } else { "validation" };
                let unused = if parts.len() > 2 { " (its test part is not used)" } else { "" };
                (train, test, format!("{}, parts train and {which}{unused}", self.kind))
            }
            _ if several => {
                let found = "parts, but none to train with";
                return Err(Error::format(
                    &shown,
                    found,
                    "train, and val or test; or one of them by its path",
                ));
            }
            _ => {
                let (train, test) = split(&parts[0].1, &self.listings[0], options);
                let share = (options.split * 100.0).round();
                (train, test, format!("{}, {share} % held out for testing", self.kind))
            }
        };
        Dataset::new(name, format!("{shown}, {how}{left}"), classes, Arc::new(train), Arc::new(test))
    }
}

/// Says what is there and not read, in a few words; names are those below the set's own.
fn left_out(root: &str, names: &[String]) -> String {
    let below = |name: &str| {
        name.strip_prefix(root).unwrap_or(name).trim_start_matches(['/', '\\', ':', ' ']).to_owned()
    };
    match names {
        [] => String::new(),
        [one] => format!("; {} is not read", below(one)),
        [first, more @ ..] => format!("; {} and {} more files are not read", below(first), more.len()),
    }
}

/// Class names, and for each listing the files with the numbers of their classes.
type Numbered = (Vec<String>, Vec<Vec<(u32, u32)>>);

fn number_classes(shown: &str, listings: &[Listing], names: Option<Vec<String>>) -> Result<Numbered> {
    let all: BTreeSet<&Label> =
        listings.iter().flat_map(|l| l.items.iter().map(|(_, label)| label)).collect();
    let numbers: Option<Vec<u32>> =
        all.iter().map(|l| if let Label::Number(n) = l { Some(*n) } else { None }).collect();
    let (classes, number): (Vec<String>, BTreeMap<&Label, u32>) = match numbers {
        Some(numbers) => {
            let largest = numbers.last().copied().unwrap_or(0);
            let n_named = names.as_ref().map(Vec::len);
            if largest >= MAX_CLASSES || n_named.is_some_and(|n| largest as usize >= n) {
                let wanted = n_named.unwrap_or(MAX_CLASSES as usize) - 1;
                return Err(Error::format(
                    shown,
                    format!("a picture of class {largest}"),
                    format!("0 to {wanted}"),
                ));
            }
            let classes = names.unwrap_or_else(|| (0..=largest).map(|n| n.to_string()).collect());
            (classes, all.iter().copied().zip(numbers).collect())
        }
        None => {
            let text = |l: &Label| match l {
                Label::Name(name) => name.clone(),
                Label::Number(n) => n.to_string(),
            };
            let classes: BTreeSet<String> = all.iter().map(|l| text(l)).collect();
            let classes: Vec<String> = classes.into_iter().collect();
            let number = |l: &Label| classes.binary_search(&text(l)).unwrap_or_default() as u32;
            let numbers = all.iter().map(|l| (*l, number(l))).collect();
            (classes, numbers)
        }
    };
    let items = |l: &Listing| l.items.iter().map(|(file, label)| (*file, number[label])).collect();
    Ok((classes, listings.iter().map(items).collect()))
}

/// A class that only one of two given parts has is a mistake in the set, not a class.
fn check_both(shown: &str, classes: &[String], train: &Encoded, test: &Encoded) -> Result<()> {
    let has = |source: &Encoded| -> BTreeSet<u32> { source.classes().collect() };
    let (in_train, in_test) = (has(train), has(test));
    if let Some(class) = in_test.difference(&in_train).next() {
        let found = format!("class `{}` only in the test part", classes[*class as usize]);
        return Err(Error::format(shown, found, "every class in the training part too"));
    }
    Ok(())
}

/// Holds out a share of every class. Which ones follows from seed and name, so that adding pictures moves few others.
fn split(all: &Encoded, listing: &Listing, options: &OpenOptions) -> (Encoded, Encoded) {
    let mut by_class: BTreeMap<u32, Vec<([u8; 32], usize)>> = BTreeMap::new();
    for (i, (file, label)) in all.items().iter().enumerate() {
        let mut hash = Sha256::new();
        hash.update(options.split_seed.to_le_bytes());
        hash.update(listing.files.identity(*file as usize).0.as_bytes());
        by_class.entry(*label).or_default().push((hash.finalize().into(), i));
    }
    let mut held_out = vec![false; all.items().len()];
    for members in by_class.values_mut() {
        members.sort_unstable();
        let wanted = (members.len() as f64 * options.split).round() as usize;
        // A class of two pictures or more is in both parts, unless everything is for one of them.
        let inner = options.split > 0.0 && options.split < 1.0 && members.len() > 1;
        let n = if inner { wanted.clamp(1, members.len() - 1) } else { wanted };
        members.iter().take(n).for_each(|(_, i)| held_out[*i] = true);
    }
    let part = |wanted: bool| {
        let items = all.items().iter().zip(&held_out).filter(|(_, out)| **out == wanted);
        Encoded::new(listing.files.clone(), items.map(|(item, _)| *item).collect())
    };
    (part(false), part(true))
}
