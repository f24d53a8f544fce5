//! Keras 3 `.keras` files: a zip archive of `config.json` and an HDF5 file, both stored as they are.

use std::collections::BTreeMap;

use super::torch_zip::Member;
use super::{Archive, Stream, hdf5};
use crate::error::Why;

/// Longest description of a model that is read.
const MAX_CONFIG_BYTES: u64 = 64 << 20;

pub(super) fn open(mut stream: Stream, members: &BTreeMap<String, Option<Member>>) -> Why<Archive> {
    let weights = match members.get("model.weights.h5") {
        Some(Some(weights)) => *weights,
        Some(None) => return Err("its `model.weights.h5` is compressed; Keras stores it as it is".into()),
        None => {
            return Err("a zip archive that holds neither a PyTorch checkpoint nor a Keras model: there is no `data.pkl` \
                        and no `model.weights.h5` in it"
                .into());
        }
    };
    let mut config = None;
    if let Some(Some(place)) =
        members.get("config.json").filter(|m| m.is_some_and(|m| m.len <= MAX_CONFIG_BYTES))
    {
        let mut text = vec![0; place.len as usize];
        stream.read_at(place.start, &mut text)?;
        config = Some(text);
    }
    hdf5::open_part(stream, weights.start, weights.len, config.as_deref())
}
