//! Looking a set over before anything is learned from it: every picture is read once.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Dataset, Picture, Source};
use crate::{Error, Result};

/// Pictures read between two reports of progress.
const CHUNK: usize = 256;

/// What was found in one part of a set.
#[derive(Clone, Debug, Default)]
pub struct PartSurvey {
    /// Pictures of each class, broken ones included.
    pub per_class: Vec<usize>,
    /// Pictures of each height and width.
    pub sizes: BTreeMap<(usize, usize), usize>,
    /// Names of the pictures that cannot be read, and why.
    pub broken: Vec<(String, String)>,
}

/// Pictures that are equal, pixel by pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// Whether it is in the test part, its name and its class.
    pub pictures: Vec<(bool, String, u32)>,
}

impl Duplicate {
    /// Whether the same picture is learned from and tested with.
    pub fn is_leak(&self) -> bool {
        self.pictures.iter().any(|p| p.0) && self.pictures.iter().any(|p| !p.0)
    }

    /// Whether the same picture has different classes.
    pub fn is_contradiction(&self) -> bool {
        self.pictures.iter().any(|p| p.2 != self.pictures[0].2)
    }
}

/// What was found in a set.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The training part.
    pub train: PartSurvey,
    /// The test part.
    pub test: PartSurvey,
    /// Groups of equal pictures, in the order of their first one.
    pub duplicates: Vec<Duplicate>,
}

impl Survey {
    /// Reads every picture of a set. `progress` hears how many are done.
    ///
    /// # Errors
    /// What [`Source::read`] returns, except for broken pictures, which are counted.
    pub fn of(data: &Dataset, mut progress: impl FnMut(usize)) -> Result<Self> {
        let mut places: HashMap<[u8; 32], Vec<(bool, usize)>> = HashMap::new();
        let n_train = data.train.len();
        let mut part = |source: &dyn Source, is_test: bool| -> Result<PartSurvey> {
            let mut found = PartSurvey { per_class: vec![0; data.n_classes()], ..PartSurvey::default() };
            for first in (0..source.len()).step_by(CHUNK) {
                let chunk: Vec<usize> = (first..source.len().min(first + CHUNK)).collect();
                let seen: Vec<Result<Seen>> =
                    chunk.par_iter().map_init(Picture::default, |p, i| see(source, *i, p)).collect();
                for (index, seen) in chunk.into_iter().zip(seen) {
                    found.per_class[source.label(index) as usize] += 1;
                    match seen {
                        Ok(seen) => {
                            *found.sizes.entry(seen.size).or_default() += 1;
                            places.entry(seen.hash).or_default().push((is_test, index));
                        }
                        Err(Error::Picture { name, why }) => found.broken.push((name, why)),
                        Err(other) => return Err(other),
                    }
                    let before = if is_test { n_train } else { 0 };
                    progress(before + index + 1);
                }
            }
            Ok(found)
        };
        let (train, test) = (part(data.train.as_ref(), false)?, part(data.test.as_ref(), true)?);
        let mut groups: Vec<Vec<(bool, usize)>> = places.into_values().filter(|g| g.len() > 1).collect();
        groups.sort_unstable();
        let named = |&(is_test, index): &(bool, usize)| {
            let source = if is_test { &data.test } else { &data.train };
            (is_test, source.name(index), source.label(index))
        };
        let duplicates = groups.iter().map(|g| Duplicate { pictures: g.iter().map(named).collect() });
        Ok(Self { train, test, duplicates: duplicates.collect() })
    }

    /// Pictures that cannot be read, of both parts.
    pub fn n_broken(&self) -> usize {
        self.train.broken.len() + self.test.broken.len()
    }

    /// Groups of equal pictures that are in both parts.
    pub fn n_leaks(&self) -> usize {
        self.duplicates.iter().filter(|d| d.is_leak()).count()
    }
}

struct Seen {
    size: (usize, usize),
    hash: [u8; 32],
}

fn see(source: &dyn Source, index: usize, picture: &mut Picture) -> Result<Seen> {
    source.read(index, picture)?;
    let mut hash = Sha256::new();
    for extent in [picture.height, picture.width, picture.channels] {
        hash.update((extent as u64).to_le_bytes());
    }
    hash.update(&picture.pixels);
    Ok(Seen { size: (picture.height, picture.width), hash: hash.finalize().into() })
}
