// The shape of a convolution, as every kernel of one takes it. Its Rust twin is in src/ops/conv/mod.rs.
#pragma once
#include "types.cuh"

struct ConvShape {
    u32 n, h, w, c;
    u32 k, r, s, p, q;
    u32 stride, top, left;
    u32 groups, group_c, group_k; // channels and kernels of one group
    u32 unused;
};
