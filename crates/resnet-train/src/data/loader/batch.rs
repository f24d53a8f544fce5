use std::sync::{Arc, Weak};

use resnet_core::op::Pick;

use super::queue::Queue;

/// Pictures stacked for one step. Its memory is used again for a later batch when it is dropped.
#[derive(Debug, Default)]
pub struct Batch {
    /// Position in the epoch, counted from 0.
    pub number: usize,
    /// `batch × height × width × channels` bytes; black beyond `n_valid`. Empty where there are picks.
    pub pixels: Vec<u8>,
    /// In place of pixels, what the device takes of pictures that lie there. See [`OnDevice`](super::OnDevice).
    pub picks: Vec<Pick>,
    /// `batch` classes; 0 beyond `n_valid`.
    pub labels: Vec<u32>,
    /// Which pictures of the source these are: `n_valid` indices.
    pub indices: Vec<usize>,
    /// Pictures that count; the rest is padding.
    pub n_valid: usize,
    home: Weak<Queue>,
}

impl Batch {
    pub(super) fn returns_to(&mut self, queue: &Arc<Queue>) {
        self.home = Arc::downgrade(queue);
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(queue) = self.home.upgrade() {
            self.home = Weak::new();
            queue.give_back(std::mem::take(self));
        }
    }
}
