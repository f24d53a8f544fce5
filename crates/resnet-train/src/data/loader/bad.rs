//! Which pictures turned out to be broken, and whether there may be as many.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};

/// The broken pictures of a source that were met so far.
#[derive(Debug)]
pub(super) struct Bad {
    allowed: usize,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// What is wrong, by index.
    all: BTreeMap<usize, (String, String)>,
    /// Those that nobody was told of.
    new: Vec<usize>,
}

impl Bad {
    pub(super) fn new(allowed: usize) -> Self {
        Self { allowed, found: Mutex::default() }
    }

    /// Nothing that can panic runs under the lock, so a poisoned lock guards a sound state.
    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a picture is known to be broken.
    pub(super) fn has(&self, index: usize) -> bool {
        self.allowed > 0 && self.lock().all.contains_key(&index)
    }

    /// Remembers a broken picture, if there may be one more.
    ///
    /// # Errors
    /// The picture's own error where none may be broken; [`Error::TooManyBad`].
    pub(super) fn add(&self, index: usize, error: Error) -> Result<()> {
        let (name, why) = match error {
            Error::Picture { name, why } if self.allowed > 0 => (name, why),
            other => return Err(other),
        };
        let mut found = self.lock();
        if found.all.insert(index, (name.clone(), why.clone())).is_none() {
            found.new.push(index);
        }
        if found.all.len() > self.allowed {
            let last = format!("{name}: {why}");
            return Err(Error::TooManyBad { n: found.all.len(), allowed: self.allowed, last });
        }
        Ok(())
    }

    /// Those that nobody was told of yet.
    pub(super) fn take(&self) -> Vec<Error> {
        let mut found = self.lock();
        let mut new = std::mem::take(&mut found.new);
        new.sort_unstable(); // workers meet them in any order
        let error = |i: &usize| found.all.get(i).map(|(name, why)| Error::picture(name.clone(), why.clone()));
        new.iter().filter_map(error).collect()
    }
}
