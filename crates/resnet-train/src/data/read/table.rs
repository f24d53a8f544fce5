//! A CSV file of paths and labels; paths are relative to the file.
//!
//! A header names the columns; without one the first column is the path and the second the label.
//! Comma, semicolon and tabulator separate. A column `split` tells parts; so does the name of the file: `train.csv`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::super::files::Folder;
use super::parts::{Found, Label, Listing};
use super::{Part, is_picture, part_of};
use crate::{Error, Result};

const PATHS: [&str; 8] =
    ["path", "file", "filename", "file_name", "filepath", "image", "image_path", "image_id"];
const LABELS: [&str; 7] = ["label", "class", "target", "category", "label_name", "class_name", "species"];
const SPLITS: [&str; 4] = ["split", "part", "subset", "set"];

/// Longest file that is read.
const MAX_BYTES: u64 = 1 << 30;

/// Files and classes of each part.
type Rows = BTreeMap<Option<Part>, (Vec<(PathBuf, u64)>, Vec<(u32, Label)>)>;

/// Lists one table, or several whose names say which part they are.
pub(super) fn list(tables: &[PathBuf]) -> Result<Found> {
    let mut rows = Rows::new();
    let mut root = PathBuf::new();
    for table in tables {
        root = table.parent().map(Path::to_owned).unwrap_or_default();
        let part = table.file_name().and_then(|n| part_of(&n.to_string_lossy()));
        read(table, part.filter(|_| tables.len() > 1), &mut rows)?;
    }
    let listings = rows.into_iter().map(|(part, (files, items))| Listing {
        part,
        files: Arc::new(Folder::new(&root, files)),
        items,
    });
    Ok(Found {
        kind: "table of paths and labels",
        listings: listings.collect(),
        names: None,
        left_out: vec![],
    })
}

fn read(path: &Path, part: Option<Part>, rows: &mut Rows) -> Result<()> {
    let shown = path.display().to_string();
    let size = std::fs::metadata(path).map_err(Error::io(path, "open"))?.len();
    if size > MAX_BYTES {
        return Err(Error::format(&shown, format!("{size} bytes"), format!("at most {MAX_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    let text = text.trim_start_matches('\u{feff}'); // some programs mark UTF-8 so
    let first = text.lines().next().unwrap_or_default();
    let separator = [b',', b';', b'\t'].into_iter().max_by_key(|s| first.bytes().filter(|b| b == s).count());
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .delimiter(separator.unwrap_or(b','))
        .from_reader(text.as_bytes());
    let mut columns: Option<Columns> = None;
    let root = path.parent().unwrap_or(Path::new(""));
    for (i, record) in reader.records().enumerate() {
        let at = format!("{shown}, line {}", i + 1);
        let record = record.map_err(|e| Error::format(&at, e.to_string(), "fields with a separator"))?;
        let columns = match &columns {
            Some(columns) => columns,
            None => {
                let found = columns.insert(Columns::of(&at, &record)?);
                if found.is_header {
                    continue;
                }
                found
            }
        };
        let field = |column: usize| record.get(column).unwrap_or_default();
        let (file, label) = (field(columns.path), field(columns.label));
        if file.is_empty() && label.is_empty() {
            continue;
        }
        if file.is_empty() || label.is_empty() {
            return Err(Error::format(&at, format!("{record:?}"), "a path and a label"));
        }
        let part = match columns.split.map(field) {
            Some(word) => Some(part_of(word).ok_or_else(|| {
                Error::format(&at, format!("the part `{word}`"), "train, validation or test")
            })?),
            None => part,
        };
        let file = inside(root, file).ok_or_else(|| {
            Error::format(&at, format!("the path `{file}`"), "a path that stays below the table's folder")
        })?;
        let full = root.join(&file);
        let size = std::fs::metadata(&full).map_err(Error::io(&full, "open"))?.len();
        let (files, items) = rows.entry(part).or_default();
        items.push((files.len() as u32, Label::of(label)));
        files.push((file, size));
    }
    Ok(())
}

/// A path of the table, if it stays in the folder. Names without an extension are tried with those of pictures.
fn inside(root: &Path, file: &str) -> Option<PathBuf> {
    let path: PathBuf = file.split(['/', '\\']).collect();
    let stays = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if !stays || file.starts_with(['/', '\\']) {
        return None;
    }
    if !is_picture(file) && !root.join(&path).is_file() {
        let with =
            |e: &&str| path.with_file_name(format!("{}.{e}", path.file_name().unwrap_or_default().display()));
        if let Some(found) = super::EXTENSIONS.iter().map(with).find(|p| root.join(p).is_file()) {
            return Some(found);
        }
    }
    Some(path)
}

/// Which column is what.
struct Columns {
    path: usize,
    label: usize,
    split: Option<usize>,
    is_header: bool,
}

impl Columns {
    /// From the first line: a header that names them, or already a picture.
    fn of(at: &str, first: &csv::StringRecord) -> Result<Self> {
        let find = |names: &[&str]| {
            first.iter().position(|field| names.contains(&field.to_ascii_lowercase().as_str()))
        };
        if let (Some(path), Some(label)) = (find(&PATHS), find(&LABELS)) {
            return Ok(Self { path, label, split: find(&SPLITS), is_header: true });
        }
        if first.len() == 2 && first.get(0).is_some_and(is_picture) {
            return Ok(Self { path: 0, label: 1, split: None, is_header: false });
        }
        let found = format!("the columns {:?}", first.iter().collect::<Vec<_>>());
        let wanted =
            format!("a column for paths ({}) and one for labels ({})", PATHS.join(", "), LABELS.join(", "));
        Err(Error::format(at, found, wanted))
    }
}
