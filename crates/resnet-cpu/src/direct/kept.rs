//! Weights that stay arranged from call to call, for networks that are only run forward.
//!
//! A training step changes all weights, so nothing would be gained there. In inference the arranging would be most of the time
//! of a single picture.

use std::collections::HashMap;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;

use resnet_core::op::Conv2d;

use crate::buffer::{Buffer, Identity};
use crate::memory::Memory;

/// Arranged weights by the buffer they came from and the op that reads them.
#[derive(Default)]
pub(crate) struct Kept {
    entries: HashMap<(Identity, Conv2d), Entry>,
}

struct Entry {
    /// Gone when the buffer is.
    buffer: Weak<AtomicU64>,
    /// How often the buffer had been written to.
    writes: u64,
    weights: Memory,
}

impl Kept {
    /// The `len` floats that `arrange` made of a buffer, made anew if the buffer was written to since.
    pub(crate) fn get(
        &mut self,
        op: &Conv2d,
        w: &Buffer,
        len: usize,
        arrange: impl FnOnce(&mut [f32]),
    ) -> &[f32] {
        let key = (w.identity(), *op);
        if !self.entries.contains_key(&key) {
            self.entries.retain(|_, entry| entry.buffer.strong_count() > 0);
        }
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            buffer: w.weak(),
            writes: 0,
            weights: Memory::default(),
        });
        // Buffers count from 1, so that a new entry is always arranged.
        if entry.writes != w.writes() {
            entry.writes = w.writes();
            arrange(entry.weights.take(len));
        }
        &entry.weights.floats()[..len]
    }

    /// Bytes of all that is kept.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.values().map(|entry| entry.weights.len() * size_of::<f32>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use resnet_core::DType;
    use resnet_core::op::Conv2d;

    use super::*;

    #[test]
    fn weights_are_arranged_once_per_write_and_forgotten_with_their_buffer() {
        let op = Conv2d::linear(1, 4, 2, DType::F32).unwrap();
        let mut kept = Kept::default();
        let (mut a, b) = (Buffer::zeros(32).unwrap(), Buffer::zeros(32).unwrap());
        let mut calls = 0;
        let mut get = |w: &Buffer| {
            let first = kept.get(&op, w, 8, |out| {
                calls += 1;
                out.copy_from_slice(w.f32(8));
            });
            (first[0], calls)
        };
        assert_eq!([get(&a), get(&a), get(&b)], [(0.0, 1), (0.0, 1), (0.0, 2)]);
        a.f32_mut(8)[0] = 3.0;
        assert_eq!([get(&a), get(&b), get(&a)], [(3.0, 3), (0.0, 3), (3.0, 3)]);
        drop(a);
        let c = Buffer::zeros(32).unwrap();
        kept.get(&op, &c, 8, |_| {});
        assert_eq!(kept.entries.len(), 2, "the entry of a buffer that is gone");
    }
}
