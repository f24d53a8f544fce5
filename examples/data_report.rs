//! A set of pictures looked over before anything is learned from it, and a contact sheet of it.
//!
//! `cargo run --release -p resnet-examples --example data_report -- photos/`
//! The argument is a folder, an archive or a table: whatever `resnet data` takes.

use std::path::Path;

use resnet::plot;
use resnet::train::data::{OpenOptions, Survey, open};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: data_report PATH")?;
    let data = open(Path::new(&path), &OpenOptions::default())?;
    println!("{}", data.describe());

    let found = Survey::of(&data, |_| {})?; // decodes every picture once, on all cores
    for (class, (train, test)) in
        data.classes.iter().zip(found.train.per_class.iter().zip(&found.test.per_class))
    {
        println!("{class}: {train} to train with, {test} to test with");
    }
    for (picture, why) in found.train.broken.iter().chain(&found.test.broken) {
        println!("broken: {picture}: {why}");
    }
    for group in &found.duplicates {
        let names: Vec<&str> = group.pictures.iter().map(|(_, name, _)| name.as_str()).collect();
        let place = if group.is_leak() { "in both parts" } else { "twice" };
        println!("{place}: {}", names.join(", "));
    }
    let stats = data.stats()?;
    println!("mean {:?}, standard deviation {:?}", stats.mean, stats.std);
    std::fs::write("sheet.svg", plot::sheet(&data, 8)?)?;
    println!("wrote sheet.svg");
    Ok(())
}
