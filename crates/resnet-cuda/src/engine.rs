//! What every op works with: the machine, its scratch, and the second stage of reductions.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use resnet_core::Result;

use crate::args::{Pack, Packed};
use crate::choice::Choice;
use crate::choice::ways::{Tuning, Ways};
use crate::compile::Unit;
use crate::kernels;
use crate::machine::{Launch, Machine, Memory, Traits};
use crate::source::CheckedGradOut;

/// A machine with the kernels loaded, and memory that ops share one after another.
pub(crate) struct Engine {
    /// Which kernels compute convolutions. Before the machine, on whose stream plans run.
    pub(crate) ways: Ways,
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) traits: Traits,
    /// Whether a step is being recorded.
    pub(crate) recording: bool,
    scratch: Option<Memory>,
    /// Counts allocations that were freed; see [`Buffer`](crate::buffer::Buffer).
    pub(crate) freed: Arc<AtomicU64>,
    pub(crate) lists: crate::ops::update::Lists,
    /// Kernels of units that were loaded on demand.
    on_demand: HashSet<String>,
}

/// Blocks and threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared_bytes: u32,
}

impl Geometry {
    /// One thread for each of `count` things.
    pub(crate) fn flat(count: usize, threads: usize) -> Self {
        Self {
            grid: [u32_of(count.div_ceil(threads)), 1, 1],
            block: [u32_of(threads), 1, 1],
            shared_bytes: 0,
        }
    }
}

impl Engine {
    /// Loads all kernels.
    pub(crate) fn new(mut machine: Box<dyn Machine>) -> Result<Self> {
        for unit in &kernels::UNITS {
            machine.load(unit)?;
        }
        let traits = machine.traits();
        Ok(Self {
            machine,
            ways: Ways::new(Choice::of_environment()?, Tuning::of_environment()?, traits.capability),
            traits,
            recording: false,
            scratch: None,
            freed: Arc::default(),
            lists: Default::default(),
            on_demand: HashSet::new(),
        })
    }

    /// Loads the unit of a kernel that not every backend needs, unless it is loaded already. Belongs into preparation.
    pub(crate) fn load(&mut self, kernel: &str, unit: impl FnOnce() -> Unit) -> Result<()> {
        if !self.on_demand.contains(kernel) {
            self.machine.load(&unit())?;
            self.on_demand.insert(kernel.to_owned());
        }
        Ok(())
    }

    /// Launches a kernel.
    pub(crate) fn launch(
        &mut self,
        kernel: impl Into<Cow<'static, str>>,
        geometry: Geometry,
        args: &impl Pack,
    ) -> Result<()> {
        let Geometry { grid, block, shared_bytes } = geometry;
        self.machine.launch(&Launch {
            kernel: kernel.into(),
            grid,
            block,
            shared_bytes,
            args: Packed::of(args),
        })
    }

    /// At least so many bytes of scratch. What an op leaves there is gone with the next op.
    pub(crate) fn scratch(&mut self, bytes: usize) -> Result<u64> {
        match &self.scratch {
            Some(memory) if memory.bytes() >= bytes => Ok(memory.address()),
            _ => {
                // The old one first, so that both never exist at a time.
                self.scratch = None;
                self.freed.fetch_add(1, Ordering::Relaxed);
                let memory = self.machine.alloc(bytes)?;
                let address = memory.address();
                self.scratch = Some(memory);
                Ok(address)
            }
        }
    }

    /// Gives scratch back; the next op that needs some gets new.
    pub(crate) fn release_scratch(&mut self) {
        if self.scratch.take().is_some() {
            self.freed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Bytes of scratch there are.
    pub(crate) fn scratch_bytes(&self) -> usize {
        self.scratch.as_ref().map_or(0, Memory::bytes)
    }

    /// Second stage of batch statistics: `partials` as `[tile][3][c]` to the sums at `sums`.
    pub(crate) fn finish_moments(&mut self, partials: u64, tiles: usize, c: usize, sums: u64) -> Result<()> {
        self.finish("finish_moments", partials, tiles, c, sums)
    }

    /// Second stage of the sums of a gradient, for each normalisation there is.
    pub(crate) fn finish_grad_sums(&mut self, out: &CheckedGradOut, tiles: usize, c: usize) -> Result<()> {
        for (sums, to) in out.args.sums.iter().zip(out.sums) {
            if to != 0 {
                self.finish("finish_grad_sums", sums.partials, tiles, c, to)?;
            }
        }
        Ok(())
    }

    fn finish(
        &mut self,
        kernel: &'static str,
        partials: u64,
        tiles: usize,
        c: usize,
        sums: u64,
    ) -> Result<()> {
        // FINISH_CHANNELS and FINISH_THREADS of norm.cu.
        let (channels, threads) = (8, 1024);
        let rows = tiles.next_power_of_two().min(threads / channels);
        let geometry = Geometry {
            grid: [u32_of(c.div_ceil(channels)), 1, 1],
            block: [channels as u32, rows as u32, 1],
            shared_bytes: 0,
        };
        self.launch(kernel, geometry, &FinishArgs { partials, sums, tiles: u32_of(tiles), c: u32_of(c) })
    }
}

crate::args! {
    struct FinishArgs {
        partials: u64,
        sums: u64,
        tiles: u32,
        c: u32,
    }
}

/// A count as kernels take it. Counts come from descriptors whose tensors fit a device, so this never saturates there;
/// where it would, the launch is refused by the machine.
pub(crate) fn u32_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
