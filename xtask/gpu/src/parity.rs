//! The worst error of every op, on the CPU and on the device, each against the f64 reference.
//!
//! Two backends agree where both are within the derived bounds of the same reference.

use anyhow::Result;
use resnet_conformance::{OpError, worst_errors};
use resnet_cpu::CpuBackend;

use crate::Target;
use crate::report::Outcome;
use crate::training::open;

/// The table: the largest error relative to its tensor, and over the bound of its element, where above 1 is a defect.
pub(crate) fn table(target: Target) -> Result<(Outcome, String)> {
    let cases = match target {
        Target::Device(_) => 32,
        Target::Emulator => 2,
    };
    let cpu = worst_errors(&mut CpuBackend::new(None)?, cases);
    let device = worst_errors(&mut open(target)?, cases);
    let mut text = format!(
        "{cases} cases per op.\n\n| op | CPU relative | CPU of bound | device relative | device of bound |\n|---|--:|--:|--:|--:|\n"
    );
    for (cpu, device) in cpu.iter().zip(&device) {
        let cells =
            |error: &OpError| format!(" {:.1e} | {:.3} |", error.worst_relative, error.worst_over_bound);
        text.push_str(&format!("| `{}` |{}{}\n", cpu.op, cells(cpu), cells(device)));
    }
    let failures: Vec<String> = device
        .iter()
        .filter_map(|error| Some(format!("{}: {}", error.op, error.failure.as_ref()?)))
        .collect();
    if failures.is_empty() {
        return Ok((Outcome::Passed, text));
    }
    text.push_str(&format!("\n{}\n", failures.join("\n")));
    Ok((Outcome::Failed(format!("{} ops are outside their bounds", failures.len())), text))
}
