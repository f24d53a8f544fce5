//! Trained weights learn other pictures: a new classifier on a trunk of which the first stages stay as they are.
//!
//! `cargo run --release -p resnet-examples --example fine_tune -- resnet50-0676ba61.pth photos/`
//! The second argument is anything that `resnet train --data` takes; without one it is the embedded sample of Fashion-MNIST.

use resnet::backend::CpuBackend;
use resnet::import::Options;
use resnet::train::recipe::{Finetune, Recipe};
use resnet::train::trainer::{Event, Trainer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (weights, data) = (arguments.next(), arguments.next());
    let mut recipe = Recipe::load("finetune")?;
    recipe.data.path = data.map(Into::into);
    recipe.finetune = Some(Finetune {
        weights: weights.map(Into::into),
        freeze_until: Some("layer4".into()),
        head_lr: 10.0,
        ..Finetune::default()
    });
    recipe.apply(&["train.epochs=2", "model.size=64"])?;
    let data = recipe.open_data()?;

    // The network is made to fit the data: its classes, its channels, the size of the recipe.
    let start = resnet::starting_weights(&mut recipe, &data, &Options::default())?;
    println!("{}", start.report.source);
    start.report.notes.iter().for_each(|note| println!("{note}"));

    let mut trainer = Trainer::fine_tune(CpuBackend::new(None)?, recipe, data, start.values)?;
    let mut tell = |event: &Event<'_>| {
        if let Event::Epoch(epoch) = event {
            println!("{epoch}");
        }
    };
    trainer.train(&mut tell, &|| false)?;
    std::fs::write("fine-tuned.safetensors", trainer.model()?.to_bytes(trainer.graph())?)?;
    println!("wrote fine-tuned.safetensors; try `import_and_predict` on it");
    Ok(())
}
