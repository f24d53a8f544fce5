// The kernels of one element type, by name: direction, prologue, tile, type. Tiles are chosen in src/tensor/tile.rs.
// STAGES: as many as 100 KiB hold, because that is what the smallest of these devices gives a block.
#pragma once
#include "backward_data.cuh"
#include "forward.cuh"

#define GATHER_KERNELS(T)                                          \
    GATHER_TILE(T, 128x128, 128, 128, 64, 32)                      \
    GATHER_TILE(T, 128x64, 128, 64, 64, 32)                        \
    GATHER_TILE(T, 64x64, 64, 64, 32, 32)

#define GATHER_TILE(T, NAME, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS)                                                        \
    typedef Tile<T, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS> Tile_##NAME;                                                    \
    KERNEL(forward_raw_##NAME##_##T##_tc, ForwardArgs, Tile_##NAME::THREADS) { forward<Tile_##NAME, RAW, 4>(args); }        \
    KERNEL(forward_affine_##NAME##_##T##_tc, ForwardArgs, Tile_##NAME::THREADS) { forward<Tile_##NAME, AFFINE, 4>(args); }  \
    KERNEL(backward_data_raw_##NAME##_##T##_tc, BackwardDataArgs, Tile_##NAME::THREADS) {                                   \
        backward_data<Tile_##NAME, RAW, 4>(args);                                                                           \
    }                                                                                                                       \
    KERNEL(backward_data_grad_##NAME##_##T##_tc, BackwardDataArgs, Tile_##NAME::THREADS) {                                  \
        backward_data<Tile_##NAME, GRAD, 3>(args);                                                                          \
    }
