//! The table, and what a reader needs to judge it.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::busy::Busy;
use super::measure::Timing;
use super::{Args, torch};
use crate::shell::read;

/// One case and how everybody did.
pub(crate) struct Row<'a> {
    pub(crate) arch: &'a str,
    pub(crate) size: usize,
    pub(crate) timings: Vec<Timing<'a>>,
}

/// Where and with what it was measured.
pub(crate) struct Machine {
    processor: String,
    memory: String,
    system: String,
    versions: String,
}

/// The table in Markdown. "speed" is against the fastest baseline of the same case: above 1 is faster than it.
pub(crate) fn markdown(
    args: &Args,
    threads: usize,
    rows: &[Row<'_>],
    busy: &Busy,
    machine: &Machine,
) -> String {
    let case = &args.case;
    let what =
        if case.infer { "inference" } else { "training step (forward, loss, backward, SGD with momentum)" };
    let mut out = String::new();
    // Writing into a `String` cannot fail.
    let _ = writeln!(
        out,
        "{what}, {} channel{}, {} classes, batch {}, {}, {} on {threads} thread{}.\n\
         {} rounds of {} steps, programs in turn; `median` is the median of the rounds' medians, `min` the fastest step.\n\
         `speed` is relative to the fastest PyTorch of the same input: above 1 is faster.\n",
        case.channels,
        plural(case.channels),
        case.classes,
        case.batch,
        case.precision,
        case.backend,
        plural(threads),
        args.rounds,
        case.steps,
    );
    let _ = writeln!(
        out,
        "| network | input | program | median s | min s | images/s | peak memory MiB | speed |"
    );
    let _ = writeln!(out, "|---|---|---|--:|--:|--:|--:|--:|");
    for row in rows {
        let fastest = fastest_baseline(&row.timings);
        for timing in &row.timings {
            let _ = writeln!(
                out,
                "| {} | {}² | {} | {:.4} | {:.4} | {:.0} | {} | {:.2} |",
                row.arch,
                row.size,
                timing.contender.name,
                timing.median_s,
                timing.min_s,
                timing.images_per_s,
                timing.peak_rss_bytes.map_or_else(|| "?".to_owned(), |bytes| (bytes >> 20).to_string()),
                fastest / timing.median_s,
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

fn fastest_baseline(timings: &[Timing<'_>]) -> f64 {
    let baselines = timings.iter().filter(|timing| timing.contender.is_baseline);
    baselines.map(|timing| timing.median_s).fold(f64::INFINITY, f64::min)
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
    /// Asks the system, the compiler and PyTorch.
    pub(crate) fn read(python: &Path) -> Result<Self> {
        let rustc =
            read(Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version"))?;
        let torch = read(Command::new(python).args([
            "-c",
            "import platform, torch, torchvision; \
             print(f'PyTorch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}')",
        ]))?;
        let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
        let commit = commit.ok().filter(|output| output.status.success());
        let commit = commit.map(|output| format!(" at {}", String::from_utf8_lossy(&output.stdout).trim()));
        let script = torch::script();
        let script = script.file_name().unwrap_or_default().to_string_lossy();
        Ok(Machine {
            processor: processor(),
            memory: memory(),
            system: read(Command::new("uname").arg("-sm"))
                .unwrap_or_else(|_| std::env::consts::OS.to_owned()),
            versions: format!(
                "resnet {}{}, {rustc}; {torch} ({script})",
                env!("CARGO_PKG_VERSION"),
                commit.unwrap_or_default()
            ),
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
    fn processor_from_linux() {
        let one = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512f\n";
        let text = describe_processor(&format!("{one}\n{}", one.replace(": 0", ": 1")));
        assert_eq!(text, "Some CPU (family 26, model 2), 2 logical processors, AVX2, AVX-512");
        assert!(describe_processor("").ends_with("0 logical processors"));
    }
}
