//! What an import found, as data and in words.

use std::fmt;
use std::path::PathBuf;

use resnet_core::weights::few;
use serde::Serialize;

/// A tensor that is in the file and in the network, but has another shape or type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Misshapen {
    /// Name in the network.
    pub name: String,
    /// Name in the file.
    pub source: String,
    /// Shape in the file, in the order of the network's.
    pub found: Vec<usize>,
    /// Shape in the network.
    pub wanted: Vec<usize>,
}

/// What an import found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file, where it was read from one.
    pub file: PathBuf,
    /// The network.
    pub arch: String,
    /// Whether the file itself says which network it is for, as those of this project do.
    pub described: bool,
    /// Whether the classifier starts fresh: another number of classes was wanted, or the file has none.
    pub fresh_head: bool,
    /// The container and whose names the tensors have: `PyTorch zip: torchvision (or timm resnet)`.
    pub source: String,
    /// What else was found, one line each; then every change that was made to the weights.
    pub notes: Vec<String>,
    /// Parameters of the network that were taken from the file.
    pub n_fitting: usize,
    /// Parameters of the network that the file lacks.
    pub missing: Vec<String>,
    /// Tensors of the file that the network lacks.
    pub unexpected: Vec<String>,
    /// Tensors of another shape or type.
    pub misshapen: Vec<Misshapen>,
}

impl Report {
    /// Whether file and network agree.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshapen.is_empty()
    }
}

/// Lists name a dozen tensors and count the rest; the whole report can be serialised.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors fit", self.n_fitting)?;
        let mut list = |what: &str, names: &[String]| match names.len() {
            0 => Ok(()),
            n => write!(f, "; {n} {what}: {}", few(names.iter())),
        };
        list("missing", &self.missing)?;
        list("unexpected", &self.unexpected)?;
        let one = |m: &Misshapen| format!("{} is {:?}, {:?} wanted", m.source, m.found, m.wanted);
        list("misshapen", &self.misshapen.iter().map(one).collect::<Vec<_>>())
    }
}
