#!/usr/bin/env python3
"""One training step, or one inference pass, of PyTorch on a GPU, in one of the ways PyTorch has.

The network and the step are those of torch_step.py, which lies beside this file.
Inputs are synthetic, on the device, and made once, outside the clock.
Steps are queued without waiting for each other and timed together, after warm-up, compilation and capture.
True f32 is asked for in f32: PyTorch would otherwise let cuDNN round to tf32, which is what tf32 is for.
In f16 nothing scales the loss: GradScaler waits for the device in every step, and what is timed should be PyTorch's best.
Prints one line of JSON on standard output.

    python3 torch_gpu_step.py --arch resnet50 --batch 256 --precision bf16 --way graph
"""

import argparse
import json
import time

import torch

import torch_step

WAYS = ["eager", "graph", "default", "reduce-overhead", "max-autotune"]


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--infer", action="store_true")
    parser.add_argument("--precision", choices=["f32", "tf32", "bf16", "f16"], default="bf16", help="of 16 bits: autocast")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--way", choices=WAYS, default="eager", help="eager, a CUDA graph of it, or a mode of torch.compile")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to measure")
    args = parser.parse_args()
    args.memory_format = "channels_last"
    args.compile = False
    return args


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def captured(step):
    """The step as a CUDA graph, warmed up on a side stream first, as PyTorch's documentation asks."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def main():
    args = parse_args()
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = args.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = args.precision == "tf32"
    model, x, targets = torch_step.build(args)
    if args.way not in ("eager", "graph"):
        model = torch.compile(model, mode=None if args.way == "default" else args.way)
    step = torch_step.make_step(args, model, x, targets)
    for _ in range(3):
        step()
    if args.way == "graph":
        step = captured(step)
        step()
    synchronize(args.device)

    steps, start = 0, time.perf_counter()
    while steps == 0 or time.perf_counter() - start < args.seconds:
        for _ in range(10 if args.device == "cuda" else 1):
            step()
            steps += 1
        synchronize(args.device)
    seconds = (time.perf_counter() - start) / steps
    print(json.dumps({"seconds_per_step": seconds, "steps": steps, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
