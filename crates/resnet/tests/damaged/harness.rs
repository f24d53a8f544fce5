//! Cutting, changing, and watching over what is then read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Places at which a file is cut, and as many at which it is changed.
const N_PLACES: usize = 300;
/// Bytes at both ends that are all tried: magic numbers, headers, directories.
const N_ENDS: usize = 64;
/// What reading one small file may never take, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);
/// What this process may ever occupy. The largest file tried has a few hundred KiB; limits inside are 512 MiB.
const MAX_BYTES: u64 = 1 << 30;

/// What became of files with one bit changed.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) n_refused: usize,
    pub(crate) n_same: usize,
    pub(crate) n_other: usize,
}

/// Reads a file cut off at every so many places, which must give an error or what the whole file gives, then with a bit changed.
pub(crate) fn damage<T: PartialEq>(
    name: &str,
    whole: &[u8],
    read: impl Fn(&[u8]) -> Result<T, String>,
) -> Outcome {
    let good = read(whole).unwrap_or_else(|e| panic!("{name} as it is: {e}"));
    let (steps, watch) = channel::<String>();
    let watchdog = std::thread::spawn(move || {
        let mut last = String::new();
        loop {
            match watch.recv_timeout(PATIENCE) {
                Ok(step) => last = step,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("{last}: still reading after {PATIENCE:?}");
                    std::process::exit(101);
                }
            }
        }
    });
    let tried = |step: String, bytes: &[u8]| {
        steps.send(step.clone()).unwrap();
        catch_unwind(AssertUnwindSafe(|| read(bytes))).unwrap_or_else(|_| panic!("{step}: a panic"))
    };
    for at in places(whole.len()) {
        let found = tried(format!("{name} cut to {at} of {} bytes", whole.len()), &whole[..at]);
        assert!(
            found.is_err() || found.is_ok_and(|f| f == good),
            "{name} cut to {at} bytes gives something else"
        );
    }
    let mut outcome = Outcome::default();
    for at in places(whole.len()) {
        let mut changed = whole.to_vec();
        changed[at] ^= 1 << (at % 8);
        match tried(format!("{name} changed at {at}"), &changed) {
            Err(_) => outcome.n_refused += 1,
            Ok(found) if found == good => outcome.n_same += 1,
            Ok(_) => outcome.n_other += 1,
        }
    }
    drop(steps);
    watchdog.join().unwrap();
    check_memory();
    outcome
}

/// All places at both ends, and some between them.
fn places(n: usize) -> impl Iterator<Item = usize> {
    let step = (n / N_PLACES).max(1);
    (0..n).filter(move |at| *at < N_ENDS || *at + N_ENDS >= n || at % step == 0)
}

/// The most that this process has occupied so far, where the system tells.
pub(crate) fn check_memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(line) = status.lines().find_map(|l| l.strip_prefix("VmHWM:")) else {
        eprintln!("SKIPPED the bound on memory: this system does not tell the peak of a process");
        return;
    };
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib << 10 <= MAX_BYTES, "{kib} KiB occupied");
}
