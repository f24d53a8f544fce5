// A 1×1 convolution of stride 1 on Hopper, forwards or towards its input: a matrix product of pixels and weights.
//
//   out[m, col] = Σ over channels c of  value(image[m, c]) · weights[col, c]
//
// Block: tiles of 128 pixels × COLUMNS output channels, one after another, as many blocks as there are multiprocessors. Two warpgroups have
//   64 rows of a tile each in registers, and one thread of a further warp (the producer) begins all copies, those of the next tile while
//   the last one is still let go of.
// Pipeline: STAGES buffers in shared memory, each with 64 channels of every row and column, filled by the tensor memory accelerator. A buffer
//   has two barriers: `full`, which counts the bytes that have come, and `empty`, at which every consuming warp arrives when it has read it.
// Left operand: from shared memory into registers (ldmatrix), where the source's normalisation is applied, then wgmma. Right operand: by
//   descriptor. While one warpgroup evaluates, the other's products run.
// Epilogue: that of forward.cuh and backward_data.cuh, through shared memory of its own.
// Numerics and traffic as in gather.cuh. Pixels and channels beyond the tensors come as zeros, and so do weights.
#pragma once
#include "gather.cuh"
#include "hopper.cuh"

// For the whole block: consumers, and a warp of which one thread copies. One block for a multiprocessor.
#define BLOCK_THREADS (ThisTile::THREADS + 32)
#ifdef RESNET_EMULATED
#define BLOCK_BOUNDS BLOCK_THREADS
#else
#define BLOCK_BOUNDS BLOCK_THREADS, 1
#endif

template <class T_, int COLUMNS_> struct WarpgroupTile {
    typedef T_ T;
    enum {
        ROWS = 128,
        COLUMNS = COLUMNS_,
        THREADS = 256, // two warpgroups
        VECTOR = CHUNK / sizeof(T),
        PITCH = COLUMNS + 8, // of the tile in shared memory, in floats
        PARTS = COLUMNS / 64, // of 64 columns, each a product of its own
        PART_BYTES = 64 * TILE_ROW,
        A_BYTES = ROWS * TILE_ROW,
        B_BYTES = COLUMNS * TILE_ROW,
        STEPS = 4, // products along the sum, of a stage
    };
    static_assert(sizeof(T) == 2 && PARTS * 64 == COLUMNS, "tile");

    // For all THREADS; the producer does not come.
    static __device__ __forceinline__ void wait() { wait_for_some<1, THREADS>(); }
};

// The number of the warp, which the compiler then knows to be the same for all of it.
__device__ __forceinline__ u32 warp_number() { return __shfl_sync(~0u, threadIdx.x / 32, 0); }

// The barriers of STAGES buffers, and which buffer comes next. Producer and consumers keep count for themselves.
template <int STAGES> struct Pipeline {
    u32 barriers; // full and empty of each stage
    u32 stage, parity;

    __device__ __forceinline__ Pipeline(u32 barriers) : barriers(barriers), stage(0), parity(0) {}
    __device__ __forceinline__ u32 full() const { return barriers + stage * 16; }
    __device__ __forceinline__ u32 empty() const { return barriers + stage * 16 + 8; }
    __device__ __forceinline__ void advance() {
        if (++stage == STAGES) stage = 0, parity ^= 1;
    }

    // By all threads, before anything else.
    __device__ __forceinline__ void begin(u32 consuming_warps) const {
        if (threadIdx.x == 0) {
            for (u32 s = 0; s < STAGES; s++) {
                barrier_init(barriers + s * 16, 1);
                barrier_init(barriers + s * 16 + 8, consuming_warps);
            }
            fence_barriers();
        }
        __syncthreads();
    }

    // By a consuming warp, when it has read the stage.
    __device__ __forceinline__ void release() const {
        __syncwarp();
        if (threadIdx.x % 32 == 0) barrier_arrive(empty());
    }
};

// The main loop. `image`, `image_y`, `weights`: their maps.
template <class Tile, Prologue PROLOGUE, int STAGES> struct PixelProduct {
    typedef typename Tile::T T;
    enum {
        Y_BYTES = PROLOGUE == GRAD ? Tile::A_BYTES : 0,
        STAGE_BYTES = Tile::A_BYTES + Y_BYTES + Tile::B_BYTES,
        K = TILE_ROW / sizeof(T), // channels of a stage
        TILE_AT = STAGES * STAGE_BYTES, // of the tile of floats, and behind it the barriers
        BARRIERS_AT = TILE_AT + Tile::ROWS * Tile::PITCH * 4,
    };

    const Gather& g;
    unsigned char* shared;
    u32 at; // of `shared`
    u32 iterations, tiles;

    __device__ __forceinline__ PixelProduct(const Gather& g, unsigned char* shared)
        : g(g), shared(shared), at(shared_number(shared)), iterations((g.channels + K - 1) / K), tiles(g.row_tiles * g.column_tiles) {}

    __device__ __forceinline__ void produce(Pipeline<STAGES> pipe, const TensorMap& image, const TensorMap& image_y, const TensorMap& weights) const {
        for (u32 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
            const u32 row = tile / g.column_tiles * Tile::ROWS, column = tile % g.column_tiles * Tile::COLUMNS;
            for (u32 i = 0; i < iterations; i++) {
                const u32 to = at + pipe.stage * STAGE_BYTES;
                barrier_wait(pipe.empty(), pipe.parity ^ 1);
                barrier_expect(pipe.full(), STAGE_BYTES);
                copy_tile(to, image, i * K, row, pipe.full());
                if constexpr (PROLOGUE == GRAD) copy_tile(to + Tile::A_BYTES, image_y, i * K, row, pipe.full());
                copy_tile(to + Tile::A_BYTES + Y_BYTES, weights, i * K, column, pipe.full());
                pipe.advance();
            }
        }
    }

    // Evaluates `channel` and the next of two pixels, which are in registers `upper` and `lower` (eight rows on).
    __device__ __forceinline__ void evaluate(const float* table, bool relu_last, u32 channel, u32& upper, u32& lower, u32 upper_y, u32 lower_y) const {
        const bool inside = channel < g.channels;
        float2 scale = make_float2(0.0f, 0.0f), other = scale, shift = scale;
        float2 u = unpack(upper, T()), l = unpack(lower, T());
        if constexpr (PROLOGUE == GRAD) {
            if (inside) {
                scale = *reinterpret_cast<const float2*>(table + channel);
                other = *reinterpret_cast<const float2*>(table + g.channels + channel);
                shift = *reinterpret_cast<const float2*>(table + 2 * g.channels + channel);
            }
            const float2 uy = unpack(upper_y, T()), ly = unpack(lower_y, T());
            u = make_float2(fmaf(scale.x, u.x, fmaf(other.x, uy.x, shift.x)), fmaf(scale.y, u.y, fmaf(other.y, uy.y, shift.y)));
            l = make_float2(fmaf(scale.x, l.x, fmaf(other.x, ly.x, shift.x)), fmaf(scale.y, l.y, fmaf(other.y, ly.y, shift.y)));
        } else {
            if (inside && table) {
                scale = *reinterpret_cast<const float2*>(table + channel);
                shift = *reinterpret_cast<const float2*>(table + g.channels + channel);
            } else if (inside) {
                scale = make_float2(1.0f, 1.0f);
            }
            u = make_float2(fmaf(scale.x, u.x, shift.x), fmaf(scale.y, u.y, shift.y));
            l = make_float2(fmaf(scale.x, l.x, shift.x), fmaf(scale.y, l.y, shift.y));
            if (relu_last) u = make_float2(relu(u.x), relu(u.y)), l = make_float2(relu(l.x), relu(l.y));
        }
        upper = pack(u.x, u.y, T()), lower = pack(l.x, l.y, T());
    }

    // The sums of one tile.
    __device__ __forceinline__ void consume(Pipeline<STAGES>& pipe, const float* table, bool relu_last, float (&sums)[Tile::PARTS][32]) const {
        const u32 lane = threadIdx.x % 32, in_matrix = lane % 8, matrix = lane / 8;
        const u32 my_row = threadIdx.x / 32 * 16 + (matrix & 1) * 8 + in_matrix;
        for (u32 i = 0; i < iterations; i++) {
            const u32 from = pipe.stage * STAGE_BYTES;
            const SharedAt a_at = shared_at(shared) + from;
            u32 a[Tile::STEPS][4];
            barrier_wait(pipe.full(), pipe.parity);
            UNROLL for (int step = 0; step < Tile::STEPS; step++) {
                const u32 chunk = swizzled_128(my_row, step * 2 + (matrix >> 1));
                load_matrices(a[step], a_at + chunk);
                if constexpr (PROLOGUE != RAW) {
                    u32 y[4] = {};
                    if constexpr (PROLOGUE == GRAD) load_matrices(y, a_at + Tile::A_BYTES + chunk);
                    const u32 channel = i * K + step * 16 + lane % 4 * 2;
                    evaluate(table, relu_last, channel, a[step][0], a[step][1], y[0], y[1]);
                    evaluate(table, relu_last, channel + 8, a[step][2], a[step][3], y[2], y[3]);
                }
            }
            products_fence();
            UNROLL for (int step = 0; step < Tile::STEPS; step++) {
                UNROLL for (int part = 0; part < Tile::PARTS; part++) {
                    const u32 b = at + from + Tile::A_BYTES + Y_BYTES + part * Tile::PART_BYTES + step * 32;
                    multiply_async<false>(sums[part], a[step], tile_descriptor(b, 16), T());
                }
            }
            products_commit();
            products_wait();
            pipe.release();
            pipe.advance();
        }
    }

    // The whole of it. A tile lies in memory as floats, ROWS × PITCH, when `let_go(tile, row_tile, column_tile)` is called by all consumers.
    template <class LetGo>
    __device__ __forceinline__ void run(const TensorMap& image, const TensorMap& image_y, const TensorMap& weights, const float* table, bool relu_last, LetGo let_go) const {
        Pipeline<STAGES> pipe(at + BARRIERS_AT);
        pipe.begin(Tile::THREADS / 32);
        if (warp_number() == Tile::THREADS / 32) {
            if (threadIdx.x % 32 == 0) produce(pipe, image, image_y, weights);
            return;
        }
        float* const tile = reinterpret_cast<float*>(shared + TILE_AT);
        const u32 lane = threadIdx.x % 32;
        float* const mine = tile + (threadIdx.x / 32 * 16 + lane / 4) * Tile::PITCH + lane % 4 * 2;
        for (u32 number = blockIdx.x; number < tiles; number += gridDim.x) {
            float sums[Tile::PARTS][32] = {};
            consume(pipe, table, relu_last, sums);
            Tile::wait(); // the last tile has been let go of
            UNROLL for (int part = 0; part < Tile::PARTS; part++) {
                UNROLL for (int j = 0; j < 8; j++) {
                    float* to = mine + part * 64 + j * 8;
                    *reinterpret_cast<float2*>(to) = make_float2(sums[part][j * 4], sums[part][j * 4 + 1]);
                    *reinterpret_cast<float2*>(to + 8 * Tile::PITCH) = make_float2(sums[part][j * 4 + 2], sums[part][j * 4 + 3]);
                }
            }
            Tile::wait();
            let_go(tile, number / g.column_tiles, number % g.column_tiles);
        }
    }
};
