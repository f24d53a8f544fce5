//! Which pictures: a set by name, or a path that is recognised by what is there.

use std::path::{Path, PathBuf};

use resnet_train::recipe::{DEFAULT, DataRecipe, Recipe};

use super::quoted;
use crate::exit::usage;

/// The flags that say which data, for every command that reads a set.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// A set by name (fashion-mnist-sample, fashion-mnist, mnist, cifar10, cifar100), or a folder or file: a folder of pictures
    /// per class, with or without train/ and val/; CIFAR or IDX files; tar shards; CSV of path and label; Parquet
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) data: Option<String>,

    /// Directory of a set by name. Default: $RESNET_DATA_DIR, then the usual places
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Share held out for testing, where the data has no parts of its own; 1 tests on all of it [default: 0.2]
    #[arg(long, value_name = "SHARE")]
    pub(crate) split: Option<f64>,
}

/// What `--data` names.
enum Named {
    Name(String),
    Path(PathBuf),
}

impl DataArgs {
    /// A word that is no known name is a path if there is something, or if it looks like one.
    fn named(&self) -> Option<Named> {
        let text = self.data.as_ref()?;
        let is_known = DataRecipe::names().contains(&text.as_str());
        let looks_like_path = text.contains(['/', '\\', '.']) || Path::new(text).exists();
        Some(if !is_known && looks_like_path { Named::Path(text.into()) } else { Named::Name(text.clone()) })
    }

    /// The recipe where none is named: `photos` in place of the usual one for a path.
    pub(crate) fn default_recipe(&self, usual: &'static str) -> &'static str {
        let is_path = matches!(self.named(), Some(Named::Path(_)));
        if is_path && usual == DEFAULT { "photos" } else { usual }
    }

    /// The changes as `path=value`.
    pub(crate) fn overrides(&self) -> Vec<String> {
        let mut all = match self.named() {
            None => vec![],
            Some(Named::Name(name)) => vec!["data.path=none".into(), format!("data.name={name}")],
            Some(Named::Path(path)) => vec!["data.name=none".into(), format!("data.path={}", quoted(&path))],
        };
        all.extend(self.data_dir.as_ref().map(|dir| format!("data.dir={}", quoted(dir))));
        all.extend(self.split.map(|share| format!("data.split={share}")));
        all
    }

    /// The recipe of the run at a path, or that of nothing in particular, with this data in place of what it was trained on.
    ///
    /// # Errors
    /// If neither the path is a run nor these flags say which data.
    pub(crate) fn for_model(&self, model: &Path) -> anyhow::Result<Recipe> {
        let trained = model.join("recipe.toml");
        let is_run = model.is_dir() && trained.exists();
        if self.data.is_none() && !is_run {
            return Err(usage(
                "a weights file does not say what it was trained on; say what to test it on with --data",
            ));
        }
        let mut recipe = if is_run { Recipe::read(&trained)? } else { Recipe::default() };
        self.apply(&mut recipe.data);
        Ok(recipe)
    }

    /// Changes what a run was trained on. Another set has its own places and its own split.
    pub(crate) fn apply(&self, data: &mut DataRecipe) {
        match self.named() {
            None => {}
            Some(Named::Name(name)) if data.path.is_none() && data.name.as_ref() == Some(&name) => {}
            Some(Named::Name(name)) => *data = DataRecipe { name: Some(name), ..DataRecipe::default() },
            Some(Named::Path(path)) => {
                // The same pictures are split as they were in training.
                let (split, split_seed) = (data.split, data.split_seed);
                *data = DataRecipe { path: Some(path), split, split_seed, ..DataRecipe::default() };
            }
        }
        if self.data_dir.is_some() {
            data.dir.clone_from(&self.data_dir);
        }
        data.split = self.split.unwrap_or(data.split);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(data: &str) -> DataRecipe {
        let args = DataArgs { data: Some(data.into()), ..DataArgs::default() };
        let (mut by_set, mut by_field) = (Recipe::default(), Recipe::default());
        by_set.apply(&args.overrides()).unwrap();
        args.apply(&mut by_field.data);
        assert_eq!(by_set.data, by_field.data);
        by_set.data
    }

    #[test]
    fn names_are_told_from_paths() {
        assert_eq!(recipe("mnist").name.as_deref(), Some("mnist"));
        assert_eq!(recipe("./mnist").path.as_deref(), Some("./mnist".as_ref()));
        assert_eq!(recipe("Cargo.toml").path.as_deref(), Some("Cargo.toml".as_ref()));
        assert_eq!(recipe("photos \"2024\"/").path.as_deref(), Some("photos \"2024\"/".as_ref()));
        let unknown = DataArgs { data: Some("imagenet".into()), ..DataArgs::default() };
        let refused = Recipe::default().apply(&unknown.overrides()).unwrap_err().to_string();
        assert!(refused.contains("imagenet") && refused.contains("cifar10"), "{refused}");
    }
}
