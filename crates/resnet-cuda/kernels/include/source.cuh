// How ops read tensors and gradients, and how they let go of a gradient: the device side of resnet-core's `source.rs`.
// The Rust twins of these structures are in src/source.rs.
#pragma once
#include "types.cuh"

// value = act(scale[c]·raw + shift[c] + residual). A pointer that is null is not there.
struct Source {
    const void* raw;
    const float* affine; // scale[c], then shift[c]
    const void* residual;
    const float* residual_affine;
    u32 relu;
    u32 unused;
};

// dy = A[c]·dz + B[c]·y + C[c], or dz alone.
struct GradSource {
    const void* dz;
    const float* coeffs; // A[c], B[c], C[c]
    const void* y;
};

// Σ dx and Σ dx·(y − mean): one partial result per tile, [tile][2][c].
struct GradSums {
    const void* y; // null: no sums
    const float* moments; // mean[c], then 1/σ[c]
    float* partials;
};

// dx = mask ⊙ (g + [dx] + [add]), then the sums of what was written.
struct GradOut {
    void* dx;
    const void* add;
    Source mask; // raw is null: none
    GradSums sums[2];
    u32 accumulate;
    u32 unused;
};

// Scale and shift of N channels in registers. Without a table they are not used.
template <int N> struct Affine {
    float scale[N], shift[N];
    bool present;

    __device__ __forceinline__ Affine(const float* table, u32 channel, u32 c) : present(table != nullptr) {
        if (present) {
            load<N>(table + channel, scale);
            load<N>(table + c + channel, shift);
        }
    }

    // One fused multiply-add, wherever a source is read, so that every reader sees the same bits.
    __device__ __forceinline__ float operator()(int i, float raw) const {
        return present ? fmaf(scale[i], raw, shift[i]) : raw;
    }
};

// Reads a source at N channels from `channel` on, at any pixel. `c`: channels of the tensor; a multiple of N.
template <class T, int N> struct Reader {
    const T* raw;
    const T* residual;
    Affine<N> main, other;
    bool relu_last;

    __device__ __forceinline__ Reader(const Source& s, u32 channel, u32 c)
        : raw(static_cast<const T*>(s.raw)), residual(static_cast<const T*>(s.residual)), main(s.affine, channel, c),
          other(s.residual_affine, channel, c), relu_last(s.relu != 0) {}

    // `at`: index of the first element.
    __device__ __forceinline__ void read(u64 at, float (&out)[N]) const {
        load<N>(raw + at, out);
        UNROLL for (int i = 0; i < N; i++) out[i] = main(i, out[i]);
        if (residual) {
            float r[N];
            load<N>(residual + at, r);
            UNROLL for (int i = 0; i < N; i++) out[i] += other(i, r[i]);
        }
        if (relu_last) {
            UNROLL for (int i = 0; i < N; i++) out[i] = relu(out[i]);
        }
    }
};

// Reads a gradient at N channels from `channel` on, at any pixel.
template <class T, int N> struct GradReader {
    const T* dz;
    const T* y;
    float a[N], b[N], shift[N];

    __device__ __forceinline__ GradReader(const GradSource& s, u32 channel, u32 c)
        : dz(static_cast<const T*>(s.dz)), y(static_cast<const T*>(s.y)) {
        if (y) {
            load<N>(s.coeffs + channel, a);
            load<N>(s.coeffs + c + channel, b);
            load<N>(s.coeffs + 2 * c + channel, shift);
        }
    }

    __device__ __forceinline__ void read(u64 at, float (&out)[N]) const {
        load<N>(dz + at, out);
        if (y) {
            float v[N];
            load<N>(y + at, v);
            UNROLL for (int i = 0; i < N; i++) out[i] = fmaf(a[i], out[i], fmaf(b[i], v[i], shift[i]));
        }
    }
};

// Writes gradients at N channels from `channel` on, and sums them.
template <class T, int N> struct GradWriter {
    T* dx;
    const T* add;
    const T* y[2];
    Reader<T, N> mask;
    float mean[2][N];
    float sum[2][N], product[2][N]; // Σ dx and Σ dx·(y − mean)
    bool accumulate, masked;

    __device__ __forceinline__ GradWriter(const GradOut& out, u32 channel, u32 c)
        : dx(static_cast<T*>(out.dx)), add(static_cast<const T*>(out.add)), mask(out.mask, channel, c),
          accumulate(out.accumulate != 0), masked(out.mask.raw != nullptr) {
        UNROLL for (int s = 0; s < 2; s++) {
            y[s] = static_cast<const T*>(out.sums[s].y);
            if (y[s]) load<N>(out.sums[s].moments + channel, mean[s]);
            UNROLL for (int i = 0; i < N; i++) sum[s][i] = product[s][i] = 0.0f;
        }
    }

    // `g`: the gradient at the element `at`.
    __device__ __forceinline__ void write(u64 at, float (&g)[N]) {
        float other[N];
        if (accumulate) {
            load<N>(dx + at, other);
            UNROLL for (int i = 0; i < N; i++) g[i] += other[i];
        }
        if (add) {
            load<N>(add + at, other);
            UNROLL for (int i = 0; i < N; i++) g[i] += other[i];
        }
        if (masked) {
            mask.read(at, other);
            UNROLL for (int i = 0; i < N; i++) g[i] = other[i] > 0.0f ? g[i] : 0.0f;
        }
        store<N>(dx + at, g);
        UNROLL for (int s = 0; s < 2; s++) {
            if (y[s]) {
                load<N>(y[s] + at, other);
                UNROLL for (int i = 0; i < N; i++) {
                    sum[s][i] += g[i];
                    product[s][i] = fmaf(g[i], other[i] - mean[s][i], product[s][i]);
                }
            }
        }
    }
};
