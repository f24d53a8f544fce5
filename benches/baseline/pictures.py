"""Seconds per picture from a file to a 224×224 crop with torchvision's loader, one thread.

Run    by `cargo run --release -p resnet-train --example decode_speed`, which sends a mode on each line of standard input:
       decode, evaluation (Resize 256, CenterCrop 224) or training (RandomResizedCrop 224, RandomHorizontalFlip).
       Pictures stay bytes on both sides: neither converts to a tensor, neither normalises.
"""

import sys
import time

import torch
import torchvision.transforms as T
from torchvision.datasets.folder import pil_loader

torch.set_num_threads(1)
repeats, files = int(sys.argv[1]), sys.argv[2:]
modes = dict(
    decode=lambda p: p,
    evaluation=T.Compose([T.Resize(256), T.CenterCrop(224)]),
    training=T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip()]),
)
for line in sys.stdin:
    transform = modes[line.strip()]
    start = time.perf_counter()
    for _ in range(repeats):
        for file in files:
            transform(pil_loader(file))
    print((time.perf_counter() - start) / (repeats * len(files)), flush=True)
