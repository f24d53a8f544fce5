//! Where, with what and by which command it was measured: what stands under every table.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::busy::Busy;
use super::report::plural;
use super::torch;
use crate::shell::{read, root};

/// The machine, and the programs on it.
struct Machine {
    processor: String,
    memory: String,
    system: String,
    versions: String,
}

/// The lines under a table. `python` is the one whose PyTorch took part.
pub(crate) fn foot(busy: &Busy, python: Option<&Path>) -> Result<String> {
    let Machine { processor, memory, system, versions } = Machine::read(python)?;
    let (busy, command) = (busy.describe(), command_line());
    Ok(format!(
        "\n{busy}\nHardware: {processor}; {memory}; {system}.\nVersions: {versions}.\nCommand: `{command}`\n"
    ))
}

/// This run as it was typed, without the place of the program.
fn command_line() -> String {
    let args = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    ["cargo".to_owned(), "xtask".to_owned()].into_iter().chain(args).collect::<Vec<_>>().join(" ")
}

impl Machine {
    /// Asks the system, the compiler and, where it took part, PyTorch.
    fn read(python: Option<&Path>) -> Result<Self> {
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
    fn processor_from_linux() {
        let one = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512f\n";
        let text = describe_processor(&format!("{one}\n{}", one.replace(": 0", ": 1")));
        assert_eq!(text, "Some CPU (family 26, model 2), 2 logical processors, AVX2, AVX-512");
        assert!(describe_processor("").ends_with("0 logical processors"));
    }
}
