// One step of the optimizer, and the norm of all gradients: one launch over the whole list of parameters.
//
// The list lies on the device as a table of entries and a table of chunks; a block has one chunk of one parameter.
// Weights that tensor cores read have copies in the form they want; those are written in the same pass. A chunk of such a parameter is a
// square of one tap, kernels by channels, so that both copies are written in whole rows.
// Traffic: SGD with momentum reads value, gradient and velocity and writes two of them, 20 bytes a parameter; 2 more for each copy.
#include "types.cuh"

// Elements of a chunk.
#define CHUNK 4096
#define UPDATE_THREADS 256
// Kernels and channels of a square chunk.
#define SQUARE 64

// What the elements of copies are; 0: there are none.
enum Form { FORM_BF16 = 1, FORM_F16 = 2, FORM_TF32 = 3 };

// One parameter. Twin of `Entry` in src/ops/update.rs.
struct Entry {
    float* value;
    const float* grad;
    float* state0; // velocity, or first moment
    float* state1; // second moment
    void* forward;  // copy, [k][taps][forward_c], or null
    void* backward; // copy, [c][taps][backward_k], or null
    u64 count;
    float lr_scale;
    u32 decay;
    u32 k, taps, c;
    u32 forward_c, backward_k;
    u32 form;
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

// N elements from element `i` of a parameter on; they become the new values.
template <int N> __device__ __forceinline__ void step_at(const Step& s, const Entry& e, u64 i, float (&p)[N]) {
    const bool one = s.rule != SGD, two = s.rule >= ADAM;
    float g[N], v[N], w[N];
    load<N>(e.value + i, p);
    load<N>(e.grad + i, g);
    if (one) load<N>(e.state0 + i, v);
    if (two) load<N>(e.state1 + i, w);
    UNROLL for (int j = 0; j < N; j++) step(s, p[j], g[j], v[j], w[j]);
    store<N>(e.value + i, p);
    if (one) store<N>(e.state0 + i, v);
    if (two) store<N>(e.state1 + i, w);
}

// A value as the copies have it.
__device__ __forceinline__ u32 narrow(float v, u32 form) {
    if (form == FORM_BF16) return from_f32<bf16>(v).bits;
    if (form == FORM_F16) return from_f32<f16>(v).bits;
    return round_tf32(__float_as_uint(v));
}

__device__ __forceinline__ void put(void* copy, u64 at, u32 bits, u32 form) {
    if (form == FORM_TF32) static_cast<u32*>(copy)[at] = bits;
    else static_cast<u16*>(copy)[at] = u16(bits);
}

// Four neighbours; `at` is a multiple of 4.
__device__ __forceinline__ void put4(void* copy, u64 at, const u32 (&bits)[4], u32 form) {
    if (form == FORM_TF32) {
        uint4 t;
        t.x = bits[0], t.y = bits[1], t.z = bits[2], t.w = bits[3];
        reinterpret_cast<uint4*>(copy)[at / 4] = t;
    } else {
        uint2 t;
        t.x = bits[0] | bits[1] << 16, t.y = bits[2] | bits[3] << 16;
        reinterpret_cast<uint2*>(copy)[at / 4] = t;
    }
}

// A chunk with copies.
__device__ __forceinline__ void square(const Step& s, const Entry& e, u32 number) {
    __shared__ u32 turned[SQUARE][SQUARE + 1];
    const u32 across = (e.c + SQUARE - 1) / SQUARE, down = (e.k + SQUARE - 1) / SQUARE;
    const u32 c0 = number % across * SQUARE, k0 = number / across % down * SQUARE, tap = number / across / down;
    for (u32 i = threadIdx.x; i < SQUARE * SQUARE / 4; i += UPDATE_THREADS) {
        const u32 row = i / (SQUARE / 4), column = i % (SQUARE / 4) * 4, k = k0 + row, c = c0 + column;
        if (k >= e.k || c >= e.c) continue;
        const u64 from = (u64(k) * e.taps + tap) * e.c + c, to = (u64(k) * e.taps + tap) * e.forward_c + c;
        if (e.c % 4 == 0) {
            float p[4];
            u32 bits[4];
            step_at<4>(s, e, from, p);
            UNROLL for (u32 j = 0; j < 4; j++) turned[row][column + j] = bits[j] = narrow(p[j], e.form);
            if (e.forward) put4(e.forward, to, bits, e.form);
        } else {
            for (u32 j = 0; j < 4 && c + j < e.c; j++) {
                float p[1];
                step_at<1>(s, e, from + j, p);
                const u32 bits = narrow(p[0], e.form);
                turned[row][column + j] = bits;
                if (e.forward) put(e.forward, to + j, bits, e.form);
            }
        }
    }
    __syncthreads();
    if (!e.backward) return;
    for (u32 i = threadIdx.x; i < SQUARE * SQUARE; i += UPDATE_THREADS) {
        const u32 row = i / SQUARE, column = i % SQUARE, c = c0 + row, k = k0 + column;
        if (c < e.c && k < e.k) put(e.backward, (u64(c) * e.taps + tap) * e.backward_k + k, turned[column][row], e.form);
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
    if (e.form != 0) return square(s, e, chunk.number);

    const u64 begin = u64(chunk.number) * CHUNK, end = begin + CHUNK < e.count ? begin + CHUNK : e.count;
    const u64 whole = end - (end - begin) % 4;
    for (u64 i = begin + 4 * threadIdx.x; i < whole; i += 4 * UPDATE_THREADS) {
        float p[4];
        step_at<4>(s, e, i, p);
    }
    if (whole + threadIdx.x < end) {
        float p[1];
        step_at<1>(s, e, whole + threadIdx.x, p);
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
