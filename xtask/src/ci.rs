//! `ci`: everything a change must pass, the cheapest check first. The same here and on the server.

use std::ffi::{OsStr, OsString};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::shell::{announce, cargo};
use crate::{arm, hand_over, tidy};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only these steps
    #[arg(value_parser = STEPS.map(|step| step.0))]
    steps: Vec<String>,
}

type Step = (&'static str, fn() -> Result<()>);

const STEPS: [Step; 7] = [
    ("fmt", fmt),
    ("tidy", tidy::run),
    ("clippy", clippy),
    ("doc", doc),
    ("test", test),
    ("readme", readme),
    ("arm", arm::run),
];

pub(crate) fn run(args: Args) -> Result<()> {
    let mut timings = Vec::new();
    for (name, step) in STEPS {
        if !args.steps.is_empty() && !args.steps.iter().any(|wanted| wanted == name) {
            continue;
        }
        eprintln!("== {name}");
        let start = Instant::now();
        step().with_context(|| format!("ci step `{name}`"))?;
        timings.push(format!("{name} {:.0} s", start.elapsed().as_secs_f64()));
    }
    eprintln!("== passed: {}", timings.join(", "));
    Ok(())
}

fn fmt() -> Result<()> {
    announce(cargo().args(["fmt", "--all", "--check"]))
}

/// All features at once, and each backend's alone, as `cargo xtask train --backend` builds it.
fn clippy() -> Result<()> {
    let deny = ["--", "-D", "warnings"];
    announce(cargo().args(["clippy", "--workspace", "--all-targets", "--all-features"]).args(deny))?;
    for backend in hand_over::BACKENDS {
        announce(
            cargo()
                .args([
                    "clippy",
                    "-p",
                    "resnet",
                    "--all-targets",
                    "--no-default-features",
                    "--features",
                    backend,
                ])
                .args(deny),
        )?;
    }
    Ok(())
}

fn doc() -> Result<()> {
    let mut command = cargo();
    command.args(["doc", "--workspace", "--no-deps", "--all-features"]).env("RUSTDOCFLAGS", "-D warnings");
    announce(&mut command)
}

fn test() -> Result<()> {
    hand_over::test(Vec::new())
}

/// A command of the README on a small budget, and the files it must leave behind.
struct Promise {
    command: &'static str,
    args: &'static [&'static str],
    leaves: &'static [&'static str],
}

const README: [Promise; 2] = [
    Promise {
        command: "train",
        args: &["--set", "train.max_steps=8"],
        leaves: &["recipe.toml", "metrics.jsonl", "curves.svg", "model.safetensors"],
    },
    Promise {
        command: "compare",
        args: &["--arch", "resnet20-cifar", "--variants", "v1,v2", "--set", "train.max_steps=2"],
        leaves: &["compare.md", "compare.json", "compare.svg"],
    },
];

fn readme() -> Result<()> {
    let scratch = tempfile::tempdir().context("no temporary folder")?;
    for Promise { command, args, leaves } in README {
        let out = scratch.path().join(command);
        let mut args: Vec<OsString> = args.iter().map(OsString::from).collect();
        args.extend(["--out".into(), out.clone().into()]);
        eprintln!("$ cargo xtask {command} {}", args.join(OsStr::new(" ")).to_string_lossy());
        hand_over::resnet(command, args)?;
        if let Some(name) = leaves.iter().find(|name| !out.join(name).is_file()) {
            bail!("`cargo xtask {command}` left no {name}");
        }
    }
    hand_over::package("resnet-benches", "parity", ["--cases", "4"].map(OsString::from).into())
}
