// Sums over pixels, per channel, in two stages: each tile leaves partial results, and a second kernel (norm.cu) adds them in
// the order of the tiles. No result depends on which block comes first.
#pragma once
#include "types.cuh"

// Batch statistics of some values: how many, their mean, and the sum of squared distances from it.
// Squares of distances do not cancel, whatever the mean is.
struct Moments {
    float n, mean, m2;
};

// Chan, Golub & LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979, eq. 2.1.
__device__ __forceinline__ Moments merge(const Moments& a, const Moments& b) {
    if (b.n == 0.0f) return a;
    if (a.n == 0.0f) return b;
    Moments m;
    m.n = a.n + b.n;
    const float delta = b.mean - a.mean, share = b.n / m.n;
    m.mean = fmaf(delta, share, a.mean);
    m.m2 = a.m2 + b.m2 + delta * delta * (a.n * share);
    return m;
}

// Sums of one thread for N channels, taken around a pivot: the first value it sees.
template <int N> struct PivotedSums {
    float pivot[N], sum[N], square[N], n;

    __device__ __forceinline__ PivotedSums() : n(0.0f) {
        UNROLL for (int i = 0; i < N; i++) pivot[i] = sum[i] = square[i] = 0.0f;
    }

    __device__ __forceinline__ void add(const float (&v)[N]) {
        UNROLL for (int i = 0; i < N; i++) {
            if (n == 0.0f) pivot[i] = v[i];
            const float d = v[i] - pivot[i];
            sum[i] += d;
            square[i] = fmaf(d, d, square[i]);
        }
        n += 1.0f;
    }

    __device__ __forceinline__ Moments moments(int i) const {
        Moments m;
        m.n = n;
        const float shift = n > 0.0f ? sum[i] / n : 0.0f;
        m.mean = pivot[i] + shift;
        const float m2 = square[i] - sum[i] * shift;
        m.m2 = m2 < 0.0f ? 0.0f : m2;
        return m;
    }
};

// Partial statistics of a tile: [tile][3][c], the rows being n, mean and m2.
__device__ __forceinline__ void put_moments(float* partials, u64 tile, u32 channel, u32 c, const Moments& m) {
    float* at = partials + tile * 3 * c + channel;
    at[0] = m.n;
    at[c] = m.mean;
    at[2 * c] = m.m2;
}

// Partial sums of a tile: [tile][2][c].
__device__ __forceinline__ void put_sums(float* partials, u64 tile, u32 channel, u32 c, float sum, float product) {
    float* at = partials + tile * 2 * c + channel;
    at[0] = sum;
    at[c] = product;
}
