// Convolution, gradient of the input: input pixels × channels over (tap, kernel).
// The pixels are sorted by their position within a stride, so that every tap that is visited hits an output.
// In f32 on the ordinary units, for every shape: the way that always works, and what the faster ways are compared with.
// Layout: activations n × h × w × c, weights k × r × s × c. A group is a matrix product of its own (blockIdx.z).
#include "types.cuh"
#include "source.cuh"
#include "reduce.cuh"
#include "conv_shape.cuh"
#include "gemm.cuh"

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

    __device__ __forceinline__ void fetch(u32 depth, float (&out)[4]) const { fetch_steps<VECTOR>(*this, depth, out); }
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
