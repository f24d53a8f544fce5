//! What was seen, as a table, as JSON lines or as CSV.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::view::{output, table};

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Table,
    JsonLines,
    Csv,
}

/// What was seen in one picture.
#[derive(Debug, Serialize)]
pub(super) struct Seen {
    pub(super) file: PathBuf,
    /// The class that a set says it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) predictions: Vec<Prediction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Prediction {
    pub(super) class: String,
    pub(super) index: usize,
    pub(super) probability: f32,
}

/// Answers as they come: lines are written at once, a table at the end, when the widths are known.
pub(super) struct Answers {
    form: Form,
    /// Whether there is a column of labels.
    labelled: bool,
    count: usize,
    kept: Vec<Seen>,
    errors: Vec<String>,
    /// What went wrong with writing, if something did.
    failed: Option<anyhow::Error>,
    unheard: bool,
}

impl Answers {
    pub(super) fn new(form: Form, labelled: bool) -> Self {
        let (kept, errors) = (vec![], vec![]);
        let mut answers = Self { form, labelled, count: 0, kept, errors, failed: None, unheard: false };
        if form == Form::Csv {
            let header = ["file", "rank", "class", "index", "probability", "error"];
            answers.write(&csv_line(&header, labelled.then_some("label")));
        }
        answers
    }

    /// Pictures so far.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether nobody reads on.
    pub(super) fn unheard(&self) -> bool {
        self.unheard
    }

    pub(super) fn add(&mut self, seen: Vec<Seen>) {
        self.count += seen.len();
        self.errors.extend(seen.iter().filter_map(|s| s.error.clone()));
        match self.form {
            Form::Table => self.kept.extend(seen),
            Form::JsonLines => {
                let lines = seen.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
                match lines {
                    Ok(lines) => lines.iter().for_each(|line| self.write(&format!("{line}\n"))),
                    Err(e) => self.failed = Some(e.into()),
                }
            }
            Form::Csv => seen.iter().flat_map(csv_rows).for_each(|row| self.write(&row)),
        }
    }

    /// Writes what is left. Returns the errors of pictures that could not be read.
    pub(super) fn finish(self) -> anyhow::Result<Vec<String>> {
        if let Some(e) = self.failed {
            return Err(e);
        }
        if self.form == Form::Table {
            output::lines([text(&self.kept, self.labelled)])?;
        }
        Ok(self.errors)
    }

    fn write(&mut self, text: &str) {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if let Err(e) = written {
            self.unheard = true;
            if e.kind() != std::io::ErrorKind::BrokenPipe {
                self.failed = Some(anyhow::Error::new(e).context("writing to stdout"));
            }
        }
    }
}

fn csv_rows(seen: &Seen) -> Vec<String> {
    let (file, label) = (show(&seen.file), seen.label.as_deref());
    if let Some(error) = &seen.error {
        return vec![csv_line(&[&file, "", "", "", "", error], label)];
    }
    let row = |(i, p): (usize, &Prediction)| {
        let (rank, index, probability) =
            ((i + 1).to_string(), p.index.to_string(), p.probability.to_string());
        csv_line(&[&file, &rank, &p.class, &index, &probability, ""], label)
    };
    seen.predictions.iter().enumerate().map(row).collect()
}

/// A line as RFC 4180 has it; the label, if there are labels, is its last field.
fn csv_line(fields: &[&str; 6], label: Option<&str>) -> String {
    let mut writer = csv::Writer::from_writer(vec![]);
    // Writing to memory cannot fail, and fields of one record have no other length than themselves.
    let written = writer.write_record(fields.iter().copied().chain(label)).ok();
    let written = written.and_then(|()| writer.into_inner().ok());
    written.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Cells of a bar for a probability of 1.
const BAR: f32 = 12.0;

/// One line per picture and class, the picture's name and its label on its first.
fn text(seen: &[Seen], labelled: bool) -> String {
    let columns = |name: String, label: String, rest: [String; 3]| {
        std::iter::once(name).chain(labelled.then_some(label)).chain(rest).collect::<Vec<_>>()
    };
    let header =
        columns("picture".into(), "label".into(), ["class".into(), "probability".into(), String::new()]);
    let mut t = table::with_header(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for s in seen {
        let (file, label) = (show(&s.file), s.label.clone().unwrap_or_default());
        if s.error.is_some() {
            let rest = ["could not be read".into(), String::new(), String::new()];
            t.add_row(columns(file.clone(), label.clone(), rest));
        }
        for (i, p) in s.predictions.iter().enumerate() {
            let (file, label) = if i == 0 { (file.clone(), label.clone()) } else { Default::default() };
            let bar = "▇".repeat((p.probability * BAR).round() as usize);
            t.add_row(columns(file, label, [p.class.clone(), format!("{:.4}", p.probability), bar]));
        }
    }
    table::right_aligned(t, &[if labelled { 3 } else { 2 }])
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas_and_quotes_stay_one_field() {
        let prediction = Prediction { class: "cat, \"big\"".into(), index: 7, probability: 0.5 };
        let seen = Seen { file: "a,b.png".into(), label: None, predictions: vec![prediction], error: None };
        assert_eq!(csv_rows(&seen), ["\"a,b.png\",1,\"cat, \"\"big\"\"\",7,0.5,\n"]);
        let broken =
            Seen { file: "x.png".into(), label: None, predictions: vec![], error: Some("cut".into()) };
        assert_eq!(csv_rows(&broken), ["x.png,,,,,cut\n"]);
        let labelled = Seen { label: Some("dog".into()), ..broken };
        assert_eq!(csv_rows(&labelled), ["x.png,,,,,cut,dog\n"]);
        let table = text(&[labelled], true);
        assert!(table.lines().any(|l| l.split_whitespace().take(3).eq(["x.png", "dog", "could"])), "{table}");
    }
}
