// Convolutions forward and towards the input in bf16 on tensor cores: m16n8k16.
#include "instances.cuh"

GATHER_KERNELS(bf16)
