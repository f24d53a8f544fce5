// Gather: pictures that lie on the device to normalised activations, each shifted and mirrored as its pick says.
//
// A thread has four elements that lie side by side, as in ingest.cu, and computes the same bits from a byte.
// Bytes beside a picture are 0; whatever a pick holds, nothing beside the pictures is read.
// Traffic: one byte in, one activation out; neighbouring threads read neighbouring bytes but for a mirrored row's direction.
#include "types.cuh"

// Twin of `Pick` in resnet-core.
struct Pick {
    u32 index, top, left, mirrored;
};

struct GatherArgs {
    const u8* pictures; // [count][h][w][c]
    const Pick* picks;  // [n]
    const float* affine; // scale[c], then shift[c]
    void* x;             // [n][h][w][c]
    u64 total;           // elements of x
    u32 count, h, w, c;
    u32 padding, unused;
};

__device__ __forceinline__ u32 byte_at(const GatherArgs& args, const Pick& pick, u32 y, u32 x, u32 channel) {
    const u32 from_x = pick.mirrored ? args.w - 1 - x : x;
    // What lies before the picture wraps around to a large number.
    const u32 row = y + pick.top - args.padding, column = from_x + pick.left - args.padding;
    if (pick.index >= args.count || row >= args.h || column >= args.w) return 0;
    return args.pictures[((u64(pick.index) * args.h + row) * args.w + column) * args.c + channel];
}

template <class T> __device__ __forceinline__ void gather(const GatherArgs& args) {
    const u64 first = (u64(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
    if (first >= args.total) return;
    T* const out = static_cast<T*>(args.x);
    const u32 row = args.w * args.c, each = args.h * row;
    u32 picture = u32(first / each), y = u32(first % each) / row;
    u32 x = u32(first % each) % row / args.c, channel = u32(first % each) % args.c;
    Pick pick = args.picks[picture];
    float v[4];
    const bool whole = first + 4 <= args.total;
    UNROLL for (u32 i = 0; i < 4; i++) {
        if (first + i < args.total) {
            const float byte = float(byte_at(args, pick, y, x, channel));
            v[i] = fmaf(args.affine[channel], byte, args.affine[args.c + channel]);
            if (!whole) out[first + i] = from_f32<T>(v[i]);
        }
        if (++channel == args.c) {
            channel = 0;
            if (++x == args.w) {
                x = 0;
                if (++y == args.h) {
                    y = 0;
                    if (first + i + 1 < args.total) pick = args.picks[++picture];
                }
            }
        }
    }
    if (whole) store<4>(out + first, v);
}
INSTANTIATE(gather, gather, GatherArgs, 256)
