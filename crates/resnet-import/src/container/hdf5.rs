//! HDF5 as Keras writes it.

use super::{Archive, Stream};
use crate::error::Why;

pub(super) fn open(_stream: Stream) -> Why<Archive> {
    Err(
        "an HDF5 file; write its weights in creation order with scripts/keras_to_safetensors.py and import that"
            .into(),
    )
}
