//! The rules, each a function from a file to what breaks it.

use super::code::{Line, lines};
use super::{File, Finding};

/// The only places where the word may stand in code: micro-kernels, the disjoint views through which tasks write one tensor,
/// foreign calls, and the libraries that those are tested with.
const UNSAFE_ALLOWED: [&str; 9] = [
    "crates/resnet-cpu/src/crew.rs",
    "crates/resnet-cpu/src/direct/blocks.rs",
    "crates/resnet-cpu/src/kernels/",
    "crates/resnet-cuda/src/compile/nvrtc.rs",
    "crates/resnet-cuda/src/cudnn/library.rs",
    "crates/resnet-cuda/src/library.rs",
    "crates/resnet-cuda/src/machine/device",
    "crates/resnet-cuda/src/machine/emulator/library.rs",
    "crates/resnet-cuda/tests/fake/",
];

/// The one file that knows which backends are built in.
const BACKEND_CFG_ALLOWED: &str = "crates/resnet/src/backend.rs";

/// Lines of a source file: above the first a warning, above the second an error.
const LINES: (usize, usize) = (400, 700);

/// The marker, in the first ten lines, that exempts a table or a long test; a reason follows it.
const LONG_BECAUSE: &str = "tidy: long because ";

/// Nothing heavier is committed.
const WEIGHT_BYTES: u64 = 3 << 20;

/// How many lines above an unsafe block its reason may begin.
const SAFETY_REACH: usize = 8;

/// Fewer words say nothing: "SAFETY: ffi" is no reason.
const SAFETY_WORDS: usize = 3;

/// How a reason begins; the second covers several blocks that follow each other, and says which in brackets.
const SAFETY: [&str; 2] = ["SAFETY:", "SAFETY ("];

/// Text that has no place in the repository, and why. Written in two halves, so that this file does not break its own rule.
const FORBIDDEN: [(&str, &str, &str); 16] = [
    ("TO", "DO", "finish it, or write down in the documentation what is not there"),
    ("FIX", "ME", "fix it"),
    ("to", "do!(", "finish it, or return an error that says what is not supported"),
    ("unimple", "mented!(", "finish it, or return an error that says what is not supported"),
    ("#[ig", "nore", "a test that does not run is no test"),
    ("/wo", "rk/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    ("/tm", "p/", "a path of one machine; std::env::temp_dir knows it"),
    ("/op", "t/", "a path of one machine"),
    ("../sha", "red", "the repository stands on its own"),
    ("crates", ".io", "registries are used by package name"),
    ("py", "pi.org", "registries are used by package name"),
    ("python", "hosted", "registries are used by package name"),
    ("npm", "js.", "registries are used by package name"),
    ("deb.deb", "ian", "registries are used by package name"),
    ("down", "load.pytorch", "registries are used by package name"),
];

pub(super) fn check(file: &File<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let extension = file.path.rsplit_once('.').map_or("", |(_, extension)| extension);
    if matches!(extension, "rs" | "py" | "cu") {
        findings.extend(length(file));
    }
    if extension == "rs" {
        let lines = lines(file.text);
        findings.extend(unsafe_places(file, &lines));
        findings.extend(safety_comments(file, &lines));
        findings.extend(backend_cfg(file));
        findings.extend(forbids_unsafe(file));
    }
    if file.path.ends_with("Cargo.toml") && file.path != "Cargo.toml" {
        findings.extend(inherits_lints(file));
    }
    if file.path != "Cargo.lock" {
        findings.extend(forbidden_text(file));
    }
    findings
}

fn error(path: &str, line: usize, what: impl Into<String>) -> Finding {
    Finding { path: path.to_owned(), line, what: what.into(), warning: false }
}

/// No large binaries.
pub(super) fn weight(path: &str, bytes: u64) -> Option<Finding> {
    (bytes > WEIGHT_BYTES)
        .then(|| error(path, 0, format!("{bytes} bytes; at most {WEIGHT_BYTES} are committed")))
}

/// Files stay small enough to be read in one go.
fn length(file: &File<'_>) -> Option<Finding> {
    let n_lines = file.text.lines().count();
    let reason =
        file.text.lines().take(10).find_map(|line| line.split_once(LONG_BECAUSE)).map(|(_, why)| why.trim());
    match reason {
        Some("") => Some(error(file.path, 0, format!("`{LONG_BECAUSE}` needs a reason"))),
        Some(_) => None,
        None if n_lines > LINES.1 => {
            Some(error(file.path, 0, format!("{n_lines} lines; split it (at most {})", LINES.1)))
        }
        None if n_lines > LINES.0 => Some(Finding {
            warning: true,
            ..error(file.path, 0, format!("{n_lines} lines; consider to split it"))
        }),
        None => None,
    }
}

fn unsafe_places(file: &File<'_>, lines: &[Line]) -> Vec<Finding> {
    if UNSAFE_ALLOWED.iter().any(|allowed| file.path.starts_with(allowed)) {
        return Vec::new();
    }
    let found = lines.iter().enumerate().filter(|(_, line)| line.has_word("unsafe"));
    found
        .map(|(i, _)| error(file.path, i + 1, "`unsafe` outside the micro-kernel and launch files"))
        .collect()
}

/// Each block is preceded by a SAFETY comment that says something.
/// Clippy checks that there is one; that it has content is checked here.
fn safety_comments(file: &File<'_>, lines: &[Line]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let is_block = line.code.contains("unsafe {") || line.code.contains("unsafe impl");
        if !is_block {
            continue;
        }
        let above = &lines[i.saturating_sub(SAFETY_REACH)..=i];
        let Some(start) =
            above.iter().rposition(|line| SAFETY.iter().any(|begin| line.comment.contains(begin)))
        else {
            findings.push(error(file.path, i + 1, "an unsafe block without a SAFETY comment"));
            continue;
        };
        let text: Vec<&str> = above[start..].iter().map(|line| line.comment.as_str()).collect();
        let text = text.join(" ");
        let said = text
            .split_once("SAFETY")
            .and_then(|(_, after)| after.split_once(':'))
            .map_or("", |(_, said)| said);
        if said.split_whitespace().count() < SAFETY_WORDS {
            findings.push(error(
                file.path,
                i + 1,
                "a SAFETY comment names the obligation and what discharges it; this one says too little",
            ));
        }
    }
    findings
}

/// Backend features are decided in one file. Tests may ask which build they are part of.
fn backend_cfg(file: &File<'_>) -> Vec<Finding> {
    if file.path == BACKEND_CFG_ALLOWED || file.path.contains("/tests/") {
        return Vec::new();
    }
    let patterns = ["cpu", "cuda"].map(|feature| format!("feature = \"{feature}\""));
    let mut findings = Vec::new();
    for (i, line) in file.text.lines().enumerate() {
        if patterns.iter().any(|pattern| line.contains(pattern)) {
            findings.push(error(
                file.path,
                i + 1,
                format!("a backend's cfg belongs in {BACKEND_CFG_ALLOWED}"),
            ));
        }
    }
    findings
}

/// Every crate root says what it thinks of unsafe code.
fn forbids_unsafe(file: &File<'_>) -> Option<Finding> {
    let is_root = file.path.ends_with("src/lib.rs")
        || file.path.ends_with("src/main.rs")
        || matches!(file.path, "benches/lib.rs" | "examples/lib.rs");
    let says =
        ["#![forbid(unsafe_code)]", "#![deny(unsafe_code)]"].iter().any(|lint| file.text.contains(lint));
    (is_root && !says).then(|| {
        error(file.path, 0, "a crate root forbids unsafe code, or denies it where a listed file allows it")
    })
}

/// `[lints] workspace = true` in every member.
fn inherits_lints(file: &File<'_>) -> Option<Finding> {
    let mut lines = file.text.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    let inherits =
        lines.find(|line| !line.is_empty()).is_some_and(|line| line.replace(' ', "") == "workspace=true");
    let stands_alone = file.text.lines().any(|line| line.trim() == "[workspace]"); // it has nothing to inherit from
    (!inherits && !stands_alone).then(|| error(file.path, 0, "does not inherit the workspace's lints"))
}

/// Words and paths that have no place here.
fn forbidden_text(file: &File<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, line) in file.text.lines().enumerate() {
        for (first, second, why) in FORBIDDEN {
            let pattern = format!("{first}{second}");
            if contains(line, &pattern) {
                findings.push(error(file.path, i + 1, format!("`{pattern}`: {why}")));
            }
        }
    }
    findings
}

/// Whether a line contains a pattern. A pattern that begins with a letter does not match inside a longer word,
/// and one that begins with `/` does not match inside a longer path.
fn contains(line: &str, pattern: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || "_-.}*".contains(c);
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(pattern).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + pattern.len()..].chars().next();
        let begins = match pattern.chars().next() {
            Some('/') => !before.is_some_and(part_of_name),
            Some(first) if first.is_alphanumeric() => !before.is_some_and(part_of_word),
            _ => true,
        };
        let ends = !pattern.ends_with(char::is_uppercase) || !after.is_some_and(part_of_word);
        begins && ends
    })
}

#[cfg(test)]
mod tests;
