//! Training as a library: a recipe, data, a backend; what happens is told to a closure.
//!
//! `cargo run --release -p resnet-examples --example train_fashion`

use std::path::Path;

use resnet::backend::CpuBackend;
use resnet::train::Result;
use resnet::train::recipe::Recipe;
use resnet::train::trainer::{Event, Outcome, Trainer};

fn main() -> Result<()> {
    let mut recipe = Recipe::load("fashion-sample")?;
    recipe.apply(&["model.arch=resnet20-cifar", "train.epochs=2", "optimizer.lr=0.1"])?;
    let data = recipe.data.open()?;
    println!("{}", data.describe());

    let mut trainer = Trainer::new(CpuBackend::new(None)?, recipe, data)?;
    println!("{}\n", trainer.plan());
    let mut tell = |event: &Event<'_>| {
        if let Event::Epoch(epoch) = event {
            println!("{epoch}");
        }
    };
    if let Outcome::Finished { best: Some(best) } = trainer.train(&mut tell, &|| false)? {
        println!("best: {:.3} after epoch {}", best.accuracy, best.epoch);
    }

    // Without a run directory nothing was written; the weights are wherever you want them.
    let model = trainer.model()?;
    let path = Path::new("fashion.safetensors");
    std::fs::write(path, model.to_bytes(trainer.graph())?).map_err(|source| resnet::train::Error::Io {
        path: path.into(),
        action: "write",
        source,
    })?;
    println!("wrote {}; try the example `predict` on it", path.display());
    Ok(())
}
