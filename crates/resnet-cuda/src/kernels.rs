//! The kernel sources, compiled into the program as text.
//!
//! A unit is one `.cu` file: what is compiled at a time. Headers are found by their names, as NVRTC wants them.
//! How a kernel is written is said in `kernels/include/types.cuh`.

use crate::compile::Unit;

/// Every header: its name in `#include "…"`, and its text.
pub const HEADERS: [(&str, &str); 6] = [
    ("types.cuh", include_str!("../kernels/include/types.cuh")),
    ("source.cuh", include_str!("../kernels/include/source.cuh")),
    ("reduce.cuh", include_str!("../kernels/include/reduce.cuh")),
    ("columns.cuh", include_str!("../kernels/include/columns.cuh")),
    ("gemm.cuh", include_str!("../kernels/include/gemm.cuh")),
    ("conv_shape.cuh", include_str!("../kernels/include/conv_shape.cuh")),
];

/// Every unit that a backend loads when it starts.
pub const UNITS: [Unit; 12] = [
    unit("ingest.cu", include_str!("../kernels/ingest.cu")),
    unit("gather.cu", include_str!("../kernels/gather.cu")),
    unit("combine.cu", include_str!("../kernels/combine.cu")),
    unit("pool.cu", include_str!("../kernels/pool.cu")),
    unit("norm.cu", include_str!("../kernels/norm.cu")),
    unit("loss.cu", include_str!("../kernels/loss.cu")),
    unit("loss_scale.cu", include_str!("../kernels/loss_scale.cu")),
    unit("update.cu", include_str!("../kernels/update.cu")),
    unit("conv_forward.cu", include_str!("../kernels/conv_forward.cu")),
    unit("conv_backward_data.cu", include_str!("../kernels/conv_backward_data.cu")),
    unit("conv_backward_weight.cu", include_str!("../kernels/conv_backward_weight.cu")),
    unit("bias.cu", include_str!("../kernels/bias.cu")),
];

const fn unit(name: &'static str, text: &'static str) -> Unit {
    Unit { name, text, headers: &HEADERS, macros: Vec::new() }
}
