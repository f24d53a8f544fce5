// Convolution, gradient of the kernels: kernels × (tap, channel) over output pixels,
// cut into parts that a second kernel adds in their order.
// In f32 on the ordinary units, for every shape: the way that always works, and what the faster ways are compared with.
// Layout: activations n × h × w × c, weights k × r × s × c. A group is a matrix product of its own (blockIdx.z).
#include "types.cuh"
#include "source.cuh"
#include "reduce.cuh"
#include "conv_shape.cuh"
#include "gemm.cuh"

struct ConvBackwardWeightArgs {
    Source x;
    GradSource dy;
    float* to; // dw, or [split][k][taps · channels] of partial results
    ConvShape shape;
    u32 splits, pixels_per_split;
    u32 accumulate, unused; // accumulate: only without a second stage
};

template <class T, int N> struct WeightLeft {
    enum { ALONG = false };
    GradReader<T, N> dy;
    const GradSource& source;
    const ConvShape& v;
    u32 group, row, end;

    __device__ __forceinline__ WeightLeft(const GradSource& source, const ConvShape& v, u32 row, u32 group, u32 end)
        : dy(source, row < v.group_k ? group * v.group_k + row : 0, v.k), source(source), v(v), group(group), row(row), end(end) {}

    __device__ __forceinline__ void fetch(u32 pixel, float (&out)[4]) const {
        zeros(out);
        if (pixel >= end) return;
        const u64 at = u64(pixel) * v.k + group * v.group_k + row;
        if constexpr (N == 4) {
            if (row < v.group_k) dy.read(at, out);
        } else {
            UNROLL for (u32 i = 0; i < 4; i++) {
                if (row + i >= v.group_k) continue;
                float one[1];
                GradReader<T, 1>(source, group * v.group_k + row + i, v.k).read(at + i, one);
                out[i] = one[0];
            }
        }
    }
};

template <class T, int N> struct WeightRight {
    enum { ALONG = false };
    const Source& source;
    const ConvShape& v;
    u32 group, column, end;

    __device__ __forceinline__ WeightRight(const Source& source, const ConvShape& v, u32 column, u32 group, u32 end)
        : source(source), v(v), group(group), column(column), end(end) {}

    __device__ __forceinline__ void fetch(u32 pixel, float (&out)[4]) const {
        zeros(out);
        if (pixel >= end) return;
        const u32 q = pixel % v.q, rest = pixel / v.q, p = rest % v.p;
        const u64 image = u64(rest / v.p) * v.h * v.w;
        UNROLL for (int part = 0; part < 4; part += N) {
            const u32 tap = (column + part) / v.group_c, channel = group * v.group_c + (column + part) % v.group_c;
            const int ih = int(p * v.stride + tap / v.s) - int(v.top), iw = int(q * v.stride + tap % v.s) - int(v.left);
            if (tap < v.r * v.s && ih >= 0 && ih < int(v.h) && iw >= 0 && iw < int(v.w)) {
                float some[N];
                Reader<T, N>(source, channel, v.c).read((image + u64(ih) * v.w + iw) * v.c + channel, some);
                UNROLL for (int i = 0; i < N; i++) out[part + i] = some[i];
            }
        }
    }
};

template <class T, int NK, int NC> __device__ __forceinline__ void conv_backward_weight_tile(const ConvBackwardWeightArgs& args) {
    const ConvShape& v = args.shape;
    const u32 group = blockIdx.z / args.splits, split = blockIdx.z % args.splits;
    const u32 pixels = v.n * v.p * v.q, length = v.r * v.s * v.group_c;
    const u32 begin = split * args.pixels_per_split, end = min(pixels, begin + args.pixels_per_split);
    WeightLeft<T, NK> left(args.dy, v, blockIdx.x * GEMM_ROWS + Quarter<false>::line(), group, end);
    WeightRight<T, NC> right(args.x, v, blockIdx.y * GEMM_COLUMNS + Quarter<false>::line(), group, end);
    float acc[4][4];
    gemm(left, right, begin, end, acc);
    const u32 row = blockIdx.x * GEMM_ROWS + gemm_row(), column = blockIdx.y * GEMM_COLUMNS + gemm_column();
    UNROLL for (u32 i = 0; i < 4; i++) {
        if (row + i >= v.group_k) continue;
        float* const to = args.to + (u64(split) * v.k + group * v.group_k + row + i) * length + column;
        UNROLL for (u32 j = 0; j < 4; j++)
            if (column + j < length) to[j] = args.accumulate ? to[j] + acc[i][j] : acc[i][j];
    }
}

template <class T> __device__ __forceinline__ void conv_backward_weight(const ConvBackwardWeightArgs& args) {
    const bool k4 = args.shape.group_k % 4 == 0, c4 = args.shape.group_c % 4 == 0;
    if (k4 && c4) conv_backward_weight_tile<T, 4, 4>(args);
    else if (k4) conv_backward_weight_tile<T, 4, 1>(args);
    else conv_backward_weight_tile<T, 1, 1>(args);
}
INSTANTIATE(conv_backward_weight, conv_backward_weight, ConvBackwardWeightArgs, GEMM_THREADS)

struct AddSplitsArgs {
    const float* partials; // [split][count]
    float* to;
    u64 count;
    u32 splits, accumulate;
};

// The second stage: parts in their order.
KERNEL(add_splits, AddSplitsArgs, 256) {
    const u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= args.count) return;
    float sum = 0.0f;
    for (u32 split = 0; split < args.splits; split++) sum += args.partials[u64(split) * args.count + i];
    args.to[i] = args.accumulate ? args.to[i] + sum : sum;
}
