//! Backward-weight by tiles.
//!
//! A tile of the gradient acts as the filter, and the sum over tiles and pictures is taken between the transforms: for each of
//! the `n · n` positions a product of (channels × rows) and (rows × kernels), rows being tiles × pictures. One transform at the
//! end makes the gradient of the kernels. Tasks take some blocks of pictures and leave sums of their own, which are added in
//! order before it.

use std::ops::Range;

use resnet_core::op::Conv2d;

use super::gather::Input;
use super::matrices::MOST;
use super::{Extent, FILTER_GRADIENT, GRADIENT, PAD, Tiling, transform};
use crate::direct::cut::Cut;
use crate::direct::geometry::Geometry;
use crate::direct::panels;
use crate::element::Element;
use crate::kernels::product::{HALF, Left, ROWS, Tile, WIDTH};
use crate::kernels::rows::product_of_rows;
use crate::kernels::{Isa, load, sums};
use crate::load::{GradLoad, Load};
use crate::patch::Patch;
use crate::threads::{Scratch, ScratchLens, Threads};

/// Channels of the input whose numbers lie side by side, row after row: those of a vector, which a product reads row by row.
const SLICE: usize = 16;

/// Floats of the sums of one chunk, in panels.
pub(crate) fn sums_len(op: &Conv2d, tiling: Tiling) -> usize {
    panels::len(op.k(), tiling.products(), op.c())
}

/// How the work is cut.
pub(crate) fn cut(op: &Conv2d, geometry: &Geometry, tiling: Tiling) -> Cut {
    /// Floats of both transformed operands.
    const OPERANDS: usize = 256 * 1024;
    /// Rows of a product: enough to pay for reading and writing the sums.
    const MIN_ROWS: usize = 128;
    let (n, m, products) = (op.n(), tiling.m(), tiling.products());
    let width = op.k().next_multiple_of(WIDTH);
    let (tile_rows, tile_columns) = tiling.tiles((op.p(), op.q()));
    let wanted = (OPERANDS / (products * (op.c() + width))).max(MIN_ROWS);
    let fits = |tiles: usize| (wanted / tiles).max(1);
    let whole = fits(tile_rows * tile_columns);
    let (rows, block) = if whole >= ROWS {
        (tile_rows, whole / ROWS * ROWS)
    } else {
        (1, fits(tile_columns).next_multiple_of(4))
    };
    let block = block.min(n.div_ceil(2)).max(1);
    let band = (rows * m).min(op.p());
    let reach = |o: usize| geometry.rows.reach(o..(o + band).min(op.p())).len();
    let input = (0..op.p()).step_by(band).map(reach).max().unwrap_or(0) * op.w() + 1;
    let n_rows = rows * tile_columns * block;
    let scratch = ScratchLens {
        a: input * (block * op.c() + PAD),
        b: (band * op.q() + 1) * (block * WIDTH + PAD) + products * (n_rows * WIDTH + PAD),
        c: products * (n_rows * op.c().next_multiple_of(SLICE) + PAD),
        ..ScratchLens::default()
    };
    Cut::new(n, block, band, sums_len(op, tiling), scratch)
}

/// Backward-weight of one op.
pub(crate) struct WeightPass<'a, E> {
    pub(crate) isa: Isa,
    pub(crate) op: &'a Conv2d,
    pub(crate) geometry: &'a Geometry,
    pub(crate) tiling: Tiling,
    pub(crate) cut: Cut,
    pub(crate) x: Load<'a, E>,
    pub(crate) dy: GradLoad<'a, E>,
    pub(crate) with_bias: bool,
}

impl<E: Element> WeightPass<'_, E> {
    /// Sets the sums and `dbias` to those over one chunk of the batch.
    pub(crate) fn chunk(&self, chunk: usize, sums: &mut [f32], dbias: &mut [f64], scratch: &mut Scratch) {
        sums.fill(0.0);
        dbias.fill(0.0);
        for (rows, pictures) in self.cut.bands(self.op, chunk) {
            self.band(rows, pictures, sums, dbias, scratch);
        }
    }

    fn band(
        &self,
        rows: Range<usize>,
        pictures: Range<usize>,
        sums: &mut [f32],
        dbias: &mut [f64],
        scratch: &mut Scratch,
    ) {
        let (op, tiling) = (self.op, self.tiling);
        let (products, c) = (tiling.products(), op.c());
        let (tile_rows, tile_columns) = tiling.tiles((rows.len(), op.q()));
        let n_rows = tile_rows * tile_columns * pictures.len();
        let Scratch { a, b, c: values, .. } = scratch;
        let stride = n_rows * c.next_multiple_of(SLICE) + PAD;
        let values = values.take(products * stride);
        let input = Input { isa: self.isa, n: op.n(), first: 0, depth: c, geometry: self.geometry, tiling };
        let evaluated = input.eval(&self.x, rows.clone(), pictures.clone(), a);
        input.transform(&evaluated, rows.clone(), SLICE, values);

        let n_pixels = rows.len() * op.q();
        let x = (&*values, stride);
        let dy_len = (n_pixels + 1) * (pictures.len() * WIDTH + PAD);
        let (dy, transformed) = b.take(dy_len + products * (n_rows * WIDTH + PAD)).split_at_mut(dy_len);
        for (panel, sums) in sums.chunks_exact_mut(products * c * WIDTH).enumerate() {
            let channels = panel * WIDTH..((panel + 1) * WIDTH).min(op.k());
            let width = if channels.len() <= HALF { HALF } else { WIDTH };
            let len = pictures.len() * width;
            // Evaluated, and a pixel of zeros after it.
            let patch = Patch {
                n: op.n(),
                pixels: rows.start * op.q()..rows.end * op.q(),
                pictures: pictures.clone(),
                channels: channels.clone(),
            };
            let dy = &mut dy[..(n_pixels + 1) * (len + PAD)];
            patch.eval(self.isa, &self.dy, dy, width, len + PAD);
            dy[n_pixels * (len + PAD)..].fill(0.0);
            if self.with_bias {
                for pixel in dy.chunks_exact(len + PAD).take(n_pixels) {
                    sums::columns(self.isa, &pixel[..len], width, &mut dbias[channels.clone()]);
                }
            }
            self.transform_gradient(rows.len(), (pictures.len(), width), dy, transformed);
            self.multiply(n_rows, x, transformed, width, sums);
        }
    }

    /// `sums[xi] += x[xi]ᵀ · dy[xi]`, for a panel of kernels.
    fn multiply(
        &self,
        n_rows: usize,
        (x, stride): (&[f32], usize),
        dy: &[f32],
        width: usize,
        sums: &mut [f32],
    ) {
        let c = self.op.c();
        for (xi, sums) in sums.chunks_exact_mut(c * WIDTH).enumerate() {
            let dy = &dy[xi * (n_rows * WIDTH + PAD)..][..n_rows * WIDTH];
            for (slice, sums) in sums.chunks_mut(SLICE * WIDTH).enumerate() {
                let x = &x[xi * stride + slice * SLICE * n_rows..][..SLICE * n_rows];
                let a = Left { data: x, row: 1, step: SLICE };
                let rows = sums.len() / WIDTH;
                let tile = Tile { data: sums, stride: WIDTH, rows, width };
                product_of_rows(self.isa, a, dy, n_rows, tile, true);
            }
        }
    }

    /// `n · n × tiles × pictures × 32` from `pixels × pictures × width`.
    fn transform_gradient(
        &self,
        rows: usize,
        (n_pictures, width): (usize, usize),
        dy: &[f32],
        out: &mut [f32],
    ) {
        let (m, columns, len) = (self.tiling.m(), self.op.q(), n_pictures * width);
        let (tile_rows, tile_columns) = self.tiling.tiles((rows, columns));
        let (zero, n_tiles) = (rows * columns * (len + PAD), tile_rows * tile_columns);
        let extent = match width {
            WIDTH => Extent::line(len),
            _ => Extent { rows: n_pictures, width, src: width, dst: WIDTH },
        };
        let stride = n_tiles * n_pictures * WIDTH + PAD;
        for tile in 0..n_tiles {
            let (p, q) = (tile / tile_columns * m, tile % tile_columns * m);
            let mut from = [zero; MOST * MOST];
            for i in 0..m.min(rows - p) {
                for j in 0..m.min(columns - q) {
                    from[i * m + j] = ((p + i) * columns + q + j) * (len + PAD);
                }
            }
            let out = &mut out[tile * n_pictures * WIDTH..];
            transform::<GRADIENT>(self.isa, self.tiling.n, dy, &from, extent, out, stride);
        }
    }
}

/// Adds up what the chunks left, in their order, and transforms it to the gradient of nine taps, in panels.
pub(crate) fn finish(
    threads: &Threads,
    isa: Isa,
    tiling: Tiling,
    depth: usize,
    chunks: &mut [f32],
    sums_len: usize,
    panels: &mut [f32],
) {
    let (products, len) = (tiling.products(), depth * WIDTH);
    let (first, others) = chunks.split_at_mut(sums_len);
    let others = &*others;
    let panels = first.chunks_exact_mut(products * len).zip(panels.chunks_exact_mut(9 * len));
    threads.run(panels.enumerate(), |(i, (sums, panel)), _| {
        for chunk in others.chunks_exact(sums_len) {
            load::add(isa, sums, &chunk[i * products * len..][..products * len]);
        }
        let from: [usize; MOST * MOST] = std::array::from_fn(|xi| xi * len);
        transform::<FILTER_GRADIENT>(isa, tiling.n, sums, &from[..products], Extent::line(len), panel, len);
    });
}
