// What Hopper's blocks do together: barriers in shared memory, copies of tiles by the tensor memory accelerator, matrix products of a
// warpgroup (four warps).
//
// On a device each function is one instruction of PTX; in the emulator it is what emulator/hopper.hpp says the instruction does.
// Needs sm_90a: the products are of that generation alone. PTX ISA: mbarrier, cp.async.bulk.tensor, wgmma.
#pragma once
#include "warp.cuh"
#ifdef RESNET_EMULATED
#include "emulator_hopper.hpp"
#endif

// A tensor in memory as the tensor memory accelerator knows it: CUtensorMap, made by the host. Its Rust twin is in src/args/map.rs.
#ifndef RESNET_EMULATED
struct __align__(64) TensorMap { u64 opaque[16]; };
#else
struct TensorMap { u64 opaque[16]; };
#endif

// An address in shared memory as descriptors and these instructions want it, in 32 bits.
__device__ __forceinline__ u32 shared_number(const void* p) {
#ifndef RESNET_EMULATED
    return shared_at(p);
#else
    return u32(static_cast<const unsigned char*>(p) - emu::block().dynamic_shared);
#endif
}

// A barrier of 8 bytes. A phase is over when `count` threads have arrived and the bytes that were announced have come.
__device__ __forceinline__ void barrier_init(u32 barrier, u32 count) {
#ifndef RESNET_EMULATED
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
#else
    emu::barrier_init(barrier, count);
#endif
}

// Makes barriers known to copies; then the block waits, and everybody may use them.
__device__ __forceinline__ void fence_barriers() {
#ifndef RESNET_EMULATED
    asm volatile("fence.mbarrier_init.release.cluster;\n\tfence.proxy.async.shared::cta;" ::: "memory");
#else
    emu::fence_barrier_init();
#endif
}

__device__ __forceinline__ void barrier_arrive(u32 barrier) {
#ifndef RESNET_EMULATED
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
#else
    emu::barrier_arrive(barrier);
#endif
}

// Arrives, and announces bytes that copies will bring.
__device__ __forceinline__ void barrier_expect(u32 barrier, u32 bytes) {
#ifndef RESNET_EMULATED
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
#else
    emu::barrier_arrive_expecting(barrier, bytes);
#endif
}

// Waits until the phase of this parity is over. A new barrier is in the phase of parity 0, and that of parity 1 counts as over.
// A wait that takes seconds is a kernel gone wrong: it ends the launch with an error, so that the host is told and does not hang.
__device__ __forceinline__ void barrier_wait(u32 barrier, u32 parity) {
#ifndef RESNET_EMULATED
    for (u64 began = 0;;) {
        u32 over;
        asm volatile("{\n\t.reg .pred p;\n\tmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\tselp.u32 %0, 1, 0, p;\n\t}"
                     : "=r"(over)
                     : "r"(barrier), "r"(parity)
                     : "memory");
        if (over) return;
        u64 now; // in nanoseconds
        asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
        if (began == 0) began = now;
        if (now - began > 4000000000ull) asm volatile("trap;");
    }
#else
    emu::barrier_wait(barrier, parity);
#endif
}

// Begins a copy of the map's box, whose first element is at (row, column) of the tensor, to shared memory. What lies outside of the tensor
// becomes zero. The barrier counts the bytes of the whole box.
__device__ __forceinline__ void copy_tile(u32 to, const TensorMap& map, u32 column, u32 row, u32 barrier) {
#ifndef RESNET_EMULATED
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                 "l"(&map), "r"(column), "r"(row), "r"(barrier)
                 : "memory");
#else
    emu::copy_tile(to, &map, int(column), int(row), barrier);
#endif
}

// Ordinary stores of this thread to shared memory become visible to products.
__device__ __forceinline__ void fence_stores() {
#ifndef RESNET_EMULATED
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
    emu::fence_stores();
#endif
}

// Waits for all threads that name this barrier: THREADS of them.
template <int NAME, int THREADS> __device__ __forceinline__ void wait_for_some() {
#ifndef RESNET_EMULATED
    asm volatile("bar.sync %0, %1;" ::"n"(NAME), "n"(THREADS) : "memory");
#else
    emu::named_barrier(NAME, THREADS);
#endif
}

// Before products read registers that something else has written.
__device__ __forceinline__ void products_fence() {
#ifndef RESNET_EMULATED
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
    emu::product_fence();
#endif
}

// Closes the group of the products since the last call.
__device__ __forceinline__ void products_commit() {
#ifndef RESNET_EMULATED
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
    emu::product_commit();
#endif
}

// Waits until all committed products are done: their registers and shared memory are free again, and their sums are there.
__device__ __forceinline__ void products_wait() {
#ifndef RESNET_EMULATED
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#else
    emu::product_wait(0);
#endif
}

// Tiles in shared memory have rows of 128 bytes, and the place of a chunk of 16 bytes in its row is taken exclusive-or the number of the
// row in 8: as the accelerator writes them and products read them. A tile begins at a multiple of 1024.
#define TILE_ROW 128
__device__ __forceinline__ u32 swizzled_128(u32 row, u32 chunk) { return row * TILE_ROW + ((chunk ^ (row & 7)) << 4); }

// The descriptor of a tile as the right operand: swizzled by 128 bytes, and so many bytes to the next eight rows.
// `next_columns`: bytes to the next 64 columns, for a tile whose rows run along the sum (its columns lie along memory).
__device__ __forceinline__ u64 tile_descriptor(u32 at, u32 next_columns) {
    const u32 next_rows = 8 * TILE_ROW;
    return u64(1) << 62 | u64(next_rows >> 4) << 32 | u64((next_columns & 0x3ffff) >> 4) << 16 | (at & 0x3ffff) >> 4;
}

// d += a · b for 64 × 64 of a warpgroup, 16 elements along the sum; begins it. `a`: registers, as of `multiply` in warp.cuh, each warp 16 rows.
// TRANSPOSED: the columns of b lie along memory. d has columns 8·j + 2·(l % 4) and the next of row l / 4 in d[4·j], d[4·j + 1], and of
// row l / 4 + 8 in the next two.
#ifndef RESNET_EMULATED
#define D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define MULTIPLY_ASYNC(TYPE)                                                                                                       \
    template <bool TRANSPOSED> __device__ __forceinline__ void multiply_async(float (&d)[32], const u32 (&a)[4], u64 b, TYPE) {    \
        asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." #TYPE "." #TYPE " "                                              \
                     "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, "  \
                     "%23, %24, %25, %26, %27, %28, %29, %30, %31}, {%32, %33, %34, %35}, %36, 1, 1, 1, %37;"                      \
                     : D4(0), D4(4), D4(8), D4(12), D4(16), D4(20), D4(24), D4(28)                                                 \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(int(TRANSPOSED)));                                  \
    }
#else
#define MULTIPLY_ASYNC(TYPE)                                                                                                       \
    template <bool TRANSPOSED> inline void multiply_async(float (&d)[32], const u32 (&a)[4], u64 b, TYPE) {                        \
        emu::product_issue(d, a, b, TRANSPOSED, [](uint16_t bits) { return to_f32(TYPE{bits}); });                                 \
    }
#endif
MULTIPLY_ASYNC(bf16)
MULTIPLY_ASYNC(f16)
#undef MULTIPLY_ASYNC

// Two neighbouring elements in a register, the first in its lower half.
template <class T> __device__ __forceinline__ float2 unpack(u32 word, T) {
    T low, high;
    low.bits = u16(word), high.bits = u16(word >> 16);
    return make_float2(to_f32(low), to_f32(high));
}
template <class T> __device__ __forceinline__ u32 pack(float low, float high, T) {
    return u32(from_f32<T>(low).bits) | u32(from_f32<T>(high).bits) << 16;
}
