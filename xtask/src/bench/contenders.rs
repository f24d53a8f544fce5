//! Who takes part: `resnet`, PyTorch in every way it can be run, and other frameworks in Rust.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::case::Case;
use super::torch;
use crate::shell::{announce, cargo, read, root, show, target_dir};

/// A program that can do the step.
#[derive(Clone)]
pub(crate) struct Contender {
    /// Its name in the table.
    pub(crate) name: String,
    /// Its part in the comparison.
    pub(crate) part: Part,
    pub(super) program: Vec<String>,
    pub(super) environment: Vec<(&'static str, String)>,
}

/// What a contender's time is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// This project.
    Ours,
    /// A way to run PyTorch. Only its fastest ways go through all rounds.
    Torch,
    /// Another framework, in its one way.
    Peer,
}

/// Another framework in Rust, as a program of its own under `benches/peers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Burn,
    Candle,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Peer::Burn => "burn",
            Peer::Candle => "candle",
        }
    }
}

impl Contender {
    /// The same program under another name and with more arguments.
    pub(crate) fn with(&self, name: &str, more: &[&str]) -> Self {
        let mut changed = self.clone();
        changed.name = name.to_owned();
        changed.program.extend(more.iter().map(|arg| (*arg).to_owned()));
        changed
    }

    /// Whether it has the network, and the precision.
    pub(crate) fn can(&self, case: &Case) -> bool {
        let known = ["resnet18", "resnet34", "resnet50", "resnet20-cifar"].contains(&case.arch.as_str());
        self.part != Part::Peer || (known && case.precision == "f32")
    }
}

/// Memory that the C library keeps and maps in large pages: PyTorch then meets fewer page faults.
/// The thresholds are in bytes. `THP_MEM_ALLOC_ENABLE` is PyTorch's own switch for large pages.
const TUNED: [(&str, &str); 2] = [
    (
        "GLIBC_TUNABLES",
        "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184",
    ),
    ("THP_MEM_ALLOC_ENABLE", "1"),
];

/// `resnet`, built for this backend.
pub(crate) fn resnet(program: &Path, backend: &str) -> Contender {
    let mut line = vec![program.display().to_string()];
    line.extend(["bench", "--json", "--backend", backend].map(str::to_owned));
    Contender { name: "resnet".to_owned(), part: Part::Ours, program: line, environment: vec![] }
}

/// PyTorch in both memory formats, eager and compiled unless that is unwanted; on the CPU each also with its memory tuned.
/// Compiled programs are kept under the target folder, so that only the first run of a case waits for them.
pub(crate) fn torch(python: &Path, backend: &str, compile: bool) -> Vec<Contender> {
    let script = torch::script();
    let device = if backend == "cuda" { "cuda" } else { "cpu" };
    let cache = target_dir().join("torch-inductor").display().to_string();
    let mut all = vec![];
    for compiled in [false, true].into_iter().filter(|&compiled| compile || !compiled) {
        for format in ["nchw", "channels_last"] {
            for tuned in [false, true].into_iter().filter(|tuned| !tuned || device == "cpu") {
                let mut line: Vec<String> =
                    [python, script.as_path()].map(|p| p.display().to_string()).into();
                line.extend(["--device", device, "--memory-format", format].map(str::to_owned));
                line.extend(compiled.then(|| "--compile".to_owned()));
                let how = if compiled { "compile" } else { "eager" };
                let memory = if tuned { ", tuned memory" } else { "" };
                let mut environment = vec![("TORCHINDUCTOR_CACHE_DIR", cache.clone())];
                environment
                    .extend(TUNED.into_iter().filter(|_| tuned).map(|(name, value)| (name, value.into())));
                all.push(Contender {
                    name: format!("torch {how}, {format}{memory}"),
                    part: Part::Torch,
                    program: line,
                    environment,
                });
            }
        }
    }
    all
}

/// Another framework's program, built if need be.
pub(crate) fn peer(peer: Peer) -> Result<Contender> {
    let manifest = root().join("benches/peers").join(peer.name()).join("Cargo.toml");
    let target = target_dir().join("peers");
    let mut command = cargo();
    command.args(["build", "--release", "--manifest-path"]).arg(&manifest);
    command.arg("--target-dir").arg(&target);
    announce(&mut command)?;
    let program = target.join("release").join(format!("peer-{}", peer.name()));
    Ok(Contender {
        name: peer.name().to_owned(),
        part: Part::Peer,
        program: vec![program.display().to_string()],
        environment: vec![],
    })
}

/// Builds what will be timed and returns the program, so that no round waits for cargo.
pub(crate) fn build(backend: &str) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--release", "-p", "resnet", "--bin", "resnet"]);
    command.args([
        "--no-default-features",
        "--features",
        backend,
        "--message-format=json-render-diagnostics",
    ]);
    eprintln!("$ {}", show(&command));
    let messages = read(&mut command)?;
    executable(&messages).with_context(|| format!("`{}` built no program", show(&command)))
}

/// The program in cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    let mut programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    programs.next_back()
}

/// The command line of a contender for a case.
pub(crate) fn command(contender: &Contender, case: &Case, steps: usize, threads: usize) -> Command {
    let Case { arch, channels, size, classes, batch, infer, precision } = case;
    let numbers = [
        ("--channels", *channels),
        ("--size", *size),
        ("--classes", *classes),
        ("--batch", *batch),
        ("--steps", steps),
        ("--threads", threads),
    ];
    let mut command = Command::new(&contender.program[0]);
    command.envs(contender.environment.iter().map(|(name, value)| (name, value)));
    command.env("RAYON_NUM_THREADS", threads.to_string()); // all that Candle listens to
    command.args(&contender.program[1..]).args(["--arch", arch, "--precision", precision]);
    command.args(numbers.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]));
    command.args(infer.then_some("--infer"));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","executable":null}
{"reason":"compiler-artifact","executable":"target/release/resnet"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages), Some(PathBuf::from("target/release/resnet")));
        assert_eq!(executable("not JSON"), None);
    }

    #[test]
    fn pytorch_is_run_in_every_way() {
        let names = |backend, compile| -> Vec<String> {
            torch(Path::new("python"), backend, compile).into_iter().map(|c| c.name).collect()
        };
        assert_eq!(
            names("cpu", false),
            [
                "torch eager, nchw",
                "torch eager, nchw, tuned memory",
                "torch eager, channels_last",
                "torch eager, channels_last, tuned memory"
            ]
        );
        assert_eq!(names("cpu", true).len(), 8);
        assert_eq!(names("cuda", true).len(), 4);
    }

    #[test]
    fn a_case_becomes_a_command_line() {
        let case = Case { infer: true, ..Case::small() };
        let line = show(&command(&resnet(Path::new("resnet"), "cpu"), &case, 3, 2));
        assert_eq!(
            line,
            "resnet bench --json --backend cpu --arch resnet18 --precision f32 --channels 1 --size 28 --classes 10 \
             --batch 4 --steps 3 --threads 2 --infer"
        );
    }
}
