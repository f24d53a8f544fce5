//! Parquet files with a column of pictures, as Hugging Face keeps data sets: `image` is a struct of `bytes` and `path`, the label
//! a number whose name stands in the metadata.
//!
//! Columns have no random access, so the pictures are copied once, still encoded, into memory and beyond a limit into a
//! temporary file. Pages may be plain or compressed with anything but LZO, which nobody writes any more and no library here reads.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, Type};
use parquet::column::reader::ColumnReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::super::files::{Kept, MAX_FILE_BYTES};
use super::by_part;
use super::parts::{Found, Label, Listing};
use crate::{Error, Result};

const PICTURES: [&str; 6] = ["image", "img", "picture", "jpg", "png", "webp"];
const LABELS: [&str; 7] = ["label", "labels", "fine_label", "target", "class", "cls", "category"];

/// Rows read at a time.
const N_ROWS: usize = 64;

/// Lists one file, or several whose names say which part they are.
pub(super) fn list(files: &[PathBuf]) -> Result<Found> {
    let (mut listings, mut names) = (vec![], None);
    for (part, paths) in by_part(files) {
        let mut kept = Kept::new(paths[0].parent().unwrap_or(paths[0]));
        let mut items = vec![];
        for path in paths {
            // The library's decoders assert what a damaged page may break; that must not end the program.
            let found = catch_unwind(AssertUnwindSafe(|| read(path, &mut kept, &mut items)));
            let found = found.unwrap_or_else(|_| {
                let found = "pages that contradict each other";
                Err(Error::format(&path.display().to_string(), found, "an undamaged Parquet file"))
            })?;
            if names.is_some() && found.is_some() && names != found {
                let shown = path.display().to_string();
                return Err(Error::format(&shown, "other class names than the files before it", "the same"));
            }
            names = found.or(names);
        }
        listings.push(Listing { part, files: Arc::new(kept), items });
    }
    Ok(Found { kind: "Parquet", listings, names, left_out: vec![] })
}

/// Copies the pictures of a file; the names of its classes.
fn read(path: &Path, kept: &mut Kept, items: &mut Vec<(u32, Label)>) -> Result<Option<Vec<String>>> {
    let shown = path.display().to_string();
    let damaged = |e: ParquetError| Error::format(&shown, e.to_string(), "an undamaged Parquet file");
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let metadata = reader.metadata();
    let (picture, label) = find_columns(&shown, metadata)?;
    let base = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut row = 0;
    for group in 0..metadata.num_row_groups() {
        for column in [picture, label] {
            let chunk = metadata.row_group(group).column(column);
            if chunk.compression() == Compression::LZO {
                let found = format!("the column `{}` compressed with LZO", chunk.column_path());
                let wanted = "another compression, such as zstd: write it anew with compression=\"zstd\"";
                return Err(Error::format(&shown, found, wanted));
            }
        }
        let group = reader.get_row_group(group).map_err(damaged)?;
        let labels = labels(&shown, row, group.get_column_reader(label).map_err(damaged)?)?;
        let mut n_read = 0;
        let ColumnReader::ByteArrayColumnReader(mut pictures) =
            group.get_column_reader(picture).map_err(damaged)?
        else {
            return Err(Error::format(&shown, "pictures that are no byte arrays", "byte arrays"));
        };
        loop {
            let (mut levels, mut values) = (vec![], vec![]);
            let (n_rows, n_values, _) =
                pictures.read_records(N_ROWS, Some(&mut levels), None, &mut values).map_err(damaged)?;
            if n_rows == 0 {
                break;
            }
            if n_values != n_rows {
                let nearby = row + n_read;
                let found = format!("a row without a picture among rows {nearby} to {}", nearby + n_rows - 1);
                return Err(Error::format(&shown, found, "the bytes of a picture in every row"));
            }
            for value in &values {
                if value.len() as u64 > MAX_FILE_BYTES {
                    let found = format!("a picture of {} bytes in row {}", value.len(), row + n_read);
                    return Err(Error::format(&shown, found, format!("at most {MAX_FILE_BYTES}")));
                }
                let number = kept.push(format!("{base}, row {}", row + n_read), value.data())?;
                let label = labels.get(n_read).cloned();
                let label =
                    label.ok_or_else(|| Error::format(&shown, "fewer labels than pictures", "one each"))?;
                items.push((number as u32, label));
                n_read += 1;
            }
        }
        row += n_read;
    }
    let leaf = metadata.file_metadata().schema_descr().column(label);
    Ok(class_names(metadata.file_metadata().key_value_metadata(), leaf.name()))
}

/// The leaf columns of pictures and labels.
fn find_columns(shown: &str, metadata: &ParquetMetaData) -> Result<(usize, usize)> {
    let schema = metadata.file_metadata().schema_descr();
    let paths: Vec<Vec<String>> = schema.columns().iter().map(|c| c.path().parts().to_vec()).collect();
    let all = || paths.iter().map(|p| p.join(".")).collect::<Vec<_>>().join(", ");
    let kind = |i: usize| schema.column(i).physical_type();
    let is_picture = |i: &usize| match paths[*i].as_slice() {
        [_, leaf] => leaf == "bytes",
        [name] => PICTURES.contains(&name.as_str()),
        _ => false,
    };
    let bytes = |i: &usize| kind(*i) == Type::BYTE_ARRAY;
    let pictures: Vec<usize> = (0..paths.len()).filter(|i| is_picture(i) && bytes(i)).collect();
    let label = LABELS.iter().find_map(|name| paths.iter().position(|p| p.len() == 1 && p[0] == *name));
    match (pictures.as_slice(), label) {
        ([picture], Some(label)) => Ok((*picture, label)),
        ([_, _, ..], Some(_)) => {
            Err(Error::format(shown, format!("several columns of pictures: {}", all()), "one"))
        }
        _ => {
            let wanted =
                format!("a column of pictures (a struct with `bytes`) and a label ({})", LABELS.join(", "));
            Err(Error::format(shown, format!("the columns {}", all()), wanted))
        }
    }
}

fn labels(shown: &str, first_row: usize, reader: ColumnReader) -> Result<Vec<Label>> {
    let damaged = |e: ParquetError| Error::format(shown, e.to_string(), "an undamaged Parquet file");
    let number = |n: i64| {
        u32::try_from(n).map(Label::Number).map_err(|_| {
            Error::format(shown, format!("the label {n} after row {first_row}"), "a number from 0 up")
        })
    };
    macro_rules! read_all {
        ($reader:ident) => {{
            let (mut levels, mut values, mut n_rows) = (vec![], vec![], 0);
            loop {
                let (n, _, _) =
                    $reader.read_records(1 << 16, Some(&mut levels), None, &mut values).map_err(damaged)?;
                if n == 0 {
                    break;
                }
                n_rows += n;
            }
            if values.len() != n_rows {
                let found = format!("a row without a label after row {first_row}");
                return Err(Error::format(shown, found, "a label in every row"));
            }
            values
        }};
    }
    match reader {
        ColumnReader::Int64ColumnReader(mut r) => read_all!(r).into_iter().map(number).collect(),
        ColumnReader::Int32ColumnReader(mut r) => {
            read_all!(r).into_iter().map(|n| number(i64::from(n))).collect()
        }
        ColumnReader::ByteArrayColumnReader(mut r) => {
            let text = |v: parquet::data_type::ByteArray| v.as_utf8().map(str::to_owned).map_err(damaged);
            read_all!(r).into_iter().map(|v| text(v).map(Label::Name)).collect()
        }
        _ => Err(Error::format(shown, "labels that are neither whole numbers nor texts", "one of the two")),
    }
}

/// The names in Hugging Face's description of the features, if there is one.
fn class_names(metadata: Option<&Vec<KeyValue>>, column: &str) -> Option<Vec<String>> {
    let text = metadata?.iter().find(|kv| kv.key == "huggingface")?.value.as_ref()?;
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let names = json.get("info")?.get("features")?.get(column)?.get("names")?.as_array()?;
    names.iter().map(|n| n.as_str().map(str::to_owned)).collect()
}
