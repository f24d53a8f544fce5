//! A weights file and the network it is for.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context;
use resnet_core::weights::{self, LoadReport, Reader, Strictness};
use resnet_core::zoo::ResNetSpec;
use resnet_core::{Graph, ParamKind, init};

use crate::args::NetworkArgs;
use crate::exit::usage;

/// An open weights file of which only the header was read.
pub(crate) struct WeightsFile {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
}

impl WeightsFile {
    /// Opens a file and checks its header.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("{}: cannot open", path.display()))?;
        let reader = Reader::new(BufReader::new(file)).with_context(|| path.display().to_string())?;
        Ok(Self { path: path.to_owned(), reader })
    }

    /// What the file says about itself under this name.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.reader.header().metadata.get(key).map(String::as_str)
    }

    /// Names of the tensors, for messages.
    pub(crate) fn tensor_names(&self) -> Vec<&str> {
        self.reader.header().tensors.keys().map(String::as_str).collect()
    }

    /// A tensor as f32.
    pub(crate) fn read(&mut self, name: &str) -> anyhow::Result<ndarray::ArrayD<f32>> {
        self.reader.read(name).with_context(|| self.path.display().to_string())
    }

    /// The network: what the file says, changed by the flags; or what the flags say, with the file's number of classes.
    pub(crate) fn spec(&self, flags: &NetworkArgs) -> anyhow::Result<ResNetSpec> {
        let stored =
            weights::described_spec(self.reader.header()).with_context(|| self.path.display().to_string())?;
        if let Some(stored) = stored {
            return Ok(flags.spec_over(&stored)?);
        }
        let Some(arch) = &flags.arch else {
            return Err(usage(format!(
                "{} does not say which network it is for; name it with --arch",
                self.path.display()
            )));
        };
        let spec = flags.spec(arch)?;
        match self.classes(&spec)? {
            Some(classes) if flags.classes.is_none() => Ok(spec.classes(classes)),
            _ => Ok(spec),
        }
    }

    /// Rows of the last fully connected layer, if the file has one under the network's name for it.
    fn classes(&self, spec: &ResNetSpec) -> anyhow::Result<Option<usize>> {
        let graph = spec.build()?;
        let last = graph.params().iter().rev().find(|p| p.kind == ParamKind::LinearWeight);
        let shape = last.and_then(|p| self.reader.header().tensors.get(&p.name)).map(|t| &t.shape);
        Ok(shape.and_then(|shape| shape.first()).copied().filter(|n| *n >= 2))
    }

    /// All parameters of the network from the file.
    pub(crate) fn values(&mut self, graph: &Graph) -> anyhow::Result<Vec<Vec<f32>>> {
        let report = weights::compare(self.reader.header(), graph);
        if !report.is_clean() {
            anyhow::bail!(
                "{}: these weights are for another network: {}",
                self.path.display(),
                brief(&report)
            );
        }
        let mut values = init::initial_values(graph, 0);
        weights::load_values(&mut self.reader, graph, Strictness::Strict, &mut values)
            .with_context(|| self.path.display().to_string())?;
        Ok(values)
    }
}

/// A report that fits a line or two: a deep network has hundreds of tensors.
fn brief(report: &LoadReport) -> String {
    let list = |names: Vec<String>| few(&names);
    let mut text = format!("{} tensors fit", report.n_fitting);
    if !report.missing.is_empty() {
        text += &format!("; {} missing: {}", report.missing.len(), list(report.missing.clone()));
    }
    if !report.unexpected.is_empty() {
        text += &format!("; {} unexpected: {}", report.unexpected.len(), list(report.unexpected.clone()));
    }
    if !report.misfits.is_empty() {
        let one = |m: &weights::Misfit| {
            format!("{} is {} {:?}, {:?} wanted", m.name, m.found.0, m.found.1, m.wanted)
        };
        text += &format!(
            "; {} misshapen: {}",
            report.misfits.len(),
            list(report.misfits.iter().map(one).collect())
        );
    }
    text
}

/// The first few names of a list, and how many there are beside them.
pub(crate) fn few<T: std::fmt::Display>(names: &[T]) -> String {
    const N_NAMED: usize = 4;
    let named: Vec<String> = names.iter().take(N_NAMED).map(T::to_string).collect();
    match names.len().saturating_sub(N_NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
