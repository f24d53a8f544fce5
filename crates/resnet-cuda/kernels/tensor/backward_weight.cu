// One convolution kernel for the gradient of the weights: macros as in forward.cu, and RIGHT, the prologue of x.
#include "backward_weight.cuh"

typedef WeightTile<ELEMENT, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS> ThisTile;
#define DECLARE(NAME) KERNEL(NAME, BackwardWeightArgs, ThisTile::THREADS)
DECLARE(KERNEL_NAME) { backward_weight<ThisTile, LEFT, RIGHT, STAGES>(args); }
