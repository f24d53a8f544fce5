// Convolutions in f32 arithmetic on the ordinary units, as implicit matrix products: the way that always works, and what the
// faster ways are compared with.
//
// Forward: pixels × kernels over (tap, channel). Backward-data: input pixels × channels over (tap, kernel), the pixels sorted by
// their position within a stride, so that every tap that is visited hits an output. Backward-weight: kernels × (tap, channel) over
// output pixels, cut into parts that a second kernel adds in their order.
// Layout: activations n × h × w × c, weights k × r × s × c. A group is a matrix product of its own (blockIdx.z).
#include "types.cuh"
#include "source.cuh"
#include "reduce.cuh"
#include "conv_shape.cuh"
#include "gemm.cuh"

__device__ __forceinline__ void zeros(float (&out)[4]) {
    UNROLL for (int i = 0; i < 4; i++) out[i] = 0.0f;
}

// ---- forward --------------------------------------------------------------------------------------------------------------

struct ConvForwardArgs {
    Source x;
    const float* w;
    const float* bias; // null: none
    void* y;
    float* partials; // null: no statistics
    ConvShape shape;
};

// Rows: output pixels. Depth: tap by tap, the channels of the group.
template <class T, bool VECTOR> struct ForwardLeft {
    enum { ALONG = true };
    const Source& x;
    const ConvShape& v;
    u32 group;
    u64 image;
    int top, left;
    bool inside;

    __device__ __forceinline__ ForwardLeft(const Source& x, const ConvShape& v, u32 row, u32 group)
        : x(x), v(v), group(group), inside(row < v.n * v.p * v.q) {
        const u32 q = row % v.q, rest = row / v.q, p = rest % v.p;
        image = u64(rest / v.p) * v.h * v.w;
        top = int(p * v.stride) - int(v.top);
        left = int(q * v.stride) - int(v.left);
    }

    template <int N> __device__ __forceinline__ void at(u32 depth, float (&out)[N]) const {
        UNROLL for (int i = 0; i < N; i++) out[i] = 0.0f;
        const u32 tap = depth / v.group_c, channel = group * v.group_c + depth % v.group_c;
        const int ih = top + int(tap / v.s), iw = left + int(tap % v.s);
        if (inside && tap < v.r * v.s && ih >= 0 && ih < int(v.h) && iw >= 0 && iw < int(v.w))
            Reader<T, N>(x, channel, v.c).read((image + u64(ih) * v.w + iw) * v.c + channel, out);
    }

    __device__ __forceinline__ void fetch(u32 depth, float (&out)[4]) const {
        if (VECTOR) {
            at<4>(depth, out);
        } else {
            UNROLL for (int i = 0; i < 4; i++) {
                float one[1];
                at<1>(depth + i, one);
                out[i] = one[0];
            }
        }
    }
};

// Columns: kernels of the group; a kernel is one line of its taps and channels.
template <bool VECTOR> struct ForwardRight {
    enum { ALONG = true };
    const float* line;
    u32 length;
    bool inside;

    __device__ __forceinline__ ForwardRight(const float* w, const ConvShape& v, u32 column, u32 group)
        : length(v.r * v.s * v.group_c), inside(column < v.group_k) {
        line = w + u64(group * v.group_k + column) * length;
    }

    __device__ __forceinline__ void fetch(u32 depth, float (&out)[4]) const {
        zeros(out);
        if (!inside) return;
        if (VECTOR) {
            if (depth < length) load<4>(line + depth, out);
        } else {
            UNROLL for (int i = 0; i < 4; i++)
                if (depth + i < length) out[i] = line[depth + i];
        }
    }
};

template <class T, bool VECTOR> __device__ __forceinline__ void conv_forward_tile(const ConvForwardArgs& args) {
    const ConvShape& v = args.shape;
    const u32 rows = v.n * v.p * v.q, first_row = blockIdx.x * GEMM_ROWS, first_column = blockIdx.y * GEMM_COLUMNS;
    const u32 group = blockIdx.z;
    ForwardLeft<T, VECTOR> left(args.x, v, first_row + Quarter<true>::line(), group);
    ForwardRight<VECTOR> right(args.w, v, first_column + Quarter<true>::line(), group);
    float acc[4][4];
    gemm(left, right, 0, v.r * v.s * v.group_c, acc);

    const u32 row = first_row + gemm_row(), column = first_column + gemm_column(), k = group * v.group_k + column;
    const bool whole = v.group_k % 4 == 0; // then four columns are inside or outside together, and aligned
    if (args.bias) {
        UNROLL for (int j = 0; j < 4; j++) {
            const float bias = column + j < v.group_k ? args.bias[k + j] : 0.0f;
            UNROLL for (int i = 0; i < 4; i++) acc[i][j] += bias;
        }
    }
    UNROLL for (int i = 0; i < 4; i++) {
        if (row + i >= rows) continue;
        T* const y = static_cast<T*>(args.y) + u64(row + i) * v.k + k;
        if (whole) {
            if (column < v.group_k) store<4>(y, acc[i]);
        } else {
            UNROLL for (int j = 0; j < 4; j++) {
                float one[1] = {acc[i][j]};
                if (column + j < v.group_k) store<1>(y + j, one);
                acc[i][j] = one[0];
            }
        }
    }

    if (!args.partials) return;
    // Statistics of what was stored: four rows in registers, then the sixteen quarters of the tile.
    __shared__ Moments all[16][GEMM_COLUMNS];
    const u32 quarter = threadIdx.x / 16;
    UNROLL for (int j = 0; j < 4; j++) {
        Moments m;
        m.n = float(row >= rows ? 0 : min(4u, rows - row));
        float sum = 0.0f;
        UNROLL for (int i = 0; i < 4; i++) sum += row + i < rows ? acc[i][j] : 0.0f;
        m.mean = m.n > 0.0f ? sum / m.n : 0.0f;
        m.m2 = 0.0f;
        UNROLL for (int i = 0; i < 4; i++) {
            const float distance = row + i < rows ? acc[i][j] - m.mean : 0.0f;
            m.m2 = fmaf(distance, distance, m.m2);
        }
        all[quarter][gemm_column() + j] = m;
    }
    __syncthreads();
    for (u32 half = 8; half > 0; half /= 2) {
        if (quarter < half) {
            UNROLL for (int j = 0; j < 4; j++) {
                Moments& mine = all[quarter][gemm_column() + j];
                mine = merge(mine, all[quarter + half][gemm_column() + j]);
            }
        }
        __syncthreads();
    }
    const u32 mine = threadIdx.x;
    if (mine < GEMM_COLUMNS && first_column + mine < v.group_k)
        put_moments(args.partials, blockIdx.x, group * v.group_k + first_column + mine, v.k, all[0][mine]);
}

template <class T> __device__ __forceinline__ void conv_forward(const ConvForwardArgs& args) {
    if (args.shape.group_c % 4 == 0) conv_forward_tile<T, true>(args);
    else conv_forward_tile<T, false>(args);
}
INSTANTIATE(conv_forward, conv_forward, ConvForwardArgs, GEMM_THREADS)

// ---- backward-data --------------------------------------------------------------------------------------------------------

struct ConvBackwardDataArgs {
    GradSource dy;
    const float* w;
    GradOut dx;
    ConvShape shape;
};

// The input pixels at one position within a stride, and the taps that reach them.
struct Phase {
    u32 row, column; // the position
    u32 rows, columns; // how many there are along each axis
    u32 tap_r, tap_s; // the first tap
    u32 taps_r, taps_s; // how many

    static __device__ __forceinline__ u32 count(u32 first, u32 extent, u32 stride) {
        return first < extent ? (extent - first + stride - 1) / stride : 0;
    }

    __device__ __forceinline__ Phase(const ConvShape& v, u32 number) {
        row = number / v.stride;
        column = number % v.stride;
        rows = count(row, v.h, v.stride);
        columns = count(column, v.w, v.stride);
        tap_r = (row + v.top) % v.stride;
        tap_s = (column + v.left) % v.stride;
        taps_r = count(tap_r, v.r, v.stride);
        taps_s = count(tap_s, v.s, v.stride);
    }
};

// Which input pixel a row of a phase is.
struct InputPixel {
    u32 image, h, w;
    bool inside;

    __device__ __forceinline__ InputPixel(const ConvShape& v, const Phase& phase, u32 row) {
        inside = row < v.n * phase.rows * phase.columns;
        const u32 columns = max(phase.columns, 1u), rows = max(phase.rows, 1u);
        w = phase.column + row % columns * v.stride;
        h = phase.row + row / columns % rows * v.stride;
        image = row / columns / rows;
    }
    __device__ __forceinline__ u64 element(const ConvShape& v) const { return ((u64(image) * v.h + h) * v.w + w) * v.c; }
};

template <class T, bool VECTOR> struct DataLeft {
    enum { ALONG = true };
    const GradSource& dy;
    const ConvShape& v;
    const Phase& phase;
    u32 group;
    u64 image;
    int p, q;
    bool inside;

    __device__ __forceinline__ DataLeft(const GradSource& dy, const ConvShape& v, const Phase& phase, u32 row, u32 group)
        : dy(dy), v(v), phase(phase), group(group) {
        const InputPixel pixel(v, phase, row);
        inside = pixel.inside;
        image = u64(pixel.image) * v.p * v.q;
        // Exact: the first tap makes both differences multiples of the stride. They may be negative.
        p = (int(pixel.h + v.top) - int(phase.tap_r)) / int(v.stride);
        q = (int(pixel.w + v.left) - int(phase.tap_s)) / int(v.stride);
    }

    template <int N> __device__ __forceinline__ void at(u32 depth, float (&out)[N]) const {
        UNROLL for (int i = 0; i < N; i++) out[i] = 0.0f;
        const u32 tap = depth / v.group_k, k = group * v.group_k + depth % v.group_k;
        if (!inside || tap >= phase.taps_r * phase.taps_s) return;
        const int oh = p - int(tap / phase.taps_s), ow = q - int(tap % phase.taps_s);
        if (oh >= 0 && oh < int(v.p) && ow >= 0 && ow < int(v.q))
            GradReader<T, N>(dy, k, v.k).read((image + u64(oh) * v.q + ow) * v.k + k, out);
    }

    __device__ __forceinline__ void fetch(u32 depth, float (&out)[4]) const {
        if (VECTOR) {
            at<4>(depth, out);
        } else {
            UNROLL for (int i = 0; i < 4; i++) {
                float one[1];
                at<1>(depth + i, one);
                out[i] = one[0];
            }
        }
    }
};

struct DataRight {
    enum { ALONG = false };
    const float* w;
    const ConvShape& v;
    const Phase& phase;
    u32 group, column;

    __device__ __forceinline__ DataRight(const float* w, const ConvShape& v, const Phase& phase, u32 column, u32 group)
        : w(w), v(v), phase(phase), group(group), column(column) {}

    __device__ __forceinline__ void fetch(u32 depth, float (&out)[4]) const {
        zeros(out);
        const u32 tap = depth / v.group_k, k = group * v.group_k + depth % v.group_k;
        if (tap >= phase.taps_r * phase.taps_s) return;
        const u32 r = phase.tap_r + tap / phase.taps_s * v.stride, s = phase.tap_s + tap % phase.taps_s * v.stride;
        const float* line = w + ((u64(k) * v.r + r) * v.s + s) * v.group_c + column;
        if (v.group_c % 4 == 0) {
            if (column < v.group_c) load<4>(line, out);
        } else {
            UNROLL for (int i = 0; i < 4; i++)
                if (column + i < v.group_c) out[i] = line[i];
        }
    }
};

// Ends a tile of backward-data: N columns at a time go through a writer; its sums go to the tile's partial results.
template <class T, int N>
__device__ __forceinline__ void put_gradients(const ConvBackwardDataArgs& args, const Phase& phase, u32 tile, u32 group,
                                              float (&acc)[4][4]) {
    __shared__ float2 all[16][GEMM_COLUMNS];
    const ConvShape& v = args.shape;
    const u32 row = blockIdx.x * GEMM_ROWS + gemm_row(), first_column = blockIdx.y * GEMM_COLUMNS;
    const u32 column = first_column + gemm_column(), quarter = threadIdx.x / 16;
    float sum[2][4], product[2][4];
    UNROLL for (int part = 0; part < 4; part += N) {
        const bool inside = column + part < v.group_c;
        const u32 channel = inside ? group * v.group_c + column + part : 0;
        GradWriter<T, N> out(args.dx, channel, v.c);
        UNROLL for (int i = 0; i < 4; i++) {
            const InputPixel pixel(v, phase, row + i);
            if (!inside || !pixel.inside) continue;
            float g[N];
            UNROLL for (int j = 0; j < N; j++) g[j] = acc[i][part + j];
            out.write(pixel.element(v) + channel, g);
        }
        UNROLL for (int s = 0; s < 2; s++)
            UNROLL for (int j = 0; j < N; j++) sum[s][part + j] = out.sum[s][j], product[s][part + j] = out.product[s][j];
    }
    UNROLL for (int s = 0; s < 2; s++) {
        if (!args.dx.sums[s].y) continue;
        UNROLL for (int j = 0; j < 4; j++) {
            float2 mine;
            mine.x = sum[s][j], mine.y = product[s][j];
            all[quarter][gemm_column() + j] = mine;
        }
        __syncthreads();
        if (threadIdx.x < GEMM_COLUMNS && first_column + threadIdx.x < v.group_c) {
            float total = 0.0f, total_product = 0.0f;
            for (int i = 0; i < 16; i++) {
                total += all[i][threadIdx.x].x;
                total_product += all[i][threadIdx.x].y;
            }
            put_sums(args.dx.sums[s].partials, tile, group * v.group_c + first_column + threadIdx.x, v.c, total, total_product);
        }
        __syncthreads();
    }
}

template <class T, bool VECTOR> __device__ __forceinline__ void conv_backward_data_tile(const ConvBackwardDataArgs& args) {
    const ConvShape& v = args.shape;
    const u32 phases = v.stride * v.stride, group = blockIdx.z / phases, number = blockIdx.z % phases;
    const Phase phase(v, number);
    DataLeft<T, VECTOR> left(args.dy, v, phase, blockIdx.x * GEMM_ROWS + Quarter<true>::line(), group);
    DataRight right(args.w, v, phase, blockIdx.y * GEMM_COLUMNS + Quarter<false>::line(), group);
    float acc[4][4];
    gemm(left, right, 0, phase.taps_r * phase.taps_s * v.group_k, acc);
    const u32 tile = number * gridDim.x + blockIdx.x;
    if (v.group_c % 4 == 0) put_gradients<T, 4>(args, phase, tile, group, acc);
    else put_gradients<T, 1>(args, phase, tile, group, acc);
}

template <class T> __device__ __forceinline__ void conv_backward_data(const ConvBackwardDataArgs& args) {
    if (args.shape.group_k % 4 == 0) conv_backward_data_tile<T, true>(args);
    else conv_backward_data_tile<T, false>(args);
}
INSTANTIATE(conv_backward_data, conv_backward_data, ConvBackwardDataArgs, GEMM_THREADS)

// ---- backward-weight ------------------------------------------------------------------------------------------------------

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
