//! How the command ends: one line on stderr and an exit code.

use std::process::ExitCode;

/// Failed: what was asked for could not be done.
const FAILED: u8 = 1;
/// Usage: what was asked for makes no sense.
const USAGE: u8 = 2;

/// A mistake in the command line or a recipe, found after parsing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Builds a [`Usage`] error.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

/// Ended by a signal, everything saved.
#[derive(Debug, thiserror::Error)]
#[error("stopped by {}", if *.signal == 2 { "SIGINT" } else { "SIGTERM" })]
pub(crate) struct Interrupted {
    /// The signal's number.
    pub(crate) signal: u8,
}

/// Prints the error and everything that led to it, and picks the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        return ExitCode::from(128 + interrupted.signal);
    }
    eprintln!("error: {}", chain(error));
    ExitCode::from(if is_usage(error) { USAGE } else { FAILED })
}

/// The error and its causes in one line. Many errors already print their cause; that is not said twice.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|e| {
        // Errors that pass another one on do not show it as their cause, so each is asked for what it holds.
        e.is::<Usage>()
            || e.downcast_ref().is_some_and(is_core_usage)
            || e.downcast_ref().is_some_and(is_import_usage)
            || e.downcast_ref().is_some_and(is_train_usage)
            || e.downcast_ref().is_some_and(|e| match e {
                resnet::StartError::Recipe(e) => is_train_usage(e),
                resnet::StartError::Weights(e) => is_import_usage(e),
                _ => false,
            })
    })
}

fn is_core_usage(e: &resnet_core::Error) -> bool {
    matches!(e, resnet_core::Error::Invalid { .. } | resnet_core::Error::UnknownArch { .. })
}

fn is_import_usage(e: &resnet_import::Error) -> bool {
    matches!(e, resnet_import::Error::Core(e) if is_core_usage(e))
}

fn is_train_usage(e: &resnet_train::Error) -> bool {
    use resnet_train::Error;
    match e {
        Error::Core(e) => is_core_usage(e),
        Error::Invalid { .. } | Error::Recipe { .. } | Error::RunDir { .. } | Error::RunTaken { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = anyhow::anyhow!("inner").context("outer: inner").context("top");
        assert_eq!(chain(&error), "top: outer: inner");
    }

    #[test]
    fn usage_errors_are_told_from_failures() {
        assert!(is_usage(&usage("--steps 0")));
        assert!(is_usage(&anyhow::Error::new(resnet_core::Error::invalid("classes", "1"))));
        assert!(!is_usage(&anyhow::Error::new(resnet_core::Error::Weights("cut".into()))));
    }
}
