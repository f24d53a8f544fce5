//! How things look in a terminal.

pub(crate) mod comparison;
pub(crate) mod evaluation;
pub(crate) mod number;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod survey;
pub(crate) mod table;
pub(crate) mod watch;

/// Largest memory this process has held so far, where the system says (Linux: `VmHWM`).
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
