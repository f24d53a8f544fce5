// What the tensor-core kernels need around them: operands in their form, and the end of split sums.
// Each pass reads and writes its operands once. Threads: 256 in a row, one element or vector each.
#include "source.cuh"
#include "warp.cuh"

// Weights, f32 k × r × s × c, as the left or right operand of a product: element type T, channels padded with zeros.
struct PackArgs {
    const float* w;
    void* to;        // forward: [k][taps][padded ≥ c]; backward: [c][taps][padded ≥ k]
    u32 k, taps, c;
    u32 padded;
};

template <class T> __device__ __forceinline__ T operand(float v) { return from_f32<T>(v); }
template <> __device__ __forceinline__ float operand<float>(float v) { return __uint_as_float(round_tf32(__float_as_uint(v))); }

template <class T> __device__ __forceinline__ void pack_forward(const PackArgs& args) {
    const u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= u64(args.k) * args.taps * args.padded) return;
    const u32 c = i % args.padded;
    const u64 row = i / args.padded;
    static_cast<T*>(args.to)[i] = operand<T>(c < args.c ? args.w[row * args.c + c] : 0.0f);
}
INSTANTIATE(pack_forward, pack_forward, PackArgs, 256)

// Block: 32 × 8 threads; grid: (k in tiles of 32, c in tiles of 32, taps). Through shared memory, so that both sides are contiguous.
template <class T> __device__ __forceinline__ void pack_backward(const PackArgs& args) {
    __shared__ float tile[32][33];
    const u32 k0 = blockIdx.x * 32, c0 = blockIdx.y * 32, tap = blockIdx.z;
    for (u32 row = threadIdx.y; row < 32; row += 8) {
        const u32 k = k0 + row, c = c0 + threadIdx.x;
        tile[row][threadIdx.x] = k < args.k && c < args.c ? args.w[(u64(k) * args.taps + tap) * args.c + c] : 0.0f;
    }
    __syncthreads();
    for (u32 row = threadIdx.y; row < 32; row += 8) {
        const u32 c = c0 + row, k = k0 + threadIdx.x;
        if (c < args.c && k < args.padded)
            static_cast<T*>(args.to)[(u64(c) * args.taps + tap) * args.padded + k] = operand<T>(tile[threadIdx.x][row]);
    }
}
INSTANTIATE(pack_backward, pack_backward, PackArgs, 256)

// A source or a gradient as a tensor of its own, channels padded with zeros. `Read` evaluates `from`.
template <class T, class Read, class From>
__device__ __forceinline__ void stage(const From& from, void* to, u32 pixels, u32 c, u32 padded) {
    const u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= u64(pixels) * padded) return;
    const u32 channel = i % padded;
    float v[1] = {0.0f};
    if (channel < c) Read(from, channel, c).read(i / padded * c + channel, v);
    static_cast<T*>(to)[i] = operand<T>(v[0]);
}

struct StageSourceArgs {
    Source x;
    void* to;
    u32 pixels, c;
    u32 padded, unused;
};

template <class T> __device__ __forceinline__ void stage_source(const StageSourceArgs& args) {
    stage<T, Reader<T, 1>>(args.x, args.to, args.pixels, args.c, args.padded);
}
INSTANTIATE(stage_source, stage_source, StageSourceArgs, 256)

struct StageGradArgs {
    GradSource dy;
    void* to;
    u32 pixels, c;
    u32 padded, unused;
};

template <class T> __device__ __forceinline__ void stage_grad(const StageGradArgs& args) {
    stage<T, GradReader<T, 1>>(args.dy, args.to, args.pixels, args.c, args.padded);
}
INSTANTIATE(stage_grad, stage_grad, StageGradArgs, 256)

// The parts of a weight gradient, added in their order into dw.
struct FinishWeightArgs {
    const float* parts; // [share][k][taps][padded]
    float* dw;          // [k][taps][c]
    u64 n;              // elements of dw
    u32 shares, c, padded, accumulate;
    u64 part; // elements of a part
};

KERNEL(finish_backward_weight, FinishWeightArgs, 256) {
    const u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= args.n) return;
    const u64 at = i / args.c * args.padded + i % args.c;
    float sum = args.parts[at];
    for (u32 s = 1; s < args.shares; s++) sum += args.parts[s * args.part + at];
    args.dw[i] = args.accumulate ? args.dw[i] + sum : sum;
}

// A weight gradient that a library left in the tensors' type, added to or set as dw.
struct WidenWeightArgs {
    const void* from; // [k][taps][padded]
    float* dw;        // [k][taps][c]
    u64 n;            // elements of dw
    u32 c, padded;
    u32 accumulate, unused;
};

template <class T> __device__ __forceinline__ void widen_weight(const WidenWeightArgs& args) {
    const u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= args.n) return;
    const float v = to_f32(static_cast<const T*>(args.from)[i / args.c * args.padded + i % args.c]);
    args.dw[i] = args.accumulate ? args.dw[i] + v : v;
}
INSTANTIATE(widen_weight, widen_weight, WidenWeightArgs, 256)
