// Gradient of a convolution's kernels on tensor cores.
//
//   dw[k, t, c] = Σ over pixels m of the output  dy(m, k) · x(pixel(m, t), c)
//
// A matrix product whose sum runs over pixels: the left operand is dy, the right one x gathered at each tap. Columns are taps × channels
// in one row, so that a stem with few channels still fills a tile.
// Block: one tile of ROWS output channels × COLUMNS of (tap, channel), and one share of the pixels (grid z), whose sums go to its own
//   part of the scratch memory. finish_backward_weight adds the parts in their order: no result depends on which block comes first.
// Pipeline as in gather.cuh; a stage has PIXELS rows of both operands, channels along them, and ldmatrix transposes as it loads.
// Numerics: operands rounded to the element type, products exact, sums in f32. Traffic: dy once per column tile, x once per row tile.
#pragma once
#include "gather.cuh"

struct BackwardWeightArgs {
    GradSource dy;
    const void* x;
    const float* affine; // of x; read by kernels with the AFFINE prologue
    float* parts;        // [share][k][window_r][window_s][c]
    u32 pixels;          // of all pictures: n·p·q
    u32 h, w, c;         // c and k: multiples of a chunk
    u32 p, q, k;
    u32 window_r, window_s;
    u32 stride, top, left;
    u32 relu;
    u32 row_tiles, column_tiles;
    u32 stages_per_share; // how many times PIXELS a share has
};

template <class T_, int ROWS_, int COLUMNS_, int WARP_ROWS_, int WARP_COLUMNS_> struct WeightTile {
    typedef T_ T;
    enum {
        ROWS = ROWS_,
        COLUMNS = COLUMNS_,
        WARP_ROWS = WARP_ROWS_,
        WARP_COLUMNS = WARP_COLUMNS_,
        WARPS_ACROSS = COLUMNS / WARP_COLUMNS,
        THREADS = (ROWS / WARP_ROWS) * WARPS_ACROSS * 32,
        VECTOR = CHUNK / sizeof(T),
        PIXELS = 64 / sizeof(T), // of a stage: two steps of the matrix instruction
        A_CHUNKS = ROWS / VECTOR, // of a pixel
        B_CHUNKS = COLUMNS / VECTOR,
        A_STEP = THREADS / A_CHUNKS, // pixels that all threads copy at once
        B_STEP = THREADS / B_CHUNKS,
        A_COPIES = PIXELS / A_STEP,
        B_COPIES = PIXELS / B_STEP,
        M = WARP_ROWS / 16,
        N = WARP_COLUMNS / 8,
        A_BYTES = PIXELS * ROWS * int(sizeof(T)),
        B_BYTES = PIXELS * COLUMNS * int(sizeof(T)),
    };
    static_assert(A_COPIES * A_STEP == PIXELS && B_COPIES * B_STEP == PIXELS && N % 2 == 0, "tile");
};

// Where a chunk of a pixel lies. Eight pixels at one chunk meet no bank conflict, and for 32-bit elements four at two neighbouring chunks.
template <class T, int CHUNKS> __device__ __forceinline__ u32 swizzled_pixel(u32 pixel, u32 chunk) {
    const u32 key = sizeof(T) == 4 ? pixel * 2 & 7 : pixel & 7;
    return (pixel * CHUNKS + (chunk ^ key)) * CHUNK;
}

// A position in the output that moves on by PIXELS: carried instead of divided.
struct Pixel {
    u32 m, n, p, q;

    Pixel() = default;
    __device__ __forceinline__ Pixel(u32 m, u32 extent_p, u32 extent_q) : m(m) {
        n = m / (extent_p * extent_q);
        const u32 rest = m - n * extent_p * extent_q;
        p = rest / extent_q;
        q = rest - p * extent_q;
    }
    __device__ __forceinline__ void advance(u32 by, u32 dn, u32 dp, u32 dq, u32 extent_p, u32 extent_q) {
        m += by;
        q += dq;
        if (q >= extent_q) q -= extent_q, p++;
        p += dp;
        if (p >= extent_p) p -= extent_p, n++;
        n += dn;
    }
};

template <class Tile, Prologue LEFT, Prologue RIGHT, int STAGES> struct WeightProduct {
    typedef typename Tile::T T;
    enum {
        VECTOR = Tile::VECTOR,
        Y_BYTES = LEFT == GRAD ? Tile::A_BYTES : 0,
        STAGE_BYTES = Tile::A_BYTES + Y_BYTES + Tile::B_BYTES,
    };

    const BackwardWeightArgs& g;
    const T *dz, *y, *x;
    unsigned char* shared;
    SharedAt shared_address;
    u32 last;                              // pixel behind the share's last
    u32 step_n, step_p, step_q;            // PIXELS in terms of pictures, rows and columns
    u32 a_chunk, b_chunk, a_row, b_row;    // this thread's chunk and first pixel in a stage
    u32 k, tap_r, tap_s, channel;          // what the chunks are
    bool k_inside, tap_inside;
    u32 next_a;                            // pixel of copy 0 of the left operand
    Pixel next_b[Tile::B_COPIES];          // pixels of the right operand, the next to be copied
    u32 a_there, b_there;                  // a bit per copy, newest lowest: whether it read something
    float left_scale[VECTOR], left_other[VECTOR], left_shift[VECTOR], scale[VECTOR], shift[VECTOR];

    __device__ __forceinline__ WeightProduct(const BackwardWeightArgs& g, unsigned char* shared, u32 row_tile, u32 column_tile, u32 first)
        : g(g), dz(static_cast<const T*>(g.dy.dz)), y(static_cast<const T*>(g.dy.y)), x(static_cast<const T*>(g.x)), shared(shared),
          shared_address(shared_at(shared)), a_there(0), b_there(0) {
        last = min(g.pixels, first + g.stages_per_share * Tile::PIXELS);
        step_n = Tile::PIXELS / (g.p * g.q);
        step_p = Tile::PIXELS / g.q % g.p;
        step_q = Tile::PIXELS % g.q;
        a_chunk = threadIdx.x % Tile::A_CHUNKS, a_row = threadIdx.x / Tile::A_CHUNKS;
        b_chunk = threadIdx.x % Tile::B_CHUNKS, b_row = threadIdx.x / Tile::B_CHUNKS;
        k = row_tile * Tile::ROWS + a_chunk * VECTOR;
        k_inside = k < g.k;
        const u32 column = column_tile * Tile::COLUMNS + b_chunk * VECTOR;
        const u32 tap = column / g.c;
        channel = column - tap * g.c;
        tap_inside = tap < g.window_r * g.window_s;
        tap_r = tap / g.window_s;
        tap_s = tap - tap_r * g.window_s;
        next_a = first + a_row;
        UNROLL for (int i = 0; i < Tile::B_COPIES; i++) next_b[i] = Pixel(first + b_row + i * Tile::B_STEP, g.p, g.q);
        if constexpr (LEFT == GRAD) {
            if (k_inside) {
                load<VECTOR>(g.dy.coeffs + k, left_scale);
                load<VECTOR>(g.dy.coeffs + g.k + k, left_other);
                load<VECTOR>(g.dy.coeffs + 2 * g.k + k, left_shift);
            }
        }
        if constexpr (RIGHT == AFFINE) {
            if (tap_inside) load_affine(g.affine, channel, g.c, scale, shift);
        }
    }

    // Begins the copies of a stage; where `more` is false only notes that there are none.
    __device__ __forceinline__ void copy(int stage, bool more) {
        const SharedAt to = shared_address + stage * STAGE_BYTES;
        a_there <<= Tile::A_COPIES, b_there <<= Tile::B_COPIES;
        if (!more) return;
        UNROLL for (int i = 0; i < Tile::A_COPIES; i++) {
            const u32 m = next_a + i * Tile::A_STEP;
            const bool there = k_inside && m < last;
            const u64 index = there ? u64(m) * g.k + k : 0;
            const u32 at = swizzled_pixel<T, Tile::A_CHUNKS>(a_row + i * Tile::A_STEP, a_chunk);
            copy_async(to + at, dz + index, there);
            if constexpr (LEFT == GRAD) copy_async(to + Tile::A_BYTES + at, y + index, there);
            a_there |= u32(there) << i;
        }
        next_a += Tile::PIXELS;
        UNROLL for (int i = 0; i < Tile::B_COPIES; i++) {
            Pixel& at = next_b[i];
            const u32 h = at.p * g.stride + tap_r - g.top, w = at.q * g.stride + tap_s - g.left; // wraps where it is above or left of 0
            const bool there = tap_inside && at.m < last && h < g.h && w < g.w;
            const u64 index = there ? (u64(at.n * g.h + h) * g.w + w) * g.c + channel : 0;
            copy_async(to + Tile::A_BYTES + Y_BYTES + swizzled_pixel<T, Tile::B_CHUNKS>(b_row + i * Tile::B_STEP, b_chunk), x + index, there);
            b_there |= u32(there) << i;
            at.advance(Tile::PIXELS, step_n, step_p, step_q, g.p, g.q);
        }
    }

    // Applies the prologues to what this thread has copied into the stage that has arrived, the oldest on its way.
    __device__ __forceinline__ void evaluate(int stage) {
        unsigned char* at_stage = shared + stage * STAGE_BYTES;
        if constexpr (LEFT == GRAD) {
            UNROLL for (int i = 0; i < Tile::A_COPIES; i++) {
                if (!(a_there >> (STAGES - 2) * Tile::A_COPIES >> i & 1)) continue;
                unsigned char* p = at_stage + swizzled_pixel<T, Tile::A_CHUNKS>(a_row + i * Tile::A_STEP, a_chunk);
                float v[VECTOR], other[VECTOR];
                load<VECTOR>(reinterpret_cast<T*>(p), v);
                load<VECTOR>(reinterpret_cast<T*>(p + Tile::A_BYTES), other);
                UNROLL for (int e = 0; e < VECTOR; e++) v[e] = fmaf(left_scale[e], v[e], fmaf(left_other[e], other[e], left_shift[e]));
                put_operand(reinterpret_cast<T*>(p), v);
            }
        }
        if constexpr (RIGHT == AFFINE) {
            UNROLL for (int i = 0; i < Tile::B_COPIES; i++) {
                if (!(b_there >> (STAGES - 2) * Tile::B_COPIES >> i & 1)) continue; // padding stays zero
                T* p = reinterpret_cast<T*>(at_stage + Tile::A_BYTES + Y_BYTES +
                                            swizzled_pixel<T, Tile::B_CHUNKS>(b_row + i * Tile::B_STEP, b_chunk));
                float v[VECTOR];
                load<VECTOR>(p, v);
                UNROLL for (int e = 0; e < VECTOR; e++) v[e] = fmaf(scale[e], v[e], shift[e]);
                if (g.relu) {
                    UNROLL for (int e = 0; e < VECTOR; e++) v[e] = relu(v[e]);
                }
                put_operand(p, v);
            }
        }
    }

    // Fragments of 16-bit operands come transposed out of ldmatrix; `pixel`: the first of the step's sixteen.
    template <class E> __device__ __forceinline__ void fragments(const E*, int stage, u32 pixel, u32 row0, u32 col0,
                                                                 u32 (&a)[Tile::M][4], u32 (&b)[Tile::N][2]) const {
        const SharedAt a_at = shared_address + stage * STAGE_BYTES, b_at = a_at + Tile::A_BYTES + Y_BYTES;
        const u32 lane = threadIdx.x % 32, in_matrix = lane % 8, matrix = lane / 8;
        UNROLL for (int m = 0; m < Tile::M; m++)
            load_matrices_transposed(a[m], a_at + swizzled_pixel<T, Tile::A_CHUNKS>(pixel + (matrix >> 1) * 8 + in_matrix,
                                                                                    (row0 + m * 16) / 8 + (matrix & 1)));
        UNROLL for (int n = 0; n < Tile::N; n += 2) {
            u32 both[4];
            load_matrices_transposed(both, b_at + swizzled_pixel<T, Tile::B_CHUNKS>(pixel + (matrix & 1) * 8 + in_matrix,
                                                                                    (col0 + n * 8) / 8 + (matrix >> 1)));
            b[n][0] = both[0], b[n][1] = both[1], b[n + 1][0] = both[2], b[n + 1][1] = both[3];
        }
    }

    // ldmatrix moves 16 bits, so 32-bit elements are loaded one by one.
    __device__ __forceinline__ void fragments(const float*, int stage, u32 pixel, u32 row0, u32 col0, u32 (&a)[Tile::M][4],
                                              u32 (&b)[Tile::N][2]) const {
        const unsigned char *a_at = shared + stage * STAGE_BYTES, *b_at = a_at + Tile::A_BYTES + Y_BYTES;
        const u32 lane = threadIdx.x % 32, across = lane / 4;
        UNROLL for (int m = 0; m < Tile::M; m++) {
            UNROLL for (int i = 0; i < 4; i++) {
                const u32 channel = row0 + m * 16 + (i & 1) * 8 + across, at = pixel + (i >> 1) * 4 + lane % 4;
                a[m][i] = *reinterpret_cast<const u32*>(a_at + swizzled_pixel<T, Tile::A_CHUNKS>(at, channel / 4) + channel % 4 * 4);
            }
        }
        UNROLL for (int n = 0; n < Tile::N; n++) {
            UNROLL for (int i = 0; i < 2; i++) {
                const u32 column = col0 + n * 8 + across, at = pixel + i * 4 + lane % 4;
                b[n][i] = *reinterpret_cast<const u32*>(b_at + swizzled_pixel<T, Tile::B_CHUNKS>(at, column / 4) + column % 4 * 4);
                if constexpr (RIGHT == RAW) b[n][i] = round_tf32(b[n][i]);
            }
        }
    }

    __device__ __forceinline__ void multiply_stage(int stage, float (&accumulators)[Tile::M][Tile::N][4]) const {
        const u32 warp = threadIdx.x / 32;
        const u32 row0 = warp / Tile::WARPS_ACROSS * Tile::WARP_ROWS, col0 = warp % Tile::WARPS_ACROSS * Tile::WARP_COLUMNS;
        UNROLL for (int step = 0; step < 2; step++) {
            u32 a[Tile::M][4], b[Tile::N][2];
            fragments(static_cast<const T*>(nullptr), stage, step * Tile::PIXELS / 2, row0, col0, a, b);
            UNROLL for (int m = 0; m < Tile::M; m++) {
                if constexpr (LEFT == RAW) round_operand(a[m], T());
                UNROLL for (int n = 0; n < Tile::N; n++) multiply(accumulators[m][n], a[m], b[n], T());
            }
        }
    }

    __device__ __forceinline__ void run(u32 first, float (&accumulators)[Tile::M][Tile::N][4]) {
        const u32 iterations = first < last ? (last - first + Tile::PIXELS - 1) / Tile::PIXELS : 0;
        UNROLL for (int s = 0; s < STAGES - 1; s++) {
            copy(s, s < iterations);
            copy_commit();
        }
        int stage = 0, into = STAGES - 1;
        for (u32 i = 0; i < iterations; i++) {
            copy_wait<STAGES - 2>();
            evaluate(stage);
            __syncthreads();
            copy(into, i + STAGES - 1 < iterations);
            copy_commit();
            multiply_stage(stage, accumulators);
            stage = stage + 1 == STAGES ? 0 : stage + 1;
            into = into + 1 == STAGES ? 0 : into + 1;
        }
        copy_wait<0>();
    }
};

template <class Tile, Prologue LEFT, Prologue RIGHT, int STAGES>
__device__ __forceinline__ void backward_weight(const BackwardWeightArgs& args) {
    DYNAMIC_SHARED(unsigned char, shared);
    const u32 row_tile = blockIdx.x / args.column_tiles, column_tile = blockIdx.x % args.column_tiles;
    const u32 first = blockIdx.z * args.stages_per_share * Tile::PIXELS;
    float accumulators[Tile::M][Tile::N][4] = {};
    WeightProduct<Tile, LEFT, RIGHT, STAGES> product(args, shared, row_tile, column_tile, first);
    product.run(first, accumulators);

    const u32 columns = args.window_r * args.window_s * args.c;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 row0 = row_tile * Tile::ROWS + warp / Tile::WARPS_ACROSS * Tile::WARP_ROWS + lane / 4;
    const u32 col0 = column_tile * Tile::COLUMNS + warp % Tile::WARPS_ACROSS * Tile::WARP_COLUMNS + lane % 4 * 2;
    float* part = args.parts + u64(blockIdx.z) * args.k * columns;
    UNROLL for (int m = 0; m < Tile::M; m++) {
        UNROLL for (int half = 0; half < 2; half++) {
            const u32 row = row0 + m * 16 + half * 8;
            UNROLL for (int n = 0; n < Tile::N; n++) {
                const u32 col = col0 + n * 8;
                if (row < args.k && col < columns)
                    *reinterpret_cast<float2*>(part + u64(row) * columns + col) =
                        make_float2(accumulators[m][n][half * 2], accumulators[m][n][half * 2 + 1]);
            }
        }
    }
}
