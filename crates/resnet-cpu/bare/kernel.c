// Runs one static Linux program of x86-64 on a machine without a system: in ring 0, on one thread, with as few system calls as a
// test needs. What it writes goes to port 0xe9, from which an emulator prints it.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;

// Memory: the program as read from disk, where one is loaded that may lie anywhere, its heap, and its stack.
#define IMAGE 0x18000000ul
#define LOAD 0x400000ul
#define BREAK 0x1c000000ul
#define HEAP 0x20000000ul
#define HEAP_END 0x5f000000ul
#define STACK 0x5fff0000ul

#define SECTOR 512
#define FIRST_SECTOR 17                          // behind the boot sector and the kernel
#define N_SECTORS (*(u32 *)(0x7c00 + 500))       // run.py writes it into the boot sector
#define ARGUMENTS 4096                           // bytes before the program: its arguments and its environment

enum { ENOENT = -2, EAGAIN = -11, ENOMEM = -12, ENODEV = -19, EINVAL = -22, ENOTTY = -25, ENOSYS = -38 };

static inline void out8(u16 port, u8 value) { asm volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static inline u8 in8(u16 port) {
    u8 value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline void wrmsr(u32 msr, u64 value) {
    asm volatile("wrmsr" ::"c"(msr), "a"((u32)value), "d"((u32)(value >> 32)));
}

// The compiler calls these.
void *memset(void *to, int value, u64 n) {
    void *at = to;
    asm volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(value) : "memory");
    return to;
}
void *memcpy(void *to, const void *from, u64 n) {
    void *at = to;
    asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n)::"memory");
    return to;
}

static void write(const char *text, u64 n) {
    for (; n; n--) out8(0xe9, *text++);
}
static void say(const char *text) {
    while (*text) out8(0xe9, *text++);
}
static void say_hex(u64 value) {
    say(" ");
    for (int shift = 60; shift >= 0; shift -= 4) out8(0xe9, "0123456789abcdef"[value >> shift & 15]);
}

static void stop(void) {
    for (const char *word = "Shutdown"; *word; word++) out8(0x8900, *word);
    for (;;) asm volatile("cli; hlt");
}

struct frame {
    u64 vector, error, rip, cs, flags, rsp, ss;
};
void fault(struct frame *frame) {
    u64 address;
    asm("mov %%cr2, %0" : "=r"(address));
    say("\n[exception, error, rip, rsp, address:");
    say_hex(frame->vector), say_hex(frame->error), say_hex(frame->rip), say_hex(frame->rsp), say_hex(address);
    say("]\n");
    stop();
}

struct registers {
    u64 rax, rdi, rsi, rdx, r10, r8, r9;
};

static i64 map(u64 len, int file) {
    static u64 next = HEAP;
    if (file >= 0) return ENODEV;
    if (len > HEAP_END - next) return ENOMEM;
    u64 at = next;
    next += (len + 4095) & ~4095ul;
    memset((void *)at, 0, len);
    return at;
}

// A system call of Linux, by its number.
i64 call(struct registers *r) {
    static u64 brk = BREAK;
    switch (r->rax) {
    case 1: // write
        write((const char *)r->rsi, r->rdx);
        return r->rdx;
    case 20: { // writev
        const struct { const char *base; u64 len; } *parts = (void *)r->rsi;
        i64 n = 0;
        for (u64 i = 0; i < r->rdx; i++) write(parts[i].base, parts[i].len), n += parts[i].len;
        return n;
    }
    case 25: return ENOMEM; // mremap: whoever asks copies instead
    case 9: return map(r->rsi, r->r8); // mmap
    case 12: // brk
        if (r->rdi > brk && r->rdi < HEAP) brk = r->rdi;
        return brk;
    case 158: // arch_prctl: the thread's own memory; permission for tiles, as on a system that has them
        if (r->rdi == 0x1002) return wrmsr(0xc0000100, r->rsi), 0;
        return r->rdi == 0x1023 && r->rsi == 18 ? 0 : EINVAL;
    case 228: { // clock_gettime
        u32 low, high;
        asm volatile("rdtsc" : "=a"(low), "=d"(high));
        u64 ticks = (u64)high << 32 | low, *time = (u64 *)r->rsi;
        time[0] = ticks / 1000000000, time[1] = ticks % 1000000000;
        return 0;
    }
    case 318: // getrandom
        for (u64 i = 0; i < r->rsi; i++) ((u8 *)r->rdi)[i] = i * 37 + 11;
        return r->rsi;
    case 204: // sched_getaffinity: one processor
        *(u64 *)r->rdx = 1;
        return 8;
    case 7: // poll
        for (u64 i = 0; i < r->rsi; i++) ((u16 *)r->rdi)[4 * i + 3] = 0;
        return 0;
    case 302: // prlimit64
        if (r->r10) ((u64 *)r->r10)[0] = 8 << 20, ((u64 *)r->r10)[1] = ~0ul;
        return 0;
    case 39: case 186: case 218: return 1; // getpid, gettid, set_tid_address
    case 56: case 435: return EAGAIN;      // clone, clone3: a test then runs where it is
    case 3: case 10: case 11: case 13: case 14: case 24: case 28: case 131: case 202: case 273:
        return 0; // close, mprotect, munmap, signals, sched_yield, madvise, sigaltstack, futex, set_robust_list
    case 2: case 4: case 21: case 89: case 257: case 262: case 267: case 332: return ENOENT; // there are no files
    case 5: case 16: case 72: return ENOTTY;
    case 334: return ENOSYS; // rseq
    case 60: case 231:
        say("\n[exit");
        say_hex(r->rdi);
        say("]\n");
        stop();
    }
    say("[no system call");
    say_hex(r->rax);
    say("]\n");
    return ENOSYS;
}

// Reads sectors of the first disk by programmed input.
static void load(u32 sector, u32 n, u8 *to) {
    for (; n; n--, sector++) {
        while (in8(0x1f7) & 0x80) {}
        out8(0x1f6, 0xe0 | sector >> 24);
        out8(0x1f2, 1);
        out8(0x1f3, sector), out8(0x1f4, sector >> 8), out8(0x1f5, sector >> 16);
        out8(0x1f7, 0x20);
        while ((in8(0x1f7) & 0x88) != 8) {}
        u64 words = SECTOR / 2;
        asm volatile("rep insw" : "+D"(to), "+c"(words) : "d"((u16)0x1f0) : "memory");
    }
}

static void catch_exceptions(void) {
    extern const u64 stubs[32];
    static struct { u16 low, selector; u8 stack, type; u16 middle; u32 high, zero; } __attribute__((packed)) gates[32];
    for (int i = 0; i < 32; i++) {
        u64 at = stubs[i];
        gates[i].low = at, gates[i].middle = at >> 16, gates[i].high = at >> 32;
        gates[i].selector = 8, gates[i].type = 0x8e;
    }
    struct { u16 limit; void *base; } __attribute__((packed)) idtr = { sizeof gates - 1, gates };
    asm volatile("lidt %0" ::"m"(idtr));
}

struct elf {
    u8 magic[16];
    u16 type, machine;
    u32 version;
    u64 entry, segments, sections;
    u32 flags;
    u16 size, segment_size, n_segments;
};
struct segment {
    u32 type, flags;
    u64 offset, address, physical, file_size, size, align;
};

// The strings up to an empty one; returns what follows it.
static const char *push_strings(const char *strings, u64 **stack) {
    while (*strings) {
        *(*stack)++ = (u64)strings;
        while (*strings++) {}
    }
    *(*stack)++ = 0;
    return strings + 1;
}

void start(void) {
    extern void entry(void);
    catch_exceptions();
    wrmsr(0xc0000081, 8ul << 32); // STAR: code and data segments of a system call
    wrmsr(0xc0000082, (u64)entry);
    wrmsr(0xc0000084, 0);
    load(FIRST_SECTOR, N_SECTORS, (u8 *)IMAGE);

    const struct elf *elf = (void *)(IMAGE + ARGUMENTS);
    const struct segment *segments = (void *)((u64)elf + elf->segments);
    u64 base = elf->type == 3 ? LOAD : 0; // position-independent
    for (int i = 0; i < elf->n_segments; i++) {
        const struct segment *s = &segments[i];
        if (s->type != 1) continue;
        memset((void *)(base + s->address), 0, s->size);
        memcpy((void *)(base + s->address), (const u8 *)elf + s->offset, s->file_size);
    }

    u64 *bottom = (u64 *)STACK, *top = bottom + 1;
    const char *environment = push_strings((const char *)IMAGE, &top);
    *bottom = top - bottom - 2;
    push_strings(environment, &top);
    static const u64 seed[2] = { 1, 2 };
    const u64 auxiliary[] = {
        3, (u64)segments, 4, sizeof *segments, 5, elf->n_segments, 6, 4096, 9, base + elf->entry,
        11, 0, 12, 0, 13, 0, 14, 0, 16, 0, 23, 0, 25, (u64)seed, 51, 12000, 0, 0, // 51: the least signal stack, with tiles
    };
    memcpy(top, auxiliary, sizeof auxiliary);
    say("[start]\n");
    asm volatile("mov %0, %%rsp\n xor %%edx, %%edx\n xor %%ebp, %%ebp\n jmp *%1" ::"a"(bottom), "c"(base + elf->entry)
                 : "memory");
}
