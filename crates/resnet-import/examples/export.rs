//! Networks of a folder, written for other libraries, which `scripts/check_export.py` then loads there.
//!
//!     python crates/resnet-import/scripts/parity.py torchvision DIR     and the other frameworks
//!     cargo run --release -p resnet-import --example export -- DIR OUT [NAME…]
//!     python crates/resnet-import/scripts/check_export.py DIR OUT

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use resnet_core::weights::Reader;
use resnet_core::zoo;
use resnet_import::container::Archive;
use resnet_import::export::{Library, OnnxOptions, write_library, write_onnx};
use resnet_import::{Imported, Options, import_archive};
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, out, names @ ..] = &arguments[..] else {
        return Err("usage: export DIR OUT [NAME…]".into());
    };
    std::fs::create_dir_all(out)?;
    let mut cases: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    cases.retain(|c| c.path().extension().is_some_and(|e| e == "json"));
    cases.sort_by_key(|c| c.path());
    for case in cases {
        let info: Value = serde_json::from_slice(&std::fs::read(case.path())?)?;
        let text = |key: &str| info[key].as_str();
        let (Some(name), Some(file)) = (text("name"), text("file")) else {
            return Err("no name or no file".into());
        };
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let io = Reader::new(File::open(Path::new(folder).join(format!("{name}.io.safetensors")))?)?;
        let shape = io.header().tensors.get("input").map(|t| t.shape.clone()).unwrap_or_default();
        let [_, _, h, w] = shape[..] else { return Err("four dimensions of input wanted".into()) };
        let arch = text("arch").map(zoo::arch).transpose()?;
        let options = Options { arch, size: Some((h, w)), ..Options::default() };
        let imported = import_archive(Archive::open(&Path::new(folder).join(file))?, &options)?;
        export(name, Path::new(out), &imported)?;
    }
    Ok(())
}

fn export(name: &str, out: &Path, imported: &Imported) -> Result<(), Box<dyn Error>> {
    let graph = imported.spec.build()?;
    for (suffix, fold_norms) in [("", false), ("-folded", true)] {
        let file = BufWriter::new(File::create(out.join(format!("{name}{suffix}.onnx")))?);
        let options = OnnxOptions { fold_norms, metadata: imported.metadata() };
        write_onnx(file, &graph, &imported.values, &options)?;
    }
    for library in [Library::Torchvision, Library::Timm] {
        match library.check(&imported.spec) {
            Ok(()) => {
                let file = BufWriter::new(File::create(out.join(format!("{name}.{library}.safetensors")))?);
                write_library(file, &imported.spec, &imported.values, library, &imported.metadata())?
                    .flush()?;
            }
            Err(e) => println!("{name}: {e}"),
        }
    }
    Ok(())
}
