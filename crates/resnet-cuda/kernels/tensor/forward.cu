// One convolution kernel forward: macros KERNEL_NAME, ELEMENT (bf16, f16 or float for tf32), ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS,
// LEFT (the prologue) and STAGES, which src/tensor/kernel.rs chooses.
#include "forward.cuh"

typedef Tile<ELEMENT, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS> ThisTile;
#define DECLARE(NAME) KERNEL(NAME, ForwardArgs, ThisTile::THREADS)
DECLARE(KERNEL_NAME) { forward<ThisTile, LEFT, STAGES>(args); }
