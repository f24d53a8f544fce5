// Convolutions forward and towards the input of f32 tensors, with operands rounded to tf32, on tensor cores: m16n8k8.
#include "instances.cuh"

GATHER_KERNELS(float)
