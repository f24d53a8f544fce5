//! What lies beside this program, and running it with a time limit.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What lies beside this program.
const NEEDED: [&str; 6] =
    ["gpu-tests", "tensor-tests", "choice-tests", "torch_gpu_step.py", "torch_step.py", "VERSION"];

/// The folder with the programs that this one runs. Their names are given by `xtask/src/cuda/pack.rs`.
#[derive(Debug)]
pub(crate) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// The folder that is named, or the one of this program.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self> {
        if let Some(folder) = named {
            return Ok(Self { folder: folder.to_owned() });
        }
        let own = std::env::current_exe().context("cannot tell where this program lies")?;
        let folder = own.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self { folder })
    }

    /// Whether everything is there that the check runs.
    ///
    /// # Errors
    /// Names all that is missing, and what makes it.
    pub(crate) fn verify(&self) -> Result<()> {
        let missing: Vec<&str> =
            NEEDED.into_iter().filter(|name| !self.folder.join(name).is_file()).collect();
        if !missing.is_empty() {
            let (folder, names) = (self.folder.display(), missing.join(", "));
            bail!("{folder} lacks {names}; `cargo xtask gpu-pack` makes the whole folder anew");
        }
        Ok(())
    }

    /// A folder in the folder, which need not be there.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file of the folder.
    ///
    /// # Errors
    /// Says which file is missing and what makes it.
    pub(crate) fn file(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if !path.is_file() {
            bail!("{} is not there; `cargo xtask gpu-pack` makes the whole folder", path.display());
        }
        Ok(path)
    }
}

/// How much of the time is left.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    whole: Duration,
}

impl Clock {
    pub(crate) fn start(whole: Duration) -> Self {
        Self { start: Instant::now(), whole }
    }

    pub(crate) fn left(&self) -> Duration {
        self.left_of(1.0)
    }

    /// How much is left of the first `share` of the time.
    pub(crate) fn left_of(&self, share: f64) -> Duration {
        self.whole.mul_f64(share).saturating_sub(self.start.elapsed())
    }
}

/// What a program left.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The last lines of everything it said, for a report.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let all: Vec<&str> = self.stdout.lines().chain(self.stderr.lines()).collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// Runs a program to its end, or ends it when the time is over.
///
/// # Errors
/// A program that cannot be started, and one that took too long.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    let name =
        Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    // In a group, so that what it has started ends with it: a compiler's workers would go on using the device.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("{name} is lost"))? {
            break status;
        }
        if start.elapsed() > limit {
            // It may have ended just now; either way it is waited for below.
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
            let _ = child.kill();
            let _ = child.wait();
            bail!("{name} did not end within {:.0} s", limit.as_secs_f64());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = |thread: std::thread::JoinHandle<String>| thread.join().unwrap_or_default();
    Ok(Output { success: status.success(), stdout: text(stdout), stderr: text(stderr) })
}

/// Reads a pipe to its end while the program runs, so that it never waits for its reader.
fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes); // what was read until an error is still worth printing
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_kept_and_time_is_limited() {
        let minute = Duration::from_secs(60);
        let said =
            run(Command::new("sh").args(["-c", "echo one; echo two >&2; exit 3"]), minute).expect("runs");
        assert!(!said.success);
        assert_eq!((said.stdout.trim(), said.stderr.trim()), ("one", "two"));
        assert_eq!(said.tail(1), "two");
        let error =
            run(Command::new("sleep").arg("60"), Duration::from_millis(50)).expect_err("takes too long");
        assert!(error.to_string().contains("sleep did not end within"), "{error}");
        assert!(run(&mut Command::new("no-such-program"), minute).is_err());
    }

    #[test]
    fn a_missing_file_is_named() {
        let programs = Programs::find(Some(Path::new("no/such/folder"))).expect("named");
        let error = programs.file("gpu-tests").expect_err("is not there").to_string();
        assert!(error.contains("no/such/folder/gpu-tests") && error.contains("gpu-pack"), "{error}");
        let error = programs.verify().expect_err("nothing is there").to_string();
        assert!(error.contains("gpu-tests") && error.contains("torch_step.py"), "{error}");
    }
}
