// Gradient of the kernels of one 1×1 convolution of stride 1 on Hopper: macros as in wgmma_forward.cu, and KERNEL_RIGHT, the prologue of x.
//
//   dw[k, c] = Σ over pixels m  dy(m, k) · x(m, c)
//
// Block: one tile of 128 output channels × COLUMNS input channels, and one share of the pixels (grid z), as in backward_weight.cuh, whose
//   second stage adds the shares. Two warpgroups have 64 rows each, and one thread of a further warp begins the copies.
// Pipeline as in wgmma.cuh; a stage has 64 pixels of both operands, in parts of 64 channels, which lie along memory. The left operand comes
//   transposed into registers (ldmatrix), where its prologue is applied; the right one is read where it lies, by descriptor, as columns
//   along memory. Its prologue is applied in place, and a fence shows the result to the products.
// Numerics: as in backward_weight.cuh.
#include "backward_weight.cuh"
#include "wgmma.cuh"

typedef WarpgroupTile<KERNEL_ELEMENT, KERNEL_COLUMNS> ThisTile;

struct WgmmaBackwardWeightArgs {
    TensorMap dz, y, x; // y: where there is a norm
    BackwardWeightArgs g;
    u64 unused[2];
};

template <class Tile, Prologue LEFT, Prologue RIGHT, int STAGES> struct ChannelProduct {
    typedef typename Tile::T T;
    enum {
        PIXELS = 64,
        VECTOR = Tile::VECTOR,
        LEFT_PARTS = Tile::ROWS / 64,
        Y_BYTES = LEFT == GRAD ? Tile::A_BYTES : 0,
        B_AT = Tile::A_BYTES + Y_BYTES,
        STAGE_BYTES = B_AT + Tile::B_BYTES,
        ACROSS = Tile::COLUMNS / VECTOR, // chunks of a pixel of x
        DOWN = Tile::THREADS / ACROSS,   // pixels that all threads evaluate at once
    };

    const BackwardWeightArgs& g;
    unsigned char* shared;
    u32 at; // of `shared`
    u32 row, column, first, last;

    __device__ __forceinline__ ChannelProduct(const BackwardWeightArgs& g, unsigned char* shared)
        : g(g), shared(shared), at(shared_number(shared)), row(blockIdx.x / g.column_tiles * Tile::ROWS),
          column(blockIdx.x % g.column_tiles * Tile::COLUMNS), first(blockIdx.z * g.stages_per_share * PIXELS) {
        last = min(g.pixels, first + g.stages_per_share * PIXELS);
    }

    __device__ __forceinline__ void produce(Pipeline<STAGES> pipe, const TensorMap& dz, const TensorMap& y, const TensorMap& x) const {
        for (u32 pixel = first; pixel < last; pixel += PIXELS) {
            const u32 to = at + pipe.stage * STAGE_BYTES;
            barrier_wait(pipe.empty(), pipe.parity ^ 1);
            barrier_expect(pipe.full(), STAGE_BYTES);
            UNROLL for (int part = 0; part < LEFT_PARTS; part++) {
                copy_tile(to + part * Tile::PART_BYTES, dz, row + part * 64, pixel, pipe.full());
                if constexpr (LEFT == GRAD) copy_tile(to + Tile::A_BYTES + part * Tile::PART_BYTES, y, row + part * 64, pixel, pipe.full());
            }
            UNROLL for (int part = 0; part < Tile::PARTS; part++)
                copy_tile(to + B_AT + part * Tile::PART_BYTES, x, column + part * 64, pixel, pipe.full());
            pipe.advance();
        }
    }

    // A, B and C of an output channel; zeros beyond the last, so that nothing but zeros comes of it.
    struct Coefficients {
        float a, b, c;

        __device__ __forceinline__ Coefficients(const BackwardWeightArgs& g, u32 k) : a(0.0f), b(0.0f), c(0.0f) {
            if (LEFT == GRAD && k < g.k) a = g.dy.coeffs[k], b = g.dy.coeffs[g.k + k], c = g.dy.coeffs[2 * g.k + k];
        }
        // The gradient at two neighbouring pixels, `pixel` and the next. Beyond the last pixel it is zero.
        __device__ __forceinline__ u32 operator()(u32 dz, u32 y, u32 pixel, u32 last) const {
            const float2 d = unpack(dz, T()), v = unpack(y, T());
            return pack(pixel < last ? fmaf(a, d.x, fmaf(b, v.x, c)) : 0.0f, pixel + 1 < last ? fmaf(a, d.y, fmaf(b, v.y, c)) : 0.0f, T());
        }
    };

    __device__ __forceinline__ void consume(Pipeline<STAGES> pipe, float (&sums)[Tile::PARTS][32]) const {
        const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, in_matrix = lane % 8, matrix = lane / 8;
        const Coefficients upper(g, row + warp * 16 + lane / 4), lower(g, row + warp * 16 + lane / 4 + 8);
        const u32 x_chunk = threadIdx.x % ACROSS, x_row = threadIdx.x / ACROSS, channel = column + x_chunk * VECTOR;
        float scale[VECTOR] = {}, shift[VECTOR] = {};
        if (RIGHT == AFFINE && channel < g.c) load_affine(g.affine, channel, g.c, scale, shift);
        for (u32 pixel = first; pixel < last; pixel += PIXELS) {
            const u32 from = pipe.stage * STAGE_BYTES;
            const SharedAt a_at = shared_at(shared) + from + warp / 4 * Tile::PART_BYTES;
            u32 a[Tile::STEPS][4];
            barrier_wait(pipe.full(), pipe.parity);
            if constexpr (RIGHT == AFFINE) {
                unsigned char* part = shared + from + B_AT + x_chunk / 8 * Tile::PART_BYTES;
                UNROLL for (int i = 0; i < PIXELS / DOWN; i++) {
                    T* p = reinterpret_cast<T*>(part + swizzled_128(x_row + i * DOWN, x_chunk % 8));
                    float v[VECTOR];
                    load<VECTOR>(p, v);
                    UNROLL for (int e = 0; e < VECTOR; e++) v[e] = fmaf(scale[e], v[e], shift[e]);
                    if (g.relu) {
                        UNROLL for (int e = 0; e < VECTOR; e++) v[e] = relu(v[e]);
                    }
                    store<VECTOR>(p, v);
                }
                fence_stores();
            }
            UNROLL for (int step = 0; step < Tile::STEPS; step++) {
                const u32 chunk = swizzled_128(step * 16 + (matrix >> 1) * 8 + in_matrix, warp % 4 * 2 + (matrix & 1));
                load_matrices_transposed(a[step], a_at + chunk);
                if constexpr (LEFT == GRAD) {
                    u32 y[4];
                    load_matrices_transposed(y, a_at + Tile::A_BYTES + chunk);
                    UNROLL for (int i = 0; i < 4; i++)
                        a[step][i] = (i & 1 ? lower : upper)(a[step][i], y[i], pixel + step * 16 + (i >> 1) * 8 + lane % 4 * 2, last);
                }
            }
            if constexpr (RIGHT == AFFINE) Tile::wait(); // everybody has evaluated its part of x
            products_fence();
            UNROLL for (int step = 0; step < Tile::STEPS; step++) {
                UNROLL for (int part = 0; part < Tile::PARTS; part++) {
                    const u32 b = at + from + B_AT + part * Tile::PART_BYTES + step * 16 * TILE_ROW;
                    multiply_async<true>(sums[part], a[step], tile_descriptor(b, Tile::PART_BYTES), T());
                }
            }
            products_commit();
            products_wait();
            pipe.release();
            pipe.advance();
        }
    }
};

#define DECLARE(NAME) KERNEL(NAME, WgmmaBackwardWeightArgs, BLOCK_BOUNDS)
DECLARE(KERNEL_NAME) {
    DYNAMIC_SHARED(unsigned char, shared);
    typedef ChannelProduct<ThisTile, KERNEL_LEFT, KERNEL_RIGHT, KERNEL_STAGES> Product;
    const Product product(args.g, shared);
    const Pipeline<KERNEL_STAGES> pipe(product.at + KERNEL_STAGES * Product::STAGE_BYTES);
    pipe.begin(ThisTile::THREADS / 32);
    if (warp_number() == ThisTile::THREADS / 32) {
        if (threadIdx.x % 32 == 0) product.produce(pipe, args.dz, args.y, args.x);
        return;
    }
    float sums[ThisTile::PARTS][32] = {};
    product.consume(pipe, sums);

    const BackwardWeightArgs& g = args.g;
    const u32 lane = threadIdx.x % 32, row = product.row + threadIdx.x / 32 * 16 + lane / 4, column = product.column + lane % 4 * 2;
    float* part = g.parts + u64(blockIdx.z) * g.k * g.c;
    UNROLL for (int p = 0; p < ThisTile::PARTS; p++) {
        UNROLL for (int i = 0; i < 16; i++) {
            const u32 k = row + i % 2 * 8, c = column + p * 64 + i / 2 * 8;
            if (k < g.k && c < g.c) *reinterpret_cast<float2*>(part + u64(k) * g.c + c) = make_float2(sums[p][i * 2], sums[p][i * 2 + 1]);
        }
    }
}
