// Combine: writes the value of a source where it must exist in memory; backward writes a gradient that has several parts.
//
// Layout: pixels × c, channels last. A thread has N channels and walks down the pixels of its tile.
// Block: (channel vectors, pixels), 256 threads; grid: (ceil(c / N / block.x), tiles).
// Numerics: f32; statistics around a pivot, merged pairwise. Traffic: each operand once.
#include "types.cuh"
#include "source.cuh"
#include "reduce.cuh"
#include "columns.cuh"

struct CombineArgs {
    Source x;
    void* z; // null: only the statistics are wanted, of a tensor that is read as it lies
    float* partials; // statistics of z per tile; null: none are wanted
    u32 rows, c;
    u32 rows_per_tile, vector; // vector: c is a multiple of the widest load
};

template <class T, int N> __device__ __forceinline__ void combine_columns(const CombineArgs& args) {
    const Columns<N> at(args.rows, args.c, args.rows_per_tile);
    PivotedSums<N> sums;
    if (at.inside) {
        const Reader<T, N> x(args.x, at.channel, args.c);
        for (u32 row = at.first; row < at.last; row += blockDim.y) {
            const u64 i = u64(row) * args.c + at.channel;
            float v[N];
            x.read(i, v);
            if (args.z) store<N>(static_cast<T*>(args.z) + i, v);
            if (args.partials) sums.add(v);
        }
    }
    if (args.partials) at.put(args.partials, sums);
}

template <class T> __device__ __forceinline__ void combine(const CombineArgs& args) {
    if (args.vector) combine_columns<T, Vector<T>::N>(args);
    else combine_columns<T, 1>(args);
}
INSTANTIATE(combine, combine, CombineArgs, 256)

struct CombineBackwardArgs {
    GradSource dz;
    GradOut dx;
    u32 rows, c;
    u32 rows_per_tile, vector;
};

template <class T, int N> __device__ __forceinline__ void combine_backward_columns(const CombineBackwardArgs& args) {
    const Columns<N> at(args.rows, args.c, args.rows_per_tile);
    const u32 channel = at.inside ? at.channel : 0;
    GradWriter<T, N> out(args.dx, channel, args.c);
    if (at.inside) {
        const GradReader<T, N> dz(args.dz, at.channel, args.c);
        for (u32 row = at.first; row < at.last; row += blockDim.y) {
            const u64 i = u64(row) * args.c + at.channel;
            float g[N];
            dz.read(i, g);
            out.write(i, g);
        }
    }
    at.put(args.dx, out);
}

template <class T> __device__ __forceinline__ void combine_backward(const CombineBackwardArgs& args) {
    if (args.vector) combine_backward_columns<T, Vector<T>::N>(args);
    else combine_backward_columns<T, 1>(args);
}
INSTANTIATE(combine_backward, combine_backward, CombineBackwardArgs, 256)
