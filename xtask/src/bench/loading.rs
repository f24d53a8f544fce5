//! Whether loading keeps up: the training step on pictures that are read and augmented beside it, and on synthetic ones.

use std::fmt::Write;

use anyhow::{Result, bail};

use super::busy::Busy;
use super::case::Case;
use super::contenders::Contender;
use super::measure::{Rounds, interleave};
use super::report::intro;
use crate::shell::{announce, cargo, target_dir};

/// Threads of the loader that are tried.
const WORKERS: [usize; 2] = [1, 2];

/// What grey pictures are read from if nothing is named: it is built in, so it is there.
const GREY: &str = "fashion-mnist-sample";

/// Times every case without loading and with it. `set` names the data, or is empty.
pub(crate) fn table(
    resnet: &Contender,
    cases: Vec<Case>,
    how: Rounds,
    set: &str,
    busy: &mut Busy,
) -> Result<String> {
    if cases.is_empty() {
        bail!("--loading: none of these cases is training");
    }
    let mut out = intro(how, "cpu");
    // Writing into a `String` cannot fail.
    let _ = writeln!(
        out,
        "With loading, pictures are read, cropped at random, resized and mirrored by threads of their own while the step before is \
         computed; these threads share the processors with it. A share is that of the step rate on synthetic pictures.\n"
    );
    let columns: String =
        WORKERS.map(|n| format!(" {n} loading thread{}, s | rate |", super::report::plural(n))).concat();
    let _ = writeln!(out, "| case | pictures | synthetic s |{columns}");
    let _ = writeln!(out, "|---|---|--:|{}", "--:|--:|".repeat(WORKERS.len()));
    for case in cases {
        let (data, described) = data(set, &case)?;
        let mut contenders = vec![resnet.clone()];
        contenders.extend(WORKERS.map(|workers| {
            resnet.with(
                &format!("{} loading", resnet.name),
                &["--data", &data, "--workers", &workers.to_string()],
            )
        }));
        let timings = interleave(&contenders, &case, how, busy)?;
        let seconds: Vec<f64> = timings.iter().flat_map(|t| &t.times).map(|times| times.median_s).collect();
        let [synthetic, loaded @ ..] = seconds.as_slice() else { bail!("{case}: nothing was measured") };
        let _ = write!(out, "| {case} | {described} | {synthetic:.4} |");
        for seconds in loaded {
            let _ = write!(out, " {seconds:.4} | {:.0} % |", 100.0 * synthetic / seconds);
        }
        out.push('\n');
    }
    Ok(out)
}

/// The value of `--data` for a case, and what it is in words. Pictures are made where no set is named and none is built in.
fn data(set: &str, case: &Case) -> Result<(String, String)> {
    if !set.is_empty() {
        return Ok((set.to_owned(), set.to_owned()));
    }
    if case.channels == 1 {
        return Ok((GREY.to_owned(), GREY.to_owned()));
    }
    // As photographs lie on disk: larger than what the network sees, unless that is tiny.
    let (width, height) = if case.size > 64 { (500, 400) } else { (case.size, case.size) };
    let folder = target_dir().join(format!("bench-pictures-{width}x{height}")).display().to_string();
    let mut command = cargo();
    command.args(["run", "--release", "-p", "resnet-benches", "--bin", "pictures", "--"]);
    command.args([&folder, &width.to_string(), &height.to_string()]);
    announce(&mut command)?;
    Ok((folder, format!("JPEG files of {width}×{height}")))
}
