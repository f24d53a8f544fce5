//! Running a program that may take too long or want more memory than there is: it is stopped, and that is said by name.

use std::fmt;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::shell::show;

/// How often a running program is looked at. Each look reads one small file.
const LOOK: Duration = Duration::from_millis(100);

/// Of the memory that is free when a program starts, the share it may take. Beyond it the system would start to end programs.
const SHARE_OF_FREE: f64 = 0.9;

/// How long a program may run, and how much memory it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    pub(crate) memory_bytes: Option<u64>,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// It was stopped after this long.
    TooLong(Duration),
    /// It was stopped when it held more than this.
    TooLarge(u64),
    /// It ended by itself, without success or without a result.
    Failed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::TooLong(time) => write!(f, "stopped after {:.1} minutes", time.as_secs_f64() / 60.0),
            Failure::TooLarge(bytes) => {
                let gib = *bytes as f64 / f64::from(1 << 30);
                write!(f, "stopped: it took more than the {gib:.1} GiB of memory that there were")
            }
            Failure::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

impl Limits {
    /// So much time, and what memory is free now, where the system tells.
    pub(crate) fn now(time: Duration) -> Self {
        let free = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| kib(&text, "MemAvailable:"));
        Self { time, memory_bytes: free.map(|bytes| (bytes as f64 * SHARE_OF_FREE) as u64) }
    }
}

/// What the program printed; its complaints go to the terminal.
///
/// # Errors
/// It cannot be started or watched.
pub(crate) fn read(command: &mut Command, limits: Limits) -> Result<Result<String, Failure>> {
    let named = show(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0); // to stop its compilers with it
    let mut child = command.spawn().with_context(|| format!("cannot start `{named}`"))?;
    let mut pipe = child.stdout.take().context("a program without output")?;
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![];
        pipe.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).trim().to_owned())
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("waiting for `{named}`"))? {
            break status;
        }
        if let Some(why) = beyond(&child, start.elapsed(), limits) {
            stop(&mut child)?;
            return Ok(Err(why));
        }
        std::thread::sleep(LOOK);
    };
    if !status.success() {
        return Ok(Err(Failure::Failed(status.to_string())));
    }
    let text = reader.join().ok().context("reading from a program panicked")?;
    text.map(Ok).with_context(|| format!("reading from `{named}`"))
}

fn beyond(child: &Child, time: Duration, limits: Limits) -> Option<Failure> {
    if time > limits.time {
        return Some(Failure::TooLong(limits.time));
    }
    let most = limits.memory_bytes?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    (kib(&status, "VmRSS:")? > most).then_some(Failure::TooLarge(most))
}

/// Ends a program and all that it has started.
fn stop(child: &mut Child) -> Result<()> {
    if cfg!(unix) {
        let group = format!("-{}", child.id());
        // Where there is no `kill`, the program itself is still ended below.
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    }
    child.kill().context("cannot stop a program")?;
    child.wait().context("cannot stop a program")?;
    Ok(())
}

/// The bytes of a line such as `VmRSS:  123 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const GENEROUS: Limits = Limits { time: Duration::from_secs(60), memory_bytes: None };

    fn shell(script: &str, limits: Limits) -> Result<String, Failure> {
        read(Command::new("sh").args(["-c", script]), limits).expect("started")
    }

    #[test]
    fn output_is_returned() {
        assert_eq!(shell("echo one; echo two", GENEROUS), Ok("one\ntwo".to_owned()));
    }

    #[test]
    fn failure_is_no_error() {
        let why = shell("exit 3", GENEROUS).expect_err("fails");
        assert!(why.to_string().contains("exit status: 3"), "{why}");
    }

    #[test]
    fn what_takes_too_long_is_stopped_with_all_it_started() {
        let limits = Limits { time: Duration::from_millis(200), ..GENEROUS };
        let start = Instant::now();
        let why = shell("sleep 600 & sleep 600", limits).expect_err("stopped");
        assert_eq!(why, Failure::TooLong(limits.time));
        assert!(start.elapsed() < Duration::from_secs(60), "it waited for what the program had started");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_takes_too_much_memory_is_stopped() {
        let limits = Limits { memory_bytes: Some(1), ..GENEROUS };
        let why = shell("sleep 600", limits).expect_err("stopped");
        assert_eq!(why, Failure::TooLarge(1));
    }

    #[test]
    fn sizes_of_linux() {
        assert_eq!(kib("Name: x\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12 << 10));
        assert_eq!(kib("Name: x\n", "VmRSS:"), None);
    }
}
