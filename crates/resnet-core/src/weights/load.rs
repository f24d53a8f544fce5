//! A file against a network: what fits, what does not, and the values of what does.

use std::fmt;
use std::io::{Read, Seek};

use ndarray::ArrayD;
use safetensors::Dtype;

use super::few::few;
use super::header::Header;
use super::reader::Reader;
use crate::{Error, Graph, ParamId, Result};

/// What to do when file and network do not agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Refuse, naming every difference.
    #[default]
    Strict,
    /// Load what fits and report the rest, as when the classifier has another number of classes.
    Lenient,
}

/// A tensor that is in the file and in the network, but differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Misfit {
    /// Name.
    pub name: String,
    /// Type and shape in the file.
    pub found: (Dtype, Vec<usize>),
    /// Shape in the network.
    pub wanted: Vec<usize>,
}

/// How a file and a network differ. All lists are sorted by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// Parameters of the network that can be taken from the file.
    pub n_fitting: usize,
    /// Parameters of the network that the file lacks.
    pub missing: Vec<String>,
    /// Tensors of the file that the network lacks. PyTorch's `num_batches_tracked` is never one.
    pub unexpected: Vec<String>,
    /// Tensors of another shape, or of a type that cannot be read as f32.
    pub misfits: Vec<Misfit>,
}

impl LoadReport {
    /// Whether file and network agree.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misfits.is_empty()
    }
}

/// Lists name a dozen tensors and count the rest.
impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors fit", self.n_fitting)?;
        if !self.missing.is_empty() {
            write!(f, "; {} missing: {}", self.missing.len(), few(self.missing.iter()))?;
        }
        if !self.unexpected.is_empty() {
            write!(f, "; {} unexpected: {}", self.unexpected.len(), few(self.unexpected.iter()))?;
        }
        if !self.misfits.is_empty() {
            let one =
                |m: &Misfit| format!("{} is {} {:?}, {:?} wanted", m.name, m.found.0, m.found.1, m.wanted);
            let all = self.misfits.iter().map(one);
            write!(f, "; {} misshapen: {}", all.len(), few(all))?;
        }
        Ok(())
    }
}

/// Compares a file's header with a network. Reads no data.
pub fn compare(header: &Header, graph: &Graph) -> LoadReport {
    let mut report = LoadReport::default();
    let saved = || graph.params().iter().filter(|p| p.kind.is_saved());
    for spec in saved() {
        match header.tensors.get(&spec.name) {
            None => report.missing.push(spec.name.clone()),
            Some(t) if t.shape == spec.shape && t.is_float() => report.n_fitting += 1,
            Some(t) => report.misfits.push(Misfit {
                name: spec.name.clone(),
                found: (t.dtype, t.shape.clone()),
                wanted: spec.shape.clone(),
            }),
        }
    }
    let known: std::collections::BTreeSet<&str> = saved().map(|p| p.name.as_str()).collect();
    let unexpected = header.tensors.keys().filter(|name| !known.contains(name.as_str()));
    report.unexpected = unexpected.filter(|name| !name.ends_with(".num_batches_tracked")).cloned().collect();
    report.missing.sort_unstable();
    report.misfits.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    report
}

/// Reads the parameters of a network from a file, one at a time, each in file order, and hands them to `store`.
///
/// # Errors
/// [`Error::Weights`] with the whole [`LoadReport`] if `strictness` is strict and the report is not clean; then nothing has
/// been stored. Also whatever reading or `store` return.
pub fn load<R: Read + Seek>(
    reader: &mut Reader<R>,
    graph: &Graph,
    strictness: Strictness,
    mut store: impl FnMut(ParamId, ArrayD<f32>) -> Result<()>,
) -> Result<LoadReport> {
    let report = compare(reader.header(), graph);
    if strictness == Strictness::Strict && !report.is_clean() {
        return Err(Error::Weights(format!("the file does not fit the network: {report}")));
    }
    for (i, spec) in graph.params().iter().enumerate().filter(|(_, p)| p.kind.is_saved()) {
        let fits = report.missing.binary_search(&spec.name).is_err()
            && report.misfits.binary_search_by(|m| m.name.cmp(&spec.name)).is_err();
        if fits {
            store(ParamId(i), reader.read(&spec.name)?)?;
        }
    }
    Ok(report)
}

/// As [`load`], into a list that already holds a value for every parameter, such as
/// [`initial_values`](crate::init::initial_values). What the file lacks keeps its value.
///
/// # Errors
/// As [`load`]; [`Error::Mismatch`] if the list is not as long as the network's.
pub fn load_values<R: Read + Seek>(
    reader: &mut Reader<R>,
    graph: &Graph,
    strictness: Strictness,
    values: &mut [Vec<f32>],
) -> Result<LoadReport> {
    if values.len() != graph.params().len() {
        return Err(Error::Mismatch {
            tensor: "parameters".into(),
            found: format!("{} tensors", values.len()),
            wanted: graph.params().len().to_string(),
        });
    }
    load(reader, graph, strictness, |id, value| {
        values[id.0] = value.into_raw_vec_and_offset().0;
        Ok(())
    })
}
