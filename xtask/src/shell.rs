//! Running other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The command as a person would type it.
pub(crate) fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = match program.file_stem() {
        Some(stem) if stem == "cargo" => stem.to_string_lossy(),
        _ => program.to_string_lossy(),
    };
    let quote = |word: &str| {
        let plain =
            !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "\"'$*?;&|<>()".contains(c));
        if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
    };
    let args = command.get_args().map(|arg| quote(&arg.to_string_lossy()));
    std::iter::once(quote(&name)).chain(args).collect::<Vec<_>>().join(" ")
}

/// Runs a command with this terminal's input and output. Anything but success is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", show(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", show(command));
    }
    Ok(())
}

/// As [`run`], and says first what is run.
pub(crate) fn announce(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", show(command));
    run(command)
}

/// Runs a command and returns what it printed; its complaints go to the terminal.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", show(command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", show(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_typed() {
        let mut command = Command::new("/somewhere/bin/cargo");
        command.args(["run", "--", "a b", "it's", "", "--size=28"]);
        assert_eq!(show(&command), r"cargo run -- 'a b' 'it'\''s' '' --size=28");
    }

    #[test]
    fn failure_names_the_command() {
        let error =
            run(Command::new("cargo").arg("no-such-command").stderr(Stdio::null())).expect_err("fails");
        assert!(error.to_string().contains("cargo no-such-command"), "{error}");
        let error = run(&mut Command::new("no-such-program")).expect_err("cannot start");
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
