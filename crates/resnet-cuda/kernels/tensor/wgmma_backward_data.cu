// One 1×1 convolution towards the input on Hopper: macros as in wgmma_forward.cu.
#include "backward_data.cuh"
#include "wgmma.cuh"

typedef WarpgroupTile<KERNEL_ELEMENT, KERNEL_COLUMNS> ThisTile;

struct WgmmaBackwardDataArgs {
    TensorMap dz, y, weights; // y: where there is a norm
    BackwardDataArgs b;
    u64 unused[6];
};

#define DECLARE(NAME) KERNEL(NAME, WgmmaBackwardDataArgs, BLOCK_BOUNDS)
DECLARE(KERNEL_NAME) {
    DYNAMIC_SHARED(unsigned char, shared);
    const BackwardDataArgs& b = args.b;
    const PixelProduct<ThisTile, KERNEL_LEFT, KERNEL_STAGES> product(b.g, shared);
    const Axis down(b.g, 0, b.g.out_h, 1, 0), across(b.g, 0, b.g.out_w, 1, 0);
    product.run(args.dz, args.y, args.weights, b.dy.coeffs, false, [&](float* tile, u32 row_tile, u32 column_tile) {
        gradient_rows<ThisTile, ThisTile::VECTOR>(b, tile, down, across, row_tile, column_tile);
    });
}
