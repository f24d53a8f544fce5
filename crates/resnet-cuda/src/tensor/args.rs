//! What the kernels in `kernels/tensor` take. Addresses are u64, and 0 where there is nothing.

use resnet_core::op::Conv2d;

use super::Element;
use crate::args::map::TensorMap;
pub use crate::source::{GradOutArgs, GradSourceArgs, GradSumsArgs, SourceArgs};

crate::args! {
    /// Twin of `Gather` in `gather.cuh`.
    pub(crate) struct Gather {
        weights: u64,
        n: u32,
        image_h: u32,
        image_w: u32,
        channels: u32,
        out_h: u32,
        out_w: u32,
        columns: u32,
        window_r: u32,
        window_s: u32,
        stride: u32,
        top: u32,
        left: u32,
        backward: u32,
        row_tiles: u32,
        column_tiles: u32,
        unused: u32,
    }

    /// Twin in `forward.cuh`.
    pub(crate) struct ForwardArgs {
        g: Gather,
        x: u64,
        affine: u64,
        bias: u64,
        y: u64,
        partials: u64,
        relu: u32,
        unused: u32,
    }

    /// Twin in `backward_data.cuh`.
    pub(crate) struct BackwardDataArgs {
        g: Gather,
        dy: GradSourceArgs,
        dx: GradOutArgs,
    }

    /// Twin in `wgmma_forward.cu`.
    pub(crate) struct WgmmaForwardArgs {
        x: TensorMap,
        weights: TensorMap,
        f: ForwardArgs,
        unused: u64,
    }

    /// Twin in `wgmma_backward_data.cu`.
    pub(crate) struct WgmmaBackwardDataArgs {
        dz: TensorMap,
        y: TensorMap,
        weights: TensorMap,
        b: BackwardDataArgs,
        unused: [u64; 6],
    }

    /// Twin in `backward_weight.cuh`.
    pub(crate) struct BackwardWeightArgs {
        dy: GradSourceArgs,
        x: u64,
        affine: u64,
        parts: u64,
        pixels: u32,
        h: u32,
        w: u32,
        c: u32,
        p: u32,
        q: u32,
        k: u32,
        window_r: u32,
        window_s: u32,
        stride: u32,
        top: u32,
        left: u32,
        relu: u32,
        row_tiles: u32,
        column_tiles: u32,
        stages_per_share: u32,
    }

    /// Twin in `wgmma_backward_weight.cu`.
    pub(crate) struct WgmmaBackwardWeightArgs {
        dz: TensorMap,
        y: TensorMap,
        x: TensorMap,
        g: BackwardWeightArgs,
        unused: [u64; 2],
    }

    /// Twin in `prepare.cu`.
    pub(crate) struct PackArgs {
        w: u64,
        to: u64,
        k: u32,
        taps: u32,
        c: u32,
        padded: u32,
    }

    /// Twin in `prepare.cu`.
    pub(crate) struct StageSourceArgs {
        x: SourceArgs,
        to: u64,
        pixels: u32,
        c: u32,
        padded: u32,
        unused: u32,
    }

    /// Twin in `prepare.cu`.
    pub(crate) struct StageGradArgs {
        dy: GradSourceArgs,
        to: u64,
        pixels: u32,
        c: u32,
        padded: u32,
        unused: u32,
    }

    /// Twin in `prepare.cu`.
    pub(crate) struct FinishWeightArgs {
        parts: u64,
        dw: u64,
        n: u64,
        shares: u32,
        c: u32,
        padded: u32,
        accumulate: u32,
        part: u64,
    }

    /// Twin in `prepare.cu`.
    pub(crate) struct WidenWeightArgs {
        from: u64,
        dw: u64,
        n: u64,
        c: u32,
        padded: u32,
        accumulate: u32,
        unused: u32,
    }
}

impl Gather {
    /// An op forward, which reads `x`, or backward, which reads `dy`, in so many tiles of rows and columns.
    pub(super) fn new(
        op: &Conv2d,
        backward: bool,
        element: Element,
        weights: u64,
        (row_tiles, column_tiles): (usize, usize),
    ) -> Self {
        let (x, y) = ((op.h(), op.w(), op.c()), (op.p(), op.q(), op.k()));
        let (image, out) = if backward { (y, x) } else { (x, y) };
        Gather {
            weights,
            n: op.n() as u32,
            image_h: image.0 as u32,
            image_w: image.1 as u32,
            channels: element.padded(image.2) as u32,
            out_h: out.0 as u32,
            out_w: out.1 as u32,
            columns: out.2 as u32,
            window_r: op.r() as u32,
            window_s: op.s() as u32,
            stride: op.stride() as u32,
            top: op.padding().top as u32,
            left: op.padding().left as u32,
            backward: u32::from(backward),
            row_tiles: row_tiles as u32,
            column_tiles: column_tiles as u32,
            unused: 0,
        }
    }
}

impl SourceArgs {
    /// A tensor as it lies in memory.
    pub fn raw(raw: u64) -> Self {
        SourceArgs { raw, affine: 0, residual: 0, residual_affine: 0, relu: 0, unused: 0 }
    }
}

impl GradSourceArgs {
    /// A gradient as it lies in memory.
    pub fn raw(dz: u64) -> Self {
        GradSourceArgs { dz, coeffs: 0, y: 0 }
    }
}

impl GradOutArgs {
    /// The plain gradient.
    pub fn set(dx: u64) -> Self {
        let none = GradSumsArgs { y: 0, moments: 0, partials: 0 };
        GradOutArgs { dx, add: 0, mask: SourceArgs::raw(0), sums: [none; 2], accumulate: 0, unused: 0 }
    }
}
