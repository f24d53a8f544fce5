//! From a file to a network and its values.

use std::borrow::Cow;
use std::path::Path;

use resnet_core::weights::{Metadata, describe, write_graph};
use resnet_core::zoo::{ResNetSpec, Variant};
use resnet_core::{Graph, Preprocessing};

use crate::beside::Beside;
use crate::checksum;
use crate::classes;
use crate::container::Archive;
use crate::dialect::{Dialect, Renamed, Source};
use crate::infer;
use crate::output::write_file;
use crate::report::{Misshapen, Report};
use crate::unwrap::{self, Found};
use crate::{Error, Result, adapt};

/// What is known about the weights, and what is wanted of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Which library wrote them.
    pub source: Source,
    /// The network, where the tensors do not tell it all, as between v1 and v1.5. Its channels, classes and conventions are
    /// taken from the file.
    pub arch: Option<ResNetSpec>,
    /// The variant, where it is another than that of the library or of `arch`.
    pub variant: Option<Variant>,
    /// Number of classes, if another than the file's is wanted: the classifier then starts fresh.
    pub classes: Option<usize>,
    /// Channels of the picture, if others than the file's are wanted: the first kernel is then summed or repeated.
    pub channels: Option<usize>,
    /// Rows and columns of the picture.
    pub size: Option<(usize, usize)>,
    /// What stands before every name, such as `cp.resnet.`; known wrappers are found without it.
    pub prefix: Option<String>,
    /// Epsilon of the normalisations, if it is another than the library's.
    pub norm_eps: Option<f32>,
    /// Refuse weights that do not fit in every tensor. Otherwise what is missing starts fresh.
    pub strict: bool,
    /// Check the digest in the file's name (`resnet18-f37072fd.pth`).
    pub checksum: bool,
    /// Seed of what starts fresh.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            source: Source::Auto,
            arch: None,
            variant: None,
            classes: None,
            channels: None,
            size: None,
            prefix: None,
            norm_eps: None,
            strict: true,
            checksum: true,
            seed: 0,
        }
    }
}

/// A network with its weights.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The network.
    pub spec: ResNetSpec,
    /// All parameters in the order of [`Graph::params`], each in file order.
    pub values: Vec<Vec<f32>>,
    /// How pictures become its input.
    pub preprocessing: Preprocessing,
    /// Names of its classes, where they are known.
    pub classes: Option<Vec<String>>,
    /// What was found and changed.
    pub report: Report,
}

impl Imported {
    /// Names of the classes; those that nobody named are numbered.
    pub fn class_names(&self) -> Vec<String> {
        self.classes.clone().unwrap_or_else(|| classes::numbered(self.spec.classes))
    }

    /// What a safetensors file of this network says about itself.
    pub fn metadata(&self) -> Metadata {
        let mut metadata = describe(&self.spec);
        self.preprocessing.describe(&mut metadata);
        // A list of texts always serialises.
        if let Some(Ok(json)) = self.classes.as_ref().map(serde_json::to_string) {
            metadata.insert(classes::METADATA_KEY.into(), json);
        }
        metadata
    }

    /// Starts the classifier anew, as it starts without any weights.
    ///
    /// # Errors
    /// [`Error::Core`] if the network cannot be built.
    pub fn start_head_fresh(&mut self, seed: u64) -> Result<()> {
        adapt::fresh_head(&self.spec.build()?, &mut self.values, seed);
        self.report.fresh_head = true;
        self.classes = None;
        Ok(())
    }

    /// Writes a safetensors file with our names, its network and its pre-processing.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written; [`Error::Core`] if values and network do not fit.
    pub fn save(&self, path: &Path) -> Result<()> {
        let graph = self.spec.build()?;
        write_file(path, |out| {
            write_graph(out, &graph, &self.metadata(), |id| Ok(Cow::Borrowed(self.values[id.0].as_slice())))?;
            Ok(())
        })
    }
}

/// Reads weights of another library.
///
/// # Errors
/// [`Error::Checksum`], [`Error::File`]; [`Error::Unrecognised`] if the names are those of no library known here;
/// [`Error::Mismatch`] if tensors are missing, unexpected or misshapen and `options.strict` is set; [`Error::Core`] if the
/// network they describe cannot be built.
pub fn import(path: &Path, options: &Options) -> Result<Imported> {
    let mut notes = vec![];
    if options.checksum {
        notes.extend(checksum::verify(path)?);
    }
    let archive = Archive::open(path)?;
    let mut imported = import_described(archive, options, Beside::of(path)).map_err(|e| match e {
        Error::Unrecognised(why) => Error::Unrecognised(format!("{}: {why}", path.display())),
        Error::Mismatch { mut report } => {
            report.file = path.to_owned();
            Error::Mismatch { report }
        }
        Error::Core(resnet_core::Error::Weights(why)) => Error::File { path: path.to_owned(), why },
        other => other,
    })?;
    imported.report.file = path.to_owned();
    imported.report.notes.splice(0..0, notes);
    Ok(imported)
}

/// As [`import`], from an open container, beside which nothing is looked for.
///
/// # Errors
/// As [`import`].
pub fn import_archive(archive: Archive, options: &Options) -> Result<Imported> {
    import_described(archive, options, Beside::default())
}

fn import_described(mut archive: Archive, options: &Options, beside: Beside) -> Result<Imported> {
    let Some(found) = unwrap::find(archive.entries(), options.source, options.prefix.as_deref()) else {
        return Err(Error::Unrecognised(unrecognised(&archive, options)));
    };
    let mut report =
        Report { source: format!("{}: {}", archive.format(), found.dialect), ..Report::default() };
    if !found.prefix.is_empty() {
        report.notes.push(format!("taken from `{}`", found.prefix));
    }
    if found.n_outside > 0 {
        report.notes.push(format!("{} other tensors in the file are left out", found.n_outside));
    }

    let renamed = found
        .dialect
        .rename(&found.tensors)
        .map_err(|why| Error::Unrecognised(format!("looks like {}, but {why}", found.dialect)))?;
    let placed = place(&found, renamed, &mut report);
    let (mut file_spec, stored) = file_spec(&archive, &placed, found.dialect, options)?;
    // What the file says itself goes before what stands beside it.
    let beside = if stored.is_some() { Beside::default() } else { beside.for_classes(file_spec.classes) };
    if let Some((height, width)) = beside.pictures.as_ref().and_then(|p| p.size) {
        file_spec = file_spec.size(height, width);
    }
    report.notes.extend(beside.notes);
    let names = match classes::stored(archive.metadata(), file_spec.classes)?.or(beside.classes) {
        None if found.dialect.knows_imagenet() && file_spec.classes == 1000 => Some(classes::imagenet()),
        names => names,
    };
    let file_classes = file_spec.classes;
    report.described = archive.metadata().contains_key("spec");
    report.arch = file_spec.arch.clone();
    let graph = file_spec.build()?;
    let values = fill(&mut archive, &graph, &placed, options.seed, &mut report)?;
    if options.strict && !report.is_clean() {
        return Err(Error::Mismatch { report: Box::new(report) });
    }

    let (spec, values) = adapt::adapt(file_spec, values, options, &mut report.notes)?;
    let preprocessing = match (stored, &beside.pictures) {
        (Some(stored), _) => stored.for_channels(spec.channels).for_size(spec.height, spec.width),
        (None, Some(pictures)) => pictures.at(spec.height, spec.width, spec.channels),
        (None, None) => found.dialect.preprocessing(&spec, options.source),
    };
    preprocessing.check(spec.channels, spec.height, spec.width)?;
    report.fresh_head |= spec.classes != file_classes;
    let classes = names.filter(|_| !report.fresh_head);
    Ok(Imported { spec, values, preprocessing, classes, report })
}

/// A tensor of the file with our name and the shape it has in our order.
struct Placed {
    ours: Renamed,
    source: String,
    index: usize,
    found: Vec<usize>,
    shape: Vec<usize>,
}

fn place(found: &Found, renamed: Vec<Option<Renamed>>, report: &mut Report) -> Vec<Placed> {
    let mut placed: Vec<Placed> = vec![];
    for (tensor, ours) in found.tensors.iter().zip(renamed) {
        let ours = ours.and_then(|ours| Some((ours.1.shape(&tensor.shape)?, ours)));
        match ours {
            Some((shape, ours)) => placed.push(Placed {
                ours,
                source: tensor.name.clone(),
                index: tensor.index,
                found: tensor.shape.clone(),
                shape,
            }),
            None => report.unexpected.push(tensor.name.clone()),
        }
    }
    placed
}

/// The network in the file: what the file says, or what its tensors show; and the pre-processing it says.
fn file_spec(
    archive: &Archive,
    placed: &[Placed],
    dialect: Dialect,
    options: &Options,
) -> Result<(ResNetSpec, Option<Preprocessing>)> {
    let bad = |what: &str, e: serde_json::Error| {
        resnet_core::Error::Weights(format!("metadata `{what}` is not one: {e}"))
    };
    let metadata = archive.metadata();
    let preprocessing = Preprocessing::from_metadata(metadata)?;
    let told = options.arch.is_some() || options.variant.is_some();
    if let (Some(json), false) = (metadata.get("spec"), told) {
        return Ok((serde_json::from_str(json).map_err(|e| bad("spec", e))?, preprocessing));
    }
    let shapes = placed.iter().map(|p| (p.ours.0.as_str(), p.shape.as_slice())).collect();
    let mut spec = infer::spec(&shapes, dialect, options.classes)
        .map_err(|why| Error::Unrecognised(format!("looks like {dialect}, but {why}")))?;
    if let Some(arch) = &options.arch {
        let (height, width) = (arch.height, arch.width);
        let (channels, classes) = (spec.channels, spec.classes);
        let conventions = spec.conventions;
        spec = arch.clone().channels(channels).classes(classes).size(height, width);
        // Another library's file is as the library is; one with our names is as its name says.
        if dialect != Dialect::Torchvision {
            spec.conventions = conventions;
        }
    }
    if let Some(variant) = options.variant {
        spec.variant = variant;
    }
    if let Some(eps) = options.norm_eps.or(archive.norm_eps()) {
        spec.conventions.norm_eps = eps;
    }
    Ok((spec, preprocessing))
}

/// Reads what fits, one tensor at a time. The rest starts fresh and is reported.
fn fill(
    archive: &mut Archive,
    graph: &Graph,
    placed: &[Placed],
    seed: u64,
    report: &mut Report,
) -> Result<Vec<Vec<f32>>> {
    let mut values = vec![vec![]; graph.params().len()];
    let mut given = vec![false; values.len()];
    let index_of: std::collections::BTreeMap<&str, usize> =
        graph.params().iter().enumerate().map(|(i, p)| (p.name.as_str(), i)).collect();
    for tensor in placed {
        let (name, layout) = &tensor.ours;
        let Some(i) = index_of.get(name.as_str()).copied().filter(|i| graph.params()[*i].kind.is_saved())
        else {
            if !is_bookkeeping(name) {
                report.unexpected.push(tensor.source.clone());
            }
            continue;
        };
        let wanted = &graph.params()[i].shape;
        if given[i] {
            report.unexpected.push(tensor.source.clone()); // two tensors with one meaning
        } else if tensor.shape != *wanted {
            report.misshapen.push(Misshapen {
                name: name.clone(),
                source: tensor.source.clone(),
                found: tensor.shape.clone(),
                wanted: wanted.clone(),
            });
        } else {
            values[i] = layout.apply(&tensor.found, archive.read(tensor.index)?);
            report.n_fitting += 1;
        }
        given[i] = true;
    }
    for (i, param) in graph.params().iter().enumerate() {
        if values[i].is_empty() {
            values[i] = param.init.fill(&param.shape, seed, i as u64); // as `initial_values` does it
        }
    }
    let missing = graph.params().iter().zip(&given).filter(|(p, given)| p.kind.is_saved() && !**given);
    report.missing.extend(missing.map(|(p, _)| p.name.clone()));
    // A file without a classifier is a trunk, which adapting gives a new head.
    if report.missing == ["fc.weight", "fc.bias"] && !placed.iter().any(|p| p.ours.0.starts_with("fc.")) {
        report.missing.clear();
        report.fresh_head = true;
        report
            .notes
            .push(format!("no classifier in the file: fc starts fresh with {} classes", graph.classes()));
    }
    Ok(values)
}

/// Counters that PyTorch keeps beside the weights.
fn is_bookkeeping(name: &str) -> bool {
    name.ends_with("num_batches_tracked") || name.ends_with("n_averaged")
}

fn unrecognised(archive: &Archive, options: &Options) -> String {
    let names: Vec<&str> = archive.entries().iter().take(4).map(|e| e.name.as_str()).collect();
    let mut text = format!("its {} tensors, such as {}, ", archive.entries().len(), names.join(", "));
    text += &match options.source {
        Source::Auto => "have the names of no library known here".to_owned(),
        source => format!("do not have the names of {source}"),
    };
    if archive.entries().iter().any(|e| e.name.contains("kernel")) {
        text += "; a Keras network whose layers have no stable names is matched by the order of its weights: write them with \
                 scripts/keras_to_safetensors.py";
    }
    if let Some(prefix) = unwrap::hidden_prefix(archive.entries()) {
        text += &format!("; there is a ResNet under `{prefix}`: give that as the prefix");
    }
    text
}
