//! Any ResNet of the family, as plain data: change it, build it, look at it.
//!
//! `cargo run -p resnet-examples --example summary`

use resnet::core::zoo::{self, Variant};

fn main() -> resnet::core::Result<()> {
    let spec = zoo::arch("resnet50")?.variant(Variant::V2).channels(1).size(96, 96).classes(10);
    let graph = spec.build()?;
    println!("{}", graph.summary());

    // The same as data: what one stage costs.
    let stage: u64 =
        graph.summary().layers.iter().filter(|l| l.name.starts_with("layer3.")).map(|l| l.macs).sum();
    println!("stage 3 does {:.0} % of the work", 100.0 * stage as f64 / graph.macs() as f64);
    Ok(())
}
