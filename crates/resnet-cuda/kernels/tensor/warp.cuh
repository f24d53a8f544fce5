// What a warp does together: matrix products on tensor cores, matrix loads from shared memory, asynchronous copies into it.
//
// On a device each function is one instruction of PTX. In the emulator it does what the PTX manual says the instruction does:
// - a product adds up exactly and rounds once, towards zero, as tensor cores truncate
//   (Fasi, Higham, Mikaitis, Pranesh, Numerical behavior of NVIDIA tensor cores, 2021);
// - a copy arrives only when its thread waits for it, so that a missing wait shows.
// Needs sm_80. Fragment layouts: PTX ISA, "Matrix Fragments for mma.m16n8k16" and "mma.m16n8k8".
#pragma once
#include "types.cuh"

// Bytes that a copy, and a row of a matrix in `load_matrices`, has.
#define CHUNK 16

// An address in shared memory, as instructions want it.
#ifndef RESNET_EMULATED
typedef u32 SharedAt;
__device__ __forceinline__ SharedAt shared_at(const void* p) { return u32(__cvta_generic_to_shared(p)); }
#else
typedef u64 SharedAt;
__device__ __forceinline__ SharedAt shared_at(const void* p) { return reinterpret_cast<u64>(p); }

namespace emu {
struct Copy {
    void* to;
    const void* from; // null: zeros
    unsigned group;
};
// The copies that a thread has begun and not yet waited for.
struct Copies {
    Copy pending[256];
    unsigned n, group;
};
inline Copies& copies() {
    static thread_local Copies* all = static_cast<Copies*>(calloc(MOST_THREADS, sizeof(Copies)));
    return all[thread_number()];
}
} // namespace emu
#endif

// Begins a copy of 16 bytes from global to shared memory. Where `there` is false zeros are written and nothing is read.
__device__ __forceinline__ void copy_async(SharedAt to, const void* from, bool there) {
#ifndef RESNET_EMULATED
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? CHUNK : 0) : "memory");
#else
    emu::Copies& c = emu::copies();
    if (c.n == 256) abort();
    c.pending[c.n++] = {reinterpret_cast<void*>(to), there ? from : nullptr, c.group};
#endif
}

// Closes the group of the copies begun since the last call.
__device__ __forceinline__ void copy_commit() {
#ifndef RESNET_EMULATED
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    emu::copies().group++;
#endif
}

// Waits until at most the newest N groups of this thread are still on their way.
template <int N> __device__ __forceinline__ void copy_wait() {
#ifndef RESNET_EMULATED
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#else
    emu::Copies& c = emu::copies();
    unsigned kept = 0;
    for (unsigned i = 0; i < c.n; i++) {
        if (c.group - c.pending[i].group <= N) {
            c.pending[kept++] = c.pending[i];
        } else if (c.pending[i].from) {
            memcpy(c.pending[i].to, c.pending[i].from, CHUNK);
        } else {
            memset(c.pending[i].to, 0, CHUNK);
        }
    }
    c.n = kept;
#endif
}

// Four matrices of 8 rows of 16 bytes. Lane l names row l % 8 of matrix l / 8, and gets of each matrix m, in out[m], the 4 bytes
// at l % 4 of row l / 4.
__device__ __forceinline__ void load_matrices(u32 (&out)[4], SharedAt row) {
#ifndef RESNET_EMULATED
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(row)
                 : "memory");
#else
    const unsigned lane = emu::lane();
    emu::exchange(row, [&](auto of) {
        for (unsigned m = 0; m < 4; m++) memcpy(&out[m], reinterpret_cast<char*>(of(8 * m + lane / 4)) + lane % 4 * 4, 4);
        return 0;
    });
#endif
}

// The same for matrices of 8 × 8 elements of 16 bits, transposed: lane l gets rows 2·(l % 4) and the next of column l / 4.
__device__ __forceinline__ void load_matrices_transposed(u32 (&out)[4], SharedAt row) {
#ifndef RESNET_EMULATED
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(row)
                 : "memory");
#else
    const unsigned lane = emu::lane();
    emu::exchange(row, [&](auto of) {
        for (unsigned m = 0; m < 4; m++) {
            u16 pair[2];
            for (unsigned i = 0; i < 2; i++)
                memcpy(&pair[i], reinterpret_cast<char*>(of(8 * m + lane % 4 * 2 + i)) + lane / 4 * 2, 2);
            memcpy(&out[m], pair, 4);
        }
        return 0;
    });
#endif
}

#ifdef RESNET_EMULATED
namespace emu {
inline float towards_zero(double v) {
    const float f = float(v);
    return std::isfinite(f) && fabs(double(f)) > fabs(v) ? nextafterf(f, 0.0f) : f;
}

// PER: elements of a register. The product of 16 × K by K × 8, with K = 8·PER.
template <class T, int PER> inline void product(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    struct Fragments {
        u32 a[4], b[2];
    } mine;
    memcpy(mine.a, a, sizeof mine.a);
    memcpy(mine.b, b, sizeof mine.b);
    const unsigned row = lane() / 4, column = lane() % 4 * 2;
    exchange(mine, [&](auto of) {
        const auto element = [](u32 word, int i) {
            T e[PER];
            memcpy(e, &word, sizeof e);
            return double(to_f32(e[i]));
        };
        double sum[4] = {c[0], c[1], c[2], c[3]};
        for (unsigned t = 0; t < 4; t++) {
            const Fragments left = of(row * 4 + t), right[2] = {of(column * 4 + t), of((column + 1) * 4 + t)};
            for (int half = 0; half < 2; half++)
                for (int i = 0; i < PER; i++)
                    for (int o = 0; o < 4; o++)
                        sum[o] += element(left.a[half * 2 + o / 2], i) * element(right[o % 2].b[half], i);
        }
        for (int o = 0; o < 4; o++) c[o] = towards_zero(sum[o]);
        return 0;
    });
}
} // namespace emu
#endif

// An f32 whose low 13 bits a tensor core does not look at.
struct tf32 { u32 bits; };
#ifdef RESNET_EMULATED
inline float to_f32(tf32 v) { return __uint_as_float(v.bits & ~0x1fffu); }
#endif

// c += a · b for one tile of 16 × 8. Two chunks of 16 bytes along the sum: 16 elements of 16 bits or 8 of tf32.
// The accumulator has rows l / 4 and l / 4 + 8, columns 2·(l % 4) and the next.
// The last argument says of which type the operands are; PRODUCT is what they are in the product.
#ifndef RESNET_EMULATED
#define MULTIPLY(TYPE, PRODUCT, SHAPE)                                                                                   \
    __device__ __forceinline__ void multiply(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2], TYPE) {                \
        asm volatile("mma.sync.aligned." #SHAPE ".row.col.f32." #PRODUCT "." #PRODUCT ".f32 "                            \
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                   \
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                    \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                                \
    }
#else
#define MULTIPLY(TYPE, PRODUCT, SHAPE)                                                                                   \
    inline void multiply(float (&c)[4], const u32 (&a)[4], const u32 (&b)[2], TYPE) {                                    \
        emu::product<PRODUCT, 4 / sizeof(PRODUCT)>(c, a, b);                                                             \
    }
#endif
MULTIPLY(bf16, bf16, m16n8k16)
MULTIPLY(f16, f16, m16n8k16)
MULTIPLY(float, tf32, m16n8k8)
#undef MULTIPLY

// Elements as a product wants them: 16-bit types as they are, f32 rounded to tf32.
template <class T> __device__ __forceinline__ void round_operand(u32 (&)[4], T) {}
__device__ __forceinline__ void round_operand(u32 (&a)[4], float) {
    UNROLL for (int i = 0; i < 4; i++) a[i] = round_tf32(a[i]);
}

// A chunk in shared memory as numbers, and back, rounded for the product.
template <class T> __device__ __forceinline__ void put_operand(T* p, float (&v)[Vector<T>::N]) { store<Vector<T>::N>(p, v); }
template <> __device__ __forceinline__ void put_operand<float>(float* p, float (&v)[4]) {
    UNROLL for (int i = 0; i < 4; i++) v[i] = __uint_as_float(round_tf32(__float_as_uint(v[i])));
    store<4>(p, v);
}
