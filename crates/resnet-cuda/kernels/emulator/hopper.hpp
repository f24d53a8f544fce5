// Instructions of Hopper that work beside the threads, for the emulator: barriers in shared memory that count bytes, copies of tiles,
// matrix products of a warpgroup.
//
// Written from the PTX ISA (sections mbarrier, cp.async.bulk.tensor, "Tensors", wgmma), not from the kernels, and tested for itself in
// tests/hopper. Addresses in shared memory are numbers of 32 bits, as in PTX, from the beginning of the dynamic shared memory on.
//
// Whatever hardware may do early or late is done early in one case and late in another, by a fixed sequence of pseudo-random numbers:
// - a copy arrives at once, or when everybody waits, in any order;
// - a product reads its operands, and writes its result, when it is waited for: at once, or after everybody else has had a turn.
// So a wait that is missing shows as a wrong number. What the manual calls undefined is a failure of the launch.
// Products read shared memory as the asynchronous proxy sees it: ordinary stores reach it only by a fence.
#pragma once

namespace emu {

// How the host describes a tensor in memory: twin of `TensorMap` in src/args/map.rs. Real ones are opaque.
struct TensorMapBytes {
    uint64_t address, columns, rows, row_bytes; // columns in elements, along memory
    uint32_t box_columns, box_rows, element_bytes, swizzled; // swizzled: by 128 bytes
    uint64_t unused[10];
};
static_assert(sizeof(TensorMapBytes) == 128, "as large as CUtensorMap");

struct TileCopy {
    uint32_t to, barrier;
    TensorMapBytes map;
    int32_t column, row;
};

constexpr unsigned MOST_COPIES = 64, MOST_PRODUCTS = 64, MOST_FRAGMENTS = 64;

// One product that was issued and not yet waited for, as one thread sees it.
struct Product64 {
    float* d;          // 32 sums
    const uint32_t* a; // 4 registers
    uint32_t a_then[4];
    uint64_t b;
    float (*widen)(uint16_t);
    bool b_transposed;
    unsigned group;
};

// What the registers of a fragment held when a product last read them.
struct Fragment {
    const uint32_t* a;
    uint32_t held[4];
    unsigned fence;
};

struct Products {
    Product64 pending[MOST_PRODUCTS];
    Fragment fragments[MOST_FRAGMENTS];
    unsigned n, n_fragments, group, fences, waits;
};

struct Beside {
    TileCopy copies[MOST_COPIES];
    unsigned n_copies;
    uint64_t dice;
    bool barriers_unfenced, stores_fenced;
    Products products[MOST_THREADS];
    unsigned char seen[MOST_SHARED]; // shared memory as the asynchronous proxy sees it
};

inline Beside& beside() {
    static thread_local Beside* mine = static_cast<Beside*>(calloc(1, sizeof(Beside)));
    return *mine;
}

inline uint32_t roll(uint32_t sides) {
    Beside& all = beside();
    all.dice = all.dice * 6364136223846793005ull + 1442695040888963407ull;
    return uint32_t(all.dice >> 33) % sides;
}

// The byte at an address in shared memory.
inline unsigned char* shared_byte(uint32_t at, uint32_t bytes) {
    if (uint64_t(at) + bytes > MOST_SHARED) fail(OUTSIDE_SHARED);
    return block().dynamic_shared + at;
}

// A 64-bit barrier: arrivals still to come (20 bits), arrivals of a phase (20), bytes still to come plus 2²⁰ (22), parity, a mark.
constexpr uint64_t COUNT = (1 << 20) - 1, BYTES_ZERO = 1 << 20, BYTES = (1 << 22) - 1;

inline uint64_t* barrier_word(uint32_t at) {
    if (at % 8 != 0) fail(BARRIER_UNKNOWN);
    return reinterpret_cast<uint64_t*>(shared_byte(at, 8));
}

inline uint64_t* known_barrier(uint32_t at) {
    uint64_t* word = barrier_word(at);
    // Memory nobody wrote is full of ones, and its count of bytes is none that a barrier can have.
    if (!(*word >> 63) || (*word >> 40 & BYTES) > 2 * BYTES_ZERO) fail(BARRIER_UNKNOWN);
    return word;
}

inline void barrier_init(uint32_t at, uint32_t count) {
    if (count == 0 || count > COUNT) fail(BARRIER_OVERRUN);
    *barrier_word(at) = 1ull << 63 | BYTES_ZERO << 40 | uint64_t(count) << 20 | count;
    beside().barriers_unfenced = true;
}

// Arrivals and bytes that come, or (bytes below zero) that are announced. The phase ends when none is outstanding.
inline void barrier_change(uint64_t* word, uint32_t arrivals, int64_t bytes) {
    const uint64_t pending = *word & COUNT, expected = *word >> 20 & COUNT, parity = *word >> PHASE_BIT & 1;
    const int64_t outstanding = int64_t(*word >> 40 & BYTES) - int64_t(BYTES_ZERO) - bytes;
    if (arrivals > pending || outstanding < -int64_t(COUNT) || outstanding > int64_t(COUNT)) fail(BARRIER_OVERRUN);
    const uint64_t left = pending - arrivals;
    const bool ends = left == 0 && outstanding == 0;
    *word = 1ull << 63 | (parity ^ ends) << PHASE_BIT | uint64_t(outstanding + int64_t(BYTES_ZERO)) << 40 | expected << 20 | (ends ? expected : left);
}

inline void barrier_arrive(uint32_t at) { barrier_change(known_barrier(at), 1, 0); }

inline void barrier_arrive_expecting(uint32_t at, uint32_t bytes) {
    uint64_t* word = known_barrier(at);
    barrier_change(word, 0, -int64_t(bytes));
    barrier_change(word, 1, 0);
}

// Waits until the phase of this parity is over: the current one, or the one before.
inline void barrier_wait(uint32_t at, uint32_t parity) {
    Fiber* me = block().self;
    me->barrier = known_barrier(at);
    me->parity = parity & 1;
    wait(AT_PHASE);
}

// Where a byte of a tile lies: the place of a chunk of 16 bytes in its 128 is taken exclusive-or the number of these 128 bytes in 1024.
inline uint32_t swizzle_128(uint32_t at) { return at ^ (at >> 3 & 0x70); }

inline void arrive(const TileCopy& copy) {
    const TensorMapBytes& map = copy.map;
    const uint32_t row_bytes = map.box_columns * map.element_bytes;
    for (uint32_t r = 0; r < map.box_rows; r++)
        for (uint32_t c = 0; c < map.box_columns; c++) {
            const int64_t row = int64_t(copy.row) + r, column = int64_t(copy.column) + c;
            const bool inside = row >= 0 && row < int64_t(map.rows) && column >= 0 && column < int64_t(map.columns);
            uint32_t at = copy.to + r * row_bytes + c * map.element_bytes;
            if (map.swizzled) at = swizzle_128(at);
            unsigned char* to = shared_byte(at, map.element_bytes);
            if (inside) memcpy(to, reinterpret_cast<const char*>(map.address) + row * map.row_bytes + column * map.element_bytes, map.element_bytes);
            else memset(to, 0, map.element_bytes);
            memcpy(beside().seen + at, to, map.element_bytes);
        }
    // What lies outside of the tensor counts too.
    barrier_change(known_barrier(copy.barrier), 0, row_bytes * map.box_rows);
}

// cp.async.bulk.tensor.2d into shared memory, bytes counted by a barrier.
inline void copy_tile(uint32_t to, const void* map, int32_t column, int32_t row, uint32_t barrier) {
    Beside& all = beside();
    TileCopy copy = {to, barrier, {}, column, row};
    memcpy(&copy.map, map, sizeof copy.map);
    const TensorMapBytes& m = copy.map;
    const uint64_t box_row = uint64_t(m.box_columns) * m.element_bytes;
    const bool map_fine = m.address % 16 == 0 && m.row_bytes % 16 == 0 && m.columns * m.element_bytes <= m.row_bytes && m.columns != 0 && m.rows != 0 &&
                          m.box_columns >= 1 && m.box_columns <= 256 && m.box_rows >= 1 && m.box_rows <= 256 && box_row % 16 == 0 &&
                          (!m.swizzled || box_row <= 128) && (m.element_bytes == 2 || m.element_bytes == 4);
    if (!map_fine || to % 128 != 0 || all.n_copies == MOST_COPIES) fail(COPY_REFUSED);
    if (all.barriers_unfenced) fail(BARRIER_UNFENCED);
    shared_byte(to, uint32_t(box_row) * m.box_rows);
    known_barrier(barrier);
    if (roll(3) == 0) arrive(copy);
    else all.copies[all.n_copies++] = copy;
}

inline bool deliver() {
    Beside& all = beside();
    if (all.n_copies == 0) return false;
    const uint32_t which = roll(all.n_copies);
    const TileCopy copy = all.copies[which];
    all.copies[which] = all.copies[--all.n_copies];
    arrive(copy);
    return true;
}

inline void fence_barrier_init() { beside().barriers_unfenced = false; }
inline void fence_stores() { beside().stores_fenced = true; }

// Waits for so many threads that name the same barrier.
inline void named_barrier(unsigned name, unsigned threads) {
    Fiber* me = block().self;
    me->name = name;
    me->named_threads = threads;
    wait(AT_NAMED);
}

inline Products& products() { return beside().products[thread_number()]; }

inline void product_fence() { products().fences++; }

inline void product_issue(float* d, const uint32_t* a, uint64_t b, bool b_transposed, float (*widen)(uint16_t)) {
    Products& mine = products();
    if (mine.fences == 0 || mine.n == MOST_PRODUCTS) fail(UNFENCED_PRODUCT);
    Fragment* known = nullptr;
    for (unsigned i = 0; i < mine.n_fragments; i++)
        if (mine.fragments[i].a == a) known = &mine.fragments[i];
    // Registers that were written since a product last read them want a fence in between.
    if (known && known->fence == mine.fences && memcmp(known->held, a, 16) != 0) fail(UNFENCED_PRODUCT);
    if (!known && mine.n_fragments < MOST_FRAGMENTS) known = &mine.fragments[mine.n_fragments++];
    if (known) {
        known->a = a, known->fence = mine.fences;
        memcpy(known->held, a, 16);
    }
    Product64& p = mine.pending[mine.n++];
    p = {d, a, {}, b, widen, b_transposed, mine.group};
    memcpy(p.a_then, a, 16);
}

inline void product_commit() { products().group++; }

// An element of B, N × K, by its descriptor: the canonical layouts of the manual with swizzling by 128 bytes, 16-bit elements.
inline uint16_t element_of_b(uint64_t descriptor, bool transposed, uint32_t n, uint32_t k) {
    const auto field = [=](unsigned bit) { return uint32_t(descriptor >> bit & 0x3fff) << 4; };
    const uint32_t start = field(0), leading = field(16), stride = field(32);
    if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0) fail(COPY_REFUSED); // only swizzling by 128 bytes, patterns of 1024 bytes
    const uint32_t offset = transposed ? n % 64 * 2 + n / 64 * leading + k % 8 * 128 + k / 8 * stride  // ((T,8,m),(8,k)) : ((1,T,LBO),(8T,SBO))
                                       : n % 8 * 128 + n / 8 * stride + k * 2;                         // ((8,m),(T,2k)) : ((8T,SBO),(1,T))
    const uint32_t at = swizzle_128(start + offset);
    if (at + 2 > MOST_SHARED) fail(OUTSIDE_SHARED);
    uint16_t bits;
    memcpy(&bits, beside().seen + at, 2);
    return bits;
}

inline float truncated(double v) {
    const float f = float(v);
    return std::isfinite(f) && fabs(double(f)) > fabs(v) ? nextafterf(f, 0.0f) : f;
}

// m64n64k16: a thread has, of the 16 rows of its warp, row l / 4 and that plus 8; of each 8 columns 2·(l % 4) and the next.
// Registers of A: row, row + 8, the same 8 columns on. Sums exactly and truncates once.
inline void product_now(const Product64& p) {
    if (memcmp(p.a_then, p.a, 16) != 0) fail(REGISTERS_IN_FLIGHT);
    struct Registers { uint32_t a[4]; } registers;
    memcpy(registers.a, p.a, 16);
    const unsigned row = lane() / 4, column = lane() % 4 * 2;
    exchange(registers, [&](auto of) {
        float a[2][16];
        for (unsigned t = 0; t < 4; t++) {
            const Registers from = of(row * 4 + t);
            for (unsigned r = 0; r < 4; r++)
                for (unsigned half = 0; half < 2; half++)
                    a[r % 2][r / 2 * 8 + t * 2 + half] = p.widen(uint16_t(from.a[r] >> 16 * half));
        }
        for (unsigned j = 0; j < 8; j++)
            for (unsigned i = 0; i < 2; i++) {
                double sum[2] = {p.d[j * 4 + i], p.d[j * 4 + 2 + i]};
                for (unsigned k = 0; k < 16; k++) {
                    const double b = p.widen(element_of_b(p.b, p.b_transposed, j * 8 + column + i, k));
                    sum[0] += a[0][k] * b, sum[1] += a[1][k] * b;
                }
                p.d[j * 4 + i] = truncated(sum[0]), p.d[j * 4 + 2 + i] = truncated(sum[1]);
            }
        return 0;
    });
}

// Waits until at most the newest `most` groups of this thread are under way.
inline void product_wait(unsigned most) {
    // The same for the lanes of a warp, which come here together.
    if ((thread_number() / WARP * 5 + products().waits++ * 3) % 7 < 4) wait(LATER);
    Beside& all = beside();
    if (all.stores_fenced) memcpy(all.seen, block().dynamic_shared, MOST_SHARED), all.stores_fenced = false;
    Products& mine = products();
    unsigned kept = 0;
    for (unsigned i = 0; i < mine.n; i++) {
        // A product that was never committed belongs to no group, and nothing waits for it.
        const bool waits = mine.pending[i].group < mine.group && mine.group - mine.pending[i].group > most;
        if (waits) product_now(mine.pending[i]);
        else mine.pending[kept++] = mine.pending[i];
    }
    mine.n = kept;
}

inline void begin() {
    Beside& all = beside();
    Block& b = block();
    all.n_copies = 0;
    all.dice = (b.index.x * 0x9e3779b97f4a7c15ull + b.index.y) * 31 + b.index.z + 1;
    all.barriers_unfenced = all.stores_fenced = false;
    const unsigned n = b.dim.x * b.dim.y * b.dim.z;
    for (unsigned i = 0; i < n; i++) memset(&all.products[i].n, 0, sizeof(Products) - offsetof(Products, n));
    memset(all.seen, 0xff, MOST_SHARED);
}

inline Failure end() {
    Beside& all = beside();
    Block& b = block();
    const unsigned n = b.dim.x * b.dim.y * b.dim.z;
    for (unsigned i = 0; i < n; i++)
        if (all.products[i].n) return PRODUCTS_LEFT;
    return all.n_copies ? COPIES_LEFT : FINE;
}

static const bool hooked = (hooks = {begin, deliver, end}, true);

} // namespace emu
