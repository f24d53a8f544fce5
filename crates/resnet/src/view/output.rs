//! Results on stdout.

use std::fmt::Display;
use std::io::{ErrorKind, Write, stdout};

/// Writes lines to stdout. A reader that leaves early, such as `head`, is no failure.
pub(crate) fn lines<T: Display>(lines: impl IntoIterator<Item = T>) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(stdout().lock());
    let written = lines.into_iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(e).context("writing to stdout"))
        }
        _ => Ok(()),
    }
}

/// Writes one line to stdout. A run is not ended because nobody reads on, or because a redirected log has no room.
pub(crate) fn say(line: impl Display) {
    let mut out = stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
