//! Geometry of passes over pixels × channels: the host side of `kernels/include/columns.cuh`.

use resnet_core::DType;

use crate::buffer::element_bytes;
use crate::engine::{Engine, Geometry, u32_of};

/// How a pass is cut: tiles of pixels, and vectors of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) geometry: Geometry,
    pub(crate) tiles: usize,
    pub(crate) rows_per_tile: u32,
    /// Whether a thread takes as many channels as the widest load brings.
    pub(crate) vector: u32,
}

/// Threads of a block: COLUMN_THREADS of columns.cuh.
const THREADS: usize = 256;

impl Columns {
    /// A pass with the widest loads that the number of channels allows.
    pub(crate) fn new(engine: &Engine, rows: usize, c: usize, dtype: DType) -> Self {
        let widest = 16 / element_bytes(dtype);
        let vector = c.is_multiple_of(widest);
        Self::with_width(engine, rows, c, if vector { widest } else { 1 })
    }

    /// A pass with so many channels per thread.
    pub(crate) fn with_width(engine: &Engine, rows: usize, c: usize, width: usize) -> Self {
        let vectors = c.div_ceil(width);
        // Side by side as far as a warp's loads need it; the rest of the block goes down the pixels.
        let across = vectors.next_power_of_two().min(32);
        let down = rows.next_power_of_two().min(THREADS / across);
        let columns = vectors.div_ceil(across);
        // Enough blocks to fill the device, and enough pixels per thread to be worth its start.
        let wanted = (engine.traits.multiprocessors as usize * 8).div_ceil(columns);
        let rows_per_tile = rows.div_ceil(wanted).next_multiple_of(down);
        let tiles = rows.div_ceil(rows_per_tile);
        Self {
            geometry: Geometry {
                grid: [u32_of(columns), u32_of(tiles), 1],
                block: [across as u32, down as u32, 1],
                shared_bytes: 0,
            },
            tiles,
            rows_per_tile: u32_of(rows_per_tile),
            vector: u32::from(width > 1),
        }
    }

    /// Bytes of partial statistics.
    pub(crate) fn moment_bytes(&self, c: usize) -> usize {
        self.tiles * 3 * c * 4
    }
}
