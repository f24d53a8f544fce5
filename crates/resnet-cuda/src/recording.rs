//! Which parts of a step were recorded, and when that still holds.
//!
//! The first time under a key everything runs as usual, so that scratch, tables and kernels are there; the second time it is
//! recorded; from then on it is replayed. A recording holds addresses. Whenever memory was freed it may be stale, and the part
//! starts over: a buffer that is still in use costs one step run the usual way, and one that is not is never touched.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use resnet_core::RecordingKey;

use crate::engine::Engine;
use crate::machine::RecordingId;

/// What to do with a part of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Run,
    Record,
    Replay(RecordingId),
}

/// The parts seen so far.
#[derive(Debug, Default)]
pub(crate) struct Recordings {
    n_keys: u64,
    seen: HashMap<RecordingKey, Seen>,
}

/// A part that ran at least once, and how many buffers had been freed by then.
#[derive(Debug)]
struct Seen {
    freed: u64,
    recording: Option<RecordingId>,
}

impl Recordings {
    pub(crate) fn new_key(&mut self) -> RecordingKey {
        self.n_keys += 1;
        RecordingKey(self.n_keys)
    }

    /// What is to be done now.
    pub(crate) fn due(&mut self, key: RecordingKey, engine: &mut Engine) -> Due {
        let freed = engine.freed.load(Ordering::Relaxed);
        match self.seen.get_mut(&key) {
            Some(seen) if seen.freed == freed => seen.recording.map_or(Due::Record, Due::Replay),
            seen => {
                if let Some(stale) = seen.and_then(|seen| seen.recording.take()) {
                    engine.machine.forget(stale);
                }
                self.seen.insert(key, Seen { freed, recording: None });
                Due::Run
            }
        }
    }

    /// Remembers a recording.
    pub(crate) fn keep(&mut self, key: RecordingKey, recording: RecordingId, engine: &Engine) {
        let freed = engine.freed.load(Ordering::Relaxed);
        self.seen.insert(key, Seen { freed, recording: Some(recording) });
    }
}
