//! The table, and what a reader needs to judge it.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::busy::Busy;
use super::case::Case;
use super::contenders::Part;
use super::measure::{Rounds, Timing};
use super::torch;
use crate::shell::{read, root};

/// One case and how everybody did.
pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) timings: Vec<Timing>,
}

/// Where and with what it was measured.
pub(crate) struct Machine {
    processor: String,
    memory: String,
    system: String,
    versions: String,
}

/// A table of all ratios, then every program's times case by case, in Markdown.
pub(crate) fn markdown(
    rounds: Rounds,
    backend: &str,
    rows: &[Row],
    busy: &Busy,
    machine: &Machine,
) -> String {
    let mut out = String::new();
    // Writing into a `String` cannot fail.
    let Rounds { rounds, steps, threads } = rounds;
    let _ = writeln!(
        out,
        "A training step is forward, loss, backward and SGD with momentum. Backend {backend}, {threads} thread{}.\n\
         {rounds} round{} of {steps} step{}, programs in turn; a time is the median of the rounds' medians.\n\
         PyTorch counts with the fastest way to run it; ways that lose the first round by a wide margin run no more, and other peers run one round.\n",
        plural(threads),
        plural(rounds),
        plural(steps),
    );
    out.push_str(&ratios(rows));
    for Row { case, timings } in rows {
        let _ = writeln!(out, "\n### {case}\n");
        let _ = writeln!(out, "| program | rounds | median s | min s | images/s | peak memory MiB |");
        let _ = writeln!(out, "|---|--:|--:|--:|--:|--:|");
        for timing in timings {
            let memory =
                timing.peak_rss_bytes.map_or_else(|| "?".to_owned(), |bytes| (bytes >> 20).to_string());
            let _ = writeln!(
                out,
                "| {} | {} | {:.4} | {:.4} | {:.0} | {memory} |",
                timing.name, timing.rounds, timing.median_s, timing.min_s, timing.images_per_s,
            );
        }
    }
    let Machine { processor, memory, system, versions } = machine;
    let _ = writeln!(
        out,
        "\n{}\nHardware: {processor}; {memory}; {system}.\nVersions: {versions}.",
        busy.describe()
    );
    let _ = writeln!(out, "Command: `{}`", command_line());
    out
}

/// How many times faster `resnet` is than each other framework at its best, and what part of PyTorch's memory it takes.
fn ratios(rows: &[Row]) -> String {
    let mut out = String::new();
    let mut others: Vec<&str> = vec![];
    for timing in rows.iter().flat_map(|row| &row.timings) {
        let name = framework(timing);
        if timing.part != Part::Ours && !others.contains(&name) {
            others.push(name);
        }
    }
    let _ = write!(out, "| case | resnet s |");
    for name in &others {
        let _ = write!(out, " {name} s | times faster |");
    }
    let with_torch = others.contains(&"torch");
    let (title, rule) = if with_torch { (" memory of PyTorch's |", "--:|") } else { ("", "") };
    let _ = writeln!(out, "{title}\n|---|--:|{}{rule}", "--:|--:|".repeat(others.len()));
    for Row { case, timings } in rows {
        let Some(ours) = timings.iter().find(|timing| timing.part == Part::Ours) else { continue };
        let _ = write!(out, "| {case} | {:.4} |", ours.median_s);
        for name in &others {
            match fastest(timings, name) {
                Some(other) => {
                    let _ =
                        write!(out, " {:.4} | **{:.2}** |", other.median_s, other.median_s / ours.median_s);
                }
                None => out.push_str(" – | – |"),
            }
        }
        if with_torch {
            let memory = fastest(timings, "torch")
                .and_then(|torch| Some((ours.peak_rss_bytes?, torch.peak_rss_bytes?)));
            let _ = match memory {
                Some((ours, torch)) => write!(out, " {:.2} |", ours as f64 / torch as f64),
                None => write!(out, " – |"),
            };
        }
        out.push('\n');
    }
    out
}

/// The first word of the name: all ways to run PyTorch are PyTorch.
fn framework(timing: &Timing) -> &str {
    timing.name.split(' ').next().unwrap_or_default()
}

fn fastest<'a>(timings: &'a [Timing], name: &str) -> Option<&'a Timing> {
    let of_that_name = timings.iter().filter(|timing| framework(timing) == name);
    of_that_name.min_by(|a, b| a.median_s.total_cmp(&b.median_s))
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// This run as it was typed, without the place of the program.
fn command_line() -> String {
    let args = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    ["cargo".to_owned(), "xtask".to_owned()].into_iter().chain(args).collect::<Vec<_>>().join(" ")
}

impl Machine {
    /// Asks the system, the compiler and, where it took part, PyTorch.
    pub(crate) fn read(python: Option<&Path>) -> Result<Self> {
        let rustc =
            read(Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version"))?;
        let commit =
            read(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(root())).ok();
        let commit = commit.map(|hash| format!(" at {hash}")).unwrap_or_default();
        let mut versions = format!("resnet {}{commit}, {rustc}", env!("CARGO_PKG_VERSION"));
        if let Some(python) = python {
            let torch = read(Command::new(python).args([
                "-c",
                "import platform, torch, torchvision; \
                 print(f'PyTorch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}')",
            ]))?;
            let script = torch::script();
            let _ =
                write!(versions, "; {torch} ({})", script.file_name().unwrap_or_default().to_string_lossy());
        }
        Ok(Machine {
            processor: processor(),
            memory: memory(),
            system: read(Command::new("uname").arg("-sm"))
                .unwrap_or_else(|_| std::env::consts::OS.to_owned()),
            versions,
        })
    }
}

/// Name, logical processors and the instruction sets that decide speed, from Linux's list, or the name alone from macOS.
fn processor() -> String {
    match std::fs::read_to_string("/proc/cpuinfo") {
        Ok(text) => describe_processor(&text),
        Err(_) => read(Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]))
            .unwrap_or_else(|_| std::env::consts::ARCH.to_owned()),
    }
}

fn describe_processor(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    };
    let count = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let mut text = field("model name").unwrap_or(std::env::consts::ARCH).to_owned();
    if let (Some(family), Some(model)) = (field("cpu family"), field("model")) {
        let _ = write!(text, " (family {family}, model {model})");
    }
    let flags: Vec<&str> = field("flags").unwrap_or_default().split_whitespace().collect();
    let known =
        [("avx2", "AVX2"), ("avx512f", "AVX-512"), ("avx512_bf16", "AVX-512 BF16"), ("amx_tile", "AMX")];
    let has: Vec<&str> =
        known.iter().filter(|(flag, _)| flags.contains(flag)).map(|(_, name)| *name).collect();
    let _ = write!(text, ", {count} logical processor{}", plural(count));
    if !has.is_empty() {
        let _ = write!(text, ", {}", has.join(", "));
    }
    text
}

fn memory() -> String {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    kib.map_or_else(
        || "memory unknown".to_owned(),
        |kib| format!("{:.1} GiB of memory", kib as f64 / f64::from(1 << 20)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_against_the_best() {
        let timing = |name: &str, part, median_s, peak_rss_bytes| Timing {
            name: name.into(),
            part,
            rounds: 3,
            median_s,
            min_s: median_s,
            images_per_s: 1.0,
            peak_rss_bytes,
        };
        let a_case = || Case {
            arch: "resnet18".into(),
            channels: 1,
            size: 28,
            classes: 10,
            batch: 4,
            infer: false,
            precision: "f32".into(),
        };
        let case = a_case();
        let timings = vec![
            timing("resnet", Part::Ours, 0.5, Some(10)),
            timing("torch eager, nchw", Part::Torch, 2.0, Some(30)),
            timing("torch compile, nchw", Part::Torch, 1.0, Some(40)),
        ];
        let other = Row {
            case: case.clone(),
            timings: vec![timing("resnet", Part::Ours, 0.5, None), timing("burn", Part::Peer, 5.0, None)],
        };
        let text = ratios(&[Row { case, timings }, other]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "| case | resnet s | torch s | times faster | burn s | times faster | memory of PyTorch's |"
        );
        assert!(lines[2].ends_with("| 0.5000 | 1.0000 | **2.00** | – | – | 0.25 |"), "{}", lines[2]);
        assert!(lines[3].ends_with("| 0.5000 | – | – | 5.0000 | **10.00** | – |"), "{}", lines[3]);
        let alone = Row { case: a_case(), timings: vec![timing("resnet", Part::Ours, 0.5, None)] };
        assert!(ratios(&[alone]).starts_with("| case | resnet s |\n|---|--:|\n"));
    }

    #[test]
    fn processor_from_linux() {
        let one = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512f\n";
        let text = describe_processor(&format!("{one}\n{}", one.replace(": 0", ": 1")));
        assert_eq!(text, "Some CPU (family 26, model 2), 2 logical processors, AVX2, AVX-512");
        assert!(describe_processor("").ends_with("0 logical processors"));
    }
}
