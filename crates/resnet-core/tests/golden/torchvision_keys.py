"""Writes torchvision_keys.txt: for each network of torchvision the number of its parameters and running statistics and the
SHA-256 of their names and shapes, one `name d0,d1,...` per line, in the order of its state dict.

Run from this folder with torchvision installed: python torchvision_keys.py > torchvision_keys.txt
"""

import hashlib

import torchvision

ARCHS = (
    "resnet18 resnet34 resnet50 resnet101 resnet152 "
    "resnext50_32x4d resnext101_32x8d resnext101_64x4d wide_resnet50_2 wide_resnet101_2"
)

print(f"# torchvision {torchvision.__version__}: network, tensors, sha256 of its names and shapes")
for arch in ARCHS.split():
    state = torchvision.models.get_model(arch).state_dict()
    lines = [
        f"{name} {','.join(map(str, tensor.shape))}\n"
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    ]
    print(arch, len(lines), hashlib.sha256("".join(lines).encode()).hexdigest())
