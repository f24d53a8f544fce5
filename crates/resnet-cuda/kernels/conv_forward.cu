// Convolution, forward, as an implicit matrix product: output pixels × kernels over (tap, channel).
// In f32 on the ordinary units, for every shape: the way that always works, and what the faster ways are compared with.
// Layout: activations n × h × w × c, weights k × r × s × c. A group is a matrix product of its own (blockIdx.z).
#include "types.cuh"
#include "source.cuh"
#include "reduce.cuh"
#include "conv_shape.cuh"
#include "gemm.cuh"

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

    __device__ __forceinline__ void fetch(u32 depth, float (&out)[4]) const { fetch_steps<VECTOR>(*this, depth, out); }
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
