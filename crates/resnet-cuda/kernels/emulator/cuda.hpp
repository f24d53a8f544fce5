// What a kernel source expects of CUDA, for an ordinary C++ compiler: one fiber per thread of a block.
//
// The compiler includes this file before every source (`-include`). Blocks run one after another on the calling thread, and the
// threads of a block as fibers: each runs until it waits, and a barrier opens when everybody it waits for has come.
// All state is thread_local, so that two tests may launch at the same time.
// What real hardware leaves undefined is an error here: a barrier that part of a warp or of a block never reaches.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#define RESNET_EMULATED 1
#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static thread_local
#define __constant__ static const
#define __restrict__ __restrict

struct uint2 { unsigned x, y; } __attribute__((aligned(8)));
struct uint3 { unsigned x, y, z; };
struct uint4 { unsigned x, y, z, w; } __attribute__((aligned(16)));
struct float2 { float x, y; } __attribute__((aligned(8)));
struct float4 { float x, y, z, w; } __attribute__((aligned(16)));
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emu {

// As the host passes it; its twin is `RawLaunch` in src/machine/emulator/library.rs.
struct Launch {
    unsigned grid[3], block[3], shared_bytes;
};

// Told apart by `FAILURES` in src/machine/emulator/library.rs. From UNFENCED_PRODUCT on: rules of asynchronous instructions, see hopper.hpp.
enum Failure : int {
    FINE = 0, DIVERGED, TOO_MANY_THREADS, TOO_MUCH_SHARED,
    UNFENCED_PRODUCT, REGISTERS_IN_FLIGHT, PRODUCTS_LEFT, BARRIER_UNFENCED, BARRIER_UNKNOWN, BARRIER_OVERRUN, COPY_REFUSED, COPIES_LEFT,
    OUTSIDE_SHARED,
};
// LATER: it lets everybody else run first. AT_PHASE: it waits for a phase of a barrier in shared memory. AT_NAMED: for some threads of the block.
enum State : unsigned char { READY, AT_WARP, AT_BLOCK, LATER, AT_PHASE, AT_NAMED, DONE };

constexpr unsigned MOST_THREADS = 1024, WARP = 32;
constexpr size_t STACK_BYTES = 64 << 10;
// What one block may ask for on today's devices (227 KiB).
constexpr unsigned MOST_SHARED = 227 << 10;
// What one lane hands to the others of its warp in one exchange: a fragment of a matrix instruction at most.
constexpr unsigned SLOT_BYTES = 64;

#if defined(__x86_64__)
typedef void* Context;
// Saves what the calling convention asks to preserve, and continues where `to` was saved.
extern "C" void resnet_emulator_switch(Context* from, Context to);
__asm__(R"(
.text
.local resnet_emulator_switch
.type resnet_emulator_switch,@function
resnet_emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size resnet_emulator_switch,.-resnet_emulator_switch
)");
#else
typedef ucontext_t Context;
#endif

struct Fiber {
    Context context;
    uint3 tid;
    State state;
    unsigned char turn; // which of the two sets of slots its next exchange uses
    unsigned char parity, name; // what it waits for
    unsigned named_threads;
    const uint64_t* barrier;
};

// The highest but one bit of a barrier in shared memory: the parity of its phase.
constexpr unsigned PHASE_BIT = 62;

// What instructions that work beside the threads want to know and do; see hopper.hpp.
struct Hooks {
    void (*begin)();   // of a block
    bool (*deliver)(); // lets one of them have its effect; false where none is under way
    Failure (*end)();  // of a block
};
inline Hooks hooks;

// One block at work.
struct Block {
    Fiber fibers[MOST_THREADS];
    Fiber* self;
    Context scheduler;
    uint3 index, dim, grid;
    void (*body)(const void*);
    const void* args;
    Failure failure; // the first rule that was broken
    char* stacks;
    unsigned char* dynamic_shared;
    alignas(64) unsigned char slots[2][MOST_THREADS][SLOT_BYTES];
};

inline Block& block() {
    static thread_local Block* mine = nullptr;
    if (!mine) {
        // Kept for the life of the thread; stacks take memory only where they are touched.
        mine = static_cast<Block*>(calloc(1, sizeof(Block)));
        void* stacks = mmap(nullptr, STACK_BYTES * MOST_THREADS, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (!mine || stacks == MAP_FAILED) abort();
        mine->stacks = static_cast<char*>(stacks);
        mine->dynamic_shared = static_cast<unsigned char*>(aligned_alloc(1024, (MOST_SHARED + 1023) / 1024 * 1024));
    }
    return *mine;
}

inline unsigned thread_number() {
    Block& b = block();
    return unsigned(b.self - b.fibers);
}

inline void switch_to(Context& from, Context& to) {
#if defined(__x86_64__)
    resnet_emulator_switch(&from, to);
#else
    swapcontext(&from, &to);
#endif
}

inline __attribute__((noinline)) void wait(State state) {
    Block& b = block();
    Fiber* me = b.self;
    me->state = state;
    switch_to(me->context, b.scheduler);
}

// The block ends here: what its threads did next would mean nothing.
inline void fail(Failure failure) {
    Block& b = block();
    if (!b.failure) b.failure = failure;
    if (b.self) wait(DONE); // else no thread is at work, and whoever asked looks
}

inline void entry() {
    Block& b = block();
    b.body(b.args);
    wait(DONE);
    abort(); // a fiber that is done is never resumed
}

inline void prepare(Block& b, unsigned i) {
    Fiber& f = b.fibers[i];
    f.tid = {i % b.dim.x, i / b.dim.x % b.dim.y, i / (b.dim.x * b.dim.y)};
    f.state = READY;
    f.turn = 0;
    char* stack = b.stacks + STACK_BYTES * i;
#if defined(__x86_64__)
    // Six registers, then the address to return to; a called function finds its stack 8 bytes off a multiple of 16.
    // The offset by the fiber's number keeps the stacks from falling into the same cache sets.
    void** top = reinterpret_cast<void**>(stack + STACK_BYTES - 64 - 64 * (i % 61));
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(entry);
    for (int r = 0; r < 6; r++) *--top = nullptr;
    f.context = top;
#else
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = stack;
    f.context.uc_stack.ss_size = STACK_BYTES;
    f.context.uc_link = nullptr;
    makecontext(&f.context, entry, 0);
#endif
}

// Lets threads of a named barrier go on if all have come that it is for.
inline bool open_named(Block& b, unsigned n) {
    bool opened = false;
    for (unsigned name = 0; name < 16; name++) {
        unsigned come = 0, wanted = 0;
        for (unsigned i = 0; i < n; i++)
            if (b.fibers[i].state == AT_NAMED && b.fibers[i].name == name) come++, wanted = b.fibers[i].named_threads;
        if (come == 0 || come != wanted) continue;
        opened = true;
        for (unsigned i = 0; i < n; i++)
            if (b.fibers[i].state == AT_NAMED && b.fibers[i].name == name) b.fibers[i].state = READY;
    }
    return opened;
}

// Runs the threads of one block to their end.
inline Failure run(Block& b) {
    const unsigned n = b.dim.x * b.dim.y * b.dim.z;
    for (unsigned i = 0; i < n; i++) prepare(b, i);
    b.failure = FINE;
    if (hooks.begin) hooks.begin();
    for (;;) {
        unsigned live = 0, at_block = 0;
        bool ran = false;
        for (unsigned first = 0; first < n; first += WARP) {
            const unsigned last = first + WARP < n ? first + WARP : n;
            for (unsigned i = first; i < last; i++)
                if (b.fibers[i].state == LATER) b.fibers[i].state = READY;
            for (;;) {
                unsigned alive = 0, at_warp = 0, waiting = 0;
                for (unsigned i = first; i < last; i++) {
                    Fiber& f = b.fibers[i];
                    if (f.state == AT_PHASE && (*f.barrier >> PHASE_BIT & 1) != f.parity) f.state = READY;
                    if (f.state == READY) {
                        ran = true;
                        b.self = &f;
                        switch_to(b.scheduler, f.context);
                        if (b.failure) return b.failure;
                    }
                    alive += f.state != DONE;
                    at_warp += f.state == AT_WARP;
                    waiting += f.state == AT_BLOCK;
                }
                if (alive == 0 || at_warp != alive) {
                    live += alive;
                    at_block += waiting;
                    break;
                }
                for (unsigned i = first; i < last; i++)
                    if (b.fibers[i].state == AT_WARP) b.fibers[i].state = READY;
            }
        }
        if (live == 0) return hooks.end ? hooks.end() : FINE;
        if (at_block == live) {
            for (unsigned i = 0; i < n; i++)
                if (b.fibers[i].state == AT_BLOCK) b.fibers[i].state = READY;
            continue;
        }
        if (open_named(b, n) || ran) continue;
        // Everybody waits for something that only what works beside the threads can bring.
        b.self = nullptr;
        if (!(hooks.deliver && hooks.deliver())) return DIVERGED;
        if (b.failure) return b.failure;
    }
}

inline int launch(const Launch& l, void (*body)(const void*), const void* args) {
    Block& b = block();
    if (size_t(l.block[0]) * l.block[1] * l.block[2] > MOST_THREADS) return TOO_MANY_THREADS;
    if (l.shared_bytes > MOST_SHARED) return TOO_MUCH_SHARED;
    b.dim = {l.block[0], l.block[1], l.block[2]};
    b.grid = {l.grid[0], l.grid[1], l.grid[2]};
    b.body = body;
    b.args = args;
    for (unsigned z = 0; z < l.grid[2]; z++)
        for (unsigned y = 0; y < l.grid[1]; y++)
            for (unsigned x = 0; x < l.grid[0]; x++) {
                b.index = {x, y, z};
                memset(b.dynamic_shared, 0xff, l.shared_bytes); // NaN: nothing may rest on what is in it
                if (Failure failure = run(b)) return failure;
            }
    return FINE;
}

// Every lane of a warp hands over `value` and gets `read(slots of its warp)`, where `slots[lane]` is what that lane handed over.
// Two sets of slots in turn: nobody can write a slot of this exchange again before everybody has waited in the next one.
template <class T, class Read> inline auto exchange(const T& value, Read read) {
    static_assert(sizeof(T) <= SLOT_BYTES, "a slot is too small");
    Block& b = block();
    Fiber* me = b.self;
    const unsigned number = unsigned(me - b.fibers), turn = me->turn;
    me->turn ^= 1;
    memcpy(b.slots[turn][number], &value, sizeof(T));
    wait(AT_WARP);
    unsigned char (*warp)[SLOT_BYTES] = b.slots[turn] + number / WARP * WARP;
    return read([warp](unsigned lane) {
        T other;
        memcpy(&other, warp[lane % WARP], sizeof(T));
        return other;
    });
}

inline unsigned lane() { return thread_number() % WARP; }

} // namespace emu

#define threadIdx (emu::block().self->tid)
#define blockIdx (emu::block().index)
#define blockDim (emu::block().dim)
#define gridDim (emu::block().grid)

inline void __syncthreads() { emu::wait(emu::AT_BLOCK); }
inline void __syncwarp(unsigned = ~0u) { emu::wait(emu::AT_WARP); }
inline void __threadfence() {}

template <class T> inline T __shfl_xor_sync(unsigned, T v, int mask) {
    const unsigned me = emu::lane();
    return emu::exchange(v, [=](auto of) { return of(me ^ unsigned(mask)); });
}
template <class T> inline T __shfl_sync(unsigned, T v, int from) {
    return emu::exchange(v, [=](auto of) { return of(unsigned(from)); });
}
template <class T> inline T __shfl_down_sync(unsigned, T v, int by) {
    const unsigned me = emu::lane();
    return emu::exchange(v, [=](auto of) { return me + by < emu::WARP ? of(me + by) : v; });
}

// Blocks run one after another and fibers switch only where they wait, so these are atomic.
template <class T> inline T atomicAdd(T* p, T v) { T old = *p; *p += v; return old; }
template <class T> inline T atomicMax(T* p, T v) { T old = *p; if (v > old) *p = v; return old; }
inline unsigned atomicInc(unsigned* p, unsigned most) { unsigned old = *p; *p = old >= most ? 0 : old + 1; return old; }

inline float __uint_as_float(unsigned u) { float f; memcpy(&f, &u, 4); return f; }
inline unsigned __float_as_uint(float f) { unsigned u; memcpy(&u, &f, 4); return u; }
template <class T> inline T __ldg(const T* p) { return *p; }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
using std::isfinite;

// A kernel: a function the host finds by name, that takes one structure by value. See include/types.cuh for CUDA's form.
#define KERNEL(NAME, ARGS, THREADS)                                                                                    \
    static void NAME##_thread(const ARGS& args);                                                                       \
    extern "C" __attribute__((visibility("default"))) size_t NAME##_args_bytes() { return sizeof(ARGS); }             \
    extern "C" __attribute__((visibility("default"))) int NAME(const emu::Launch* launch, const void* args) {         \
        if (launch->block[0] * launch->block[1] * launch->block[2] > (THREADS)) return emu::TOO_MANY_THREADS;         \
        return emu::launch(*launch, [](const void* a) { NAME##_thread(*static_cast<const ARGS*>(a)); }, args);        \
    }                                                                                                                  \
    static void NAME##_thread(const ARGS& args)

// Dynamic shared memory, of as many bytes as the launch said.
#define DYNAMIC_SHARED(TYPE, NAME) TYPE* NAME = reinterpret_cast<TYPE*>(emu::block().dynamic_shared)
