//! Any trained network, ready for use: of a run, or of another library.
//!
//! ```no_run
//! let opened = resnet::open("resnet50-0676ba61.pth".as_ref(), &resnet::import::Options::default())?;
//! println!("{}, {}", opened.model.spec.arch, opened.model.preprocessing);
//! # Ok::<(), resnet::import::Error>(())
//! ```

use std::path::Path;

use resnet_import::{Options, Report, Result, import};
use resnet_train::model::Model;

/// A trained network, and what was found in its file.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The network with its weights, its pre-processing and the names of its classes.
    pub model: Model,
    /// What was found and changed.
    pub report: Report,
    /// Whether the file, or the library it is of, says what the classes are called.
    pub has_class_names: bool,
}

/// Opens weights, whoever wrote them: safetensors, PyTorch, Keras or Paddle.
///
/// # Errors
/// As [`import`].
pub fn open(path: &Path, options: &Options) -> Result<Opened> {
    let imported = import(path, options)?;
    let (has_class_names, classes) = (imported.classes.is_some(), imported.class_names());
    let (spec, preprocessing, values) = (imported.spec, imported.preprocessing, imported.values);
    let model = Model { spec, classes, preprocessing, values };
    Ok(Opened { model, report: imported.report, has_class_names })
}
