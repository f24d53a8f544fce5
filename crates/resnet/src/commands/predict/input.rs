//! What is to be looked at: files, folders, patterns, standard input and whole sets become a list of pictures.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use resnet::picture::{self, PictureReader};
use resnet_train::data::{Dataset, Picture, Source};

use crate::exit::usage;

/// A picture to look at.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// Its file, `-`, or its name in a set.
    pub(super) path: PathBuf,
    /// The class that a set says it is of.
    pub(super) label: Option<String>,
    content: Content,
}

/// Where a picture lies.
#[derive(Clone, Debug)]
enum Content {
    File,
    Memory(Vec<u8>),
    Set(Arc<dyn Source>, usize),
}

/// Which pictures of a set.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Part {
    #[default]
    Test,
    Train,
    All,
}

impl Input {
    fn file(path: PathBuf) -> Self {
        Self { path, label: None, content: Content::File }
    }

    /// The pixels that the network reads, or why there are none.
    pub(super) fn read(&self, reader: &mut PictureReader) -> Result<Vec<u8>, String> {
        match &self.content {
            Content::File => reader.read(&self.path).map_err(|e| e.to_string()),
            Content::Memory(bytes) => reader.decode(&self.path, bytes).map_err(|e| e.to_string()),
            Content::Set(source, index) => {
                let mut picture = Picture::default();
                source.read(*index, &mut picture).map_err(|e| e.to_string())?;
                reader.fit(picture).map_err(|e| e.to_string())
            }
        }
    }
}

/// The pictures of a set, in its order.
pub(super) fn of_set(data: &Dataset, part: Part) -> anyhow::Result<Vec<Input>> {
    let parts: &[&Arc<dyn Source>] = match part {
        Part::Test => &[&data.test],
        Part::Train => &[&data.train],
        Part::All => &[&data.train, &data.test],
    };
    let one = |source: &Arc<dyn Source>, index: usize| Input {
        path: source.name(index).into(),
        label: Some(data.classes[source.label(index) as usize].clone()),
        content: Content::Set(Arc::clone(source), index),
    };
    let all: Vec<Input> = parts.iter().flat_map(|s| (0..s.len()).map(|i| one(s, i))).collect();
    match all.is_empty() {
        true => {
            Err(usage(format!("{}: no picture in this part; --part all looks at all of them", data.name)))
        }
        false => Ok(all),
    }
}

/// All pictures that these paths mean, in their order, each once.
///
/// A file that is not there stays in the list: it is reported when its turn comes, and does not keep the others back.
pub(super) fn find(paths: &[PathBuf]) -> anyhow::Result<Vec<Input>> {
    let mut found = vec![];
    for path in paths {
        if path.as_os_str() == "-" {
            let mut bytes = vec![];
            std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
            from_stream(bytes, &mut found)?;
        } else {
            from_path(path, &mut found)?;
        }
    }
    let mut known = HashSet::new();
    found.retain(|input: &Input| known.insert(input.path.clone()));
    Ok(found)
}

/// A picture, known by its first bytes, or a list of paths, one a line.
fn from_stream(bytes: Vec<u8>, found: &mut Vec<Input>) -> anyhow::Result<()> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(usage("standard input is empty; a picture or a list of paths wanted, one a line"));
    }
    if image::guess_format(&bytes).is_ok() {
        found.push(Input { path: "-".into(), label: None, content: Content::Memory(bytes) });
        return Ok(());
    }
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(usage("standard input is neither a picture nor a list of paths, one a line"));
    };
    text.lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .try_for_each(|line| from_path(Path::new(line), found))
}

fn from_path(path: &Path, found: &mut Vec<Input>) -> anyhow::Result<()> {
    let files = if path.is_dir() {
        let files = picture::find(&[path.to_owned()])?;
        if files.is_empty() {
            return Err(usage(format!("{}: no picture files in this folder", path.display())));
        }
        files
    } else if let (false, Some(pattern)) = (path.exists(), pattern(path)) {
        matching(pattern)?
    } else {
        vec![path.to_owned()]
    };
    found.extend(files.into_iter().map(Input::file));
    Ok(())
}

/// The path as a pattern, if it is one: shells leave patterns as they are where nothing matches, or in quotes.
fn pattern(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| text.contains(['*', '?', '[']))
}

/// Files that match, by name, and the pictures in folders that match.
fn matching(pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
    let paths = glob::glob(pattern).map_err(|e| usage(format!("{pattern}: {e}")))?;
    let paths = paths.collect::<Result<Vec<_>, _>>()?;
    if paths.is_empty() {
        return Err(usage(format!("{pattern}: no file matches")));
    }
    Ok(picture::find(&paths)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[PathBuf]) -> Vec<String> {
        let found = find(paths).unwrap();
        found.iter().map(|i| i.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn files_folders_and_patterns_are_found_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("deep")).unwrap();
        for name in ["b.png", "a.jpg", "notes.txt", "deep/c.gif"] {
            std::fs::write(at(name), "x").unwrap();
        }
        assert_eq!(names(&[dir.path().to_owned()]), ["a.jpg", "b.png", "c.gif"]);
        assert_eq!(names(&[at("*.png"), at("b.png"), at("absent.png")]), ["b.png", "absent.png"]);
        assert_eq!(names(&[at("d*")]), ["c.gif"]);
        assert_eq!(names(&[at("notes.txt")]), ["notes.txt"], "what is named is looked at");

        let refused = |path: PathBuf| find(&[path]).unwrap_err().to_string();
        assert!(refused(at("*.webp")).contains("no file matches"));
        std::fs::create_dir(at("empty")).unwrap();
        assert!(refused(at("empty")).contains("no picture files"));
    }

    #[test]
    fn a_stream_is_a_picture_or_a_list() {
        let mut found = vec![];
        from_stream(b"\x89PNG\r\n\x1a\n...".to_vec(), &mut found).unwrap();
        assert!(found[0].path.to_str() == Some("-") && matches!(found[0].content, Content::Memory(_)));
        found.clear();
        from_stream(b"a.png\n\n  b.png \r\n".to_vec(), &mut found).unwrap();
        assert_eq!(found.iter().map(|i| i.path.to_str().unwrap()).collect::<Vec<_>>(), ["a.png", "b.png"]);
        assert!(from_stream(b" \n".to_vec(), &mut found).unwrap_err().to_string().contains("empty"));
        assert!(from_stream(vec![0xff, 0xfe, 0], &mut found).unwrap_err().to_string().contains("neither"));
    }
}
