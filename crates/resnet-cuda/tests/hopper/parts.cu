// The instructions of Hopper one by one, for tests/hopper/parts.rs.
#include "hopper.cuh"

struct CopyArgs {
    TensorMap map;
    void* out; // shared memory as it is afterwards
    u32 to, column, row, bytes;
    u32 out_bytes, unused;
};

KERNEL(copy_one_tile, CopyArgs, 32) {
    DYNAMIC_SHARED(unsigned char, shared);
    const u32 barrier = shared_number(shared) + args.out_bytes;
    if (threadIdx.x == 0) {
        barrier_init(barrier, 1);
        fence_barriers();
        barrier_expect(barrier, args.bytes);
        copy_tile(shared_number(shared) + args.to, args.map, args.column, args.row, barrier);
    }
    __syncthreads();
    barrier_wait(barrier, 0);
    for (u32 i = threadIdx.x; i < args.out_bytes; i += blockDim.x) static_cast<u8*>(args.out)[i] = shared[i];
}

struct PhasesArgs {
    TensorMap map;
    u64* out; // the parity after each step
};

// Two arrivals a phase. A copy of 64 bytes counts too.
KERNEL(phases, PhasesArgs, 1) {
    DYNAMIC_SHARED(unsigned char, shared);
    const u32 barrier = 1024;
    u32 n = 0;
    const auto note = [&] { args.out[n++] = *reinterpret_cast<u64*>(shared + barrier) >> 62 & 1; };
    barrier_init(barrier, 2), note();
    fence_barriers();
    barrier_wait(barrier, 1); // before the first phase
    barrier_arrive(barrier), note();
    barrier_arrive(barrier), note();
    barrier_wait(barrier, 0);
    barrier_expect(barrier, 64), note();
    barrier_arrive(barrier), note(); // all threads have come, the bytes have not
    copy_tile(0, args.map, 0, 0, barrier);
    barrier_wait(barrier, 1), note();
    barrier_arrive(barrier), barrier_arrive(barrier), note();
}

struct ProductArgs {
    const void* b;  // 8192 bytes, as they lie in shared memory
    const u32* a;   // four registers of each thread
    float* d;       // 32 sums of each thread, added to
    u64 step;       // bytes from the beginning of b
    u32 transposed, unused;
};

KERNEL(one_product, ProductArgs, 128) {
    DYNAMIC_SHARED(unsigned char, shared);
    for (u32 i = threadIdx.x; i < 8192; i += 128) shared[i] = static_cast<const u8*>(args.b)[i];
    fence_stores();
    __syncthreads();
    float d[32];
    u32 a[4];
    for (u32 i = 0; i < 32; i++) d[i] = args.d[threadIdx.x * 32 + i];
    for (u32 i = 0; i < 4; i++) a[i] = args.a[threadIdx.x * 4 + i];
    products_fence();
    const u64 b = tile_descriptor(shared_number(shared) + u32(args.step), 8192);
    if (args.transposed) multiply_async<true>(d, a, b, bf16());
    else multiply_async<false>(d, a, b, bf16());
    products_commit();
    products_wait();
    for (u32 i = 0; i < 32; i++) args.d[threadIdx.x * 32 + i] = d[i];
}

struct MisuseArgs {
    TensorMap map;
    u64 what;
};

// Each breaks one rule.
KERNEL(misuse, MisuseArgs, 128) {
    DYNAMIC_SHARED(unsigned char, shared);
    const u32 barrier = 16384;
    float d[32] = {};
    u32 a[4] = {};
    const u64 b = tile_descriptor(0, 16);
    const bool first = threadIdx.x == 0;
    if (first) {
        barrier_init(barrier, 1);
        if (args.what != 4) fence_barriers();
    }
    __syncthreads();
    switch (args.what) {
    case 0: // no fence before the first product
        multiply_async<false>(d, a, b, bf16());
        break;
    case 1: // none between writing registers and the next product
        products_fence();
        multiply_async<false>(d, a, b, bf16());
        products_commit(), products_wait();
        a[0] = 1;
        multiply_async<false>(d, a, b, bf16());
        break;
    case 2: // written while the product may read
        products_fence();
        multiply_async<false>(d, a, b, bf16());
        products_commit();
        a[0] = 1;
        products_wait();
        break;
    case 3: // no group, so nothing waits
        products_fence();
        multiply_async<false>(d, a, b, bf16());
        products_wait();
        break;
    case 4:
        if (first) barrier_expect(barrier, 64), copy_tile(0, args.map, 0, 0, barrier);
        break;
    case 5: // never initialised
        if (first) barrier_arrive(barrier + 8);
        break;
    case 6: // more arrivals than the phase has, while bytes are awaited
        if (first) barrier_expect(barrier, 64), barrier_arrive(barrier);
        break;
    case 7: // not at a multiple of 128
        if (first) barrier_expect(barrier, 64), copy_tile(64, args.map, 0, 0, barrier);
        break;
    case 8: // the block ends before the copy
        for (u32 i = 0; first && i < 16; i++) copy_tile(i * 128, args.map, 0, 0, barrier);
        break;
    case 9: // beyond shared memory
        if (first) barrier_expect(barrier, 64), copy_tile(227 << 10, args.map, 0, 0, barrier);
        break;
    case 10: // a phase that never ends
        barrier_wait(barrier, 0);
        break;
    case 11: // a barrier that half of those it is for never reach
        if (threadIdx.x < 64) wait_for_some<1, 128>();
        break;
    }
}
