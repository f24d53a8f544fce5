#!/usr/bin/env python3
"""Trains a torchvision ResNet on exactly what `cargo xtask curves` was fed, and prints every loss and the test accuracy.

The folder holds `settings.json`, the weights at the start, all batches in order as bytes, and the test pictures.
Prints one line of JSON on standard output.

    python3 torch_curve.py FOLDER --threads 2 --memory-format channels_last
"""

import argparse
import json
import pathlib
import struct
import time

import numpy as np
import torch
import torchvision

NUMPY_TYPES = {"F32": np.float32, "I64": np.int64}


def read_safetensors(path):
    """The format is a length, a JSON header and the numbers; `safetensors` need not be installed."""
    data = path.read_bytes()
    (n_header,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + n_header])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array = np.frombuffer(data[8 + n_header + begin : 8 + n_header + end], NUMPY_TYPES[entry["dtype"]])
        tensors[name] = torch.from_numpy(array.copy()).reshape(entry["shape"])
    return tensors


def build(settings, folder, layout):
    model = getattr(torchvision.models, settings["arch"])(num_classes=settings["classes"])
    old = model.conv1
    model.conv1 = torch.nn.Conv2d(
        settings["channels"], old.out_channels, old.kernel_size, old.stride, old.padding, bias=False
    )
    model.load_state_dict(read_safetensors(folder / "weights.safetensors"), strict=True)
    return model.to(memory_format=layout)


def make_optimizer(model, rule):
    """Weight decay on weights alone, or on everything, as the recipe says."""
    name, decay = rule["name"], rule["weight_decay"]
    weights = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": weights, "weight_decay": decay},
        {"params": others, "weight_decay": decay if rule["decay_norm_and_bias"] else 0.0},
    ]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=rule["lr"], momentum=rule["momentum"], nesterov=rule["nesterov"])
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    return kind(groups, lr=rule["lr"], betas=(rule["beta1"], rule["beta2"]), eps=rule["eps"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=0, help="intra-op threads; 0 takes PyTorch's own choice")
    parser.add_argument("--memory-format", choices=["channels_last", "contiguous_format"], default="channels_last")
    args = parser.parse_args()
    layout = getattr(torch, args.memory_format)
    if args.threads > 0:
        torch.set_num_threads(args.threads)
    settings = json.loads((args.folder / "settings.json").read_text())
    batch, h, w, c = (settings[key] for key in ("batch", "height", "width", "channels"))
    pixels = np.memmap(args.folder / "pixels.u8", np.uint8, "r").reshape(-1, h, w, c)
    labels = np.fromfile(args.folder / "labels.u32", np.uint32).astype(np.int64)
    scale, shift = (torch.tensor(settings[key]).reshape(1, c, 1, 1) for key in ("scale", "shift"))

    def pictures(part):
        x = torch.from_numpy(np.array(part)).permute(0, 3, 1, 2)  # NHWC bytes are channels-last already
        return (x.float() * scale + shift).contiguous(memory_format=layout)

    model = build(settings, args.folder, layout)
    optimizer = make_optimizer(model, settings["optimizer"])
    smoothing = settings["label_smoothing"]
    model.train()
    losses = []
    start = time.perf_counter()
    for step in range(settings["n_steps"]):
        for group in optimizer.param_groups:
            group["lr"] = settings["lr"][step]
        part = slice(step * batch, (step + 1) * batch)
        optimizer.zero_grad(set_to_none=True)
        logits = model(pictures(pixels[part]))
        loss = torch.nn.functional.cross_entropy(
            logits, torch.from_numpy(labels[part]), label_smoothing=smoothing
        )
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    seconds = time.perf_counter() - start

    model.eval()
    test = np.fromfile(args.folder / "test_pixels.u8", np.uint8).reshape(-1, h, w, c)
    truth = torch.from_numpy(np.fromfile(args.folder / "test_labels.u32", np.uint32).astype(np.int64))
    with torch.inference_mode():
        answers = [model(pictures(test[i : i + batch])).argmax(1) for i in range(0, len(test), batch)]
    hits = (torch.cat(answers) == truth).sum().item()
    by = f"PyTorch {torch.__version__}, torchvision {torchvision.__version__}"
    print(json.dumps({"losses": losses, "accuracy": hits / len(truth), "seconds": seconds, "by": by}))


if __name__ == "__main__":
    main()
