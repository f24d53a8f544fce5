// Gradient of a convolution's input on tensor cores, with the epilogue of GradOut: add, mask, sums. See gather.cuh.
// Grid: (row tiles × column tiles, 1, stride²): a phase per z.
#pragma once
#include "gather.cuh"

struct BackwardDataArgs {
    Gather g;
    GradSource dy;
    GradOut dx;
};

template <class Tile, int N>
__device__ __forceinline__ void gradient_rows(const BackwardDataArgs& args, float* tile, const Axis& down, const Axis& across,
                                              u32 row_tile, u32 column_tile) {
    typedef typename Tile::T T;
    typedef Part<Tile, N> P;
    const P part(args.g, column_tile);
    const Gather& g = args.g;
    const u32 per_picture = down.count * across.count, rows = g.n * per_picture;
    GradWriter<T, N> out(args.dx, part.inside ? part.channel : 0, g.columns);
    if (part.inside) {
        for (u32 row = part.lane_row; row < Tile::ROWS; row += P::DOWN) {
            const u32 m = row_tile * Tile::ROWS + row;
            if (m >= rows) break;
            const u32 n = m / per_picture, in_picture = m - n * per_picture;
            const u32 i = in_picture / across.count, j = in_picture - i * across.count;
            const u32 h = down.first + i * down.step, w = across.first + j * across.step;
            float v[N];
            load<N>(tile + row * Tile::PITCH + part.column, v);
            out.write((u64(n * g.out_h + h) * g.out_w + w) * g.columns + part.channel, v);
        }
    }
    const u32 number = blockIdx.z * g.row_tiles + row_tile, first = column_tile * Tile::COLUMNS;
    UNROLL for (int s = 0; s < 2; s++) {
        if (!out.y[s]) continue; // the same for all threads
        reduce_columns<Tile, N>(
            reinterpret_cast<float2*>(tile), part, [&](int e) { return make_float2(out.sum[s][e], out.product[s][e]); },
            [](const float2& a, const float2& b) { return make_float2(a.x + b.x, a.y + b.y); },
            [&](u32 column, const float2& total) {
                if (first + column < g.columns)
                    put_sums(args.dx.sums[s].partials, number, first + column, g.columns, total.x, total.y);
            });
    }
}

template <class Tile, Prologue PROLOGUE, int STAGES>
__device__ __forceinline__ void backward_data(const BackwardDataArgs& args) {
    DYNAMIC_SHARED(unsigned char, shared);
    const u32 row_tile = blockIdx.x / args.g.column_tiles, column_tile = blockIdx.x % args.g.column_tiles;
    const Axis down(args.g, blockIdx.z / args.g.stride, args.g.out_h, args.g.window_r, args.g.top);
    const Axis across(args.g, blockIdx.z % args.g.stride, args.g.out_w, args.g.window_s, args.g.left);
    float accumulators[Tile::M][Tile::N][4] = {};
    GatherProduct<Tile, PROLOGUE, STAGES> product(args.g, down, across, args.dy.dz, args.dy.y, shared, row_tile, column_tile);
    product.run(args.dy.coeffs, false, accumulators);
    float* tile = reinterpret_cast<float*>(shared);
    put_tile<Tile>(tile, accumulators);
    if (args.g.columns % Tile::VECTOR == 0) gradient_rows<Tile, Tile::VECTOR>(args, tile, down, across, row_tile, column_tile);
    else gradient_rows<Tile, 1>(args, tile, down, across, row_tile, column_tile);
}
