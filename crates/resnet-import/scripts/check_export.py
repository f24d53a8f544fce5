"""Loads what `cargo run -p resnet-import --example export` wrote, in onnxruntime, torchvision and timm.

    python check_export.py DIR OUT                        (needs onnx, onnxruntime, torch, torchvision, timm, safetensors)
    python check_export.py DIR OUT --exporter COMMAND     writes each network by COMMAND DIR OUT NAME, and removes it afterwards

DIR holds the inputs and logits of parity.py, OUT the exported files. Weights are loaded with strict=True; ONNX files pass the
checker and run at two batch sizes. Prints a Markdown table and fails if a difference exceeds 1e-4 of the largest logit.
"""

import json
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import timm
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file

folder, out = map(pathlib.Path, sys.argv[1:3])
exporter = sys.argv[4:] if sys.argv[3:4] == ["--exporter"] else []
worst_allowed = 1e-4
failed = []


def difference(found, wanted):
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def onnx_difference(path, x, wanted):
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"input": x})
    one = session.run(["logits"], {"input": x[:1]})[0]
    assert one.shape[0] == 1 and difference(one, found[:1]) < 1e-5, "batch sizes disagree"
    return difference(found, wanted)


def model_for(library, spec, name, channels, classes):
    """The library's own network; timm's by the name it came from."""
    if library == "torchvision":
        arch = spec["arch"]
        return getattr(torchvision.models, arch)(num_classes=classes) if hasattr(torchvision.models, arch) else None
    arch = name if name in timm.list_models() else spec["arch"]
    if spec["variant"] == "v2" and arch == spec["arch"]:
        arch = f"resnetv2_{arch.removeprefix('resnet').removesuffix('v2')}"
    return timm.create_model(arch, num_classes=classes, in_chans=channels) if arch in timm.list_models() else None


print("| network | file | loaded by | worst relative difference |\n|---|---|---|---|")
for case in sorted(folder.glob("*.json")):
    info = json.loads(case.read_text())
    name = info["name"]
    with safe_open(folder / f"{name}.io.safetensors", "np") as io:
        x, wanted = io.get_tensor("input"), io.get_tensor("logits")
    if exporter:
        subprocess.run([*exporter, folder, out, name], check=True, stdout=sys.stderr)
    rows = []
    for suffix in ("", "-folded"):
        path = out / f"{name}{suffix}.onnx"
        if path.exists():
            rows.append((f"ONNX{suffix}", f"onnxruntime {onnxruntime.__version__}", onnx_difference(path, x, wanted)))
    for library, version in [("torchvision", torchvision.__version__.split("+")[0]), ("timm", timm.__version__)]:
        path = out / f"{name}.{library}.safetensors"
        if not path.exists():
            continue
        with safe_open(path, "pt") as file:
            spec = json.loads(file.metadata()["spec"])
        model = model_for(library, spec, name, x.shape[1], wanted.shape[1])
        if model is None:
            continue
        model.load_state_dict(load_file(path), strict=True)
        model.eval()
        with torch.no_grad():
            rows.append((f"{library} names", f"{library} {version}", difference(model(torch.from_numpy(x)).numpy(), wanted)))
    for file, loader, worst in rows:
        print(f"| {name} | {file} | {loader} | {worst:.1e} |", flush=True)
        if not worst < worst_allowed:
            failed.append((name, file))
    if exporter:
        for ending in (".onnx", "-folded.onnx", ".torchvision.safetensors", ".timm.safetensors"):
            (out / f"{name}{ending}").unlink(missing_ok=True)
sys.exit(f"differ: {failed}" if failed else 0)
