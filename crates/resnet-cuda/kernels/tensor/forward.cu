// One convolution kernel forward. Macros, chosen in src/tensor/kernel.rs: KERNEL_NAME, KERNEL_ELEMENT (bf16, f16, or float for tf32),
// KERNEL_ROWS, KERNEL_COLUMNS, KERNEL_WARP_ROWS, KERNEL_WARP_COLUMNS, KERNEL_LEFT (the prologue) and KERNEL_STAGES.
#include "forward.cuh"

typedef Tile<KERNEL_ELEMENT, KERNEL_ROWS, KERNEL_COLUMNS, KERNEL_WARP_ROWS, KERNEL_WARP_COLUMNS> ThisTile;
#define BLOCKS 2
#define DECLARE(NAME) KERNEL(NAME, ForwardArgs, BOUNDS)
DECLARE(KERNEL_NAME) { forward<ThisTile, KERNEL_LEFT, KERNEL_STAGES>(args); }
