//! Every way a description, an op or a backend can refuse.

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Every way a description, an op or a backend can refuse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A shape, window, stride or count that no tensor can have, found when a description is built.
    #[error("{what}: {why}")]
    Invalid {
        /// The op or layer, by its path in the model where there is one.
        what: String,
        /// What was found and what was wanted.
        why: String,
    },

    /// A buffer is shorter than the op needs.
    #[error("{op}: `{arg}` holds {found} bytes, at least {needed} needed")]
    Length {
        /// The backend method.
        op: &'static str,
        /// The argument.
        arg: &'static str,
        /// Bytes found.
        found: usize,
        /// Bytes needed.
        needed: usize,
    },

    /// Host data whose element count or type differs from the tensor's.
    #[error("{tensor}: {found} given, {wanted} wanted")]
    Mismatch {
        /// The tensor, by its path in the model where there is one.
        tensor: String,
        /// What was found.
        found: String,
        /// What was wanted.
        wanted: String,
    },

    /// The backend cannot do this at all. Retrying will not help; another backend may.
    #[error("the {backend} backend does not support {what}")]
    Unsupported {
        /// The backend's name.
        backend: &'static str,
        /// What was asked.
        what: String,
    },

    /// The device ran out of memory.
    #[error(
        "out of memory on {backend}: {requested_bytes} bytes asked for, {free_bytes} free; a smaller batch may fit"
    )]
    OutOfMemory {
        /// The backend's name.
        backend: &'static str,
        /// Bytes asked for.
        requested_bytes: usize,
        /// Bytes free, as far as the device says.
        free_bytes: usize,
    },

    /// The activations of a batch do not fit the device.
    #[error(
        "out of memory on {backend}: a batch of {batch} needs {} MiB for activations, and there are {}; {}",
        .needed_bytes.div_ceil(1 << 20),
        .available_bytes >> 20,
        fitting(*.batch, *.needed_bytes, *.available_bytes)
    )]
    BatchTooLarge {
        /// The backend's name.
        backend: &'static str,
        /// Pictures per batch.
        batch: usize,
        /// Bytes that all activations and per-channel buffers take.
        needed_bytes: usize,
        /// Bytes there are for them.
        available_bytes: usize,
    },

    /// The device or its driver failed, or is not there.
    #[error("{backend}: {action}")]
    Device {
        /// The backend's name.
        backend: &'static str,
        /// What failed and what to do.
        action: String,
    },

    /// A weights file that cannot be read as what it claims to be.
    #[error("weights: {0}")]
    Weights(String),

    /// A network name that is not known, with the nearest known ones.
    #[error("unknown network `{found}`{}", suggest(.suggestions))]
    UnknownArch {
        /// The name asked for.
        found: String,
        /// Names that look like it.
        suggestions: Vec<String>,
    },
}

/// Activations grow with the batch, and hardly anything else does.
fn fitting(batch: usize, needed_bytes: usize, available_bytes: usize) -> String {
    let fits = (batch as u128 * available_bytes as u128 / needed_bytes.max(1) as u128) as usize;
    match fits.min(batch.saturating_sub(1)) {
        0 => "not even one picture fits; use smaller pictures or a smaller network".to_owned(),
        fits => format!("a batch of {fits} would fit"),
    }
}

fn suggest(names: &[String]) -> String {
    if names.is_empty() {
        "; `resnet summary --list` shows all names".to_owned()
    } else {
        format!("; did you mean {}?", names.join(", "))
    }
}

impl Error {
    /// Builds [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Invalid { what: what.into(), why: why.into() }
    }
}
