// Convolutions forward and towards the input in f16 on tensor cores: m16n8k16.
#include "instances.cuh"

GATHER_KERNELS(f16)
