// Convolution forward on tensor cores: raw output and, where asked, its batch statistics. See gather.cuh.
#pragma once
#include "gather.cuh"

struct ForwardArgs {
    Gather g;
    const void* x;
    const float* affine; // scale[c], shift[c]; read by kernels with the AFFINE prologue
    const float* bias;   // null: none
    void* y;
    float* partials; // statistics of y per row tile; null: none are wanted
    u32 relu, unused;
};

template <class Tile, int N>
__device__ __forceinline__ void forward_rows(const ForwardArgs& args, float* tile, u32 row_tile, u32 column_tile, u32 rows) {
    typedef typename Tile::T T;
    typedef Part<Tile, N> P;
    const P part(args.g, column_tile);
    PivotedSums<N> sums;
    if (part.inside) {
        float bias[N];
        UNROLL for (int e = 0; e < N; e++) bias[e] = args.bias ? args.bias[part.channel + e] : 0.0f;
        for (u32 row = part.lane_row; row < Tile::ROWS; row += P::DOWN) {
            const u32 m = row_tile * Tile::ROWS + row;
            if (m >= rows) break;
            float v[N];
            load<N>(tile + row * Tile::PITCH + part.column, v);
            UNROLL for (int e = 0; e < N; e++) v[e] += bias[e];
            store<N>(static_cast<T*>(args.y) + u64(m) * args.g.columns + part.channel, v);
            if (args.partials) sums.add(v);
        }
    }
    if (!args.partials) return;
    const u32 first = column_tile * Tile::COLUMNS, c = args.g.columns;
    reduce_columns<Tile, N>(
        reinterpret_cast<Moments*>(tile), part, [&](int e) { return sums.moments(e); },
        [](const Moments& a, const Moments& b) { return merge(a, b); },
        [&](u32 column, const Moments& total) {
            if (first + column < c) put_moments(args.partials, row_tile, first + column, c, total);
        });
}

template <class Tile, Prologue PROLOGUE, int STAGES>
__device__ __forceinline__ void forward(const ForwardArgs& args) {
    DYNAMIC_SHARED(unsigned char, shared);
    const u32 row_tile = blockIdx.x / args.g.column_tiles, column_tile = blockIdx.x % args.g.column_tiles;
    const Axis down(args.g, 0, args.g.out_h, args.g.window_r, args.g.top);
    const Axis across(args.g, 0, args.g.out_w, args.g.window_s, args.g.left);
    float accumulators[Tile::M][Tile::N][4] = {};
    GatherProduct<Tile, PROLOGUE, STAGES> product(args.g, down, across, args.x, nullptr, shared, row_tile, column_tile);
    product.run(args.affine, args.relu != 0, accumulators);
    float* tile = reinterpret_cast<float*>(shared);
    put_tile<Tile>(tile, accumulators);
    const u32 rows = args.g.n * args.g.out_h * args.g.out_w;
    if (args.g.columns % Tile::VECTOR == 0) forward_rows<Tile, Tile::VECTOR>(args, tile, row_tile, column_tile, rows);
    else forward_rows<Tile, 1>(args, tile, row_tile, column_tile, rows);
}
