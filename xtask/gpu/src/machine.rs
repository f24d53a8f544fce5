//! Device, driver and versions.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use resnet_cuda::search::{Environment, Search};
use resnet_cuda::{CudaUnavailable, probe};

use crate::Target;
use crate::programs::{Programs, run};
use crate::report::{Outcome, Report};

/// Says what this machine has. Whether there is something to run on.
pub(crate) fn describe(report: &mut Report, target: Target, programs: &Programs, python: &Path) -> bool {
    let mut lines = vec![("program", version(programs))];
    let outcome = match target {
        Target::Emulator => {
            lines.push(("device", "emulated on this processor".to_owned()));
            Outcome::Passed
        }
        Target::Device(ordinal) => match probe(&Search::usual(&Environment::of_process()), ordinal) {
            Ok(device) => {
                lines.push(("device", device.to_string()));
                let query = "--query-gpu=driver_version,clocks.max.sm,clocks.max.memory,power.limit";
                lines.push(("driver, clocks, power", ask("nvidia-smi", &[query, "--format=csv,noheader"])));
                Outcome::Passed
            }
            Err(error) => Outcome::Failed(no_device(&error)),
        },
    };
    lines.push(("processor", processor()));
    let torch = "import torch, torchvision; print('torch', torch.__version__, 'torchvision', torchvision.__version__, \
                 'CUDA', torch.version.cuda, 'cuDNN', torch.backends.cudnn.version())";
    lines.push(("PyTorch", ask(python, &["-c", torch])));
    let rows: String = lines.iter().map(|(what, value)| format!("| {what} | {value} |\n")).collect();
    let found = outcome == Outcome::Passed;
    eprintln!("== Machine\n   {}", if found { "found" } else { "no device" });
    report.add("Machine", outcome, format!("| | |\n|---|---|\n{rows}"));
    found
}

/// The first words say what a reader wants to know.
fn no_device(error: &CudaUnavailable) -> String {
    format!("no GPU: {error}")
}

/// The commit that the programs were built from.
fn version(programs: &Programs) -> String {
    let file = programs.file("VERSION").ok();
    let text = file.and_then(|path| std::fs::read_to_string(path).ok());
    text.map_or_else(|| env!("CARGO_PKG_VERSION").to_owned(), |text| text.trim().to_owned())
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map(|(_, name)| name.trim());
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {threads} threads", name.unwrap_or("unknown"))
}

/// One line that a program prints, or why there is none.
fn ask(program: impl AsRef<Path>, args: &[&str]) -> String {
    let program = program.as_ref();
    match run(Command::new(program).args(args), Duration::from_secs(60)) {
        Ok(output) if output.success => output.stdout.lines().next().unwrap_or_default().to_owned(),
        Ok(output) => format!("{} says: {}", program.display(), output.tail(1)),
        Err(error) => error.to_string(),
    }
}
