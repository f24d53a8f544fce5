//! `resnet data`: what is in a set of pictures, and what is wrong with it.

use std::path::PathBuf;

use anyhow::Context;
use resnet::plot::sheet;
use resnet_train::data::Survey;
use resnet_train::recipe::Recipe;

use crate::args::DataArgs;
use crate::exit::usage;
use crate::view::progress::Progress;
use crate::view::{output, survey};

/// Look a set of pictures over.
///
/// Classes and their pictures, sizes, broken files, equal pictures, mean and standard deviation.
/// Every picture is decoded once.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  resnet data photos/
  resnet data photos/ --sheet sheet.svg
  resnet data cifar-10-binary.tar.gz --json
  resnet data shards/ --check && resnet train --data shards/")]
pub(crate) struct DataCommand {
    /// The same as --data
    #[arg(value_name = "NAME|PATH")]
    positional: Option<String>,

    #[command(flatten)]
    data: DataArgs,

    /// Draw some pictures of every class, as SVG
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,

    /// Pictures of each class to draw
    #[arg(long, value_name = "N", default_value_t = 10)]
    per_class: usize,

    /// Fail if a picture is broken or in both parts
    #[arg(long)]
    check: bool,

    /// Everything as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: DataCommand) -> anyhow::Result<()> {
    let mut named = args.data.clone();
    match (&args.positional, &named.data) {
        (Some(_), Some(_)) => return Err(usage("the data is given twice")),
        (Some(text), None) => named.data = Some(text.clone()),
        _ => {}
    }
    if args.per_class == 0 {
        return Err(usage("--per-class 0: at least one picture of each class wanted"));
    }
    let mut recipe = Recipe::default();
    named.apply(&mut recipe.data);
    recipe.validate()?;
    let data = recipe.open_data()?;
    if !args.json {
        output::say(format!("data         {}", data.describe()));
    }
    let mut progress = Progress::new("reading", 0, (data.train.len() + data.test.len()) as u64);
    let found = Survey::of(&data, |done| progress.at(done as u64, ""));
    progress.finish();
    let found = found?;
    let stats = data.stats().ok(); // none where no picture can be read, which the survey says
    if args.json {
        output::lines([serde_json::to_string_pretty(&survey::json(&data, &found, stats))?])?;
    } else {
        output::lines([survey::text(&data, &found, stats, recipe.data.path.as_deref())])?;
    }
    if let Some(path) = &args.sheet {
        let svg = sheet(&data, args.per_class)?;
        std::fs::write(path, svg).with_context(|| format!("{}: cannot write", path.display()))?;
        eprintln!("contact sheet drawn in {}", path.display());
    }
    let (broken, leaks) = (found.n_broken(), found.n_leaks());
    if args.check && broken + leaks > 0 {
        anyhow::bail!("{broken} broken pictures, {leaks} pictures in both parts");
    }
    Ok(())
}
