// Passes over pixels × c: which pixels and channels a thread has, and how a block brings its sums together.
#pragma once
#include "types.cuh"
#include "source.cuh"
#include "reduce.cuh"

// Threads of a block at most, and so the room that a reduction needs.
#define COLUMN_THREADS 256

// N channels from `channel` on, pixels `first, first + blockDim.y, …` below `last`. A block has one tile of pixels.
template <int N> struct Columns {
    u32 channel, first, last, c;
    bool inside;

    __device__ __forceinline__ Columns(u32 rows, u32 c, u32 rows_per_tile) : c(c) {
        channel = (blockIdx.x * blockDim.x + threadIdx.x) * N;
        inside = channel < c;
        first = blockIdx.y * rows_per_tile + threadIdx.y;
        last = min(rows, (blockIdx.y + 1) * rows_per_tile);
    }

    // Merges the statistics of the block's threads and writes them as this tile's. All threads come here.
    __device__ __forceinline__ void put(float* partials, const PivotedSums<N>& sums) const {
        __shared__ Moments all[COLUMN_THREADS];
        const u32 me = threadIdx.y * blockDim.x + threadIdx.x;
        UNROLL for (int i = 0; i < N; i++) {
            all[me] = sums.moments(i);
            __syncthreads();
            for (u32 half = blockDim.y / 2; half > 0; half /= 2) {
                if (threadIdx.y < half) all[me] = merge(all[me], all[me + half * blockDim.x]);
                __syncthreads();
            }
            if (threadIdx.y == 0 && inside) put_moments(partials, blockIdx.y, channel + i, c, all[me]);
            __syncthreads();
        }
    }

    // The same for the sums of gradients.
    template <class T> __device__ __forceinline__ void put(const GradOut& to, const GradWriter<T, N>& out) const {
        __shared__ float2 all[COLUMN_THREADS];
        const u32 me = threadIdx.y * blockDim.x + threadIdx.x;
        UNROLL for (int s = 0; s < 2; s++) {
            if (!out.y[s]) continue; // the same for all threads
            UNROLL for (int i = 0; i < N; i++) {
                all[me].x = out.sum[s][i];
                all[me].y = out.product[s][i];
                __syncthreads();
                for (u32 half = blockDim.y / 2; half > 0; half /= 2) {
                    if (threadIdx.y < half) {
                        all[me].x += all[me + half * blockDim.x].x;
                        all[me].y += all[me + half * blockDim.x].y;
                    }
                    __syncthreads();
                }
                if (threadIdx.y == 0 && inside)
                    put_sums(to.sums[s].partials, blockIdx.y, channel + i, c, all[me].x, all[me].y);
                __syncthreads();
            }
        }
    }
};
