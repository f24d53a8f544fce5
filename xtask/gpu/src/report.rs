//! The results file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;

use crate::Target;

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Outcome {
    /// It did what it must.
    Passed,
    /// It did not, or could not be run although it should: why.
    Failed(String),
    /// Something it needs is not here: what.
    LeftOut(String),
}

impl Outcome {
    pub(crate) fn left_out(why: impl Into<String>) -> Self {
        Outcome::LeftOut(why.into())
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Outcome::Passed => "passed".to_owned(),
            Outcome::Failed(why) => format!("**failed**: {why}"),
            Outcome::LeftOut(why) => format!("left out: {why}"),
        }
    }
}

#[derive(Debug)]
struct Section {
    title: String,
    outcome: Outcome,
    seconds: f64,
    body: String,
}

/// What was found, step by step. It is on disk after every step, so that nothing is lost if the next one never ends.
#[derive(Debug)]
pub(crate) struct Report {
    target: Target,
    file: PathBuf,
    start: Instant,
    sections: Vec<Section>,
}

impl Report {
    pub(crate) fn new(target: Target, file: &Path) -> Self {
        Report { target, file: file.to_owned(), start: Instant::now(), sections: Vec::new() }
    }

    /// Writes what there is so far.
    pub(crate) fn write(&self) -> std::io::Result<()> {
        std::fs::write(&self.file, self.markdown())
    }

    /// Adds what a step left.
    pub(crate) fn add(&mut self, title: &str, outcome: Outcome, body: impl Into<String>) {
        self.put(title, outcome, body.into(), 0.0);
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Runs a step, says so on the terminal, and adds what it left.
    pub(crate) fn step(&mut self, title: &str, step: impl FnOnce() -> Result<(Outcome, String)>) {
        eprintln!("== {title}");
        let start = Instant::now();
        let (outcome, body) =
            step().unwrap_or_else(|error| (Outcome::Failed(format!("{error:#}")), String::new()));
        eprintln!("   {} ({:.1} s)", outcome.text(), start.elapsed().as_secs_f64());
        self.put(title, outcome, body, start.elapsed().as_secs_f64());
    }

    /// Adds what a step left, or what is known by now of one that was added before.
    pub(crate) fn put(&mut self, title: &str, outcome: Outcome, body: String, seconds: f64) {
        let new = Section { title: title.to_owned(), outcome, seconds, body };
        match self.sections.iter_mut().find(|section| section.title == title) {
            Some(section) => *section = new,
            None => self.sections.push(new),
        }
        if let Err(error) = self.write() {
            eprintln!("   the results so far cannot be written to {}: {error}", self.file.display());
        }
    }

    /// Whether nothing failed and a device was checked.
    pub(crate) fn passed(&self) -> bool {
        let failed = |section: &Section| matches!(section.outcome, Outcome::Failed(_));
        !self.sections.iter().any(failed)
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# GPU check\n\n");
        match self.target {
            Target::Device(_) => {}
            Target::Emulator => text.push_str(
                "**A rehearsal**: the emulator stood in for a device, on small cases. The times say nothing about a GPU.\n\n",
            ),
        }
        text.push_str("| step | outcome | seconds |\n|---|---|--:|\n");
        for Section { title, outcome, seconds, .. } in &self.sections {
            // A table's row is one line, whatever an error says.
            let outcome = outcome.text().replace('\n', " ").replace('|', "/");
            text.push_str(&format!("| {title} | {outcome} | {seconds:.1} |\n"));
        }
        text.push_str(&format!("\nAll in {:.0} s.\n", self.start.elapsed().as_secs_f64()));
        for Section { title, body, .. } in self.sections.iter().filter(|section| !section.body.is_empty()) {
            text.push_str(&format!("\n## {title}\n\n{}\n", body.trim_end()));
        }
        text
    }
}

/// Text as a Markdown block that keeps its lines.
pub(crate) fn block(text: &str) -> String {
    format!("```text\n{}\n```\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_is_seen_and_named() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("results.md");
        let mut report = Report::new(Target::Device(0), &file);
        report.step("one", || Ok((Outcome::Passed, "body".to_owned())));
        report.add("two", Outcome::left_out("no tool"), "");
        assert!(report.passed());
        report.step("three", || anyhow::bail!("a | b\nc"));
        assert!(!report.passed());
        let text = std::fs::read_to_string(&file).expect("is written as it goes");
        assert!(text.contains("| one | passed |") && text.contains("| two | left out: no tool |"), "{text}");
        assert!(text.contains("| three | **failed**: a / b c |"), "{text}");
        assert!(text.contains("## one\n\nbody\n") && !text.contains("## two"), "{text}");
    }
}
