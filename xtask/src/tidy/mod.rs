//! `tidy`: the rules of CONTRIBUTING.md that no other tool checks.

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{read, root};

mod code;
mod rules;

/// One breach of a rule, with the place.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// Counted from 1; 0 is the file as a whole.
    line: usize,
    what: String,
    /// Printed, and nothing fails.
    warning: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { path, line, what, warning } = self;
        let kind = if *warning { "warning" } else { "error" };
        match line {
            0 => write!(f, "{kind}: {path}: {what}"),
            line => write!(f, "{kind}: {path}:{line}: {what}"),
        }
    }
}

/// A file of the repository as the rules see it.
struct File<'a> {
    /// Relative to the root, with `/`.
    path: &'a str,
    text: &'a str,
}

pub(crate) fn run() -> Result<()> {
    let findings = check_tree(root())?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.iter().filter(|finding| !finding.warning).count() {
        0 => Ok(()),
        n => bail!("{n} breach{} of the rules in CONTRIBUTING.md", if n == 1 { "" } else { "es" }),
    }
}

/// Checks every file that is in the repository or about to be.
fn check_tree(root: &Path) -> Result<Vec<Finding>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let listing = read(&mut git).context("the list of files comes from git")?;
    let mut findings = Vec::new();
    for path in listing.lines() {
        let full = root.join(path);
        let Ok(metadata) = std::fs::symlink_metadata(&full) else { continue }; // deleted, not yet committed
        if !metadata.is_file() {
            continue;
        }
        findings.extend(rules::weight(path, metadata.len()));
        let bytes = std::fs::read(&full).with_context(|| format!("cannot read {path}"))?;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            findings.extend(rules::check(&File { path, text }));
        }
    }
    Ok(findings)
}
