// One 1×1 convolution forward on Hopper. Macros, chosen in src/tensor/kernel.rs: KERNEL_NAME, KERNEL_ELEMENT (bf16 or f16), KERNEL_COLUMNS,
// KERNEL_LEFT (the prologue) and KERNEL_STAGES.
#include "forward.cuh"
#include "wgmma.cuh"

typedef WarpgroupTile<KERNEL_ELEMENT, KERNEL_COLUMNS> ThisTile;

struct WgmmaForwardArgs {
    TensorMap x, weights;
    ForwardArgs f;
    u64 unused;
};

#define DECLARE(NAME) KERNEL(NAME, WgmmaForwardArgs, BLOCK_BOUNDS)
DECLARE(KERNEL_NAME) {
    DYNAMIC_SHARED(unsigned char, shared);
    const ForwardArgs& f = args.f;
    const PixelProduct<ThisTile, KERNEL_LEFT, KERNEL_STAGES> product(f.g, shared);
    product.run(args.x, args.x, args.weights, f.affine, f.relu != 0, [&](float* tile, u32 row_tile, u32 column_tile) {
        forward_rows<ThisTile, ThisTile::VECTOR>(f, tile, row_tile, column_tile, f.g.n * f.g.out_h * f.g.out_w);
    });
}
