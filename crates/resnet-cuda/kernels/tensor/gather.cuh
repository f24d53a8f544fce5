// A convolution forwards or towards its input, as a matrix product whose left operand is gathered from an image.
//
//   out[m, col] = Σ over taps t and channels c of  value(image[pixel(m, t), c]) · weights[col, t, c]
//
// m runs over pixels of the output; pixel(m, t) is a pixel of the image or lies in its padding, which counts as zero.
// Towards the input with a stride the pixels are taken apart by their remainders: in each such phase every `stride`-th tap of the
// window is used and no other, so nothing is multiplied by a zero that a stride has put in.
//
// Block: one tile of ROWS pixels × COLUMNS output channels; a warp has WARP_ROWS × WARP_COLUMNS of it in registers.
// Pipeline: STAGES buffers in shared memory, each with 64 bytes along the sum of every row and column, filled by cp.async.
//   When a buffer has arrived each thread applies the source's normalisation to the chunks it has copied itself, in place;
//   then one barrier, and the warps multiply. Rows of 64 bytes are swizzled, so ldmatrix meets no bank conflict.
// Epilogue: the tile goes through shared memory, so that a thread has whole vectors of one pixel and the same channels throughout.
// Numerics: operands rounded to the element type, products exact, sums in f32 in an order fixed by the shape.
// Traffic: the image once per tap and column tile (from L2 where it fits), weights once per row tile, outputs once.
#pragma once
#include "columns.cuh"
#include "reduce.cuh"
#include "source.cuh"
#include "warp.cuh"

// For how many threads a kernel is compiled, and how many BLOCKS shall fit a multiprocessor: left to itself ptxas aims at more, and spills.
#ifdef RESNET_EMULATED
#define BOUNDS ThisTile::THREADS
#else
#define BOUNDS ThisTile::THREADS, BLOCKS
#endif

// Which pixels are read. Everything in elements of the tensors; the Rust twin is in src/tensor/args.rs.
struct Gather {
    const void* weights; // [columns][window_r][window_s][channels]
    u32 n;
    u32 image_h, image_w, channels; // channels: a multiple of a chunk
    u32 out_h, out_w, columns;
    u32 window_r, window_s;
    u32 stride, top, left;
    u32 backward; // 0: out pixel i reads image row i·stride − top + r; 1: the other way round, by phases
    u32 row_tiles, column_tiles;
    u32 unused;
};

// Along one axis: the output positions of this phase, and the taps they read.
struct Axis {
    u32 first, step, count; // output positions first, first + step, …
    int base;               // image position that output number 0 reads at tap 0
    int per_out, per_tap;   // and how it moves
    u32 tap0, tap_step, taps;

    __device__ __forceinline__ Axis(const Gather& g, u32 phase, u32 extent, u32 window, u32 before) {
        if (!g.backward) {
            first = 0, step = 1, count = extent;
            base = -int(before), per_out = int(g.stride), per_tap = 1;
            tap0 = 0, tap_step = 1, taps = window;
        } else {
            first = phase, step = g.stride;
            count = extent > phase ? (extent - phase + g.stride - 1) / g.stride : 0;
            tap0 = (phase + before) % g.stride, tap_step = g.stride;
            taps = window > tap0 ? (window - tap0 + g.stride - 1) / g.stride : 0;
            base = int((phase + before) / g.stride), per_out = 1, per_tap = -1;
        }
    }
};

// How the left operand is evaluated.
enum Prologue {
    RAW,    // as it lies in memory
    AFFINE, // scale and shift, and the ReLU, where there are any
    GRAD,   // A·dz + B·y + C
};

template <class T_, int ROWS_, int COLUMNS_, int WARP_ROWS_, int WARP_COLUMNS_> struct Tile {
    typedef T_ T;
    enum {
        ROWS = ROWS_,
        COLUMNS = COLUMNS_,
        WARP_ROWS = WARP_ROWS_,
        WARP_COLUMNS = WARP_COLUMNS_,
        WARPS_ACROSS = COLUMNS / WARP_COLUMNS,
        THREADS = (ROWS / WARP_ROWS) * WARPS_ACROSS * 32,
        CHUNKS = 4,             // of 16 bytes, along the sum, in a stage
        VECTOR = CHUNK / sizeof(T), // elements of a chunk
        STEP = THREADS / CHUNKS, // rows that all threads copy at once
        A_COPIES = ROWS / STEP,
        B_COPIES = COLUMNS / STEP,
        M = WARP_ROWS / 16,
        N = WARP_COLUMNS / 8,
        PITCH = COLUMNS + 8, // of the tile in shared memory, in floats
    };
    static_assert(A_COPIES * STEP == ROWS && B_COPIES * STEP == COLUMNS && N % 2 == 0, "tile");

    // For all THREADS.
    static __device__ __forceinline__ void wait() { __syncthreads(); }
};

// Where a chunk of a row of 64 bytes lies: two rows fill the 128 bytes of all banks.
__device__ __forceinline__ u32 swizzled(u32 row, u32 chunk) { return row * 64 + ((chunk ^ (row >> 1 & 3)) << 4); }

// Scale and shift of a chunk; a table that is null stands for 1 and 0, which change no bit.
template <int N> __device__ __forceinline__ void load_affine(const float* table, u32 channel, u32 c, float (&scale)[N], float (&shift)[N]) {
    if (table) {
        load<N>(table + channel, scale);
        load<N>(table + c + channel, shift);
    } else {
        UNROLL for (int i = 0; i < N; i++) scale[i] = 1.0f, shift[i] = 0.0f;
    }
}

// A position in the sum: a tap of the window and a chunk of channels.
struct Position {
    u32 r, s, chunk, chunks, taps_r, taps_s;

    __device__ __forceinline__ Position(u32 at, u32 chunks, u32 taps_r, u32 taps_s)
        : chunks(chunks), taps_r(taps_r), taps_s(taps_s) {
        const u32 tap = at / chunks;
        chunk = at - tap * chunks;
        r = taps_s ? tap / taps_s : 0;
        s = tap - r * taps_s;
    }
    __device__ __forceinline__ void advance(u32 by) {
        chunk += by;
        while (chunk >= chunks) {
            chunk -= chunks;
            if (++s >= taps_s) s = 0, r++;
        }
    }
    __device__ __forceinline__ bool inside() const { return r < taps_r && taps_s != 0; }
};

// The main loop. `accumulators`: this warp's part of the tile.
template <class Tile, Prologue PROLOGUE, int STAGES> struct GatherProduct {
    typedef typename Tile::T T;
    enum {
        A_BYTES = Tile::ROWS * 64,
        Y_BYTES = PROLOGUE == GRAD ? A_BYTES : 0,
        B_BYTES = Tile::COLUMNS * 64,
        STAGE_BYTES = A_BYTES + Y_BYTES + B_BYTES,
        VECTOR = Tile::VECTOR,
    };

    const Gather& g;
    const Axis &down, &across;
    const T *image, *image_y, *weights;
    unsigned char* shared;
    SharedAt shared_address;
    Position next, now; // of the chunk this thread copies, and of the one it evaluates
    int row_h[Tile::A_COPIES], row_w[Tile::A_COPIES]; // image position at tap 0; far outside where there is no row
    u32 row_n[Tile::A_COPIES];
    u32 column, chunk; // first column this thread copies, and its chunk of every row
    u32 there_bits;    // a bit per copy of a pixel, newest lowest: whether it was inside the image

    __device__ __forceinline__ GatherProduct(const Gather& g, const Axis& down, const Axis& across, const void* image,
                                             const void* image_y, unsigned char* shared, u32 row_tile, u32 column_tile)
        : g(g), down(down), across(across), image(static_cast<const T*>(image)), image_y(static_cast<const T*>(image_y)),
          weights(static_cast<const T*>(g.weights)), shared(shared), shared_address(shared_at(shared)),
          next(threadIdx.x % Tile::CHUNKS, g.channels / VECTOR, down.taps, across.taps), now(next), there_bits(0) {
        chunk = threadIdx.x % Tile::CHUNKS;
        column = column_tile * Tile::COLUMNS + threadIdx.x / Tile::CHUNKS;
        UNROLL for (int i = 0; i < Tile::A_COPIES; i++) {
            const u32 m = row_tile * Tile::ROWS + threadIdx.x / Tile::CHUNKS + i * Tile::STEP;
            const u32 per_picture = down.count * across.count;
            const u32 n = per_picture ? m / per_picture : g.n;
            const u32 in_picture = per_picture ? m % per_picture : 0;
            const u32 h = across.count ? in_picture / across.count : 0, w = in_picture - h * across.count;
            row_n[i] = n < g.n ? n : 0;
            row_h[i] = n < g.n ? int(h) * down.per_out + down.base : -(1 << 29);
            row_w[i] = int(w) * across.per_out + across.base;
        }
    }

    // Begins the copies of a stage; where `more` is false only notes that there are none.
    __device__ __forceinline__ void copy(int stage, bool more) {
        there_bits <<= Tile::A_COPIES;
        if (!more) return;
        const SharedAt to = shared_address + stage * STAGE_BYTES;
        const u32 row = threadIdx.x / Tile::CHUNKS;
        UNROLL for (int i = 0; i < Tile::A_COPIES; i++) {
            const int h = row_h[i] + int(next.r) * down.per_tap, w = row_w[i] + int(next.s) * across.per_tap;
            const bool there = next.inside() && u32(h) < g.image_h && u32(w) < g.image_w;
            const u64 index =
                there ? (u64(row_n[i] * g.image_h + u32(h)) * g.image_w + u32(w)) * g.channels + next.chunk * VECTOR : 0;
            const u32 at = swizzled(row + i * Tile::STEP, chunk);
            copy_async(to + at, image + index, there);
            if constexpr (PROLOGUE == GRAD) copy_async(to + A_BYTES + at, image_y + index, there);
            there_bits |= u32(there) << i;
        }
        const u32 tap = (down.tap0 + next.r * down.tap_step) * g.window_s + across.tap0 + next.s * across.tap_step;
        UNROLL for (int i = 0; i < Tile::B_COPIES; i++) {
            const u32 col = column + i * Tile::STEP;
            const bool there = next.inside() && col < g.columns;
            const u64 index =
                there ? (u64(col) * (g.window_r * g.window_s) + tap) * g.channels + next.chunk * VECTOR : 0;
            copy_async(to + A_BYTES + Y_BYTES + swizzled(row + i * Tile::STEP, chunk), weights + index, there);
        }
        next.advance(Tile::CHUNKS);
    }

    // Applies the prologue to what this thread has copied into the stage that has arrived, the oldest on its way.
    // `table`: per channel, scale and shift or A, B and C.
    __device__ __forceinline__ void evaluate(int stage, const float* table, bool relu_last) {
        if constexpr (PROLOGUE != RAW) {
            unsigned char* at_stage = shared + stage * STAGE_BYTES;
            const u32 row = threadIdx.x / Tile::CHUNKS;
            const u32 channel = now.chunk * VECTOR;
            if (now.inside()) {
                float scale[VECTOR], other[VECTOR], shift[VECTOR];
                if constexpr (PROLOGUE == GRAD) {
                    load<VECTOR>(table + channel, scale);
                    load<VECTOR>(table + g.channels + channel, other);
                    load<VECTOR>(table + 2 * g.channels + channel, shift);
                } else {
                    load_affine(table, channel, g.channels, scale, shift);
                }
                UNROLL for (int i = 0; i < Tile::A_COPIES; i++) {
                    if (!(there_bits >> (STAGES - 2) * Tile::A_COPIES >> i & 1)) continue; // padding stays zero
                    T* p = reinterpret_cast<T*>(at_stage + swizzled(row + i * Tile::STEP, chunk));
                    float v[VECTOR];
                    load<VECTOR>(p, v);
                    if constexpr (PROLOGUE == GRAD) {
                        float y[VECTOR];
                        load<VECTOR>(reinterpret_cast<T*>(reinterpret_cast<unsigned char*>(p) + A_BYTES), y);
                        UNROLL for (int e = 0; e < VECTOR; e++) v[e] = fmaf(scale[e], v[e], fmaf(other[e], y[e], shift[e]));
                    } else {
                        UNROLL for (int e = 0; e < VECTOR; e++) v[e] = fmaf(scale[e], v[e], shift[e]);
                        if (relu_last) {
                            UNROLL for (int e = 0; e < VECTOR; e++) v[e] = relu(v[e]);
                        }
                    }
                    put_operand(p, v);
                }
            }
            now.advance(Tile::CHUNKS);
        }
    }

    __device__ __forceinline__ void multiply_stage(int stage, float (&accumulators)[Tile::M][Tile::N][4]) const {
        const SharedAt a_at = shared_address + stage * STAGE_BYTES, b_at = a_at + A_BYTES + Y_BYTES;
        const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        const u32 row0 = warp / Tile::WARPS_ACROSS * Tile::WARP_ROWS, col0 = warp % Tile::WARPS_ACROSS * Tile::WARP_COLUMNS;
        const u32 in_matrix = lane % 8, matrix = lane / 8;
        UNROLL for (int step = 0; step < Tile::CHUNKS / 2; step++) {
            u32 a[Tile::M][4], b[Tile::N][2];
            UNROLL for (int m = 0; m < Tile::M; m++) {
                load_matrices(a[m], a_at + swizzled(row0 + m * 16 + (matrix & 1) * 8 + in_matrix, step * 2 + (matrix >> 1)));
                if constexpr (PROLOGUE == RAW) round_operand(a[m], T());
            }
            UNROLL for (int n = 0; n < Tile::N; n += 2) {
                u32 both[4];
                load_matrices(both, b_at + swizzled(col0 + n * 8 + (matrix >> 1) * 8 + in_matrix, step * 2 + (matrix & 1)));
                b[n][0] = both[0], b[n][1] = both[1], b[n + 1][0] = both[2], b[n + 1][1] = both[3];
            }
            UNROLL for (int m = 0; m < Tile::M; m++) {
                UNROLL for (int n = 0; n < Tile::N; n++) multiply(accumulators[m][n], a[m], b[n], T());
            }
        }
    }

    __device__ __forceinline__ void run(const float* table, bool relu_last, float (&accumulators)[Tile::M][Tile::N][4]) {
        const u32 total = down.taps * across.taps * (g.channels / VECTOR);
        const u32 iterations = (total + Tile::CHUNKS - 1) / Tile::CHUNKS;
        UNROLL for (int s = 0; s < STAGES - 1; s++) {
            copy(s, s < iterations);
            copy_commit();
        }
        int stage = 0, into = STAGES - 1;
        for (u32 i = 0; i < iterations; i++) {
            copy_wait<STAGES - 2>();
            evaluate(stage, table, relu_last);
            __syncthreads(); // this stage is whole, and the one that is filled next has been used by everybody
            copy(into, i + STAGES - 1 < iterations);
            copy_commit();
            multiply_stage(stage, accumulators);
            stage = stage + 1 == STAGES ? 0 : stage + 1;
            into = into + 1 == STAGES ? 0 : into + 1;
        }
        copy_wait<0>();
        __syncthreads();
    }
};

// Moves the accumulators into shared memory as a tile of floats, ROWS × PITCH.
template <class Tile>
__device__ __forceinline__ void put_tile(float* tile, const float (&accumulators)[Tile::M][Tile::N][4]) {
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 row0 = warp / Tile::WARPS_ACROSS * Tile::WARP_ROWS + lane / 4;
    const u32 col0 = warp % Tile::WARPS_ACROSS * Tile::WARP_COLUMNS + lane % 4 * 2;
    UNROLL for (int m = 0; m < Tile::M; m++) {
        UNROLL for (int n = 0; n < Tile::N; n++) {
            UNROLL for (int half = 0; half < 2; half++) {
                float* to = tile + (row0 + m * 16 + half * 8) * Tile::PITCH + col0 + n * 8;
                *reinterpret_cast<float2*>(to) = make_float2(accumulators[m][n][half * 2], accumulators[m][n][half * 2 + 1]);
            }
        }
    }
    __syncthreads();
}

// Which part of the tile a thread lets go of: N channels from `channel` on, rows `row`, `row + rows`, …
template <class Tile, int N> struct Part {
    enum { ACROSS = Tile::COLUMNS / N, DOWN = Tile::THREADS / ACROSS };
    u32 lane_row, column, channel;
    bool inside;

    __device__ __forceinline__ Part(const Gather& g, u32 column_tile) {
        column = threadIdx.x % ACROSS * N;
        lane_row = threadIdx.x / ACROSS;
        channel = column_tile * Tile::COLUMNS + column;
        inside = channel < g.columns;
    }
};

// Brings together what the threads have for each column, in the order of their rows, and hands each total to `put(column, total)`.
// `room`: shared memory for a V per thread and element; whatever was in it is gone.
template <class Tile, int N, class V, class Get, class Merge, class Put>
__device__ __forceinline__ void reduce_columns(V* room, const Part<Tile, N>& part, Get get, Merge merge_two, Put put) {
    enum { DOWN = Part<Tile, N>::DOWN };
    Tile::wait();
    UNROLL for (int e = 0; e < N; e++) room[part.lane_row * Tile::COLUMNS + part.column + e] = get(e);
    Tile::wait();
    if (threadIdx.x < Tile::COLUMNS) {
        V total = room[threadIdx.x];
        for (u32 row = 1; row < DOWN; row++) total = merge_two(total, room[row * Tile::COLUMNS + threadIdx.x]);
        put(threadIdx.x, total);
    }
}
