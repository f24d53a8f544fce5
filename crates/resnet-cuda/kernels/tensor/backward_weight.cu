// One convolution kernel for the gradient of the weights: macros as in forward.cu, and KERNEL_RIGHT, the prologue of x.
#include "backward_weight.cuh"

typedef WeightTile<KERNEL_ELEMENT, KERNEL_ROWS, KERNEL_COLUMNS, KERNEL_WARP_ROWS, KERNEL_WARP_COLUMNS> ThisTile;
#define BLOCKS 256 / ThisTile::THREADS
#define DECLARE(NAME) KERNEL(NAME, BackwardWeightArgs, BOUNDS)
DECLARE(KERNEL_NAME) { backward_weight<ThisTile, KERNEL_LEFT, KERNEL_RIGHT, KERNEL_STAGES>(args); }
