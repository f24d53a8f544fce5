//! What remains of a run: weights with all that is needed to use them, as one safetensors file.
//!
//! Tensors have torchvision's names. The metadata says the network (`arch`, `spec`), the names of the classes (`classes`)
//! and how pictures become input (`preprocessing`), each as JSON.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use resnet_core::weights::{self, Metadata, Reader, Strictness};
use resnet_core::zoo::ResNetSpec;
use resnet_core::{Graph, Preprocessing, init};
use serde::Serialize;

use crate::{Error, Result};

/// Weights with all that is needed to use them.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The network.
    pub spec: ResNetSpec,
    /// Names of its classes.
    pub classes: Vec<String>,
    /// How pictures become input.
    pub preprocessing: Preprocessing,
    /// Its parameters in the order of [`Graph::params`], each in file order.
    pub values: Vec<Vec<f32>>,
}

impl Model {
    /// Reads a file that [`Model::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] naming the file and what it lacks.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |found: String| Error::format(&path.display().to_string(), found, "a model of a run");
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        let mut reader = Reader::new(BufReader::new(file)).map_err(|e| wrong(e.to_string()))?;
        let spec = weights::described_spec(reader.header())
            .map_err(|e| wrong(e.to_string()))?
            .ok_or_else(|| wrong("no `spec` in its metadata".into()))?;
        let classes: Vec<String> = parse(&reader.header().metadata, "classes").map_err(wrong)?;
        let preprocessing = Preprocessing::from_metadata(&reader.header().metadata)
            .map_err(|e| wrong(e.to_string()))?
            .ok_or_else(|| wrong("no `preprocessing` in its metadata".into()))?;
        preprocessing.check(spec.channels, spec.height, spec.width).map_err(|e| wrong(e.to_string()))?;
        if classes.len() != spec.classes {
            return Err(wrong(format!("{} names for {} classes", classes.len(), spec.classes)));
        }
        let graph = spec.build()?;
        let mut values = init::initial_values(&graph, 0);
        weights::load_values(&mut reader, &graph, Strictness::Strict, &mut values)
            .map_err(|e| wrong(e.to_string()))?;
        Ok(Self { spec, classes, preprocessing, values })
    }

    /// What its file says about itself: network, classes and pre-processing.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the names of the classes cannot be written.
    pub fn metadata(&self) -> Result<Metadata> {
        let mut metadata = weights::describe(&self.spec);
        put(&mut metadata, "classes", &self.classes)?;
        self.preprocessing.describe(&mut metadata);
        Ok(metadata)
    }

    /// The file.
    ///
    /// # Errors
    /// As [`weights::write_graph`].
    pub fn to_bytes(&self, graph: &Graph) -> Result<Vec<u8>> {
        let metadata = self.metadata()?;
        Ok(weights::write_graph(vec![], graph, &metadata, |id| Ok(self.values[id.0].as_slice().into()))?)
    }
}

fn put<T: Serialize>(metadata: &mut Metadata, key: &str, value: &T) -> Result<()> {
    let json = serde_json::to_string(value).map_err(|e| Error::invalid(key, e.to_string()))?;
    metadata.insert(key.to_owned(), json);
    Ok(())
}

fn parse<T: serde::de::DeserializeOwned>(metadata: &Metadata, key: &str) -> Result<T, String> {
    let json = metadata.get(key).ok_or_else(|| format!("no `{key}` in its metadata"))?;
    serde_json::from_str(json).map_err(|e| format!("`{key}` in its metadata: {e}"))
}
