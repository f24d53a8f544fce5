//! `ci`: everything a change must pass, the cheapest check first. The same here and on the server.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::shell::{announce, cargo};
use crate::{hand_over, tidy};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only these steps
    #[arg(value_parser = STEPS.map(|step| step.0))]
    steps: Vec<String>,
}

type Step = (&'static str, fn() -> Result<()>);

const STEPS: [Step; 5] =
    [("fmt", fmt), ("tidy", tidy::run), ("clippy", clippy), ("doc", doc), ("test", test)];

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
