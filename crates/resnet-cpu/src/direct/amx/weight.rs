//! Backward-weight by tiles: for every tap, the sum over pixels and pictures of input times gradient.
//!
//! A task takes some blocks of pictures, as in [`direct::weight`](crate::direct::weight). Band by band of output rows it
//! evaluates and splits input and gradient, 32 pictures of 32 channels at a pixel at a time: the input turned, so that its
//! channels are rows, `[pixel][pictures / 32][channels / 32][piece][channel][picture]`, and the gradient with pictures in
//! pairs, `[pixel][pictures / 32][channels / 32][piece][picture / 2][channel][picture % 2]`.
//! Then 32 × 32 weights of a tap at a time are summed over all pixels of the band whose window holds the tap.

use std::ops::Range;

use resnet_core::op::Conv2d;

use crate::direct::cut::Cut;
use crate::direct::geometry::Geometry;
use crate::element::Element;
use crate::kernels::amx::{Amx, BLOCK, Left, PIECE, product};
use crate::kernels::product::{Tap, Tile, WIDTH};
use crate::kernels::transpose::transpose;
use crate::kernels::{Isa, sums};
use crate::load::{GradLoad, Load, Rows};
use crate::threads::{Scratch, ScratchLens};

/// Bytes of split input and gradient that a task keeps in its cache.
const BUDGET: usize = 1024 * 1024;

/// How the work is cut.
pub(crate) fn cut(amx: Amx, op: &Conv2d, geometry: &Geometry) -> Cut {
    let piece_floats = amx.products().pieces() * PIECE * size_of::<u16>() / size_of::<f32>();
    // Floats of input and gradient of one block of pictures.
    let floats = |band: usize| {
        let reach = |o: usize| geometry.rows.reach(o..(o + band).min(op.p())).len();
        let rows = (0..op.p()).step_by(band).map(reach).max().unwrap_or(0);
        let input = rows * op.w() * op.c().div_ceil(BLOCK) * piece_floats;
        (input, band * op.q() * op.k().div_ceil(WIDTH) * piece_floats)
    };
    let budget = BUDGET / size_of::<f32>();
    let whole = floats(op.p());
    let wanted = (budget / (whole.0 + whole.1)).min(op.n().div_ceil(8 * BLOCK)).max(1);
    let block = (wanted * BLOCK).min(op.n());
    let blocks = block.div_ceil(BLOCK);
    let mut band = op.p();
    while band > 1 && (floats(band).0 + floats(band).1) * blocks > budget {
        band = band.div_ceil(2);
    }
    let (input, gradient) = floats(band);
    let scratch = ScratchLens {
        a: input * blocks,
        b: gradient * blocks,
        c: 2 * BLOCK * BLOCK,
        taps: band * op.q() * blocks,
        ..ScratchLens::default()
    };
    Cut::new(op.n(), block, band, op.w_desc().len(), scratch)
}

/// Backward-weight of one op without groups.
pub(crate) struct WeightPass<'a, E> {
    pub(crate) isa: Isa,
    pub(crate) amx: Amx,
    pub(crate) op: &'a Conv2d,
    pub(crate) geometry: &'a Geometry,
    pub(crate) cut: Cut,
    pub(crate) x: Load<'a, E>,
    pub(crate) dy: GradLoad<'a, E>,
    pub(crate) with_bias: bool,
}

impl<E: Element> WeightPass<'_, E> {
    /// Sets `dw`, in panels, and `dbias` to the sums over one chunk of the batch.
    pub(crate) fn chunk(&self, chunk: usize, dw: &mut [f32], dbias: &mut [f64], scratch: &mut Scratch) {
        dw.fill(0.0);
        dbias.fill(0.0);
        for (rows, pictures) in self.cut.bands(self.op, chunk) {
            self.band(rows, pictures, dw, dbias, scratch);
        }
    }

    fn band(
        &self,
        rows: Range<usize>,
        pictures: Range<usize>,
        dw: &mut [f32],
        dbias: &mut [f64],
        scratch: &mut Scratch,
    ) {
        let (op, g) = (self.op, self.geometry);
        let step = self.amx.products().pieces() * PIECE;
        let (c_blocks, k_blocks) = (op.c().div_ceil(BLOCK), op.k().div_ceil(WIDTH));
        let v_blocks = pictures.len().div_ceil(BLOCK);
        let Scratch { a, b, c, taps, .. } = scratch;
        let (values, turned) = c.take(2 * BLOCK * BLOCK).split_at_mut(BLOCK * BLOCK);

        let pixels = rows.start * op.q()..rows.end * op.q();
        let dy = b.take_as::<u16>(pixels.len() * v_blocks * k_blocks * step);
        let mut parts = dy.chunks_exact_mut(step);
        each(pixels, &pictures, op.k(), |pixel, pictures, channels| {
            let Some(out) = parts.next() else { return };
            let values = self.values(&self.dy, pixel, pictures, channels.clone(), values);
            if self.with_bias {
                sums::columns(self.isa, values, BLOCK, &mut dbias[channels]);
            }
            self.amx.split_pairs(values, out);
        });

        let reach = g.rows.reach(rows.clone());
        let pixels = reach.start * op.w()..reach.end * op.w();
        let x = a.take_as::<u16>(pixels.len() * v_blocks * c_blocks * step);
        let mut parts = x.chunks_exact_mut(step);
        each(pixels, &pictures, op.c(), |pixel, pictures, channels| {
            let Some(out) = parts.next() else { return };
            let n = pictures.len();
            let values = self.values(&self.x, pixel, pictures, channels, values);
            if n < BLOCK {
                turned.fill(0.0);
            }
            transpose(self.isa, values, BLOCK, (n, BLOCK), turned, BLOCK);
            self.amx.split(turned, out, PIECE);
        });

        let entered = self.amx.enter();
        for tap in 0..op.r() * op.s() {
            let (r, s) = (tap / op.s(), tap % op.s());
            taps.clear();
            for row in rows.clone() {
                let Some(&(y, _)) = g.rows.at(row).iter().find(|p| p.1 == r) else { continue };
                for column in 0..op.q() {
                    let Some(&(at, _)) = g.columns.at(column).iter().find(|p| p.1 == s) else { continue };
                    let from = ((y - reach.start) * op.w() + at) * v_blocks;
                    let to = ((row - rows.start) * op.q() + column) * v_blocks;
                    taps.extend(
                        (0..v_blocks)
                            .map(|i| Tap { a: (from + i) * c_blocks * step, b: (to + i) * k_blocks * step }),
                    );
                }
            }
            if taps.is_empty() {
                continue; // the whole tap is padding
            }
            for panel in 0..k_blocks {
                let width = WIDTH.min(op.k() - panel * WIDTH);
                let out = &mut dw[(panel * op.r() * op.s() + tap) * op.c() * WIDTH..][..op.c() * WIDTH];
                for (block, data) in out.chunks_mut(BLOCK * WIDTH).enumerate() {
                    let rows = data.len() / WIDTH;
                    let a = Left { data: &x[block * step..], row: BLOCK, piece: PIECE };
                    let tile = Tile { data, stride: WIDTH, rows, width };
                    product(&entered, a, &dy[panel * step..], taps, tile, true);
                }
            }
        }
    }

    /// Some pictures and channels at a pixel, in rows of a block.
    fn values<'v>(
        &self,
        rows: &impl Rows,
        pixel: usize,
        pictures: Range<usize>,
        channels: Range<usize>,
        out: &'v mut [f32],
    ) -> &'v [f32] {
        let out = &mut out[..pictures.len() * BLOCK];
        if channels.len() < BLOCK {
            out.fill(0.0);
        }
        let first = pixel * self.op.n();
        rows.eval(self.isa, first + pictures.start..first + pictures.end, channels, out, BLOCK);
        out
    }
}

/// Every block of pictures and channels at every pixel, in the order in which they lie in an operand.
fn each(
    pixels: Range<usize>,
    pictures: &Range<usize>,
    channels: usize,
    mut visit: impl FnMut(usize, Range<usize>, Range<usize>),
) {
    for pixel in pixels {
        for first in pictures.clone().step_by(BLOCK) {
            for channel in (0..channels).step_by(BLOCK) {
                let some = first..(first + BLOCK).min(pictures.end);
                visit(pixel, some, channel..(channel + BLOCK).min(channels));
            }
        }
    }
}
