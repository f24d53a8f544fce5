#!/usr/bin/env python3
"""One training step, or one inference pass, of a torchvision or CIFAR ResNet, timed as `resnet bench --json` times it.

The step is the whole step: gradients cleared, forward, cross-entropy, backward, SGD with momentum.
Inputs are synthetic and made once, outside the clock.
Two warm-up steps are not counted. With `--compile` a step before them compiles; its time is told and not counted either.
Prints one line of JSON on standard output.

    python3 torch_step.py --arch resnet18 --channels 1 --size 28 --classes 10 --batch 256 --steps 5 --threads 2
"""

import argparse
import json
import platform
import resource
import statistics
import sys
import time

import torch
import torch._inductor.config
import torchvision

WARM_UP_STEPS = 2


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18", help="a torchvision ResNet by name, or resnet20-cifar ... resnet110-cifar")
    parser.add_argument("--channels", type=int, default=3, help="input channels; the first convolution is replaced")
    parser.add_argument("--size", type=int, default=224, help="height and width of the input in pixels")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5, help="steps that are counted")
    parser.add_argument("--threads", type=int, default=0, help="intra-op threads; 0 takes PyTorch's own choice")
    parser.add_argument("--infer", action="store_true", help="time inference instead of a training step")
    parser.add_argument("--memory-format", choices=["nchw", "channels_last"], default="nchw")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32", help="bf16 is autocast")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    return parser.parse_args()


def build(args):
    """The network with its first convolution fitted to the channels asked for, and a batch to feed it."""
    torch.manual_seed(0)
    if (depth := CIFAR.get(args.arch)) is not None:
        model = CifarResNet(depth, args.channels, args.classes)
    else:
        model = torchvision_model(args)
    x = torch.randn(args.batch, args.channels, args.size, args.size)
    targets = torch.randint(0, args.classes, (args.batch,))
    layout = torch.channels_last if args.memory_format == "channels_last" else torch.contiguous_format
    model = model.to(device=args.device, memory_format=layout)
    return model, x.to(device=args.device, memory_format=layout), targets.to(args.device)


def torchvision_model(args):
    names = [name for name in torchvision.models.list_models(module=torchvision.models) if "resne" in name]
    if args.arch not in names:
        sys.exit(f"torch_step.py: torchvision has no ResNet named {args.arch!r}; it has {', '.join(names)}")
    model = getattr(torchvision.models, args.arch)(num_classes=args.classes)
    if args.channels != 3:
        old = model.conv1
        model.conv1 = torch.nn.Conv2d(
            args.channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None
        )
    return model


CIFAR = {f"resnet{depth}-cifar": depth for depth in (20, 32, 44, 56, 110)}


class CifarBlock(torch.nn.Module):
    """Two 3x3 convolutions; where the shape changes the shortcut takes every other pixel and pads channels with zeros."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(c_out)
        self.conv2 = torch.nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(c_out)
        self.stride, self.more = stride, c_out - c_in

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.stride != 1 or self.more:
            x = x[:, :, :: self.stride, :: self.stride]
            x = torch.nn.functional.pad(x, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return torch.relu(y + x)


class CifarResNet(torch.nn.Sequential):
    """The 6n+2 network of He et al., Deep Residual Learning, 2015, section 4.2."""

    def __init__(self, depth, channels, classes):
        layers = [torch.nn.Conv2d(channels, 16, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(16), torch.nn.ReLU()]
        c_in = 16
        for c_out in (16, 32, 64):
            for i in range((depth - 2) // 6):
                layers.append(CifarBlock(c_in, c_out, 2 if i == 0 and c_out > 16 else 1))
                c_in = c_out
        layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(c_in, classes)]
        super().__init__(*layers)


def make_step(args, model, x, targets):
    """A function without arguments that does the work to be timed."""
    if args.compile and args.infer and args.device == "cpu":
        # Weights become constants of the compiled program: normalisation is folded and weights are packed once.
        torch._inductor.config.freezing = True
    forward = torch.compile(model) if args.compile else model
    narrow = {"bf16": torch.bfloat16, "f16": torch.float16}.get(args.precision)
    autocast = torch.autocast(args.device, dtype=narrow or torch.bfloat16, enabled=narrow is not None)

    if args.infer:
        model.eval()

        def infer():
            with torch.inference_mode(), autocast:
                return forward(x)

        return infer

    model.train()
    # `fused` is PyTorch's fastest implementation of SGD: one pass over parameters, gradients and momentum.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True)

    def train():
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            loss = torch.nn.functional.cross_entropy(forward(x), targets)
        loss.backward()
        optimizer.step()
        return loss

    return train


def seconds(step, device):
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main():
    args = parse_args()
    if min(args.channels, args.size, args.classes, args.batch, args.steps) < 1:
        sys.exit("torch_step.py: channels, size, classes, batch and steps must be at least 1")
    if args.threads > 0:
        torch.set_num_threads(args.threads)
    step = make_step(args, *build(args))
    compile_s = seconds(step, args.device) if args.compile else None
    for _ in range(WARM_UP_STEPS):
        seconds(step, args.device)
    times = [seconds(step, args.device) for _ in range(args.steps)]
    median = statistics.median(times)
    # `ru_maxrss` counts KiB on Linux and bytes on macOS.
    rss_unit = 1 if platform.system() == "Darwin" else 1024
    print(
        json.dumps(
            {
                "framework": f"torch {torch.__version__}",
                "arch": args.arch,
                "channels": args.channels,
                "size": args.size,
                "classes": args.classes,
                "batch": args.batch,
                "mode": "infer" if args.infer else "train",
                "precision": args.precision,
                "device": args.device,
                "memory_format": args.memory_format,
                "compile": args.compile,
                "compile_s": compile_s,
                "threads": torch.get_num_threads(),
                "steps": args.steps,
                "median_s": median,
                "min_s": min(times),
                "images_per_s": args.batch / median,
                "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * rss_unit,
            }
        )
    )


if __name__ == "__main__":
    main()
