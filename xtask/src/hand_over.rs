//! `train`, `compare`, `parity`, `data`, `test`: build exactly what is needed, then hand over.

use std::ffi::OsString;

use anyhow::{Result, bail};

use crate::cuda::wheels;
use crate::shell::{cargo, run};

/// The backends, each the name of its feature.
pub(crate) const BACKENDS: [&str; 2] = ["cpu", "cuda"];

/// Builds the release binary with one backend's feature and runs one of its commands.
pub(crate) fn resnet(command: &str, args: Vec<OsString>) -> Result<()> {
    let (backend, rest) = split_backend(args)?;
    run(cargo()
        .args([
            "run",
            "--release",
            "--quiet",
            "-p",
            "resnet",
            "--no-default-features",
            "--features",
            &backend,
        ])
        .args(["--", command, "--backend", &backend])
        .args(rest))
}

/// Builds a helper program of the workspace and runs it.
pub(crate) fn package(package: &str, program: &str, args: Vec<OsString>) -> Result<()> {
    run(cargo().args(["run", "--release", "--quiet", "-p", package, "--bin", program, "--"]).args(args))
}

/// All tests of the workspace.
pub(crate) fn test(args: Vec<OsString>) -> Result<()> {
    run(wheels::lend(cargo().args(["test", "--workspace"]).args(args)))
}

/// Takes `--backend B` out of the arguments; without one the backend is `cpu`. Nothing after `--` is looked at.
fn split_backend(args: Vec<OsString>) -> Result<(String, Vec<OsString>)> {
    let mut found: Option<OsString> = None;
    let mut rest = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        let value = if text == "--backend" {
            match args.next() {
                Some(value) => value,
                None => bail!("--backend needs a value: {}", BACKENDS.join(" or ")),
            }
        } else if let Some(value) = text.strip_prefix("--backend=") {
            value.into()
        } else {
            let end = text == "--";
            rest.push(arg);
            if end {
                rest.extend(args);
                break;
            }
            continue;
        };
        if found.as_ref().is_some_and(|earlier| *earlier != value) {
            bail!("--backend is given twice, with different values");
        }
        found = Some(value);
    }
    let backend = found.unwrap_or_else(|| BACKENDS[0].into()).to_string_lossy().into_owned();
    if !BACKENDS.contains(&backend.as_str()) {
        bail!("unknown backend `{backend}`; there are {}", BACKENDS.join(" and "));
    }
    Ok((backend, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(args: &[&str]) -> Result<(String, Vec<OsString>)> {
        split_backend(args.iter().map(OsString::from).collect())
    }

    #[test]
    fn backend_is_taken_out_wherever_it_stands() {
        let rest: Vec<OsString> = ["r.toml", "--epochs", "1", "--help"].map(OsString::from).into();
        assert_eq!(
            split(&["r.toml", "--epochs", "1", "--help"]).expect("fine"),
            ("cpu".to_owned(), rest.clone())
        );
        for args in [
            ["--backend", "cuda", "r.toml", "--epochs", "1", "--help"].as_slice(),
            &["r.toml", "--epochs", "1", "--backend=cuda", "--help"],
            &["r.toml", "--epochs", "1", "--help", "--backend", "cuda"],
        ] {
            assert_eq!(split(args).expect("fine"), ("cuda".to_owned(), rest.clone()), "{args:?}");
        }
    }

    #[test]
    fn what_follows_two_dashes_is_not_ours() {
        let (backend, rest) = split(&["a", "--", "--backend", "cuda"]).expect("fine");
        assert_eq!((backend.as_str(), rest.len()), ("cpu", 4));
    }

    #[test]
    fn wrong_backends_are_named() {
        let message = |args: &[&str]| split(args).expect_err("wrong").to_string();
        assert_eq!(message(&["--backend", "tpu"]), "unknown backend `tpu`; there are cpu and cuda");
        assert!(message(&["--backend"]).contains("cpu or cuda"));
        assert!(message(&["--backend=cpu", "--backend=cuda"]).contains("twice"));
        assert!(split(&["--backend=cpu", "--backend=cpu"]).is_ok());
    }
}
