//! From a recipe that names weights to the values training starts with.

use resnet_import::{Imported, Options, Report, import, sha256};
use resnet_train::data::Dataset;
use resnet_train::recipe::{Head, Recipe, Start};

/// Weights that were made to fit a recipe and its data.
#[derive(Clone, Debug)]
pub struct Starting {
    /// Where training starts, for [`Trainer::fine_tune`](resnet_train::trainer::Trainer::fine_tune). The network and the
    /// pre-processing that they are for stand in the recipe's `finetune.start`.
    pub values: Vec<Vec<f32>>,
    /// What was found in the file, and what was changed.
    pub report: Report,
}

/// Why training cannot start from some weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The recipe names none, or says something about them that cannot be.
    #[error(transparent)]
    Recipe(#[from] resnet_train::Error),
    /// They cannot be read, or do not fit.
    #[error(transparent)]
    Weights(#[from] resnet_import::Error),
}

/// Opens the weights of `recipe.finetune` and makes them fit the data: its classes, its channels, and the size that the
/// recipe wants, or else the weights' own. What was found is noted in `recipe.finetune.start`, so that the run can go on
/// without the file. `options` say what the file does not; classes, channels, size and seed are the recipe's.
///
/// # Errors
/// [`StartError::Recipe`] without `finetune.weights`, or if the file is not the one that the run was started with;
/// [`StartError::Weights`] as [`import`].
pub fn starting_weights(
    recipe: &mut Recipe,
    data: &Dataset,
    options: &Options,
) -> Result<Starting, StartError> {
    let invalid = |field: &str, why: String| StartError::Recipe(resnet_train::Error::invalid(field, why));
    let finetune = recipe.finetune.clone().unwrap_or_default();
    let Some(path) = finetune.weights.as_deref() else {
        return Err(invalid("finetune.weights", "none; name the file to start from, as by --weights".into()));
    };
    let options = Options {
        source: finetune.from.parse().map_err(|why| invalid("finetune.from", why))?,
        variant: recipe.model.variant.or(options.variant),
        classes: Some(recipe.model.classes.unwrap_or(data.n_classes())),
        channels: Some(data.channels),
        size: recipe.model.size.map(|s| (s.height, s.width)).or(options.size),
        seed: recipe.train.seed,
        ..options.clone()
    };
    let digest = sha256(path)?;
    if let Some(start) = finetune.start.as_ref().filter(|start| start.sha256 != digest) {
        let why = format!(
            "{} is another file than at the start: SHA-256 {digest}, {} then",
            path.display(),
            start.sha256
        );
        return Err(invalid("finetune.weights", why));
    }
    let mut imported = import(path, &options)?;
    settle_head(&mut imported, data, finetune.head, options.seed)?;
    let Imported { spec, values, preprocessing, report, .. } = imported;
    recipe.model.arch = match resnet_core::zoo::arch(&spec.arch) {
        Ok(_) => spec.arch.clone(),
        Err(_) => recipe.model.arch.clone(), // a network without a name; `start` describes it
    };
    let start = Start { sha256: digest, network: spec, preprocessing };
    recipe.finetune = Some(resnet_train::recipe::Finetune { start: Some(start), ..finetune });
    Ok(Starting { values, report })
}

/// A classifier of as many classes is kept, unless they are known to be others.
fn settle_head(imported: &mut Imported, data: &Dataset, head: Head, seed: u64) -> resnet_import::Result<()> {
    if imported.report.fresh_head {
        return Ok(());
    }
    let others = imported.classes.as_ref().is_some_and(|names| *names != data.classes);
    let note = match head {
        Head::Auto if others => "the file's classes have other names: fc starts fresh",
        Head::Fresh => "fc starts fresh, as wanted",
        Head::Auto | Head::Keep => {
            imported
                .report
                .notes
                .push(format!("the file's classifier of {} classes is kept", imported.spec.classes));
            return Ok(());
        }
    };
    imported.start_head_fresh(seed)?;
    imported.report.notes.push(note.into());
    Ok(())
}
