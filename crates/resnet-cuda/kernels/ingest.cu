// Ingest: bytes to normalised activations, x = scale[c]·byte + shift[c].
//
// A thread has four elements that lie side by side, whatever their channels; grid: one dimension.
// Traffic: one byte in, one activation out.
#include "types.cuh"

struct IngestArgs {
    const u8* pixels;
    const float* affine; // scale[c], then shift[c]
    void* x;
    u64 count;
    u32 c, unused;
};

template <class T> __device__ __forceinline__ void ingest(const IngestArgs& args) {
    const u64 first = (u64(blockIdx.x) * blockDim.x + threadIdx.x) * 4;
    if (first >= args.count) return;
    T* const x = static_cast<T*>(args.x);
    u32 channel = u32(first % args.c);
    float v[4];
    const bool whole = first + 4 <= args.count;
    u32 four = 0;
    if (whole) four = *reinterpret_cast<const u32*>(args.pixels + first);
    UNROLL for (u32 i = 0; i < 4; i++) {
        if (whole || first + i < args.count) {
            const float byte = float(whole ? four >> 8 * i & 0xff : u32(args.pixels[first + i]));
            v[i] = fmaf(args.affine[channel], byte, args.affine[args.c + channel]);
            if (!whole) x[first + i] = from_f32<T>(v[i]);
        }
        channel = channel + 1 == args.c ? 0 : channel + 1;
    }
    if (whole) store<4>(x + first, v);
}
INSTANTIATE(ingest, ingest, IngestArgs, 256)
