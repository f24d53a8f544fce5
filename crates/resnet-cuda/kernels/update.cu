// One step of the optimizer, and the norm of all gradients: one launch over the whole list of parameters.
//
// The list lies on the device as a table of entries and a table of chunks; a block has one chunk of one parameter.
// Traffic: SGD with momentum reads value, gradient and velocity and writes two of them, 20 bytes a parameter.
#include "types.cuh"

// Elements of a chunk.
#define CHUNK 4096
#define UPDATE_THREADS 256

// One parameter. Twin of `Entry` in src/ops/update.rs.
struct Entry {
    float* value;
    const float* grad;
    float* state0; // velocity, or first moment
    float* state1; // second moment
    u64 count;
    float lr_scale;
    u32 decay;
};

struct Chunk {
    u32 entry, number;
};

enum Rule { SGD = 0, MOMENTUM = 1, NESTEROV = 2, ADAM = 3, ADAMW = 4 };

struct UpdateArgs {
    const Entry* entries;
    const Chunk* chunks;
    const float* scalars; // StepScalars: [0] lr, [1] c₁, [2] c₂, [5] largest norm, [6] undoes a loss scale
    const float* norm; // null: gradients are not clipped
    u32 rule;
    float beta1, beta2, eps, weight_decay; // beta1: also the momentum of SGD
    u32 unused;
};

// What is the same for all elements of a chunk.
struct Step {
    u32 rule;
    float lr, clip, decay, beta1, beta2, eps, step_size, sqrt_c2;
};

__device__ __forceinline__ void step(const Step& s, float& p, float g, float& v, float& w) {
    g *= s.clip;
    if (s.rule != ADAMW) g += s.decay * p;
    if (s.rule == SGD) {
        p -= s.lr * g;
    } else if (s.rule <= NESTEROV) {
        v = s.beta1 * v + g;
        p -= s.lr * (s.rule == NESTEROV ? g + s.beta1 * v : v);
    } else {
        if (s.rule == ADAMW) p *= 1.0f - s.lr * s.decay;
        v += (1.0f - s.beta1) * (g - v);
        w = s.beta2 * w + (1.0f - s.beta2) * g * g;
        p -= s.step_size * v / (sqrtf(w) / s.sqrt_c2 + s.eps);
    }
}

KERNEL(update, UpdateArgs, UPDATE_THREADS) {
    const Chunk chunk = args.chunks[blockIdx.x];
    const Entry& e = args.entries[chunk.entry];
    Step s;
    s.rule = args.rule;
    const float unscale = args.scalars[6];
    s.clip = unscale;
    if (args.norm) {
        const float norm = *args.norm;
        if (!isfinite(norm)) return;
        s.clip = fminf(args.scalars[5] / (norm * unscale + 1e-6f), 1.0f) * unscale;
    }
    s.lr = args.scalars[0] * e.lr_scale;
    s.decay = e.decay ? args.weight_decay : 0.0f;
    s.beta1 = args.beta1, s.beta2 = args.beta2, s.eps = args.eps;
    s.step_size = s.lr / args.scalars[1];
    s.sqrt_c2 = sqrtf(args.scalars[2]);
    const bool one = s.rule != SGD, two = s.rule >= ADAM;

    const u64 begin = u64(chunk.number) * CHUNK, end = begin + CHUNK < e.count ? begin + CHUNK : e.count;
    const u64 whole = end - (end - begin) % 4;
    for (u64 i = begin + 4 * threadIdx.x; i < whole; i += 4 * UPDATE_THREADS) {
        float p[4], g[4], v[4], w[4];
        load<4>(e.value + i, p);
        load<4>(e.grad + i, g);
        if (one) load<4>(e.state0 + i, v);
        if (two) load<4>(e.state1 + i, w);
        UNROLL for (int j = 0; j < 4; j++) step(s, p[j], g[j], v[j], w[j]);
        store<4>(e.value + i, p);
        if (one) store<4>(e.state0 + i, v);
        if (two) store<4>(e.state1 + i, w);
    }
    const u64 i = whole + threadIdx.x;
    if (i < end) {
        float p = e.value[i], v = one ? e.state0[i] : 0.0f, w = two ? e.state1[i] : 0.0f;
        step(s, p, e.grad[i], v, w);
        e.value[i] = p;
        if (one) e.state0[i] = v;
        if (two) e.state1[i] = w;
    }
}

struct GradNormArgs {
    const Entry* entries;
    const Chunk* chunks;
    double* partials; // one per chunk
};

__device__ __forceinline__ double sum_of_block(double mine) {
    __shared__ double all[UPDATE_THREADS];
    all[threadIdx.x] = mine;
    __syncthreads();
    for (u32 half = UPDATE_THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) all[threadIdx.x] += all[threadIdx.x + half];
        __syncthreads();
    }
    return all[0];
}

KERNEL(grad_norm, GradNormArgs, UPDATE_THREADS) {
    const Chunk chunk = args.chunks[blockIdx.x];
    const Entry& e = args.entries[chunk.entry];
    const u64 begin = u64(chunk.number) * CHUNK, end = begin + CHUNK < e.count ? begin + CHUNK : e.count;
    double sum = 0.0;
    for (u64 i = begin + threadIdx.x; i < end; i += UPDATE_THREADS) sum += double(e.grad[i]) * double(e.grad[i]);
    sum = sum_of_block(sum);
    if (threadIdx.x == 0) args.partials[blockIdx.x] = sum;
}

struct FinishNormArgs {
    const double* partials;
    float* norm;
    u32 chunks, unused;
};

KERNEL(finish_grad_norm, FinishNormArgs, UPDATE_THREADS) {
    double sum = 0.0;
    for (u32 i = threadIdx.x; i < args.chunks; i += UPDATE_THREADS) sum += args.partials[i];
    sum = sum_of_block(sum);
    if (threadIdx.x == 0) *args.norm = float(sqrt(sum));
}
