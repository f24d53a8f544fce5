// A product of matrices whose operands are computed as they are loaded: the heart of the convolutions that work on any device.
//
// Tile: 64 × 64 of the result, 16 of the reduction at a time; 256 threads, each with 4 × 4 of the result in registers.
// While one slice is multiplied from shared memory, the next is on its way into registers.
#pragma once
#include "types.cuh"

#define GEMM_ROWS 64
#define GEMM_COLUMNS 64
#define GEMM_DEPTH 16
#define GEMM_THREADS 256

__device__ __forceinline__ void zeros(float (&out)[4]) {
    UNROLL for (int i = 0; i < 4; i++) out[i] = 0.0f;
}

// Where a thread's four results per direction begin in the tile.
__device__ __forceinline__ u32 gemm_row() { return threadIdx.x / 16 * 4; }
__device__ __forceinline__ u32 gemm_column() { return threadIdx.x % 16 * 4; }

// Which four elements of an operand's slice a thread loads. Along the reduction: four steps of one line; across: four lines at one step.
template <bool ALONG> struct Quarter {
    static __device__ __forceinline__ u32 line() { return ALONG ? threadIdx.x / 4 : threadIdx.x % 16 * 4; }
    static __device__ __forceinline__ u32 depth() { return ALONG ? threadIdx.x % 4 * 4 : threadIdx.x / 16; }
};

// Four steps of one line from `depth` on: in one load where they lie side by side, or one by one. `at<N>` loads N of them.
template <bool VECTOR, class Operand>
__device__ __forceinline__ void fetch_steps(const Operand& operand, u32 depth, float (&out)[4]) {
    if constexpr (VECTOR) {
        operand.template at<4>(depth, out);
    } else {
        UNROLL for (int i = 0; i < 4; i++) {
            float one[1];
            operand.template at<1>(depth + i, one);
            out[i] = one[0];
        }
    }
}

// `Left` and `Right` have ALONG and fetch(depth, float (&)[4]): the thread's quarter of the slice whose reduction begins so that
// its own part is at `depth`; zeros outside.
template <class Left, class Right>
__device__ __forceinline__ void gemm(Left& left, Right& right, u32 begin, u32 end, float (&acc)[4][4]) {
    __shared__ __align__(16) float a[GEMM_DEPTH][GEMM_ROWS + 4];
    __shared__ __align__(16) float b[GEMM_DEPTH][GEMM_COLUMNS + 4];
    typedef Quarter<Left::ALONG> A;
    typedef Quarter<Right::ALONG> B;
    float from_a[4], from_b[4];
    UNROLL for (int i = 0; i < 4; i++)
        UNROLL for (int j = 0; j < 4; j++) acc[i][j] = 0.0f;
    if (begin < end) {
        left.fetch(begin + A::depth(), from_a);
        right.fetch(begin + B::depth(), from_b);
    }
    for (u32 depth = begin; depth < end; depth += GEMM_DEPTH) {
        UNROLL for (u32 i = 0; i < 4; i++) {
            a[A::depth() + (Left::ALONG ? i : 0)][A::line() + (Left::ALONG ? 0 : i)] = from_a[i];
            b[B::depth() + (Right::ALONG ? i : 0)][B::line() + (Right::ALONG ? 0 : i)] = from_b[i];
        }
        __syncthreads();
        if (depth + GEMM_DEPTH < end) {
            left.fetch(depth + GEMM_DEPTH + A::depth(), from_a);
            right.fetch(depth + GEMM_DEPTH + B::depth(), from_b);
        }
        const u32 row = gemm_row(), column = gemm_column();
        UNROLL for (int k = 0; k < GEMM_DEPTH; k++) {
            float va[4], vb[4];
            load<4>(&a[k][row], va);
            load<4>(&b[k][column], vb);
            UNROLL for (int i = 0; i < 4; i++)
                UNROLL for (int j = 0; j < 4; j++) acc[i][j] = multiply_add(va[i], vb[j], acc[i][j]);
        }
        __syncthreads();
    }
}
