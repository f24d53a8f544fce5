//! The kernels on this processor: the same sources, compiled by a C++ compiler, one fiber per thread of a block.
//!
//! It is for tests and for trying things out, and slow. What it cannot show is whatever only hardware has: speed, races between
//! warps, and the matrix instructions themselves. What it shows that hardware does not: a write beside an allocation, and a
//! barrier that not everybody reaches.

mod build;
mod library;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use resnet_core::{Error, Result};

pub use self::build::{compiled, compiler};
use self::library::{Block, Code};
use crate::compile::Unit;

use super::{Launch, Machine, Memory, RecordingId, Stamp, Traits};
use crate::cudnn::{CudnnError, Target};

/// What is called free where there is no limit: other programs live on this memory too.
const MOST_FREE: usize = 1 << 30;

/// A machine without hardware. All of them in a process share what was compiled.
pub struct Emulator {
    /// The latest first.
    code: Vec<&'static Code>,
    blocks: Vec<Weak<Block>>,
    /// Bytes it may still give out.
    free_bytes: usize,
    given: Arc<Mutex<usize>>,
    /// What is being recorded.
    recording: Option<Vec<Work>>,
    recordings: Vec<Option<Vec<Work>>>,
}

/// What a recording holds.
#[derive(Debug)]
enum Work {
    Launch(Launch),
    Fill { to: Memory, offset: usize, bytes: usize, value: u8 },
}

impl Emulator {
    /// A machine with as much memory as the system gives.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no C++ compiler.
    pub fn new() -> Result<Self> {
        Self::with_memory(usize::MAX)
    }

    /// As [`Emulator::new`], with so much memory.
    ///
    /// # Errors
    /// As [`Emulator::new`].
    pub fn with_memory(bytes: usize) -> Result<Self> {
        build::wanted_compiler()?;
        Ok(Self {
            code: Vec::new(),
            blocks: Vec::new(),
            free_bytes: bytes,
            given: Arc::default(),
            recording: None,
            recordings: Vec::new(),
        })
    }

    fn block(&self, memory: &Memory) -> Result<Arc<Block>> {
        let block = memory.owner.clone().downcast::<Block>();
        block.map_err(|_| failed("a buffer of another machine was given to the emulator"))
    }

    fn not_while_recording(&self, what: &str) -> Result<()> {
        match self.recording {
            Some(_) => Err(failed(format!("{what} while a step is recorded; it would not be repeated"))),
            None => Ok(()),
        }
    }

    fn run(&mut self, work: &Work) -> Result<()> {
        match work {
            Work::Launch(launch) => {
                self.launch_now(launch)?;
                self.check_guards(&launch.kernel)
            }
            Work::Fill { to, offset, bytes, value } => self.block(to)?.fill(*offset, *bytes, *value),
        }
    }

    fn launch_now(&self, launch: &Launch) -> Result<()> {
        for code in &self.code {
            if let Some(kernel) = code.kernel(&launch.kernel)? {
                return kernel.launch(launch);
            }
        }
        Err(failed(format!("there is no kernel `{}`", launch.kernel)))
    }

    /// Whether a kernel wrote beside an allocation.
    fn check_guards(&self, kernel: &str) -> Result<()> {
        for block in self.blocks.iter().filter_map(Weak::upgrade) {
            if let Some(offset) = block.damage() {
                return Err(failed(format!(
                    "{kernel} wrote outside a buffer of {} bytes, at byte {offset}",
                    block.bytes()
                )));
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Emulator")
    }
}

impl Machine for Emulator {
    fn describe(&self) -> String {
        "emulated on this processor, for tests".to_owned()
    }

    fn traits(&self) -> Traits {
        Traits { capability: 0, multiprocessors: 4, shared_bytes: 227 << 10 }
    }

    fn load(&mut self, unit: &Unit) -> Result<()> {
        self.code.insert(0, build::kernels(unit)?);
        Ok(())
    }

    fn alloc(&mut self, bytes: usize) -> Result<Memory> {
        self.not_while_recording("memory was asked for")?;
        let given = *self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let free_bytes = self.free_bytes.saturating_sub(given);
        let out_of_memory = Error::OutOfMemory { backend: crate::NAME, requested_bytes: bytes, free_bytes };
        if bytes > free_bytes {
            return Err(out_of_memory);
        }
        let block = Arc::new(Block::zeros(bytes, self.given.clone()).ok_or(out_of_memory)?);
        self.blocks.retain(|block| block.strong_count() > 0);
        self.blocks.push(Arc::downgrade(&block));
        Ok(Memory::new(block.address(), bytes, block))
    }

    fn free_bytes(&self) -> usize {
        let given = *self.given.lock().unwrap_or_else(PoisonError::into_inner);
        self.free_bytes.saturating_sub(given).min(MOST_FREE)
    }

    fn upload(&mut self, to: &Memory, offset: usize, bytes: &[u8]) -> Result<()> {
        self.not_while_recording("data was copied to the device")?;
        self.block(to)?.write(offset, bytes)
    }

    fn download(&mut self, from: &Memory, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.not_while_recording("data was copied to the host")?;
        self.block(from)?.read(offset, bytes)
    }

    fn fill(&mut self, to: &Memory, offset: usize, bytes: usize, value: u8) -> Result<()> {
        let work = Work::Fill { to: to.clone(), offset, bytes, value };
        match &mut self.recording {
            Some(list) => list.push(work),
            None => self.run(&work)?,
        }
        Ok(())
    }

    fn launch(&mut self, launch: &Launch) -> Result<()> {
        let work = Work::Launch(launch.clone());
        match &mut self.recording {
            Some(list) => list.push(work),
            None => self.run(&work)?,
        }
        Ok(())
    }

    fn synchronize(&mut self) -> Result<()> {
        self.not_while_recording("the host waited")
    }

    fn begin_recording(&mut self) -> Result<()> {
        self.not_while_recording("another recording began")?;
        self.recording = Some(Vec::new());
        Ok(())
    }

    fn end_recording(&mut self) -> Result<RecordingId> {
        let list = self.recording.take().ok_or_else(|| failed("no recording was begun"))?;
        self.recordings.push(Some(list));
        Ok(RecordingId(self.recordings.len() - 1))
    }

    fn replay(&mut self, recording: RecordingId) -> Result<()> {
        self.not_while_recording("a recording was replayed")?;
        let list = self.recordings.get_mut(recording.0).and_then(Option::take);
        let list = list.ok_or_else(|| failed("there is no such recording"))?;
        let result = list.iter().try_for_each(|work| self.run(work));
        self.recordings[recording.0] = Some(list);
        result
    }

    fn cudnn(&mut self) -> std::result::Result<Target, CudnnError> {
        Err(CudnnError::NoDevice { machine: "emulated" })
    }

    fn stamp(&mut self) -> Result<Stamp> {
        self.not_while_recording("the time was taken")?;
        Ok(Stamp::Host(Instant::now()))
    }

    fn milliseconds(&mut self, from: &Stamp, to: &Stamp) -> Result<f32> {
        Ok(from.host_milliseconds(to))
    }

    fn forget(&mut self, recording: RecordingId) {
        if let Some(list) = self.recordings.get_mut(recording.0) {
            *list = None;
        }
    }
}

/// An error of this machine.
fn failed(action: impl Into<String>) -> Error {
    Error::Device { backend: crate::NAME, action: format!("emulator: {}", action.into()) }
}
