// Element types of activations, and how kernels are declared. Included first by every source; needs no header of CUDA's.
//
// Conventions:
// - A kernel is `KERNEL(name, Args, threads) { … args.x … }`: at most `threads` per block, one structure by value, called `args`.
//   The structure's twin in Rust is declared with `args!` and has the same fields in the same order, pointers as u64.
//   Fields are ordered so that there is no padding.
// - One that works on activations is a template over their type T and is instantiated by name for each: `INSTANTIATE(combine, …)`
//   gives combine_f32, combine_bf16 and combine_f16.
// - Arithmetic is in f32 whatever T is; an activation is converted when it is loaded and when it is stored.
// - Activations lie as n × h × w × c (channels last), weights as k × r × s × c.
// - The same source is compiled by NVRTC and, with emulator/cuda.hpp in front, by an ordinary C++ compiler.
//   What only hardware has stands behind `#ifdef RESNET_EMULATED … #else … #endif`, in include/ and nowhere else.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef RESNET_EMULATED
#define KERNEL(NAME, ARGS, THREADS) \
    extern "C" __global__ void __launch_bounds__(THREADS) NAME(const __grid_constant__ ARGS args)
#define DYNAMIC_SHARED(TYPE, NAME)                                  \
    extern __shared__ __align__(1024) unsigned char dynamic_shared_[]; \
    TYPE* NAME = reinterpret_cast<TYPE*>(dynamic_shared_)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL
#endif

// `template <class T> __device__ void BODY(const ARGS&)` as one kernel per element type.
#define INSTANTIATE(NAME, BODY, ARGS, THREADS)                     \
    KERNEL(NAME##_f32, ARGS, THREADS) { BODY<float>(args); }       \
    KERNEL(NAME##_bf16, ARGS, THREADS) { BODY<bf16>(args); }       \
    KERNEL(NAME##_f16, ARGS, THREADS) { BODY<f16>(args); }

// Brain float: the upper half of an f32.
struct bf16 { u16 bits; };
// IEEE half precision.
struct f16 { u16 bits; };

__device__ __forceinline__ float to_f32(float v) { return v; }
__device__ __forceinline__ float to_f32(bf16 v) { return __uint_as_float(u32(v.bits) << 16); }
__device__ __forceinline__ float to_f32(f16 v) {
#ifndef RESNET_EMULATED
    float out;
    asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(v.bits));
    return out;
#else
    const u32 sign = u32(v.bits & 0x8000) << 16, exponent = v.bits >> 10 & 31, mantissa = v.bits & 0x3ff;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000 | mantissa << 13);
    if (exponent != 0) return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
    const float small = float(mantissa) * (1.0f / 16777216.0f); // 2⁻²⁴
    return sign ? -small : small;
#endif
}

// To nearest, ties to even, as hardware converts.
template <class T> __device__ __forceinline__ T from_f32(float v);
template <> __device__ __forceinline__ float from_f32<float>(float v) { return v; }
template <> __device__ __forceinline__ bf16 from_f32<bf16>(float v) {
    bf16 out;
#ifndef RESNET_EMULATED
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(v));
#else
    const u32 bits = __float_as_uint(v);
    out.bits = v != v ? 0x7fff : u16((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
    return out;
}
template <> __device__ __forceinline__ f16 from_f32<f16>(float v) {
    f16 out;
#ifndef RESNET_EMULATED
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(v));
#else
    const u32 bits = __float_as_uint(v), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
        out.bits = 0x7fff;
    } else if (magnitude >= 0x477ff000) { // rounds to 65536 or more
        out.bits = u16(sign | 0x7c00);
    } else if (magnitude >= 0x38800000) { // normal: 2⁻¹⁴ or more
        const u32 shifted = magnitude - (112u << 23);
        out.bits = u16(sign | (shifted + 0xfff + (shifted >> 13 & 1)) >> 13);
    } else { // a multiple of 2⁻²⁴; adding 1.5·2²³ rounds to a whole number
        const float scaled = __uint_as_float(magnitude) * 16777216.0f + 12582912.0f;
        out.bits = u16(sign | (__float_as_uint(scaled) & 0x7ff));
    }
#endif
    return out;
}

// To nearest, ties away from zero: the one way hardware rounds to tf32.
__device__ __forceinline__ u32 round_tf32(u32 bits) {
#ifndef RESNET_EMULATED
    u32 out;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(out) : "r"(bits));
    return out;
#else
    return (bits & 0x7f800000) == 0x7f800000 ? bits : (bits + 0x1000) & ~0x1fffu;
#endif
}

// 1 / count of a whole number below 2²³, correctly rounded: hardware's is off by an ulp at most, and a Newton step mends that
// (Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor", 1990).
__device__ __forceinline__ float reciprocal(float count) {
#ifndef RESNET_EMULATED
    float r;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(count));
    return fmaf(fmaf(-count, r, 1.0f), r, r);
#else
    return 1.0f / count;
#endif
}

// v / count, correctly rounded where it is a normal number, with `inverse` from `reciprocal`; same source. Without the call that
// an ordinary division may end in, around which a kernel would have to save its registers.
__device__ __forceinline__ float divide(float v, float count, float inverse) {
    const float q = v * inverse;
    return isfinite(q) ? fmaf(fmaf(-q, count, v), inverse, q) : q;
}

// As many elements as a load of 16 bytes brings.
template <class T> struct Vector { enum { N = 16 / sizeof(T) }; };

// N elements from `p`, which is aligned to N elements or to 16 bytes.
template <int N, class T> __device__ __forceinline__ void load(const T* p, float (&out)[N]) {
    if constexpr (N == 1) {
        out[0] = to_f32(*p);
    } else {
        constexpr int words = N * sizeof(T) / 4;
        union { u32 w[words]; T e[N]; } v;
        if constexpr (words == 1) {
            v.w[0] = *reinterpret_cast<const u32*>(p);
        } else if constexpr (words == 2) {
            const uint2 t = *reinterpret_cast<const uint2*>(p);
            v.w[0] = t.x, v.w[1] = t.y;
        } else {
            UNROLL for (int i = 0; i < words; i += 4) {
                const uint4 t = reinterpret_cast<const uint4*>(p)[i / 4];
                v.w[i] = t.x, v.w[i + 1] = t.y, v.w[i + 2] = t.z, v.w[i + 3] = t.w;
            }
        }
        UNROLL for (int i = 0; i < N; i++) out[i] = to_f32(v.e[i]);
    }
}

// N elements to `p`, aligned as for `load`; `values` become what was stored.
template <int N, class T> __device__ __forceinline__ void store(T* p, float (&values)[N]) {
    if constexpr (N == 1) {
        *p = from_f32<T>(values[0]);
        values[0] = to_f32(*p);
    } else {
        constexpr int words = N * sizeof(T) / 4;
        union { u32 w[words]; T e[N]; } v;
        UNROLL for (int i = 0; i < N; i++) v.e[i] = from_f32<T>(values[i]);
        if constexpr (words == 1) {
            *reinterpret_cast<u32*>(p) = v.w[0];
        } else if constexpr (words == 2) {
            uint2 t;
            t.x = v.w[0], t.y = v.w[1];
            *reinterpret_cast<uint2*>(p) = t;
        } else {
            UNROLL for (int i = 0; i < words; i += 4) {
                uint4 t;
                t.x = v.w[i], t.y = v.w[i + 1], t.z = v.w[i + 2], t.w = v.w[i + 3];
                reinterpret_cast<uint4*>(p)[i / 4] = t;
            }
        }
        UNROLL for (int i = 0; i < N; i++) values[i] = to_f32(v.e[i]);
    }
}

// A NaN stays a NaN.
__device__ __forceinline__ float relu(float v) { return v < 0.0f ? 0.0f : v; }

__device__ __forceinline__ float infinity() { return __uint_as_float(0x7f800000); }

// a·b + c where it does not matter whether it is rounded once or twice, as in a long sum: whatever the machine does fast.
__device__ __forceinline__ float multiply_add(float a, float b, float c) {
#ifndef RESNET_EMULATED
    return fmaf(a, b, c);
#else
    return a * b + c;
#endif
}
