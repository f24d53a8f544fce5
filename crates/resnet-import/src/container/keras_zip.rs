//! Keras 3 `.keras` files: a zip archive around an HDF5 file.

use std::collections::BTreeMap;

use super::torch_zip::Member;
use super::{Archive, Stream};
use crate::error::Why;

pub(super) fn open(_stream: Stream, members: &BTreeMap<String, Option<Member>>) -> Why<Archive> {
    if members.contains_key("model.weights.h5") {
        return Err(
            "a .keras archive, whose layers have no stable names; write its weights in creation order with \
             scripts/keras_to_safetensors.py and import that"
                .into(),
        );
    }
    Err("a zip archive that holds no PyTorch checkpoint: there is no `data.pkl` in it".into())
}
