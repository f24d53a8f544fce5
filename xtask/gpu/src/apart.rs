//! A step of the check in a process of its own.
//!
//! A kernel that reads a wrong address makes every later call of its process fail, a panic ends it, and a kernel that never ends holds it.
//! Apart, each of these costs its own step. This program starts itself with `--step FILE`, and the step leaves what it found in the file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::programs::run;
use crate::report::Outcome;
use crate::{Args, Part, Target};

/// Less than this is no time to begin something.
pub(crate) const LEAST: Duration = Duration::from_secs(5);
/// A step is told of this much less than it has, so that it ends by itself and names what it left out.
const MARGIN: Duration = Duration::from_secs(2);

/// Runs a step: a part, and of it what `which` says.
///
/// # Errors
/// A step that did not come to its end within the limit, with the last words of it.
pub(crate) fn step(
    args: &Args,
    part: Part,
    which: &[(&str, &str)],
    limit: Duration,
) -> Result<(Outcome, String)> {
    if limit < LEAST {
        return Ok((Outcome::left_out("the time was over"), String::new()));
    }
    let left = std::env::temp_dir().join(format!("gpu-check-{}.json", std::process::id()));
    let _ = std::fs::remove_file(&left); // nobody has written it, unless a process of this number was killed
    let mut command = Command::new(std::env::current_exe().context("cannot tell which program this is")?);
    command.args(of_step(args, part, limit.saturating_sub(MARGIN), &left));
    for (name, value) in which {
        command.arg(format!("--{name}={value}"));
    }
    let ended = run(&mut command, limit);
    let found = read(&left);
    let _ = std::fs::remove_file(&left);
    let output = match (found, ended) {
        (Some(found), Ok(_)) => return Ok(found),
        (Some((outcome, body)), Err(error)) => {
            return Ok((outcome, format!("{body}\nAfterwards: {error:#}.")));
        }
        (None, ended) => ended?,
    };
    bail!("it ended before it had a result: {}", output.tail(12))
}

fn of_step(args: &Args, part: Part, limit: Duration, left: &Path) -> Vec<OsString> {
    let part = part.to_possible_value().map(|part| part.get_name().to_owned()).unwrap_or_default();
    let mut list: Vec<OsString> = vec!["--only".into(), part.into(), "--step".into(), left.into()];
    list.extend(["--minutes".into(), format!("{}", limit.as_secs_f64() / 60.0).into()]);
    match args.target() {
        Target::Device(ordinal) => list.extend(["--device".into(), ordinal.to_string().into()]),
        Target::Emulator => list.push("--rehearse".into()),
    }
    let paths: [(&str, &Option<PathBuf>); 2] = [("--python", &args.python), ("--programs", &args.programs)];
    for (name, path) in paths {
        if let Some(path) = path {
            list.extend([name.into(), path.into()]);
        }
    }
    list
}

fn read(file: &Path) -> Option<(Outcome, String)> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// In the step's own process: leaves what was found.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn leave(file: &Path, found: &(Outcome, String)) -> Result<()> {
    std::fs::write(file, serde_json::to_vec(found)?)
        .with_context(|| format!("cannot write {}", file.display()))
}
