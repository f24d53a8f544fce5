// The gradient of a bias: Σ dy over all pixels, per channel, in two stages.
#include "types.cuh"
#include "source.cuh"
#include "reduce.cuh"
#include "columns.cuh"

struct BiasGradArgs {
    GradSource dy;
    float* partials; // [tile][c]
    u32 rows, c;
    u32 rows_per_tile, unused;
};

template <class T> __device__ __forceinline__ void bias_grad(const BiasGradArgs& args) {
    __shared__ float all[COLUMN_THREADS];
    const Columns<1> at(args.rows, args.c, args.rows_per_tile);
    float sum = 0.0f;
    if (at.inside) {
        const GradReader<T, 1> dy(args.dy, at.channel, args.c);
        for (u32 row = at.first; row < at.last; row += blockDim.y) {
            float g[1];
            dy.read(u64(row) * args.c + at.channel, g);
            sum += g[0];
        }
    }
    const u32 me = threadIdx.y * blockDim.x + threadIdx.x;
    all[me] = sum;
    __syncthreads();
    for (u32 half = blockDim.y / 2; half > 0; half /= 2) {
        if (threadIdx.y < half) all[me] += all[me + half * blockDim.x];
        __syncthreads();
    }
    if (threadIdx.y == 0 && at.inside) args.partials[u64(blockIdx.y) * args.c + at.channel] = all[me];
}
INSTANTIATE(bias_grad, bias_grad, BiasGradArgs, COLUMN_THREADS)
