// One convolution kernel towards the input: macros as in forward.cu.
#include "backward_data.cuh"

typedef Tile<ELEMENT, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS> ThisTile;
#define DECLARE(NAME) KERNEL(NAME, BackwardDataArgs, ThisTile::THREADS)
DECLARE(KERNEL_NAME) { backward_data<ThisTile, LEFT, STAGES>(args); }
