//! The command as its users meet it: arguments in, text, files and an exit code out.

#![allow(clippy::unwrap_used)] // helpers of tests, which may

mod bench;
mod data;
mod errors;
mod forward;
mod import;
mod journey;
mod summary;
mod train;

use std::ffi::OsStr;
use std::process::Command;

/// What a run of the command answered.
struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs `resnet` with these arguments and an empty environment of its own.
fn resnet<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Answer {
    let output = Command::new(env!("CARGO_BIN_EXE_resnet"))
        .args(args)
        .env_remove("RESNET_DATA_DIR")
        .output()
        .expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Answer {
        code: output.status.code().expect("no signal"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Splits at spaces: for arguments that have none inside.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

impl Answer {
    /// Asserts success; returns stdout.
    fn done(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Asserts a failure with this code, told in one line on stderr that has all these parts.
    fn refused(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        let error = self.stderr.lines().find(|l| l.starts_with("error: ")).unwrap_or_default();
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}
