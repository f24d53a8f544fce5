//! Convolutions: the three directions, on ordinary units, on tensor cores or by cuDNN, as [`choice`](crate::choice) says.

pub(crate) mod backward_data;
pub(crate) mod backward_weight;
mod cudnn;
pub(crate) mod forward;
mod tensor;

use resnet_core::op::Conv2d;

use crate::engine::u32_of;

crate::args! {
    /// Twin of `ConvShape` in conv_shape.cuh.
    pub(crate) struct ConvShape {
        n: u32,
        h: u32,
        w: u32,
        c: u32,
        k: u32,
        r: u32,
        s: u32,
        p: u32,
        q: u32,
        stride: u32,
        top: u32,
        left: u32,
        groups: u32,
        group_c: u32,
        group_k: u32,
        unused: u32,
    }
}

impl From<&Conv2d> for ConvShape {
    fn from(op: &Conv2d) -> Self {
        ConvShape {
            n: u32_of(op.n()),
            h: u32_of(op.h()),
            w: u32_of(op.w()),
            c: u32_of(op.c()),
            k: u32_of(op.k()),
            r: u32_of(op.r()),
            s: u32_of(op.s()),
            p: u32_of(op.p()),
            q: u32_of(op.q()),
            stride: u32_of(op.stride()),
            top: u32_of(op.padding().top),
            left: u32_of(op.padding().left),
            groups: u32_of(op.groups()),
            group_c: u32_of(op.c() / op.groups()),
            group_k: u32_of(op.k() / op.groups()),
            unused: 0,
        }
    }
}

/// GEMM_ROWS and GEMM_COLUMNS, and GEMM_THREADS, of gemm.cuh.
const TILE: usize = 64;
const THREADS: u32 = 256;
