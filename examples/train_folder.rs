//! Training on your own pictures: a folder with a folder of pictures for each class, or anything else that is recognised.
//!
//! `cargo run --release -p resnet-examples --example train_folder photos/`

use resnet::backend::CpuBackend;
use resnet::train::Result;
use resnet::train::data::Survey;
use resnet::train::recipe::Recipe;
use resnet::train::trainer::{Event, Trainer};

fn main() -> Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "photos".into());
    let mut recipe = Recipe::load("photos")?;
    recipe.data.path = Some(path.into());
    recipe.apply(&["model.size=64", "train.epochs=2", "train.batch=16"])?;

    let data = recipe.open_data()?;
    println!("{}", data.describe());
    let found = Survey::of(&data, |_| {})?;
    println!("{} broken pictures, {} in both parts", found.n_broken(), found.n_leaks());

    let mut trainer = Trainer::new(CpuBackend::new(None)?, recipe, data)?;
    let mut tell = |event: &Event<'_>| match event {
        Event::Epoch(epoch) => println!("{epoch}"),
        Event::Warning(what) => println!("warning: {what}"), // a broken picture is named and left out
        _ => {}
    };
    trainer.train(&mut tell, &|| false)?;
    Ok(())
}
