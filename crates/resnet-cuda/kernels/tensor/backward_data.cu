// One convolution kernel towards the input: macros as in forward.cu.
#include "backward_data.cuh"

typedef Tile<KERNEL_ELEMENT, KERNEL_ROWS, KERNEL_COLUMNS, KERNEL_WARP_ROWS, KERNEL_WARP_COLUMNS> ThisTile;
#define BLOCKS 2
#define DECLARE(NAME) KERNEL(NAME, BackwardDataArgs, BOUNDS)
DECLARE(KERNEL_NAME) { backward_data<ThisTile, KERNEL_LEFT, KERNEL_STAGES>(args); }
