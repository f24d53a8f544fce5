//! What every op is given: threads, instructions, and memory that outlives the op.

use crate::direct::Direct;
use crate::kernels::Isa;
use crate::memory::Memory;
use crate::threads::Threads;

/// The fields of the backend that ops work with.
pub(crate) struct Engine {
    pub(crate) isa: Isa,
    pub(crate) threads: Threads,
    /// Plans of the micro-kernels.
    pub(crate) direct: Direct,
    /// What tiles leave behind to be merged.
    pub(crate) partials: Vec<f64>,
    /// Weights arranged for a product.
    pub(crate) weights: Memory,
    /// Weights on the way to their arrangement, and from their gradient's.
    pub(crate) panels: Memory,
    /// Weight gradients of parts of a batch.
    pub(crate) weight_partials: Memory,
}

impl Engine {
    /// An engine without memory.
    pub(crate) fn new(isa: Isa, threads: Threads, direct: Direct) -> Self {
        let [weights, panels, weight_partials] = std::array::from_fn(|_| Memory::default());
        Self { isa, threads, direct, partials: Vec::new(), weights, panels, weight_partials }
    }
}
