//! Trains a recipe on the CPU and prints a line per epoch: the whole of training in one screen.
//!
//! `cargo run --release -p resnet-train --example train_recipe -- fashion-sample train.epochs=1`

use resnet_cpu::CpuBackend;
use resnet_train::recipe::{DEFAULT, Recipe};
use resnet_train::trainer::{Event, Trainer};

fn main() -> resnet_train::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (name, overrides) =
        args.split_first().map_or((DEFAULT, &[][..]), |(name, rest)| (name.as_str(), rest));
    let mut recipe = Recipe::load(name)?;
    recipe.apply(overrides)?;
    let data = recipe.data.open()?;
    println!("{}", data.describe());

    let mut trainer = Trainer::new(CpuBackend::new(None)?, recipe, data)?;
    println!("{}\n{}", trainer.spec().arch, trainer.plan());
    let mut print = |event: &Event<'_>| match event {
        Event::Epoch(record) => println!("{record}"),
        Event::Warning(why) => eprintln!("{why}"),
        _ => {}
    };
    let outcome = trainer.train(&mut print, &|| false)?;
    println!("{outcome:?}");
    Ok(())
}
