// Maximum and mean over sliding windows, forward and backward.
//
// Layout and threads as in combine.cu: a thread has N channels and walks down pixels, of the output forwards and of the input
// backwards. Backward gathers: each input pixel looks at the windows that hold it, in the order of their outputs, so nothing
// is added atomically.
#include "types.cuh"
#include "source.cuh"
#include "reduce.cuh"
#include "columns.cuh"

struct PoolShape {
    u32 n, h, w, c;
    u32 r, s, p, q;
    u32 stride, top, left;
    u32 zero_outside; // max: zeros around the image compete
};

// The index of an output whose maximum was a padding zero.
#define OUTSIDE 255

// Where the window of an output pixel begins.
struct Corner {
    u32 image;
    int row, column;

    __device__ __forceinline__ Corner(const PoolShape& v, u32 out) {
        const u32 q = out % v.q, rest = out / v.q;
        image = rest / v.p;
        row = int(rest % v.p * v.stride) - int(v.top);
        column = int(q * v.stride) - int(v.left);
    }
};

// The windows that hold an input pixel: outputs `first..last` along one axis.
struct Range {
    u32 first, last;

    __device__ __forceinline__ Range(u32 at, u32 before, u32 window, u32 stride, u32 outputs) {
        const u32 end = at + before;
        first = end + 1 > window ? (end - window) / stride + 1 : 0;
        if (end < window) first = 0;
        last = min(outputs, end / stride + 1);
    }
};

struct MaxPoolArgs {
    Source x;
    void* y;
    u8* index; // null: not wanted
    float* partials; // null: no statistics wanted
    PoolShape shape;
    u32 rows_per_tile, vector;
};

template <class T, int N> __device__ __forceinline__ void max_pool_columns(const MaxPoolArgs& args) {
    const PoolShape& v = args.shape;
    const Columns<N> at(v.n * v.p * v.q, v.c, args.rows_per_tile);
    PivotedSums<N> sums;
    if (at.inside) {
        const Reader<T, N> x(args.x, at.channel, v.c);
        for (u32 row = at.first; row < at.last; row += blockDim.y) {
            const Corner corner(v, row);
            float best[N];
            u32 winner[N];
            bool any = false;
            for (u32 r = 0; r < v.r; r++) {
                for (u32 s = 0; s < v.s; s++) {
                    const int ih = corner.row + int(r), iw = corner.column + int(s);
                    const bool inside = ih >= 0 && ih < int(v.h) && iw >= 0 && iw < int(v.w);
                    if (!inside && !v.zero_outside) continue;
                    float value[N];
                    if (inside) {
                        x.read(((u64(corner.image) * v.h + ih) * v.w + iw) * v.c + at.channel, value);
                    } else {
                        UNROLL for (int i = 0; i < N; i++) value[i] = 0.0f;
                    }
                    const u32 position = inside ? r * v.s + s : OUTSIDE;
                    UNROLL for (int i = 0; i < N; i++) {
                        // The first maximum wins, and a NaN wins over everything.
                        const bool wins = !any || value[i] > best[i] || (value[i] != value[i] && best[i] == best[i]);
                        best[i] = wins ? value[i] : best[i];
                        winner[i] = wins ? position : winner[i];
                    }
                    any = true;
                }
            }
            const u64 out = u64(row) * v.c + at.channel;
            store<N>(static_cast<T*>(args.y) + out, best);
            if (args.index) {
                UNROLL for (int i = 0; i < N; i++) args.index[out + i] = u8(winner[i]);
            }
            if (args.partials) sums.add(best);
        }
    }
    if (args.partials) at.put(args.partials, sums);
}

template <class T> __device__ __forceinline__ void max_pool(const MaxPoolArgs& args) {
    if (args.vector) max_pool_columns<T, Vector<T>::N>(args);
    else max_pool_columns<T, 1>(args);
}
INSTANTIATE(max_pool, max_pool, MaxPoolArgs, 256)

struct PoolBackwardArgs {
    GradSource dy;
    const u8* index; // null: average
    GradOut dx;
    PoolShape shape;
    u32 rows_per_tile, vector;
};

// Pixels of a window that lie inside the image, along one axis.
__device__ __forceinline__ u32 inside_of(u32 out, u32 stride, u32 before, u32 window, u32 extent) {
    const int first = int(out * stride) - int(before), last = first + int(window);
    return u32(min(last, int(extent)) - max(first, 0));
}

template <class T, int N, bool MAX> __device__ __forceinline__ void pool_backward_columns(const PoolBackwardArgs& args) {
    const PoolShape& v = args.shape;
    const Columns<N> at(v.n * v.h * v.w, v.c, args.rows_per_tile);
    const u32 channel = at.inside ? at.channel : 0;
    GradWriter<T, N> out(args.dx, channel, v.c);
    if (at.inside) {
        const GradReader<T, N> dy(args.dy, at.channel, v.c);
        for (u32 row = at.first; row < at.last; row += blockDim.y) {
            const u32 iw = row % v.w, rest = row / v.w, ih = rest % v.h, image = rest / v.h;
            const Range rows(ih, v.top, v.r, v.stride, v.p), columns(iw, v.left, v.s, v.stride, v.q);
            float g[N];
            UNROLL for (int i = 0; i < N; i++) g[i] = 0.0f;
            for (u32 p = rows.first; p < rows.last; p++) {
                for (u32 q = columns.first; q < columns.last; q++) {
                    const u64 from = ((u64(image) * v.p + p) * v.q + q) * v.c + at.channel;
                    float d[N];
                    dy.read(from, d);
                    if (MAX) {
                        const u32 position = (ih + v.top - p * v.stride) * v.s + iw + v.left - q * v.stride;
                        UNROLL for (int i = 0; i < N; i++)
                            if (args.index[from + i] == position) g[i] += d[i];
                    } else {
                        const float count = float(inside_of(p, v.stride, v.top, v.r, v.h) *
                                                  inside_of(q, v.stride, v.left, v.s, v.w));
                        const float inverse = reciprocal(count);
                        UNROLL for (int i = 0; i < N; i++) g[i] += divide(d[i], count, inverse);
                    }
                }
            }
            out.write(u64(row) * v.c + at.channel, g);
        }
    }
    at.put(args.dx, out);
}

template <class T> __device__ __forceinline__ void max_pool_backward(const PoolBackwardArgs& args) {
    if (args.vector) pool_backward_columns<T, Vector<T>::N, true>(args);
    else pool_backward_columns<T, 1, true>(args);
}
INSTANTIATE(max_pool_backward, max_pool_backward, PoolBackwardArgs, 256)

template <class T> __device__ __forceinline__ void avg_pool_backward(const PoolBackwardArgs& args) {
    if (args.vector) pool_backward_columns<T, Vector<T>::N, false>(args);
    else pool_backward_columns<T, 1, false>(args);
}
INSTANTIATE(avg_pool_backward, avg_pool_backward, PoolBackwardArgs, 256)

struct AvgPoolArgs {
    Source x;
    void* y;
    PoolShape shape;
    u32 rows_per_tile, vector;
};

template <class T, int N> __device__ __forceinline__ void avg_pool_columns(const AvgPoolArgs& args) {
    const PoolShape& v = args.shape;
    const Columns<N> at(v.n * v.p * v.q, v.c, args.rows_per_tile);
    if (!at.inside) return;
    const Reader<T, N> x(args.x, at.channel, v.c);
    for (u32 row = at.first; row < at.last; row += blockDim.y) {
        const Corner corner(v, row);
        const int top = max(corner.row, 0), left = max(corner.column, 0);
        const int bottom = min(corner.row + int(v.r), int(v.h)), right = min(corner.column + int(v.s), int(v.w));
        float sum[N];
        UNROLL for (int i = 0; i < N; i++) sum[i] = 0.0f;
        for (int ih = top; ih < bottom; ih++) {
            for (int iw = left; iw < right; iw++) {
                float value[N];
                x.read(((u64(corner.image) * v.h + ih) * v.w + iw) * v.c + at.channel, value);
                UNROLL for (int i = 0; i < N; i++) sum[i] += value[i];
            }
        }
        const float count = float((bottom - top) * (right - left));
        UNROLL for (int i = 0; i < N; i++) sum[i] /= count;
        store<N>(static_cast<T*>(args.y) + u64(row) * v.c + at.channel, sum);
    }
}

template <class T> __device__ __forceinline__ void avg_pool(const AvgPoolArgs& args) {
    if (args.vector) avg_pool_columns<T, Vector<T>::N>(args);
    else avg_pool_columns<T, 1>(args);
}
INSTANTIATE(avg_pool, avg_pool, AvgPoolArgs, 256)
