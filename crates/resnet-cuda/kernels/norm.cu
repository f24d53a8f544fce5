// Batch normalisation: the part that needs the whole batch. Few numbers, so everything here is in f64.
//
// Sums of c channels: two rows of f64. After a forward op the mean and Σ(y − mean)²; after a backward op Σ g and Σ g·(y − mean).
#include "types.cuh"
#include "reduce.cuh"

// Channels of a block in the second stage of a reduction: 32 bytes side by side.
#define FINISH_CHANNELS 8
#define FINISH_THREADS 1024

struct FinishArgs {
    const float* partials;
    double* sums; // [2][c]
    u32 tiles, c;
};

// Adds `mine` over threadIdx.y, in a fixed order.
__device__ __forceinline__ double sum_over_tiles(double mine) {
    __shared__ double all[FINISH_THREADS];
    const u32 me = threadIdx.y * FINISH_CHANNELS + threadIdx.x;
    __syncthreads();
    all[me] = mine;
    __syncthreads();
    for (u32 half = blockDim.y / 2; half > 0; half /= 2) {
        if (threadIdx.y < half) all[me] += all[me + half * FINISH_CHANNELS];
        __syncthreads();
    }
    return all[threadIdx.x];
}

// Moments of all tiles: the mean first, then squares around it, so that nothing cancels.
KERNEL(finish_moments, FinishArgs, FINISH_THREADS) {
    const u32 channel = blockIdx.x * FINISH_CHANNELS + threadIdx.x, c = args.c;
    const bool inside = channel < c;
    double n = 0.0, sum = 0.0;
    if (inside) {
        for (u32 tile = threadIdx.y; tile < args.tiles; tile += blockDim.y) {
            const float* at = args.partials + u64(tile) * 3 * c + channel;
            n += at[0];
            sum += double(at[0]) * at[c];
        }
    }
    n = sum_over_tiles(n);
    const double mean = sum_over_tiles(sum) / n;
    double m2 = 0.0;
    if (inside) {
        for (u32 tile = threadIdx.y; tile < args.tiles; tile += blockDim.y) {
            const float* at = args.partials + u64(tile) * 3 * c + channel;
            const double distance = at[c] - mean;
            if (at[0] > 0.0f) m2 += at[2 * c] + at[0] * distance * distance;
        }
    }
    m2 = sum_over_tiles(m2);
    if (inside && threadIdx.y == 0) {
        args.sums[channel] = mean;
        args.sums[c + channel] = m2;
    }
}

// Sums of gradients over all tiles.
KERNEL(finish_grad_sums, FinishArgs, FINISH_THREADS) {
    const u32 channel = blockIdx.x * FINISH_CHANNELS + threadIdx.x, c = args.c;
    const bool inside = channel < c;
    double sum = 0.0, product = 0.0;
    if (inside) {
        for (u32 tile = threadIdx.y; tile < args.tiles; tile += blockDim.y) {
            const float* at = args.partials + u64(tile) * 2 * c + channel;
            sum += at[0];
            product += at[c];
        }
    }
    sum = sum_over_tiles(sum);
    product = sum_over_tiles(product);
    if (inside && threadIdx.y == 0) {
        args.sums[channel] = sum;
        args.sums[c + channel] = product;
    }
}

struct SumsOfTotalsArgs {
    const float* totals; // Σ y [c], then Σ y² [c]
    double* sums;        // [2][c]
    u32 c, m;
};

// Statistics from sums that a library took: m numbers per channel. The difference is taken in f64; what cancelled in Σ y² is lost.
KERNEL(sums_of_totals, SumsOfTotalsArgs, 128) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x, c = args.c;
    if (i >= c) return;
    const double sum = args.totals[i], mean = sum / args.m, m2 = args.totals[c + i] - sum * mean;
    args.sums[i] = mean;
    args.sums[c + i] = m2 < 0.0 ? 0.0 : m2;
}

struct NormFinishArgs {
    const double* sums;
    const float* gamma;
    const float* beta;
    float* running_mean;
    float* running_var;
    float* affine;
    float* moments;
    u32 c, m;
    float eps, momentum;
    u32 unbiased, unused;
};

// The shift belongs to the rounded scale, so that a value at the mean becomes beta.
__device__ __forceinline__ void put_affine(float* affine, u32 i, u32 c, float gamma, float beta, double mean, double inv_std) {
    const float scale = float(gamma * inv_std);
    affine[i] = scale;
    affine[c + i] = float(beta - double(scale) * mean);
}

KERNEL(norm_finish, NormFinishArgs, 128) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x, c = args.c;
    if (i >= c) return;
    const double m = args.m, mean = args.sums[i], var = args.sums[c + i] / m;
    const double inv_std = 1.0 / sqrt(var + double(args.eps));
    put_affine(args.affine, i, c, args.gamma[i], args.beta[i], mean, inv_std);
    args.moments[i] = float(mean);
    args.moments[c + i] = float(inv_std);
    const double estimate = args.unbiased && args.m > 1 ? var * (m / (m - 1.0)) : var;
    const double share = args.momentum;
    args.running_mean[i] = float((1.0 - share) * args.running_mean[i] + share * mean);
    args.running_var[i] = float((1.0 - share) * args.running_var[i] + share * estimate);
}

struct NormFrozenArgs {
    const float* mean;
    const float* var;
    const float* gamma;
    const float* beta;
    float* affine;
    u32 c;
    float eps;
};

KERNEL(norm_frozen, NormFrozenArgs, 128) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= args.c) return;
    const double inv_std = 1.0 / sqrt(double(args.var[i]) + double(args.eps));
    put_affine(args.affine, i, args.c, args.gamma[i], args.beta[i], args.mean[i], inv_std);
}

struct NormFrozenBackwardArgs {
    const float* affine;
    float* coeffs;
    u32 c, unused;
};

// Running statistics do not depend on the batch: dy = scale·g.
KERNEL(norm_frozen_backward, NormFrozenBackwardArgs, 128) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= args.c) return;
    args.coeffs[i] = args.affine[i];
    args.coeffs[args.c + i] = 0.0f;
    args.coeffs[2 * args.c + i] = 0.0f;
}

struct NormBackwardArgs {
    const double* sums;
    const float* moments;
    const float* gamma;
    float* dgamma;
    float* dbeta;
    float* coeffs;
    u32 c, m;
    u32 accumulate, unused;
};

KERNEL(norm_backward_finish, NormBackwardArgs, 128) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x, c = args.c;
    if (i >= c) return;
    const double mean = args.moments[i], inv_std = args.moments[c + i], gamma = args.gamma[i], m = args.m;
    const double dbeta = args.sums[i], dgamma = inv_std * args.sums[c + i];
    const float a = float(gamma * inv_std), b = float(-gamma * inv_std * inv_std * dgamma / m);
    args.coeffs[i] = a;
    args.coeffs[c + i] = b;
    args.coeffs[2 * c + i] = float(-double(a) * dbeta / m - double(b) * mean);
    args.dgamma[i] = float(args.accumulate ? args.dgamma[i] + dgamma : dgamma);
    args.dbeta[i] = float(args.accumulate ? args.dbeta[i] + dbeta : dbeta);
}
